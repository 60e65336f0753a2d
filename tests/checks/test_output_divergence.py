import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from expunge.checks.output_divergence import OutputDivergence
from expunge.core.chart import FEWEST
from expunge.core.check import Direction, Question
from expunge.numerics.equivalence import difference
from tests.support.evidence import table

NAMES = ("c", "o", "r1", "r2", "r3", "r4")


def tables(draw, count=4, *, records=30, classes=3, bias=0.6, noise=0.3):
    """Logits by model: common to all, an effect of each model, and noise of its own."""
    names = ("c", "o", *(f"r{k}" for k in range(count)))
    common = draw.normal(0, 1.5, (records, classes))
    return {n: common + draw.normal(0, bias, classes) + draw.normal(0, noise, (records, classes)) for n in names}


def distance(one, other):
    return jensenshannon(softmax(one, 1), softmax(other, 1), base=2, axis=1) ** 2


def test_the_value_by_hand():
    rows = tables(np.random.default_rng(1))
    found = OutputDivergence().measure(table("forget", rows, np.zeros(30, int)))
    references = [name for name in rows if name.startswith("r")]
    assert found.value == pytest.approx(np.mean([distance(rows["c"], rows[r]) for r in references]))
    assert found.original == pytest.approx(np.mean([distance(rows["o"], rows[r]) for r in references]))
    # A reference is compared with the others: never with itself, which would add a 0.
    alone = [np.mean([distance(rows[a], rows[b]) for b in references if b != a]) for a in references]
    assert found.references == pytest.approx(alone)
    assert found.seed_scale == pytest.approx(3 / 2)
    assert (found.unit, found.better) == ("bits", Direction.LOWER)
    assert OutputDivergence.question is Question.GONE


def coverage(count, repeats):
    """How often the difference of a true retrain, 0 in the mean, is covered: with the scale and without it."""
    draw = np.random.default_rng(count)
    covered, plain = 0, 0
    for _ in range(repeats):
        found = OutputDivergence().measure(table("forget", tables(draw, count), np.zeros(30, int)))
        covered += found.interval.low <= 0 <= found.interval.high
        unscaled = difference(found.value, found.references, record_error=found.record_error, alpha=0.05)
        plain += unscaled.low <= 0 <= unscaled.high
    return covered / repeats, plain / repeats


@pytest.mark.parametrize(("count", "repeats"), [(3, 600), (5, 300)])
def test_the_corrected_interval_covers_a_true_retrain(count, repeats):
    covered, plain = coverage(count, repeats)
    assert covered == pytest.approx(0.9, abs=3.5 * np.sqrt(0.09 / repeats))
    assert plain < covered
    if count == 3:
        assert plain < 0.87, "leave-one-out values of a U-statistic spread less than a new model does"


def test_the_curve_is_the_share_of_records_that_are_as_near():
    rows = tables(np.random.default_rng(2), records=40)
    found = OutputDivergence().measure(table("forget", rows, np.zeros(40, int)))
    (chart,) = found.charts
    references = [name for name in rows if name.startswith("r")]
    for line, name in zip(chart.series, ("c", "o"), strict=False):
        far = np.sqrt(np.mean([distance(rows[name], rows[r]) for r in references], axis=0))
        assert line.y == pytest.approx([(far <= place).mean() for place in line.x], abs=1e-4)
    assert chart.series[0].x == pytest.approx(np.arange(21) / 20), "fixed places: none is a record's value"
    alone = [np.sqrt(np.mean([distance(rows[a], rows[b]) for b in references if b != a], axis=0)) for a in references]
    shares = np.array([[(far <= place).mean() for place in chart.series[2].x] for far in alone])
    assert chart.series[2].low == pytest.approx(shares.min(0), abs=1e-4)
    assert chart.series[2].high == pytest.approx(shares.max(0), abs=1e-4)


def test_no_curve_over_a_handful():
    rows = tables(np.random.default_rng(2), records=FEWEST - 1)
    assert OutputDivergence().measure(table("forget", rows, np.zeros(FEWEST - 1, int))).charts == ()
