"""Stopped at any moment, the same command resumes, redoes no finished stage and gives the same result."""

import json
import random
import signal
from collections import Counter

import pytest

from tests.support import running

# One attempt, which reaches its claim; benchmarks/interrupted.py goes the whole way.
WORDS = ["erase", "job.toml", "--method", "finetune"]
CONFIG = "\n[methods.finetune]\nepochs = 20\nlr = 0.05\nbatch_size = 16\n"
SECRETLY_KEYED = ("train", "forget", "holdout", "request")


def project(folder):
    running.copy_project(folder)
    with (folder / "job.toml").open("a") as file:
        file.write(CONFIG)
    return folder


def lasting(folder):
    """Return the report without what may differ.

    That is: times; the work of stages that were begun twice; digests that are keyed with the secret of each run.
    """
    report = json.loads((folder / "run" / "report.json").read_text())
    for name in ("started", "finished", "costs", "total", "usage", "run"):
        del report[name]
    for name in SECRETLY_KEYED:
        del report["problem"][name]
    for audit in [report["control"], *(audit for attempt in report["attempts"] for audit in attempt["audits"])]:
        del audit["cost"]
    return report


def events(folder):
    return [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def commands():
    """One process for all of them, that has imported torch."""
    with running.forking() as run:
        yield run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, commands):
    """An uninterrupted run; the file `count` says how often it synced a file."""
    folder = project(tmp_path_factory.mktemp("whole") / "project")
    codes, err = commands(folder, {"words": WORDS, "count_in": "count"})
    assert codes == [0], err
    return folder


def test_killed_at_three_moments_it_gives_the_same(whole, commands, tmp_path):
    folder, draw = project(tmp_path / "project"), random.Random(4)
    share = int((whole / "count").read_text()) // 4  # each command goes on where the one before was killed
    moments = [draw.randrange(2, share) for _ in range(3)]
    runs = [{"words": WORDS, "signal": signal.SIGKILL, "at": at} for at in moments]
    codes, err = commands(folder, *runs, {"words": WORDS}, {"words": WORDS})
    assert codes == [-9, -9, -9, 0, 0], err
    assert lasting(folder) == lasting(whole)
    assert lasting(folder)["claim"] == "audited"
    finished = Counter(event["stage"] for event in events(folder) if event["event"] == "finished")
    assert set(finished.values()) == {1}
    assert finished.keys() == {e["stage"] for e in events(whole) if e["event"] == "finished"}
    started = Counter(event["stage"] for event in events(folder) if event["event"] == "started")
    assert 0 < sum(started.values()) - len(started) <= 2 * len(moments)  # a stage and the one it is part of
    assert running.leftovers(folder) == []
    for name in ("model.safetensors", "architecture.json"):
        assert (folder / "run/model" / name).read_bytes() == (whole / "run/model" / name).read_bytes()


def test_killed_while_it_ends_it_ends_all_the_same(whole, commands, tmp_path):
    folder = project(tmp_path / "project")
    late = int((whole / "count").read_text()) - 12
    runs = [{"words": WORDS, "signal": signal.SIGKILL, "at": at} for at in (late, 3, 5, 7, 9)]
    codes, err = commands(folder, *runs, {"words": WORDS})
    assert (codes[:2], codes[-1]) == ([-9, -9], 0), err
    assert lasting(folder) == lasting(whole)
    assert lasting(folder)["destroyed"]
    for name in lasting(folder)["destroyed"]:
        assert not (folder / "run" / name).exists()


def test_stopped_it_says_so_and_resumes(whole, commands, tmp_path):
    runs, folders = [], [project(tmp_path / name) for name in ("terminated", "ctrl-c")]
    for folder, number in zip(folders, (signal.SIGTERM, signal.SIGINT), strict=True):
        words = ["erase", str(folder / "job.toml"), *WORDS[2:]]
        runs += [{"words": words, "signal": number, "at": 20}, {"words": words}]
    codes, err = commands(tmp_path, *runs)
    assert codes == [3, 0, 3, 0], err
    assert err.count("error: interrupted; the same command resumes") == 2
    assert "Traceback" not in err
    assert running.leftovers(tmp_path) == []
    assert [lasting(folder) for folder in folders] == [lasting(whole)] * 2
