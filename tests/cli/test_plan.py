"""``expunge plan``: a table for people, the plan as one object; plug-ins by their entry point alone."""

import json
import shlex
from dataclasses import replace

import pytest

from expunge.cli._progress import show_plan
from expunge.core import registry
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.plan import FORCED, TUNED, Option, Plan
from tests.support import running


@pytest.fixture
def plan(project, call):
    """Return a function that runs `plan` on the tiny job."""
    return lambda *words: call("plan", project / "job.toml", *words)


def test_a_table(plan, project):
    result = plan()
    assert (result.code, result.out) == (0, "")
    for word in ("method", "guarantee", "cost", "finetune", "neg_grad_plus", "retrain", "exact", "Next:"):
        assert word in result.err
    assert "noop" not in result.err
    assert not (project / "run").exists()


def test_what_is_tried_only_where_named_stands_in_one_line_and_not_in_the_table(plan):
    text = " ".join(plan().err.split())
    assert "also possible, where named with --method NAME:" in text
    named = text.split("--method NAME: ")[1].split("Policies")[0].split(", ")
    assert {"salun", "scrub", "ssd"} <= set(part.strip() for part in named)
    assert text.count("salun") == 1
    assert "asked for by name" in " ".join(plan("--method", "salun").err.split())


def test_json(plan):
    result = plan("--json", "--references", "3", "--budget", "50%")
    assert (result.code, result.err) == (0, "")
    assert (result.json["references"], result.json["budget"]) == (3, 0.5)
    planned = {name for name in registry.names("methods") if not registry.load("methods", name).control}
    assert {option["method"] for option in result.json["options"]} == planned


def test_it_says_what_was_found(plan, project):
    """A request is a search: one that matches half of the file reads as any other."""
    counts = {name: plan("--json").json[f"{name}_count"] for name in ("forget", "retain", "holdout")}
    assert min(counts.values()) > 0
    said = f"{counts['forget']} records to forget; {counts['retain']} stay, {counts['holdout']} held out"
    assert said in plan().err


def test_where_nothing_can_be_tried_nothing_is_advised(plan):
    result = plan("--method", "alt_dpo", "--json")
    assert (result.json["whole"], [option for option in result.json["options"] if option["planned"]]) == (None, [])
    assert result.code == plan("--method", "alt_dpo", "--quiet").code == 1  # `plan && erase` stops here
    text = plan("--method", "alt_dpo").err
    assert "Next:" not in text
    assert "whole course" not in text


def test_quiet(plan):
    result = plan("--quiet")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("would try: ")
    assert {"finetune", "neg_grad_plus", "retrain"} <= set(result.err.removeprefix("would try: ").strip().split(", "))


def command(line):
    """Return what follows `expunge`, or `python -m expunge` where the tests were called like that."""
    words = shlex.split(line)
    return words[words.index("erase") :]


def test_the_next_command_keeps_the_flags(plan, project):
    line = plan("--references", "4", "--method", "retrain").err.splitlines()[-1]
    assert command(line) == ["erase", str(project / "job.toml"), "--method", "retrain", "--references", "4"]


def test_unknown_costs_are_explained(plan):
    assert "the trainer does not say how often it reads a record" in " ".join(plan().err.split())


def test_what_auto_may_spend_stands_there_as_the_most_that_it_may(capsys):
    tuned = Option(method="a", title="A", guarantee=Level.AUDITED, cost=Cost(), share=0.2, planned=True, why=TUNED)
    show_plan(
        Plan(
            options=(tuned, replace(tuned, method="b", why=FORCED), replace(tuned, share=None)),
            budget=0.4,
            references=0,
            choosing_references=0,
            retraining=None,
            audit_share=None,
            whole=None,
            advice=(),
        )
    )
    first, second, third = (line.split() for line in capsys.readouterr().err.splitlines() if "audited" in line)
    assert (first[2:5], second[2], third[2]) == (["up", "to", "20%"], "20%", "?")


def test_one_method(plan):
    assert [option["method"] for option in plan("--method", "noop", "--json").json["options"]] == ["noop"]


def test_several_methods_are_tried_in_the_order_in_which_they_are_named(plan, project):
    named = ("--method", "retrain", "--method", "finetune")
    assert "would try: retrain, finetune" in plan("--quiet", *named).err
    assert "--method retrain --method finetune" in plan(*named).err
    job = project / "job.toml"
    job.write_text('method = ["finetune", "retrain"]\n' + job.read_text())
    assert "would try: finetune, retrain" in plan("--quiet").err
    job.write_text(job.read_text().replace('["finetune", "retrain"]', "3"))
    assert plan().code == 2


def test_a_floor_of_tuning(plan, project):
    given = ("--method", "auto", "--floor", "90%")
    assert plan(*given, "--json").json["floor"] == 0.9
    said = plan(*given).err
    assert "tuning chooses nothing with an accuracy below 90.0%" in " ".join(said.split())
    assert command(said.splitlines()[-1]) == ["erase", str(project / "job.toml"), *given]
    wrong = plan("--floor", "120%")
    assert wrong.code == 2
    assert "from 0% to 100%" in " ".join(wrong.err.split())


def test_each_policy_says_what_it_costs_and_what_it_lacks(plan):
    text = " ".join(plan().err.split())
    assert "what it can show here" in text
    assert "without planted canaries" in text
    assert "seed standard deviations" in text


def test_another_policy_can_be_named(plan, project):
    result = plan("--policy", "quick", "--json")
    (chosen,) = [seen for seen in result.json["policies"] if seen["chosen"]]
    assert (chosen["policy"], chosen["references"]) == ("quick", 0)
    assert chosen["missing"] == {"canaries": "planted canaries"}
    line = plan("--policy", "quick").err.splitlines()[-1]
    assert command(line) == ["erase", str(project / "job.toml"), "--policy", "quick"]
    assert plan("--policy", project / "policy.toml", "--json").json["references"] == 6
    wrong = plan("--policy", "quik")
    assert wrong.code == 2
    assert "quick" in wrong.err


METHOD = '''
from dataclasses import dataclass
from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome

class Shrink(Method):
    """Make every weight smaller."""
    title = "Shrink the weights"
    source = "a toy"
    guarantee = Level.AUDITED

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Settings."""
        factor: float = setting(0.9, "what weights are multiplied by", above=0)

    def cost(self, problem):
        return Cost()

    def unlearn(self, problem, run):
        model = problem.source.open()
        for parameter in model.parameters():
            parameter.data.mul_(self.config.factor)
        return Outcome(model=model, touched=1.0, stopped=f"shrunk by {self.config.factor}")
'''
CHECK = '''
from expunge.core.check import Check, Direction, EvidenceKind, Question
from expunge.core.method import Cost

class Confidence(Check):
    """Mean confidence on the forgotten records."""
    title = "Mean confidence"
    source = "a toy"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "logit"

    def cost(self, n, references):
        return Cost(read=n * (references + 1))

    def measure(self, evidence):
        return evidence.compare_means(self, ("forget",), lambda model: evidence.outputs(model, "forget").confidence)
'''
POINTS = """
[expunge.methods]
shrink = toy_expunge.shrink:Shrink
[expunge.checks]
toy_confidence = toy_expunge.check:Confidence
"""


@pytest.fixture
def package(tmp_path):
    """A package with a method and a check, installed as far as entry points go."""
    home = tmp_path / "site"
    about = home / "toy_expunge-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-expunge\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (home / "toy_expunge").mkdir()
    for name, text in (("__init__", ""), ("shrink", METHOD), ("check", CHECK)):
        (home / "toy_expunge" / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(home)}


def test_a_plug_in_appears_by_its_entry_point_alone(project, package):
    with (project / "policy.toml").open("a") as file:
        file.write('\n[checks.toy_confidence]\nmargin = 2.0\nreason = "a toy"\n')
    with (project / "job.toml").open("a") as file:
        file.write("\n[methods.shrink]\nfactor = 0.5\n")
    (project / "wrong.toml").write_text('problem = "tiny_problem:problem"\n[methods.shrink]\nfactr = 0.5\n')
    lines = (["plan", "job.toml"], ["erase", "job.toml", "--method", "shrink"], ["plan", "wrong.toml"])
    with running.forking(package) as commands:
        codes, err = commands(project, *({"words": words} for words in lines))
    assert codes == [0, 1, 2], err
    assert any(line.split()[:2] == ["shrink", "audited"] for line in err.split("Next: expunge erase")[0].splitlines())
    assert "did you mean 'factor'" in err
    report = json.loads((project / "run" / "report.json").read_text())
    (attempt,) = report["attempts"]
    assert (attempt["method"], attempt["config"]) == ("shrink", {"factor": 0.5})
    assert attempt["outcome"]["stopped"] == "shrunk by 0.5"
    findings = {finding["check"]: finding for finding in attempt["audits"][0]["findings"]}
    assert findings["toy_confidence"]["decision"] in ("pass", "fail", "inconclusive")
    assert findings["toy_confidence"]["title"] == "Mean confidence"
