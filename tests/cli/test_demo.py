"""``expunge demo``: says what it does, and does it. The whole demo is a slow test."""

import pytest

from expunge import workflow
from expunge.testbeds import digits
from expunge.workflow import Result


@pytest.fixture
def calls(monkeypatch):
    """What the demo asked for, without doing it."""
    asked = []

    def erase(problem, *, progress, **settings):
        asked.append({"problem": problem, **settings})
        return Result(settings["out"], None, None, nothing_to_do=True)

    monkeypatch.setattr(digits, "prepare", lambda out, seed, progress: ("problem", seed))
    monkeypatch.setattr(workflow, "erase", erase)
    return asked


def test_what_it_asks_for(call, calls, tmp_path):
    result = call("demo", "--out", tmp_path / "d", "--method", "noop", "--no-escalate", "--seed", "3")
    assert result.code == 0
    assert f"{digits.WRONG} of those labels wrong" in result.err
    (asked,) = calls
    assert asked["problem"] == ("problem", 3)
    assert (asked["methods"], asked["escalate"], asked["seed"]) == (("noop",), False, 3)
    assert asked["configs"] == digits.CONFIGS


def test_json_alone_on_stdout(call, calls, tmp_path):
    result = call("demo", "--out", tmp_path / "d", "--json")
    assert (result.code, result.err, result.json["nothing_to_do"]) == (0, "", True)
    assert calls[0]["methods"] == ()


@pytest.mark.slow
def test_doing_nothing_is_not_erased(call, tmp_path):
    result = call("demo", "--out", tmp_path / "demo", "--method", "noop", "--json")
    assert (result.code, result.json["verdict"], result.json["certificate"]) == (1, "not erased", None)
