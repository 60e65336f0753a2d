"""``expunge demo``: says what it does, and does it. The whole demo is a slow test."""

import pytest

from expunge import workflow
from expunge.testbeds import digits, people
from expunge.workflow import Result


@pytest.fixture
def calls(monkeypatch):
    """What the demo asked for, without doing it."""
    asked = []

    def erase(problem, *, progress, **settings):
        asked.append({"problem": problem, **settings})
        return Result(settings["out"], None, None, nothing_to_do=True)

    for bed in (digits, people):
        monkeypatch.setattr(bed, "prepare", lambda out, seed, progress, bed=bed: (bed.__name__, seed))
    monkeypatch.setattr(workflow, "erase", erase)
    return asked


def test_what_it_asks_for(call, calls, tmp_path):
    result = call("demo", "--out", tmp_path / "d", "--method", "noop", "--no-escalate", "--seed", "3")
    assert result.code == 0
    assert f"{digits.WRONG} of those labels wrong" in result.err
    (asked,) = calls
    assert asked["problem"] == ("expunge.testbeds.digits", 3)
    assert (asked["methods"], asked["escalate"], asked["seed"]) == (("noop",), False, 3)
    assert asked["configs"] == digits.CONFIGS


def test_the_one_of_language_models_has_a_directory_of_its_own(call, calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("demo").code == 0
    result = call("demo", "language", "--seed", "2")
    assert result.code == 0
    assert f"forget everything about {people.FORGOTTEN}" in " ".join(result.err.split())
    one, other = calls
    assert (str(one["out"]), str(other["out"])) == ("runs/demo", "runs/demo-language")
    assert other["problem"] == ("expunge.testbeds.people", 2)
    assert (other["methods"], other["configs"]) == (people.METHODS, people.CONFIGS)


def test_nothing_else_is_shown(call, calls):
    assert call("demo", "images").code == 2
    assert calls == []


def test_json_alone_on_stdout(call, calls, tmp_path):
    result = call("demo", "--out", tmp_path / "d", "--json")
    assert (result.code, result.err, result.json["nothing_to_do"]) == (0, "", True)
    assert calls[0]["methods"] == ()


@pytest.mark.slow
def test_doing_nothing_is_not_erased(call, tmp_path):
    result = call("demo", "--out", tmp_path / "demo", "--method", "noop", "--json")
    assert (result.code, result.json["verdict"], result.json["certificate"]) == (1, "not erased", None)
