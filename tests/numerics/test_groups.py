import numpy as np
import pytest
from fairlearn.metrics import equalized_odds_difference

from expunge.numerics.groups import cells, equalised_odds


@pytest.mark.parametrize(("classes", "parts"), [(2, 2), (2, 3), (4, 2)])
def test_it_is_fairlearn_s_for_every_class_against_the_rest(classes, parts):
    for seed in range(5):
        draw = np.random.default_rng(seed)
        target = np.tile(np.repeat(np.arange(classes), 3), parts)
        groups = np.repeat([f"g{i}" for i in range(parts)], 3 * classes)
        answer = np.where(draw.random(len(target)) < 0.5, target, draw.integers(0, classes, len(target)))
        one = [(target == c, answer == c) for c in range(classes)]
        wanted = [equalized_odds_difference(*each, sensitive_features=groups) for each in one]
        assert equalised_odds(target, answer, groups) == pytest.approx(max(wanted))


def test_equal_rates_are_no_gap_and_opposite_ones_are_the_largest():
    target, groups = np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"])
    assert equalised_odds(target, target, groups) == 0.0
    assert equalised_odds(target, np.array([0, 1, 1, 0]), groups) == 1.0


def test_cells_share_out_all_records_for_every_class():
    target, groups = np.array([0, 1, 2, 0, 1, 2]), np.array(list("ababab"))
    found = cells(target, groups)
    assert len(found) == 6
    for (of, first), (other, second) in zip(found[::2], found[1::2], strict=True):
        assert (of.label, of.of, other.of) == (other.label, True, False)
        assert (sum(mask.astype(int) for mask in (*first.values(), *second.values())) == 1).all()
