"""The weights stay; what is written is a filter; the claim is never erasure."""

import pytest

import expunge
from expunge.cli._next import steps
from expunge.cli._show import show_result
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.suppression import OutputFilter
from expunge.methods.suppress import Suppress
from tests.support import running, toys
from tests.support.languages import spoken

in_process = running.in_process


def filtered(given, folder, **settings):
    run = toys.context(given, folder=folder)
    outcome = Suppress(settings).unlearn(given, run)
    return outcome, OutputFilter.load(folder / "output-filter.json")


def test_the_model_is_the_original_and_still_says_what_the_filter_stops(tmp_path):
    given = spoken()
    outcome, made = filtered(given, tmp_path, words=4, instead="no")
    assert given.source.digest(outcome.model) == given.source.digest()
    run = toys.context(given)
    assert run.mean_loss(outcome.model, given.forget_view) == run.mean_loss(given.source.open(), given.forget_view)
    for i in range(len(given.forget_view)):
        text = given.forget_view.text(i)
        assert made.answer(f"well , {text} and so on") == "no"
    for i in range(len(given.retain_view)):
        assert not made.stops(given.retain_view.text(i))
    assert any("no parameter changed" in text for text in outcome.warnings)
    assert outcome.touched == 0


def test_answers_that_retained_records_give_as_well_are_counted(tmp_path):
    both = spoken(names=1)
    doubled = both.records.answered({both.records.ids[5]: [both.records.text(0)]})
    both.retain_view._base._rows[5] = doubled._rows[0]
    outcome, made = filtered(both, tmp_path)
    assert not made.stops(both.records.text(0))
    assert "1 of 2 forgotten answers pass" in outcome.warnings[1]


def test_a_date_is_a_date(tmp_path):
    outcome, made = filtered(spoken(), tmp_path, until="2027-02-28")
    assert made.until == "2027-02-28"
    assert "until 2027-02-28" in outcome.stopped
    with pytest.raises(UsageError, match="YYYY"):
        Suppress({"until": "soon"})
    assert "language model" in Suppress().obstacles(toys.problem())[0].what


def test_a_run_ends_with_a_filter_and_no_certificate(tmp_path, in_process):
    """Nothing ships but the filter, nothing is destroyed, and nothing is called erased."""
    given = spoken()
    folder = tmp_path / "run"
    result = expunge.erase(given, out=folder, methods=("suppress",), workers=1)
    assert result.claim is Level.SUPPRESSED
    assert result.certificate is None
    assert show_result(result, again=(), as_json=True).exit_code == 1
    assert not (folder / "model").exists()
    assert not result.report.destroyed
    assert [step.why for step in steps(result, ["erase"])][-1].startswith("nothing was erased: let output-filter.json")
    assert "Nothing was erased" in result.report.statement
    assert OutputFilter.load(folder / "output-filter.json").stops(given.forget_view.text(0))
