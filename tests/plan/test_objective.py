import sys

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn

import expunge
from expunge.conformance import problems as conformance
from expunge.core.errors import InvalidProblem
from expunge.core.method import Cost
from expunge.data.arrays import ArrayRecords
from expunge.engine.split import Part
from expunge.engine.strangers import Said
from expunge.plan.objective import FLOOR, FLOOR_OF_TEXTS, Look, Objective
from tests.support import toys

COUNT, CLASSES = 12, 3


class Says(nn.Module):
    """Its logits are its inputs, raised for the classes that are named: what it says is written down by the test."""

    def __init__(self, up=(), by=0.0):
        super().__init__()
        self.more = nn.Parameter(torch.tensor([by if c in up else 0.0 for c in range(CLASSES)]))

    def forward(self, x):
        return x + self.more


def cards(prefix, count, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    x = torch.randn(count, CLASSES, generator=draw) + 2 * torch.nn.functional.one_hot(labels, CLASSES)
    return ArrayRecords(x, labels, ids=[f"{prefix}{i}" for i in range(count)])


def problem(**more):
    train = more.pop("train", None) or cards("r", 3 * COUNT, 0)
    return expunge.Problem(
        model=Says(), train=train, forget=list(train.ids[:COUNT]), holdout=cards("h", 2 * COUNT, 1), **more
    )


def objective(of=None, **more):
    of = of or problem()
    return Objective(of, Part(of.forget_view, of.held_out), **more)


def probabilities(model, records):
    x, y = records.read(range(len(records)))
    with torch.no_grad():
        p = torch.softmax(model(x).double(), dim=1).numpy()
    return p, y.numpy()


def test_the_match_is_the_distance_of_confidences_class_by_class():
    of, model = problem(), Says((0,), 1.5)
    (p, y), (q, z) = probabilities(model, of.forget_view), probabilities(model, of.held_out)
    mine, theirs = p[np.arange(len(y)), y], q[np.arange(len(z)), z]
    # four records of each class to forget, eight held out: each of these counts half
    assert objective(of).look(model).match == pytest.approx(wasserstein_distance(mine, theirs), rel=1e-6)


def test_the_harm_is_what_was_lost_and_no_gain_makes_up_for_it():
    of = problem()
    seen = objective(of)
    assert seen.original.harm == 0.0
    assert seen.original.match > 0
    model = Says((0,), -2.0)  # noughts are known less, the others better
    lost = []
    for records in (of.held_out, seen._retain):
        (before, y), (after, _) = probabilities(Says(), records), probabilities(model, records)
        rows = np.arange(len(y))
        lost.append(max(0.0, float((before[rows, y] - after[rows, y]).mean())))
    assert seen.look(model).harm == pytest.approx(np.mean(lost), rel=1e-6)
    assert seen.look(Says((0,), -2.0)).value == pytest.approx(seen.look(model).match + np.mean(lost), rel=1e-6)
    sharper = nn.Sequential(Says(), _Times(3.0))
    assert seen.look(sharper).harm == 0.0


class _Times(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return self.by * x


def test_a_model_that_knows_nothing_matches_and_does_harm():
    seen = objective()
    nothing = seen.look(nn.Sequential(Says(), _Times(0.0)))
    assert nothing.match == pytest.approx(0.0, abs=1e-9)
    assert nothing.harm > 0.2
    assert not seen.allows(nothing)


def test_the_floor_is_below_the_original_unless_it_is_given():
    seen = objective()
    original = seen.original
    assert original.lean == 0.0, "of records with one unit it is not asked"
    assert seen.floor == pytest.approx(original.accuracy - FLOOR)
    assert seen.allows(original)
    assert not seen.allows(Look(0.0, 0.0, seen.floor - 1e-6))
    assert objective(floor=0.99).floor == 0.99


def test_few_records_leave_a_loss_of_accuracy_in_doubt():
    seen = objective()
    assert seen.original.doubt == 0.0, "nothing was lost"
    nothing = seen.look(nn.Sequential(Says(), _Times(0.0)))
    lost = seen._before[1].right.astype(float) - (seen._said(nn.Sequential(Says(), _Times(0.0)))[1].right)
    assert nothing.doubt == pytest.approx(np.std(lost, ddof=1) / np.sqrt(len(lost)))
    assert nothing.doubt > 0
    for off, allowed in ((0.01, True), (0.021, False)):
        assert seen.allows(Look(0.0, 0.0, seen.floor - off, doubt=0.02)) is allowed


def test_of_a_class_that_goes_the_held_out_records_need_not_be_answered():
    train = cards("r", 3 * COUNT, 0)
    noughts = [name for name, (_, y) in zip(train.ids, train, strict=True) if int(y) == 0]
    of = expunge.Problem(model=Says(), train=train, forget=noughts, holdout=cards("h", 2 * COUNT, 1))
    seen = objective(of)
    retrained = seen.look(Says((0,), -30.0))
    assert retrained.harm == 0.0
    assert retrained.accuracy >= seen.original.accuracy
    assert retrained.match < 0.01 < 0.5 < seen.original.match


def texts(monkeypatch, **losses):
    """Return an objective whose models are names, and who has which mean loss of a token (mean over texts, by part)."""
    of = conformance.problem(language=True)
    draw = np.random.default_rng(0)

    def says(problem, model, records):
        first = records.ids[0]
        part = "holdout" if first in of.held_out.ids else "forget" if first in of.forget_ids else "retain"
        loss = losses.get(model, losses["original"])[part] * draw.normal(1, 0.1, len(records))
        known = np.exp(-np.maximum(loss, 0.01))
        return Said(np.zeros((0, 0)), np.log(known) - np.log1p(-known), known, (known > 0.5) * 1.0, several=True)

    monkeypatch.setattr(sys.modules[Objective.__module__], "said", says)
    return Objective(of, Part(of.forget_view, of.held_out))


def test_texts_that_are_all_improbable_are_told_apart(monkeypatch):
    same = {"holdout": 4.0, "retain": 0.0}
    told = {"original": 0.0, "as unseen": 4.0, "pushed too far": 8.0}
    seen = texts(monkeypatch, **{name: {"forget": loss, **same} for name, loss in told.items()})
    near, far = seen.look("as unseen"), seen.look("pushed too far")
    assert far.value > near.value + 0.2
    assert far.match == pytest.approx(0.5, abs=0.02), "as improbable as strangers, and none of them so improbable"
    assert seen.original.match > far.match + 0.3
    assert near.harm == pytest.approx(far.harm, abs=0.02)
    assert (seen.original.lean, far.lean) == (0.5, -0.5), "still known, and pushed too far"
    assert abs(near.lean) < 0.25


def test_texts_that_were_learnt_must_still_be_said_and_others_never_were(monkeypatch):
    parts = {"forget": 0.0, "holdout": 4.0, "retain": 0.0}
    loses = {"stayed": {}, "lost the retained": {"retain": 3.0}, "lost the held out": {"holdout": 7.0}}
    seen = texts(monkeypatch, original=parts, **{name: {**parts, **more} for name, more in loses.items()})
    assert seen.floor == pytest.approx(1.0 - FLOOR_OF_TEXTS)
    assert {name for name in loses if seen.allows(seen.look(name))} == {"stayed", "lost the held out"}
    assert seen.look("lost the retained").harm > 0.3
    assert seen.look("lost the held out").harm < 0.02


def test_a_look_is_counted_and_leaves_modes_alone():
    of = toys.problem(build=toys.Noisy)
    choosing = toys.context(of).choosing
    seen = Objective(of, choosing)
    assert seen.cost == Cost(read=len(choosing.forget) + 2 * len(choosing.holdout))
    model = toys.network(toys.Noisy).train()
    before = toys.state(model)
    seen.look(model)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), toys.state(model)[0].values(), strict=True))


def test_only_the_choosing_part_is_read():
    of = toys.problem()
    choosing = toys.context(of).choosing
    of.records.seen.clear()
    of.held_out.seen.clear()
    seen = Objective(of, choosing)
    assert seen.original.match >= 0
    hidden = {*of.forget_ids, *of.held_out.ids} - {*choosing.forget.ids, *choosing.holdout.ids}
    assert hidden
    assert not hidden & {*of.records.seen, *of.held_out.seen}


@pytest.mark.parametrize("lack", ["holdout", "forget", "classes", "strangers"])
def test_what_cannot_be_compared_is_refused(lack):
    of = problem()
    parts = {"forget": of.forget_view, "holdout": of.held_out}
    if lack in parts:
        parts[lack] = parts[lack].select([])
    if lack == "strangers":
        of = problem(train=ArrayRecords(torch.randn(30, 3), torch.arange(30) % 2, ids=[f"r{i}" for i in range(30)]))
        parts = {"forget": of.forget_view, "holdout": of.held_out.select(["h2", "h5"])}
    if lack == "classes":
        numbers = ArrayRecords(torch.randn(9, 2), torch.randn(9), ids=[f"n{i}" for i in range(9)])
        held = ArrayRecords(torch.randn(9, 2), torch.randn(9), ids=[f"m{i}" for i in range(9)])
        of = expunge.Problem(model=nn.Linear(2, 1), task="regression", train=numbers, forget=["n0"], holdout=held)
        parts = {"forget": of.forget_view, "holdout": of.held_out}
    with pytest.raises(InvalidProblem, match="nothing to tune by"):
        _ = Objective(of, Part(**parts)).original
