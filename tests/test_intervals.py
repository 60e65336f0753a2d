"""The simulation behind docs/concepts/coverage.md: it judges as the audit does, and fifty bad attempts buy no pass."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from expunge.audit.judge import judge_one
from expunge.audit.policy import Margin
from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.core.check import Direction, Measurement
from expunge.core.verdict import Decision, Verdict, alpha_of_attempt, decide, judge
from expunge.numerics import equivalence


@pytest.fixture(scope="module")
def intervals():
    """The benchmark as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        patch.setenv("OMP_NUM_THREADS", "1")
        module = import_module("intervals")
        yield module
        for name in ("intervals", "_table"):
            sys.modules.pop(name, None)


# --- the simulated rule is the one that judges ------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.025, 0.0001])
@pytest.mark.parametrize("count", [3, 20])
def test_all_runs_at_once_are_judged_as_one_by_one(intervals, alpha, count):
    draw, runs = np.random.default_rng(count), 60
    references, value = draw.normal(size=(runs, count)), draw.normal(0, 6, runs)
    error, margin = draw.uniform(0, 0.5, runs), 5.0
    half, away = intervals.halves(references, error, alpha), value - references.mean(axis=1)
    passed, failed = intervals.passes(away, half, margin), intervals.fails(away, half, margin)
    decisions = []
    for row, own, extra in zip(references, value, error, strict=True):
        result = measurement(own, row, extra, alpha)
        decisions.append(judge_one(ForgetAccuracy, result, MARGIN, alpha=alpha, required=1).decision)
    assert [d is Decision.PASS for d in decisions] == passed.tolist()
    assert [d is Decision.FAIL for d in decisions] == failed.tolist()
    assert len(set(decisions)) > (alpha == 0.025)


MARGIN = Margin(margin=5.0, reason="because")


def measurement(value, references, error, alpha):
    references = tuple(float(r) for r in references)
    return Measurement(
        check="forget_accuracy",
        value=float(value),
        references=references,
        original=None,
        interval=equivalence.difference(float(value), references, record_error=float(error), alpha=alpha),
        n=100,
        record_error=float(error),
        null_errors=(float(error),) * len(references),
        better=Direction.LOWER,
        unit="share",
    )


def test_errors_over_subjects_are_those_of_the_rows(intervals):
    draw, size = np.random.default_rng(0), 10
    wrong = draw.binomial(size, 0.1, (20, 30)).astype(float)
    by_subject = intervals.error_over(wrong, size)
    by_record = intervals.error_over_records(wrong.sum(axis=1) / 300, 300)
    clusters = np.repeat(np.arange(30), size)
    for row, subject, record in zip(wrong, by_subject, by_record, strict=True):
        rows = -(np.arange(size) < row[:, None]).ravel().astype(float)
        assert equivalence.sample_error(rows, clusters) == pytest.approx(subject)
        assert equivalence.sample_error(rows) == pytest.approx(record)


@pytest.mark.parametrize("size", [1, 3])
def test_the_noise_that_is_not_drawn_is_that_of_the_whole_table(intervals, size):
    runs, count, n = 20_000, 4, 6
    draw = np.random.default_rng(0)
    means, own, rows, squares = intervals.noise(draw, runs, references=count, n=n, size=size)
    table = intervals.NOISE * intervals.clustered(draw, runs * (count + 1), n, size).reshape(runs, count + 1, n)
    whole = table[:, :count].mean(axis=2), table[:, count].mean(axis=1), table[:, count] - table[:, :count].mean(axis=1)

    def law(means, own, rows):
        joint = np.column_stack([means[:, :2], own, rows[:, :4]])
        return np.cov(joint, rowvar=False)

    np.testing.assert_allclose(law(means, own, rows), law(*whole), atol=0.012)
    others = (table[:, :count].sum(axis=1, keepdims=True) - table[:, :count]) / (count - 1)
    each = (table[:, :count] - others).var(axis=2, ddof=1).mean(axis=1) / n
    for moment in (np.mean, np.std):
        assert moment(squares) == pytest.approx(moment(each), rel=0.03)


# --- laws of seeds ----------------------------------------------------------------------------------------------


def test_laws_have_mean_0_and_deviation_1(intervals):
    for law in intervals.LAWS:
        drawn = intervals.seeds(np.random.default_rng(0), law, (400_000,))
        assert drawn.mean() == pytest.approx(0, abs=0.02), law
        assert drawn.std() == pytest.approx(1, abs=0.1 if law in ("heavy tails", "very skewed") else 0.01), law


# --- fifty attempts ---------------------------------------------------------------------------------------------

ALPHA, ATTEMPTS, RUNS, REFERENCES = 0.2, 50, 150, 8
WIDE = 50.0


@cache
def any_called_erased(rule, moving):
    """Return how often one of fifty attempts in a row, each on the margin, is called erased by the judging code."""
    draw, erased = np.random.default_rng(3), 0
    for _ in range(RUNS):
        references = draw.normal(0, 1, REFERENCES)
        for number in range(1, ATTEMPTS + 1):
            value = WIDE + (draw.normal() if moving else 0.0)
            interval = equivalence.difference(value, references, record_error=0.0, alpha=rule(number, ALPHA))
            required = [decide(interval, interval, WIDE), Decision.PASS]
            if judge(required) is Verdict.ERASED:
                erased += 1
                break
    return erased / RUNS


@pytest.mark.parametrize("moving", [True, False], ids=["methods", "models"])
def test_fifty_bad_attempts_in_a_row_leave_the_stated_rate(moving):
    slack = 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
    assert any_called_erased(alpha_of_attempt, moving) <= ALPHA + slack


def test_without_the_price_of_attempts_they_would_buy_a_pass():
    assert any_called_erased(lambda number, alpha: alpha / 2, True) > 0.6


# --- the figures that the documentation leans on ----------------------------------------------------------------


def test_a_small_run_finds_what_the_page_says(intervals):
    """Of the tables that are quick to draw; the results file holds a large run, and tests/docs compares the page."""
    cells = [*intervals.held_out(np.random.default_rng(0), 400), *intervals.few(np.random.default_rng(0), 400)]
    found = {c.key: c.rate for c in cells}
    assert len(found) == len(cells), "no cell hides another"
    assert all(0 <= c.rate <= 1 and 0 < c.error < 0.03 for c in cells)
    place, passes = "holdout | in part | K 20 | n 1000 | by 10 |", "on the margin passes, errors over"
    assert found[f"{place} {passes} records"] > 0.05
    assert found[f"{place} {passes} subjects"] < 0.06
    alone = [found[f"few | right or wrong | K {k} | n 1 | by 1 | on the margin passes, seeds alone"] for k in (3, 20)]
    judged = [found[f"few | right or wrong | K {k} | n 1 | by 1 | on the margin passes"] for k in (3, 20)]
    assert alone == pytest.approx([0.92**3, 0.92**20], abs=0.08)
    assert judged == [0.0, 0.0]
