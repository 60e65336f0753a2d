import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from expunge.core.digest import sha256
from expunge.core.errors import ForeignRun, StorageFailed, Tampered, UsageError
from expunge.core.serial import canonical
from expunge.engine import runs
from expunge.engine.runs import Artefact, RunDirectory, now

JOB = {"problem": {"model": "11"}, "seed": 1}


@dataclass(frozen=True)
class Sum:
    """The result of a stage."""

    total: int


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def opened(folder):
    """Open run directories, and let go of all of them at the end."""
    held = []

    def open_run(identity=JOB, where=folder):
        held.append(RunDirectory(where, identity))
        return held[-1]

    yield open_run
    for run in held:
        run.close()


def reopened(opened, run):
    run.close()
    return opened()


def raises():
    raise ZeroDivisionError


# --- whose directory ------------------------------------------------------------------------------------------


def test_a_new_directory_says_whose_it_is(opened, folder):
    run = opened()
    assert json.loads((folder / "run.json").read_text()) == {"identity": JOB, "run": sha256(canonical(JOB))}
    assert (folder / "private").stat().st_mode & 0o777 == 0o700
    assert [event["event"] for event in run.events] == ["opened"]


def test_the_same_job_goes_on(opened):
    run = reopened(opened, opened())
    assert [event["event"] for event in run.events] == ["opened", "closed", "opened"]


def test_another_job_is_refused_and_says_what_differs(opened, folder):
    opened().close()
    before = sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())
    with pytest.raises(ForeignRun, match="differs in seed, wanted"):
        opened({**JOB, "seed": 2, "wanted": True})
    assert sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()) == before


def test_a_directory_with_other_files_is_refused_and_kept(opened, folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(ForeignRun, match="other files"):
        opened()
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_an_empty_directory_is_welcome(opened, folder):
    folder.mkdir()
    (folder / ".gitkeep").touch()
    assert opened().events[0]["event"] == "opened"


def test_a_file_is_not_a_directory(opened, folder):
    folder.write_text("x")
    with pytest.raises(UsageError, match="not a directory"):
        opened()


def test_a_link_to_nothing_is_not_a_directory(opened, folder):
    folder.symlink_to("nowhere")
    with pytest.raises(UsageError, match="not a directory") as caught:
        opened()
    assert caught.value.obstacles[0].found == "a link to nothing"


def test_one_process_at_a_time(opened):
    run = opened()
    with pytest.raises(ForeignRun, match="in use"):
        opened()
    assert reopened(opened, run).events[-1]["n"] == 2


def test_another_process_is_kept_out_and_a_killed_one_lets_go(opened, folder):
    code = f"""
import sys
from pathlib import Path
from expunge.engine.runs import RunDirectory
run = RunDirectory(Path(sys.argv[1]), {JOB!r})
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ForeignRun, match="in use"):
            opened()
        other.kill()
        other.wait()
    assert len(opened().events) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5\n"])
def test_a_marker_that_was_damaged_is_not_taken_for_another_job(opened, folder, content):
    opened().close()
    (folder / "run.json").write_bytes(content)
    with pytest.raises(Tampered, match=r"run\.json"):
        opened()


@pytest.mark.parametrize("step", range(1, 4))
def test_a_first_start_that_fails_halfway_can_be_repeated(opened, folder, monkeypatch, step):
    calls = []

    def full(*args, **more):
        calls.append(args)
        if len(calls) >= step:
            raise StorageFailed("cannot write")
        return write(*args, **more)

    write = runs.write_file
    monkeypatch.setattr(runs, "write_file", full)
    if step == 2:
        monkeypatch.setattr(RunDirectory, "event", raises_storage)
    if step == 3:
        monkeypatch.setattr(runs, "sweep", raises_storage)
    with pytest.raises(StorageFailed) as kept:
        opened()
    monkeypatch.undo()
    assert opened().events[0]["event"] == "opened"
    assert kept.value.exit_code == 3, "the error is still held, as a notebook holds it, and the lock is free"


def raises_storage(*args, **more):
    raise StorageFailed("cannot write")


# --- stages ---------------------------------------------------------------------------------------------------


def test_what_came_to_nothing_is_taken_back_with_the_folders_made_for_it(opened, tmp_path):
    run = opened(where=tmp_path / "runs" / "mine" / "run")
    run.secret("salt")
    with pytest.raises(UsageError):
        run.stage("sum", lambda: _fail(), Sum)
    run.withdraw()
    run.close()
    assert list(tmp_path.iterdir()) == []
    assert opened({"another": "job"}, tmp_path / "runs" / "mine" / "run").count("opened", "") == 0


def _fail():
    raise UsageError("bad input")


def test_what_was_there_before_stays(opened, folder, tmp_path):
    folder.mkdir()
    (folder / ".gitkeep").write_text("")
    (tmp_path / "beside").write_text("")
    opened().withdraw()
    assert {path.name for path in tmp_path.rglob("*")} == {"run", ".gitkeep", "beside"}


def test_what_another_made_beside_it_stays(opened, tmp_path):
    run = opened(where=tmp_path / "runs" / "mine")
    (tmp_path / "runs" / "theirs").mkdir()
    run.withdraw()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["theirs"]


@pytest.mark.parametrize("kind", ["finished", "begun earlier", "attempt"])
def test_work_is_never_taken_back(opened, folder, kind):
    run = opened()
    if kind == "finished":
        run.stage("sum", lambda: Sum(3), Sum)
    elif kind == "attempt":
        run.event("attempt", number=1)
    else:
        run.close()
        run = opened()
    run.withdraw()
    run.close()
    assert (folder / "run.json").exists()
    assert opened().events


def test_a_stage_is_done_once(opened):
    run = opened()
    assert run.stage("sum", lambda: Sum(3), Sum) == Sum(3)
    assert run.stage("sum", raises, Sum) == Sum(3)
    run = reopened(opened, run)
    assert run.done("sum")
    assert run.stage("sum", raises, Sum) == Sum(3)
    assert (run.count("started", "sum"), run.count("finished", "sum")) == (1, 1)


def test_a_stage_that_fails_is_done_again(opened):
    run = opened()
    with pytest.raises(ZeroDivisionError):
        run.stage("sum", raises, Sum)
    assert not run.done("sum")
    assert run.stage("sum", lambda: Sum(3), Sum) == Sum(3)
    assert (run.count("started", "sum"), run.count("finished", "sum")) == (2, 1)


def test_a_kill_between_result_and_event_is_made_good(opened, monkeypatch):
    run = opened()
    event = RunDirectory.event
    monkeypatch.setattr(
        RunDirectory, "event", lambda s, kind, **f: raises() if kind == "finished" else event(s, kind, **f)
    )
    with pytest.raises(ZeroDivisionError):
        run.stage("sum", lambda: Sum(3), Sum)
    monkeypatch.undo()
    run = reopened(opened, run)
    assert run.stage("sum", raises, Sum) == Sum(3)
    assert run.count("finished", "sum") == 1
    assert reopened(opened, run).stage("sum", raises, Sum) == Sum(3)


@pytest.mark.parametrize("content", [b'{"total":4}', b'{"total":3}\n', b'{"total"', b""])
def test_a_stage_that_was_changed_is_noticed(opened, folder, content):
    run = opened()
    run.stage("sum", lambda: Sum(3), Sum)
    (folder / "stages" / "sum.json").write_bytes(content)
    with pytest.raises(Tampered, match=r"stages/sum\.json"):
        reopened(opened, run).stage("sum", raises, Sum)


def test_a_stage_of_which_the_log_knows_nothing_is_refused(opened, folder):
    # Whole lines cut off the end leave a chain that holds; a result that nobody began shows it.
    run = opened()
    short = lines(folder)
    run.stage("sum", lambda: Sum(3), Sum)
    run.close()
    (folder / "events.jsonl").write_bytes(b"".join(short))
    with pytest.raises(Tampered, match=r"events\.jsonl"):
        opened().stage("sum", raises, Sum)


# --- the log --------------------------------------------------------------------------------------------------


def lines(folder):
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def test_events_are_chained(opened, folder):
    run = opened()
    run.event("attempt", method="finetune", number=1)
    first, second = (json.loads(line) for line in lines(folder))
    assert second["previous"] == sha256(lines(folder)[0].rstrip(b"\n"))
    assert (first["previous"], first["n"], second["n"], second["method"]) == ("", 0, 1, "finetune")
    assert run.events[1]["digest_of_line"] == sha256(lines(folder)[1].rstrip(b"\n"))


@pytest.mark.parametrize("torn", [b'{"at":"2026', b"{}", b"\xff\xfe"])
def test_a_torn_last_line_is_dropped(opened, folder, torn):
    opened().close()
    whole = lines(folder)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(torn)
    run = opened()
    assert lines(folder)[:2] == whole
    assert [event["n"] for event in run.events] == [0, 1, 2]
    assert reopened(opened, run).events[-1]["n"] == 4


def test_a_log_that_is_nothing_but_a_torn_line_starts_anew(opened, folder):
    opened().close()
    (folder / "events.jsonl").write_bytes(b'{"at":')
    assert [event["n"] for event in opened().events] == [0]


@pytest.mark.parametrize(
    "change",
    [
        lambda log: [log[0].replace(b"opened", b"closed"), *log[1:]],
        lambda log: [log[0], *log[2:]],
        lambda log: [log[1], log[0], *log[2:]],
        lambda log: log[1:],
        lambda log: [log[0], b"5\n", *log[1:]],
        lambda log: [log[0], b"not json\n", *log[1:]],
        lambda log: [log[0], b"\n", *log[1:]],
    ],
    ids=["altered", "line removed", "lines swapped", "head cut off", "number", "no json", "empty line"],
)
def test_a_log_that_was_changed_is_noticed(opened, folder, change):
    run = opened()
    for number in range(3):
        run.event("attempt", number=number)
    run.close()
    (folder / "events.jsonl").write_bytes(b"".join(change(lines(folder))))
    with pytest.raises(Tampered, match=r"events\.jsonl") as kept:
        opened()
    assert kept.value.exit_code == 3
    (folder / "events.jsonl").unlink()
    assert len(opened().events) == 1, "the lock was let go"


def test_a_full_disk_is_reported_by_the_log(opened, monkeypatch):
    run = opened()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="No space left"):
        run.event("attempt")


def test_times_are_utc_without_the_machine():
    assert len(now()) == 20
    assert now().endswith("Z")


# --- artefacts, secrets, destruction --------------------------------------------------------------------------


def fill(folder):
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "architecture.json").write_bytes(b"{}")


def test_an_artefact_is_recorded_with_the_digest_of_every_file(opened, folder):
    artefact = opened().save("original", "11", fill)
    files = {"architecture.json": sha256(b"{}"), "model.safetensors": sha256(b"weights")}
    assert artefact == Artefact("artefacts/original", "11", files)


def change(path):
    path.write_bytes(b"Weights")


@pytest.mark.parametrize(
    ("damage", "found"),
    [(change, "other bytes"), (Path.unlink, "missing")],
)
def test_an_artefact_that_was_changed_is_noticed(opened, damage, found):
    run = opened()
    artefact = run.save("original", "11", fill)
    assert run.open_artefact(artefact) == run.folder / "artefacts" / "original"
    damage(run.folder / artefact.path / "model.safetensors")
    with pytest.raises(Tampered, match=found) as caught:
        run.open_artefact(artefact)
    assert caught.value.obstacles[0].where == "artefacts/original/model.safetensors"


def test_a_file_that_was_added_to_an_artefact_is_noticed(opened):
    run = opened()
    artefact = run.save("original", "11", fill)
    (run.folder / artefact.path / "config.json").write_text("{}")
    with pytest.raises(Tampered, match=r"original/config\.json"):
        run.open_artefact(artefact)


def test_an_artefact_that_is_gone_is_noticed(opened):
    run = opened()
    with pytest.raises(Tampered, match="missing"):
        run.open_artefact(Artefact("artefacts/none", "11", {"model.safetensors": "22"}))


def test_a_secret_is_drawn_once(opened, folder):
    run = opened()
    secret = run.secret("salt")
    assert (len(secret), secret) == (32, run.secret("salt"))
    assert secret != run.secret("pepper")
    assert (folder / "private" / "salt").stat().st_mode & 0o777 == 0o600
    assert reopened(opened, run).secret("salt") == secret


def test_destruction_is_listed_and_logged(opened, folder):
    run = opened()
    run.save("attempt-1", "11", fill)
    (folder / "private" / "rows").write_text("x")
    assert run.destroy("artefacts/attempt-1", "private/rows", "never/was") == ["artefacts/attempt-1", "private/rows"]
    assert not (folder / "artefacts" / "attempt-1").exists()
    assert not (folder / "private" / "rows").exists()
    assert [e["what"] for e in run.events if e["event"] == "destroyed"] == ["artefacts/attempt-1", "private/rows"]


def test_what_an_interrupted_writer_left_is_swept(opened, folder):
    opened().close()
    (folder / "stages").mkdir()
    (folder / "stages" / ".aside-1").write_bytes(b"half")
    opened()
    assert list((folder / "stages").iterdir()) == []
