"""Every public name, command, option, setting, error and exit code is mentioned; the message says which is not."""

import dataclasses
import html
import json
import re

import pytest

import expunge
from expunge.audit.policy import Margin, Policy
from expunge.audit.policy import load as load_policy
from expunge.cli._job import Job
from expunge.conformance.run import SUITES
from expunge.core import errors, registry
from expunge.core.check import EvidenceKind, Question
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.core.verdict import Decision, Verdict
from expunge.engine.loop import LoopConfig
from expunge.engine.relearning import RelearningConfig
from expunge.engine.training import Trainer, Training
from expunge.render.formats import FORMATS
from expunge.render.html import page
from expunge.workflow.settings import Settings
from tests.docs.blocks import ROOT, written_pages
from tests.docs.commands import APP
from tests.docs.reference import pages
from tests.support import reports

ROOMS = ("methods", "checks", "find", "tasks", "data", "models", "testbeds")
WRITTEN = "\n".join(page.read_text() for page in written_pages())


def missing(names, text):
    """Return those names that `text` does not hold as code, a heading or a bold word."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w])", text)]


def section(name, title):
    """Return one section of a generated page."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", pages()[name], re.MULTILINE | re.DOTALL)
    assert found, f"reference/{name} has no section {title!r}"
    return found[2]


def names(kind):
    return [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("name", expunge.__all__)
def test_public_name(name):
    assert len(section("api", name).strip()) > 60, f"{name} is named and not explained"


@pytest.mark.parametrize("command", sorted(APP.commands))
def test_command_and_its_options(command):
    own = APP.commands[command]
    words = [
        word for p in own.params for word in ([p.metavar or p.name] if p.param_type_name == "argument" else p.opts)
    ]
    text = section("cli", command).replace("\\|", "|")
    assert missing([word for word in words if word != "--help"], text) == []
    assert missing([f"expunge {command}"], WRITTEN) == [], "no guide says what the command is for"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ExpungeError)],
)
def test_error(kind):
    text = section("errors", kind.__name__)
    assert f"Exit code {kind.exit_code}" in text
    assert "What raises it" in text
    assert "How to mend it" in text


def test_exit_codes():
    from expunge.cli.main import EXIT_CODES

    codes = re.findall(r"^- (\d)", EXIT_CODES, re.MULTILINE)
    assert codes
    assert [code for code in codes if f"**{code}**" not in pages()["errors"]] == []


@pytest.mark.parametrize("name", registry.names("methods"))
def test_method(name):
    method, text = registry.load("methods", name), section("methods", name)
    assert missing(names(method.Config), text) == []
    assert all(word in text for word in (method.title, method.source, method.guarantee.value, "Cost:", "Needs:"))
    assert all(reason in text for reason in method.exempt.values())


@pytest.mark.parametrize("name", registry.names("checks"))
def test_check(name):
    check, text = registry.load("checks", name), section("checks", name)
    assert all(word in text for word in (check.title, check.source, check.unit, check.cannot_see))
    assert all(word in text for word in ("Margin", "Needs:", "When nothing is wrong"))


@pytest.mark.parametrize("room", ROOMS)
def test_everything_in_the_registry(room):
    page = room if room in pages() else "kinds"
    assert missing(registry.names(room), pages()[page]) == []


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("job", Job), ("job", Request), ("job", Training), ("policy", Policy), ("policy", Margin),
        ("policy", RelearningConfig), ("api", Settings), ("api", Problem), ("api", Trainer), ("authors", LoopConfig),
    ],
)  # fmt: skip
def test_settings(page, kind):
    assert missing(names(kind), pages()[page]) == []


def test_contract_cases():
    cases = [case.name for suite in SUITES.values() for case in suite]
    assert missing(cases, pages()["conformance"]) == []


def test_words_of_levels_and_verdicts():
    words = [member.value for kind in (Level, Verdict, Decision) for member in kind]
    assert [word for word in words if word not in WRITTEN] == []
    assert [q.value for q in Question if q.value not in pages()["checks"]] == []
    assert [kind.value for kind in EvidenceKind if kind.value not in pages()["checks"]] == []


def test_figures_of_the_demo_are_those_of_the_committed_results():
    """Where this fails, the benchmark was run anew: docs/guides/demo.md must say what it found."""
    measured = json.loads((ROOT / "benchmarks" / "results" / "demo_verdicts.json").read_text())
    rates = {row["name"]: f"| {round(row['value'] * row['n'])} of {row['n']} |" for row in measured["results"]}
    text = (ROOT / "docs" / "guides" / "demo.md").read_text()
    for words, name in (
        ("a true retrain", "true retrain called erased, first attempt"),
        ("a true retrain, third attempt", "true retrain called erased, third attempt"),
        ("the original, unchanged", "noop called erased"),
        ("one epoch of fine-tuning", "one epoch of finetune called erased"),
        ("the demo's own fine-tuning", "the demo's finetune called erased"),
    ):
        assert f"| {words} {rates[name]}" in text, name
    said = "the standard policy has changed since" in text
    assert said == (measured["policy"] != load_policy().digest), "say so there, or run the benchmark again"
    required = {name for name, margin in load_policy().checks.items() if margin.required}
    widths = {n: m["margin_in_seed_sd"] for n, m in measured["margins"].items() if m["margin_in_seed_sd"]}
    width, name = min((width, name) for name, width in widths.items() if name in required)
    verdict = " ".join((ROOT / "docs" / "concepts" / "verdict.md").read_text().split())
    assert f"narrowest margin that decides is {width:.1f} seed standard deviations wide, that of `{name}`" in verdict


def test_forms_of_a_report():
    assert missing(FORMATS, (ROOT / "docs" / "guides" / "report.md").read_text()) == []


def test_headings_that_the_guide_quotes_stand_on_a_report():
    quoted = re.findall(r'\*\*"(.+?)"', (ROOT / "docs" / "guides" / "report.md").read_text())
    shown = html.unescape(page(reports.report()))
    assert len(quoted) >= 5
    assert [title for title in quoted if title not in shown] == []


def test_the_example_of_a_job_file_is_read():
    import tomllib

    from expunge.core.serial import build

    text = re.search(r"```toml\n(.*?)```", pages()["job"], re.DOTALL)[1]
    job = build(Job, tomllib.loads(text), where="reference/job")
    for name, values in job.methods.items():
        registry.load("methods", name)(values)


def test_what_is_missing_is_said():
    assert missing(["--out", "retrain", "alpha"], "`--outer` retraining `alpha`") == ["--out", "retrain"]
