"""AUC within classes: closed forms, simulation of its law, and other libraries."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from expunge.numerics import known
from expunge.numerics.matched import chance, gap, matched


def test_it_is_the_mean_of_the_auc_of_every_class():
    draw = np.random.default_rng(0)
    own, theirs = draw.integers(0, 3, 40), draw.integers(0, 4, 90)
    members, strangers = draw.normal(size=40).round(1), draw.normal(size=90).round(1)  # with ties
    aucs = [
        roc_auc_score([1] * (own == c).sum() + [0] * (theirs == c).sum(), [*members[own == c], *strangers[theirs == c]])
        for c in range(3)
    ]
    shares = [(own == c).mean() for c in range(3)]
    found = matched(members, strangers, labels=(own, theirs))
    assert found.auc == pytest.approx(np.dot(shares, aucs))
    assert found.member.shape == (40,)


def test_another_mix_of_classes_is_no_difference():
    """Class 1 is hard (mean -3) and makes up most of the members and few of the strangers."""
    draw = np.random.default_rng(1)
    own, theirs = (draw.random(2000) < 0.9).astype(int), (draw.random(4000) < 0.2).astype(int)
    members, strangers = draw.normal(-3.0 * own), draw.normal(-3.0 * theirs)
    assert matched(members, strangers, labels=(own, theirs)).auc == pytest.approx(0.5, abs=0.02)
    plain = roc_auc_score([1] * 2000 + [0] * 4000, [*members, *strangers])
    assert plain < 0.25, "a threshold for all classes takes the mix for a difference"


def test_one_class_has_the_law_of_mann_and_whitney():
    assert chance({3: 30}, {3: 70, 4: 5}) == pytest.approx(known.auc_error(30, 70))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_errors_are_those_of_simulation(shift):
    draw = np.random.default_rng(2)
    found = []
    for _ in range(350):
        own, theirs = np.repeat([0, 1, 2], [1, 20, 40]), np.repeat([0, 1, 2], [12, 60, 20])
        members, strangers = draw.normal(shift + own, size=61), draw.normal(theirs, size=92)
        found.append(matched(members, strangers, labels=(own, theirs)))
    aucs = np.array([one.auc for one in found])
    assert aucs.mean() == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)), abs=0.01)
    if not shift:
        assert aucs.std() == pytest.approx(found[0].chance, rel=0.1)
    assert np.mean([one.error for one in found]) == pytest.approx(aucs.std(), rel=0.1)


def test_records_of_one_subject_count_together():
    """Ten copies of every record and their subjects: the error is that of the records alone, not a third of it."""
    draw = np.random.default_rng(3)
    members, strangers = draw.normal(size=60), draw.normal(size=80)
    labels = np.zeros(60, int), np.zeros(80, int)
    alone = matched(members, strangers, labels=labels)
    ten = [np.repeat(each, 10) for each in (members, strangers, *labels)]
    subjects = np.repeat(np.arange(60), 10), np.repeat(np.arange(80), 10)
    together = matched(ten[0], ten[1], labels=(ten[2], ten[3]), clusters=subjects)
    assert together.auc == pytest.approx(alone.auc)
    assert together.error == pytest.approx(alone.error, rel=0.01)
    apart = matched(ten[0], ten[1], labels=(ten[2], ten[3]))
    assert apart.error == pytest.approx(alone.error / math.sqrt(10), rel=0.02)


def test_a_class_without_strangers_is_refused():
    with pytest.raises(ValueError, match="1 strangers"):
        matched(np.zeros(2), np.zeros(3), labels=(np.array([0, 1]), np.array([0, 0, 1])))


def test_the_gap_of_one_class_is_that_of_kolmogorov_and_smirnov():
    draw = np.random.default_rng(4)
    members, strangers = draw.normal(0.3, 1, 50), draw.normal(size=120)
    distance, p = gap(members, strangers, labels=(np.zeros(50, int), np.zeros(120, int)), seed=1)
    theirs = stats.ks_2samp(members, strangers, method="exact")
    assert distance == pytest.approx(theirs.statistic)
    assert p == pytest.approx(theirs.pvalue, abs=0.04)


def test_the_gap_sees_another_spread_where_the_auc_is_a_half():
    """Half known, half pushed too far."""
    draw = np.random.default_rng(5)
    members = np.concatenate([draw.normal(3, 1, 60), draw.normal(-3, 1, 60)])
    strangers = draw.normal(size=300)
    labels = np.zeros(120, int), np.zeros(300, int)
    assert abs(matched(members, strangers, labels=labels).auc - 0.5) < 0.05
    assert gap(members, strangers, labels=labels, seed=0)[1] == pytest.approx(0.001)


def test_p_values_of_the_gap_are_uniform():
    """30 draws of one law within classes that differ: mean of p a half, few below a twentieth."""
    draw, p = np.random.default_rng(6), []
    own, theirs = np.repeat([0, 1], [25, 5]), np.repeat([0, 1, 2], [10, 40, 9])
    for seed in range(30):
        p.append(gap(draw.normal(4 * own), draw.normal(4 * theirs), labels=(own, theirs), seed=seed)[1])
    assert np.mean(p) == pytest.approx(0.5, abs=0.2)
    assert np.mean(np.array(p) <= 0.05) < 0.2
