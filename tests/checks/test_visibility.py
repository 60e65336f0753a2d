import numpy as np
import pytest

from expunge.checks.visibility import Visibility, _marks
from expunge.core.check import NotMeasured
from expunge.numerics.membership import ranking
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
N = 24


def world(**forgotten):
    """Return log-probabilities by model and part: alike on both sides, but by so much on the forgotten records."""
    draw = np.random.default_rng(2)
    rows = {n: {part: -draw.exponential(1.0, (N, 6)) - 0.01 for part in ("forget", "holdout")} for n in NAMES}
    for name, factor in forgotten.items():
        rows[name]["forget"] = rows[name]["forget"] * factor
    right = {n: {part: (values > np.log(0.5)).astype(float) for part, values in own.items()} for n, own in rows.items()}
    return rows, spoken(right, log_probs=rows)


@pytest.mark.parametrize("factor", [0.05, 6.0])
def test_what_is_too_well_known_or_too_strange_is_seen(factor):
    _, evidence = world(c=factor, o=0.05)
    found = Visibility().measure(evidence)
    assert found.value > 0.95
    assert max(found.references) < 0.75
    assert found.original > 0.95
    assert found.n == 2 * N


def test_a_new_spread_of_like_losses_is_seen_where_their_mean_is_not():
    rows, _ = world()
    flat = {name: dict(own) for name, own in rows.items()}
    flat["c"]["forget"] = np.repeat(rows["c"]["forget"].mean(axis=1, keepdims=True), 6, axis=1)
    right = {n: {part: (v > np.log(0.5)).astype(float) for part, v in own.items()} for n, own in flat.items()}
    evidence = spoken(right, log_probs=flat)
    losses = [evidence.outputs("c", part).loss for part in ("forget", "holdout")]
    assert 0.3 < ranking(*losses).auc < 0.7
    assert Visibility().measure(evidence).value > 0.9


def test_who_has_the_original_sees_what_was_taken_out():
    _, evidence = world(o=0.05)
    (told,) = Visibility().measure(evidence).details.values()
    assert float(told.split()[0]) > 0.9, "of retrained models alike"


def test_too_few_records_fit_no_rule():
    rows = {name: {"forget": [(0, 1)] * 4, "holdout": [(0, 1)] * 9} for name in NAMES}
    found = Visibility().measure(spoken(rows))
    assert isinstance(found, NotMeasured)
    assert "takes 5" in found.because


def test_marks_by_hand():
    """Tokens of probability 0.9 and 0.1, of two there are: z is how far one lies from what would be drawn."""
    rows = {name: {"forget": [(1, 0)] * 2} for name in NAMES}
    logs = np.log([0.9, 0.1])
    mean = 0.9 * logs[0] + 0.1 * logs[1]
    z = (logs[1] - mean) / np.sqrt(0.9 * logs[0] ** 2 + 0.1 * logs[1] ** 2 - mean**2)
    expected = [-logs.mean(), logs[1], z, (logs[0] - logs[1]) / 2, mean, 0.5]
    np.testing.assert_allclose(_marks(spoken(rows).outputs("c", "forget")), [expected] * 2, rtol=1e-9)
