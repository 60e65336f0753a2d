from expunge.engine.progress import Progress


def test_the_default_watcher_is_silent(capsys):
    watcher = Progress()
    watcher.start("train", 3, done=1)
    watcher.advance("train", 2)
    watcher.finish("train")
    watcher.say("something")
    assert capsys.readouterr() == ("", "")
