import numpy as np
import pytest
import torch

from expunge.core.request import Request
from expunge.engine.shift import EXCHANGES, FEWEST, LEVEL, inputs_of, ordinary, p_value, shifted
from tests.support import toys


def draws(seed, count, *, move=0.0):
    rows = np.random.default_rng(seed).normal(size=(count, 4))
    rows[:, 0] += move
    return torch.tensor(rows)


def test_false_alarms_are_as_rare_as_stated():
    """50 pairs from one law. At LEVEL 0.005, 3 or more alarms have a chance of 0.2 %; p is uniform."""
    p = [p_value(draws(2 * i, 40), draws(2 * i + 1, 25), seed=i) for i in range(50)]
    assert sum(value <= LEVEL for value in p) < 3
    assert min(p) >= 1 / (EXCHANGES + 1)
    assert 0.3 < np.mean(p) < 0.7, "five standard errors around a half"


def test_a_moved_column_is_seen():
    found = [p_value(draws(2 * i, 60), draws(2 * i + 1, 60, move=1.5), seed=i) for i in range(20)]
    assert sum(value <= LEVEL for value in found) >= 19


def test_another_spread_is_seen_as_well():
    found = [p_value(draws(2 * i, 60), 3 * draws(2 * i + 1, 60), seed=i) for i in range(20)]
    assert sum(value <= LEVEL for value in found) >= 19


def test_scales_of_columns_do_not_count():
    left, right = draws(0, 50), draws(1, 50, move=1.5)
    scale = torch.tensor([1e-3, 1e4, 1.0, 1.0], dtype=torch.float64)
    assert p_value(left, right, seed=0) == p_value(left * scale, right * scale, seed=0)


def test_columns_and_records_that_are_all_alike():
    same = torch.ones(20, 3, dtype=torch.float64)
    assert p_value(same, same, seed=0) == 1.0
    left = torch.cat([draws(0, 50), torch.zeros(50, 1)], dim=1)
    right = torch.cat([draws(1, 50), torch.zeros(50, 1)], dim=1)
    assert p_value(left, right, seed=0) == p_value(left[:, :4], right[:, :4], seed=0)


def test_the_statistic_is_the_one_of_the_paper(monkeypatch):
    """Recomputed as three means of kernel values (Gretton et al. 2012, eq. 5), with the exchanges of the same draw."""
    left, right = draws(0, 12), draws(1, 9, move=0.8)
    rows = np.concatenate([left, right])
    rows = (rows - rows.mean(0)) / rows.std(0, ddof=1)
    apart = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(2))
    positive = np.sort(apart[apart > 0])
    kernel = np.exp(-((apart / positive[(len(positive) - 1) // 2]) ** 2) / 2)

    def mmd(order):
        a, b = order[:12], order[12:]
        return kernel[np.ix_(a, a)].mean() + kernel[np.ix_(b, b)].mean() - 2 * kernel[np.ix_(a, b)].mean()

    draw = torch.Generator().manual_seed(7)
    orders = torch.rand(21, EXCHANGES, generator=draw, dtype=torch.float64).argsort(dim=0).T
    exchanged = [mmd(order.numpy()) for order in orders]
    expected = (1 + sum(value >= mmd(np.arange(21)) - 1e-12 for value in exchanged)) / (EXCHANGES + 1)
    assert p_value(left, right, seed=7) == pytest.approx(expected)


def people(seed, count, *, records=6, move=0.0):
    """Return rows of people, each with records that are alike."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, 1, 4)) + 0.3 * draw.normal(size=(count, records, 4))
    rows[..., 0] += move
    return torch.tensor(rows.reshape(-1, 4)), np.repeat(np.arange(count), records).tolist()


@pytest.mark.parametrize("classes", [1, 3])
def test_people_with_several_records_raise_no_more_false_alarms(classes):
    """26 and 10 people of one law: record by record nearly all are told apart, person by person none are."""
    p, plain = [], []
    for i in range(40):
        (left, mine), (right, theirs) = people(2 * i, 26), people(2 * i + 1, 10)
        strata = torch.from_numpy(np.random.default_rng(i).integers(0, classes, 36)).repeat_interleave(6)
        p.append(p_value(left, right, seed=i, strata=strata, owners=[*mine, *theirs]))
        plain.append(p_value(left, right, seed=i, strata=strata))
    assert sum(value <= LEVEL for value in p) < 3
    assert 0.3 < np.mean(p) < 0.7
    assert sum(value <= LEVEL for value in plain) > 20, "what the test is for"


def test_people_of_another_kind_are_seen():
    found = []
    for i in range(20):
        (left, mine), (right, theirs) = people(2 * i, 26), people(2 * i + 1, 20, move=2.0)
        found.append(p_value(left, right, seed=i, owners=[*mine, *theirs]))
    assert sum(value <= LEVEL for value in found) >= 18


def test_owners_of_several_classes_hide_nothing():
    """People with a record of each class, and single records held out: no person could be exchanged for a record."""
    draw = np.random.default_rng(3)
    left, right = torch.tensor(draw.normal(3, 1, (80, 4))), torch.tensor(draw.normal(0, 1, (200, 4)))
    strata = torch.from_numpy(np.r_[np.tile([0, 1], 40), draw.integers(0, 2, 200)])
    owners = [*np.repeat(np.arange(40), 2).tolist(), *(f"record {i}" for i in range(200))]
    assert p_value(left, right, seed=1, strata=strata, owners=owners) <= LEVEL
    assert p_value(left, right, seed=1, strata=strata, owners=owners) == p_value(left, right, seed=1, strata=strata)


def test_rows_of_one_owner_on_one_side_go_together():
    """The exchanges are counted by hand: two owners on the left, one on the right, of 2, 1 and 3 rows."""
    left, right = torch.tensor([[0.0], [0.1], [5.0]]).double(), torch.tensor([[9.0], [9.1], [9.2]]).double()
    rows = torch.cat([left, right])
    sides = [{0, 1, 2}, {0, 1, 3, 4, 5}, {2, 3, 4, 5}]  # what is on the left in each of the three divisions

    def squared(mine):
        scaled = (rows - rows.mean(0)) / rows.std(0)
        apart = torch.cdist(scaled, scaled)
        kernel = torch.exp(-((apart / apart[apart > 0].median()) ** 2) / 2)
        on_left = torch.tensor([i in mine for i in range(6)])
        weights = torch.where(on_left, 1.0 / on_left.sum(), -1.0 / (~on_left).sum()).double()
        return float(weights @ kernel @ weights)

    as_high = sum(squared(side) >= squared(sides[0]) - 1e-12 for side in sides) / 3
    assert p_value(left, right, seed=1, owners=["a", "a", "b", "c", "c", "c"]) == pytest.approx(as_high, abs=0.05)


def test_a_note_on_the_problem():
    assert shifted(toys.problem(count=120, holdout=80)) is None
    assert shifted(toys.problem(holdout=0)) is None
    other = toys.records(80, prefix="h", seed=1)
    other.x[:, 0] += 3
    problem = toys.problem(count=120)
    problem.holdout = other
    note = shifted(problem)
    assert note is not None
    assert not note.fatal
    assert "p < 0.001" in note.found or "p = 0.00" in note.found
    assert "membership then measures the shift" in note.fix


def test_nothing_is_told_of_a_holdout_where_the_training_records_are_gone():
    """A class that must be forgotten is unlike all classes together, and so are synthetic records."""
    train = toys.records(240)
    lost = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    few = toys.records(20, prefix="c", seed=5)
    problem = toys.problem(train=train.select(lost), holdout=80, calibration=few, trainer=None)
    problem.forget = tuple(lost)
    assert p_value(*(inputs_of(problem, side) for side in (problem.records, problem.held_out)), seed=0) <= LEVEL
    assert shifted(problem) is None


def test_within_classes_another_mix_is_no_shift():
    """Class 1 lies elsewhere, and is common on one side alone: seen without classes, not within them."""
    p, blind = [], []
    for seed in range(12):
        own = torch.arange(60) % 4 > 0
        theirs = torch.arange(80) % 4 == 0
        left, right = draws(2 * seed, 60) + 4.0 * own[:, None], draws(2 * seed + 1, 80) + 4.0 * theirs[:, None]
        blind.append(p_value(left, right, seed=seed))
        p.append(p_value(left, right, seed=seed, strata=torch.cat([own, theirs]).long()))
    assert max(blind) <= LEVEL
    assert np.mean(p) == pytest.approx(0.5, abs=0.3)


def test_within_classes_a_wrong_label_is_seen():
    """A third of the forgotten inputs of class 1 are of class 0."""
    found = []
    for seed in range(10):
        label = torch.arange(90) % 2
        true = torch.where(torch.arange(90) < 30, torch.zeros(90), label)
        other = torch.arange(150) % 2
        left = draws(2 * seed, 90) + 3.0 * true[:, None]
        right = draws(2 * seed + 1, 150) + 3.0 * other[:, None]
        found.append(p_value(left, right, seed=seed, strata=torch.cat([label, other])))
    assert sum(p <= LEVEL for p in found) >= 9


def forgetting(chosen, *, train=None, **more):
    """A problem of 300 records whose ``chosen`` (by place and label) must go."""
    train = toys.records(300) if train is None else train
    problem = toys.problem(train=train, trainer=None, **more)
    problem.forget = [n for i, (n, y) in enumerate(zip(train.ids, train.y.tolist(), strict=True)) if chosen(i, y)]
    return problem


def test_a_random_forget_set_is_ordinary_and_a_class_or_a_corner_is_not():
    assert ordinary(forgetting(lambda i, y: i < 60))
    assert ordinary(forgetting(lambda i, y: i % 10 == 0))
    assert not ordinary(forgetting(lambda i, y: y == 1))
    assert not ordinary(forgetting(lambda i, y: y == 1 and i < 60)), "part of a class"
    moved = toys.records(300)
    moved.x[:30] += 3.0
    assert not ordinary(forgetting(lambda i, y: i < 30, train=moved))


def test_labels_alone_tell_as_well():
    odd = toys.records(300)
    odd.x[:] = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    assert not ordinary(forgetting(lambda i, y: y == 2 and i < 90, train=odd))


def test_labels_that_are_wrong_tell_though_nobody_says_so():
    """Inputs and labels are a random sample of their own, each by itself: what is odd is which has which."""
    flipped = toys.records(300)
    flipped.y[:60] = 2 - flipped.y[:60]
    counts = [np.bincount(part, minlength=3) / len(part) for part in (flipped.y[:60], flipped.y[60:])]
    assert abs(counts[0] - counts[1]).max() < 0.15
    assert not ordinary(forgetting(lambda i, y: i < 60, train=flipped))


def test_of_few_records_or_wrong_labels_nothing_is_said():
    assert not ordinary(forgetting(lambda i, y: i < FEWEST - 1))
    wrong = Request(corrections={f"r{i}": 0 for i in range(60)})
    assert not ordinary(forgetting(lambda i, y: i < 60, request=wrong))
