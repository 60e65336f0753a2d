"""Records like those of a request, where it is known which these are: a mark, wrong labels, and nothing at all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import expunge
from expunge.core import registry
from expunge.core.errors import InvalidProblem, UnknownName, UsageError
from expunge.data.arrays import ArrayRecords
from expunge.data.canaries import plant

COUNT, CLASSES = 240, 3


class Net(nn.Module):
    """A linear head behind one layer: features are what the head is given."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 5), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def problem(*, known=12, hidden=12, wrong=False, seed=0, held=90, forget=None, **changes):
    """Return a problem with as many hidden records of the kind as known ones: marked in one feature, or mislabelled."""
    draw = np.random.default_rng(seed)
    labels = np.arange(COUNT + held) % CLASSES
    x = draw.normal(size=(COUNT + held, 6))
    x[:, :3] += 5 * np.eye(3)[labels]
    bad = draw.permutation(COUNT)[: known + hidden]
    if wrong:
        labels[bad] = (labels[bad] + 1) % CLASSES
    else:
        x[bad, 5] += 5
        labels[bad] = 0
    ids = [f"r{i}" for i in range(COUNT)]
    train = ArrayRecords(torch.tensor(x[:COUNT]).float(), labels[:COUNT], ids=ids)
    holdout = ArrayRecords(torch.tensor(x[COUNT:]).float(), labels[COUNT:], ids=[f"h{i}" for i in range(held)])
    torch.manual_seed(seed)
    named = [ids[i] for i in bad[:known]] if forget is None else forget
    made = expunge.Problem(**{"model": Net(), "train": train, "forget": named, "holdout": holdout, **changes})
    return made, {ids[i] for i in bad[known:]}


@pytest.mark.parametrize("wrong", [False, True])
def test_the_others_of_a_kind_are_found_and_hardly_any_other(wrong):
    right = false = there = 0
    for seed in range(5):
        made, hidden = problem(wrong=wrong, seed=seed)
        found = set(expunge.find(made).ids)
        right, false, there = right + len(found & hidden), false + len(found - hidden), there + len(hidden)
    assert right >= 0.9 * there
    assert false <= 0.15 * right


def test_nothing_is_found_where_the_request_has_nothing_in_common():
    for seed in range(20):
        draw = np.random.default_rng(seed)
        names = [f"r{i}" for i in draw.permutation(COUNT)[:20]]
        made, _ = problem(known=0, hidden=0, seed=seed, forget=names)
        found = expunge.find(made)
        assert not found.ids
        assert found.reason
        assert found.sentence.startswith("None of ")


def test_another_mix_of_classes_among_the_held_out_records_is_no_difference_of_kind():
    draw, hits = np.random.default_rng(0), 0
    for seed in range(12):
        torch.manual_seed(seed)
        labels = draw.choice(3, size=330, p=[0.6, 0.2, 0.2])
        labels[240:] = np.arange(90) % 3
        x = torch.tensor(draw.normal(size=(330, 6)) + 3 * np.eye(3, 6)[labels]).float()
        ids = [f"r{i}" for i in range(240)]
        weight = np.where(labels[:240] == 0, 3.0, 1.0)
        named = draw.choice(ids, size=30, replace=False, p=weight / weight.sum()).tolist()
        train = ArrayRecords(x[:240], labels[:240], ids=ids)
        holdout = ArrayRecords(x[240:], labels[240:], ids=[f"h{i}" for i in range(90)])
        hits += bool(expunge.find(expunge.Problem(model=Net(), train=train, holdout=holdout, forget=named)).ids)
    assert hits == 0


def test_labels_that_are_not_held_out_are_not_searched():
    made, _ = problem(wrong=True)
    some = [i for i, y in enumerate(made.held_out.y.tolist()) if y != 0]
    holdout = made.held_out.select([made.held_out.ids[i] for i in some])
    found = expunge.find(replace(made, holdout=holdout))
    labels = dict(zip(made.records.ids, made.records.y.tolist(), strict=True))
    assert found.ids
    assert 0 not in {labels[name] for name in found.ids}
    assert found.named == sum(labels[name] != 0 for name in made.forget_ids)


def test_canaries_that_go_with_the_request_are_not_learnt_from():
    made, hidden = problem(known=24, hidden=24)
    _, planted = plant(made.records, count=100, secret=bytes(range(32)))
    left = set(planted.train.ids)
    named = [name for name in made.forget if name in left]
    with_canaries = replace(made, train=planted.train, canaries=planted, forget=named)
    assert len(with_canaries.forget_ids) > 2 * len(named)
    found = expunge.find(with_canaries)
    assert found.named == len(named)
    assert len(hidden & set(found.ids)) >= 0.8 * len(hidden & left)
    with pytest.raises(InvalidProblem, match="too few records"):
        expunge.find(replace(with_canaries, forget=()))


def test_one_class_has_no_label_that_does_not_fit():
    made, hidden = problem()
    zeros = [torch.zeros(len(part), dtype=torch.long) for part in (made.records, made.held_out)]
    train = ArrayRecords(made.records.x, zeros[0], ids=made.records.ids)
    holdout = ArrayRecords(made.held_out.x, zeros[1], ids=made.held_out.ids)
    found = expunge.find(replace(made, train=train, holdout=holdout))
    assert len(hidden & set(found.ids)) >= 8


def test_wide_features_and_inputs_are_projected():
    made, hidden = problem()
    wide = np.random.default_rng(1).normal(size=(6, 600)) / 600**0.5
    parts = [torch.tensor(part.x.numpy() @ wide).float() for part in (made.records, made.held_out)]
    train = ArrayRecords(parts[0], made.records.y, ids=made.records.ids)
    holdout = ArrayRecords(parts[1], made.held_out.y, ids=made.held_out.ids)
    found = expunge.find(replace(made, model=nn.Linear(600, 3), train=train, holdout=holdout))
    assert len(hidden & set(found.ids)) >= 8


def test_the_likeliest_stand_first_and_the_sentence_says_what_may_be_chance():
    made, hidden = problem()
    found = expunge.find(made)
    assert list(found.likely) == sorted(found.likely, reverse=True)
    assert min(found.likely) >= 0.5
    assert len(found.ids) == len(found.likely) == len(set(found.ids))
    assert (found.way, found.named, found.strangers) == ("alike", 12, 30)
    retained = [i for i, y in zip(made.records.ids, made.records.y.tolist(), strict=True) if y == 0]
    assert found.searched == len(set(retained) - set(made.forget_ids)), "of the labels of the request alone"
    assert found.by_chance == found.taken / 30 * found.searched
    assert stats.binom.cdf(found.taken, 30, found.at_most) == pytest.approx(0.05), "as Clopper and Pearson have it"
    assert f"{len(found.ids)} of {found.searched} retained records are like the 12 of the request" in found.sentence
    assert hidden & set(found.ids)


def test_neither_the_model_nor_the_records_are_changed_and_twice_is_the_same():
    made, _ = problem()
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    assert expunge.find(made) == expunge.find(made)
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())
    assert made.model.training


def test_what_was_found_is_forgotten_as_well_and_known_apart():
    made, _ = problem()
    found = expunge.find(made)
    wider = made.widened(found.ids)
    assert set(wider.forget_ids) == {*made.forget_ids, *found.ids}
    assert wider.request.also == found.ids
    assert wider.spec.request != made.spec.request
    assert not wider.check()
    with pytest.raises(InvalidProblem, match="twice"):
        made.widened(made.forget_ids[:1]).check()
    with pytest.raises(InvalidProblem, match="not in the training data"):
        made.widened(["nobody"]).check()
    with pytest.raises(UsageError, match="one text in the place of a list"):
        made.widened("57")


def test_records_without_labels_are_searched_by_what_they_are():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 4))
    x[:24, 3] += 5
    y = x[:, :3].sum(axis=1).astype(np.float32)
    train = ArrayRecords(torch.tensor(x[:140]).float(), y[:140], ids=[f"r{i}" for i in range(140)])
    holdout = ArrayRecords(torch.tensor(x[140:]).float(), y[140:], ids=[f"h{i}" for i in range(60)])
    made = expunge.Problem(
        model=nn.Linear(4, 1), train=train, holdout=holdout, forget=[f"r{i}" for i in range(12)], task="regression"
    )
    found = expunge.find(made)
    assert found.searched == 128
    assert {f"r{i}" for i in range(12, 24)} >= set(found.ids[:10])
    assert len(found.ids) >= 10


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"holdout": None}, "how often a search is wrong"), ({"known": 3}, "too few records to learn from")],
)
def test_what_cannot_be_searched_is_said_before_any_work(changes, word):
    with pytest.raises(InvalidProblem, match=word):
        expunge.find(problem(**changes)[0])


def test_without_retained_or_held_out_records_of_the_labels_nothing_is_found():
    made, _ = problem(known=0, hidden=0)
    whole = [i for i, y in zip(made.records.ids, made.records.y.tolist(), strict=True) if y == 0]
    found = expunge.find(problem(known=0, hidden=0, forget=whole)[0])
    assert (found.ids, found.searched) == ((), 0)
    assert "0 retained" in found.reason


def test_an_unknown_way_is_refused_by_name():
    with pytest.raises(UnknownName, match="alike"):
        expunge.find(problem()[0], way="alikes")
    assert registry.names("find") == ("alike",)
