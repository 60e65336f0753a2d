"""``expunge erase``: exit codes, one object on stdout, flags over job file; once in processes of its own."""

import json
import re
import shlex

import pytest

from expunge.core.errors import Diverged
from expunge.methods.finetune import Finetune
from tests.support import running


@pytest.fixture
def erase(project, call, in_process):
    """Return a function that runs `erase` on the tiny job."""
    return lambda *words: call("erase", project / "job.toml", *words)


def test_claimed(erase, project, call):
    result = erase("--method", "retrain", "--json")
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    found = result.json
    assert {"verdict", "claim", "report", "certificate"} <= found.keys()
    assert (found["verdict"], found["claim"]) == ("erased", "exact")
    run = project / "run"
    assert [found[name] for name in ("report", "certificate", "model")] == [
        str(run / name) for name in ("report.html", "certificate.json", "model")
    ]
    words = ["--model", run / "model", "--key", run / "development-key.pub", "--allow-development-key"]
    assert call("verify", found["certificate"], *words).code == 0
    again = erase("--method", "retrain", "--json")
    assert (again.code, again.json) == (0, found)
    assert call("verify", found["certificate"], *words).code == 0


def test_not_claimed(erase, project):
    result = erase("--method", "noop", "--json")
    assert (result.code, result.json["verdict"]) == (1, "not erased")
    assert (result.json["claim"], result.json["certificate"], result.json["model"]) == (None, None, None)
    assert not (project / "run" / "certificate.json").exists()


def test_text_for_people_goes_to_stderr(erase):
    result = erase("--method", "noop")
    assert (result.code, result.out) == (1, "")
    assert "Not erased" in result.err
    assert "report.html" in result.err
    assert "Next:" in result.err
    assert "Plan" in result.err


def test_a_certificate_is_checked_by_the_command_that_is_named(erase, project, call, monkeypatch):
    monkeypatch.chdir(project)
    result = erase("--method", "retrain")
    (line,) = [line.strip() for line in result.err.splitlines() if " verify " in line]
    assert "run/certificate.json --model run/model" in line
    assert call(*shlex.split(line)[1:]).code == 0


def test_what_can_be_tried_is_named_as_a_command_that_works(erase, call, project):
    result = erase("--method", "noop", "--references", "4")
    (line,) = [line.strip() for line in result.err.splitlines() if line.endswith("--method retrain")]
    words = shlex.split(line)[1:]
    assert words == ["erase", str(project / "job.toml"), "--references", "4", "--method", "retrain"]
    assert call(*words, "--json").json["claim"] == "exact"


def test_a_finished_run_is_not_asked_for_other_settings(erase, project):
    def rewritten(lines):
        (project / "job.toml").write_text(before + lines)
        return erase("--method", "retrain", "--json")

    before = (project / "job.toml").read_text()
    assert erase("--method", "retrain").code == 0
    changed = rewritten('budget = "40%"\n')
    assert changed.code == 5
    problem = changed.json["error"]["problems"][0]
    assert (problem["found"], problem["expected"]) == ("budget = 1.0", "budget = 0.4")
    assert "another --out" in problem["fix"]
    problem = rewritten('floor = "90%"\n').json["error"]["problems"][0]
    assert (problem["found"], problem["expected"]) == ("floor = None", "floor = 0.9")
    assert rewritten("").code == 0


def test_quiet_says_the_outcome_alone(erase, project):
    result = erase("--method", "noop", "--quiet", "--also", "junit")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines() == ["Not erased", f"report       {project / 'run' / 'report.html'}"]
    assert (project / "run" / "report.junit.xml").exists()


def test_quiet_says_why_nothing_was_tried(erase):
    result = erase("--method", "auto", "--budget", "1%", "--quiet")
    assert result.code == 1
    assert "no model was judged" in result.err
    assert "neither tuned nor tried" in " ".join(result.err.split())


def test_a_budget_that_holds_nothing_is_told_with_what_the_cheapest_costs(erase):
    result = erase("--budget", "1%", "--quiet")
    assert result.code == 1
    assert re.search(
        r"No method was tried: .+, the cheapest, costs \d+% of one retraining", " ".join(result.err.split())
    )
    found = erase("--budget", "1%", "--json").json
    assert found["attempts"] == []
    assert any("No method was tried" in each for each in found["notes"])


def test_an_unknown_form_is_refused_before_work(erase, project):
    result = erase("--also", "pdf")
    assert result.code == 2
    assert "one of html, json, junit, markdown, sarif, text" in result.err
    assert not (project / "run").exists()


def test_what_is_missing_is_named_with_a_command(erase, project):
    steps = erase("--method", "noop", "--references", "2", "--json").json["next"]
    assert next(shlex.split(step["command"])[1:] for step in steps if step["command"]) == [
        *("erase", str(project / "job.toml"), "--method", "noop", "--out"),
        f"{project / 'run'}-references",
    ]


def test_flags_replace_what_the_job_says(erase, project):
    elsewhere = project / "elsewhere"
    result = erase(
        "--out",
        elsewhere,
        "--no-escalate",
        "--budget",
        "20%",
        "--floor",
        "85%",
        "--references",
        "8",
        "--keep",
        "--json",
    )
    assert len(result.json["attempts"]) == 1, result.out + result.err
    report = json.loads((elsewhere / "report.json").read_text())
    assert (report["plan"]["budget"], report["plan"]["references"]) == (0.2, 8)
    assert report["plan"]["floor"] == 0.85
    assert not (project / "run").exists()


def test_a_bad_floor(erase):
    assert erase("--method", "auto", "--floor", "0.9").code == 2


def test_a_bad_budget(erase):
    assert erase("--budget", "20").code == 2


def test_in_processes_of_its_own(project):
    """Nothing is simplified: workers train, and a fresh process judges."""
    result = running.expunge(project, "erase", "job.toml", "--method", "retrain", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["claim"] == "exact"
    report = json.loads((project / "run" / "report.json").read_text())
    assert report["attempts"][0]["audits"][0]["process"] == "fresh process"


def test_quiet_says_of_a_run_that_broke_why(erase, monkeypatch):
    def broken(self, problem, run):
        raise Diverged("training diverged", where="epoch 1")

    monkeypatch.setattr(Finetune, "unlearn", broken)
    result = erase("--method", "finetune", "--quiet")
    assert result.code == 1
    assert f"{Finetune.title} came to no model: failed: training diverged (epoch 1)" in " ".join(result.err.split())
