"""``expunge audit``: a model made elsewhere is judged, and never certified."""

from tests.support.tiny import tiny_problem as tiny


def test_a_good_and_a_bad_model(project, call, in_process):
    source, job = tiny.make().source, project / "job.toml"
    good, bad = project / "good", project / "bad"
    for folder, model in ((good, tiny.train(tiny.make().retain_view, seed=77)), (bad, tiny.original())):
        folder.mkdir()
        source.save(model, folder)
    result = call("audit", job, "--model", good, "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (0, "erased", "audited")
    assert (result.json["certificate"], result.json["model"]) == (None, None)
    result = call("audit", job, "--model", bad / "model.safetensors", "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (1, "not erased", None)
    assert len(result.json["attempts"]) == 2
    text = call("audit", job, "--model", good)
    assert (text.code, text.out) == (0, "")
    assert "report.html" in text.err
    assert f"erase {job}" in text.err  # where a certificate would come from
