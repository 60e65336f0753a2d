"""The law of random labels, when they are drawn, and in which order records are passed through."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from expunge.core.level import Level
from expunge.engine.random_labels import RandomLabels
from expunge.engine.visits import Batch, Side
from expunge.numerics.units import Scored
from tests.support import toys


class Noting(RandomLabels):
    """Random labels, and a note of what was drawn for whom in which kind of pass."""

    title, source, guarantee = "Toy", "none", Level.AUDITED

    def prepare(self, model, problem, run):
        self.notes = run.notes
        return super().prepare(model, problem, run)

    def labels(self, batch):
        drawn = super().labels(batch)
        self.notes.append(dict(zip(batch.forget_side.ids, drawn.tolist(), strict=True)))
        return drawn


def notes_of(problem, *, seed=3, **settings):
    """Return what was drawn, one mapping for each epoch, by id."""
    run = toys.context(problem, seed=seed)
    run.notes = []
    method = Noting({"epochs": 3, "batch_size": 5, "lr": 1e-3, **settings})
    method.unlearn(problem, run)
    steps = len(run.notes) // 3
    return [{k: v for note in run.notes[i * steps : (i + 1) * steps] for k, v in note.items()} for i in range(3)]


def draws(count=12_000, **settings):
    """Return (target, label) of units of 4 classes."""
    ids = tuple(f"id-{i}" for i in range(count))
    target = torch.arange(count) % 4
    units = Scored.of(torch.zeros(count, 4), target, torch.arange(count), count)
    method = RandomLabels.__new__(Noting)
    method.config = Noting.Config.of(settings)
    method._seed = 5
    torch.manual_seed(11)
    labels = RandomLabels.labels(method, Batch(None, units, None, None, Side(ids, None)))
    return target.numpy(), labels.numpy()


@pytest.mark.parametrize("redraw", [True, False])
@pytest.mark.parametrize("law", ["any", "other"])
def test_labels_follow_the_law(law, redraw):
    """RL-1: over all classes, the true one with chance 1/C; or over all but the true one."""
    target, label = draws(labels=law, redraw=redraw)
    counts = np.bincount((label - target) % 4, minlength=4)
    if law == "other":
        assert counts[0] == 0
        counts = counts[1:]
    assert chisquare(counts).pvalue > 1e-3
    assert chisquare(np.bincount(label, minlength=4)).pvalue > 1e-3
    if law == "any":  # the other law would be seen
        assert chisquare(counts, [1, 3999, 4000, 4000]).pvalue < 1e-6


def test_labels_are_drawn_anew_in_every_epoch_or_once():
    """RL-2, and amnesiac labels that follow the seed and the record alone."""
    anew = notes_of(toys.problem())
    assert all(len(epoch) == 12 for epoch in anew)
    assert anew[0] != anew[1] != anew[2] != anew[0]
    once = notes_of(toys.problem(), redraw=False)
    assert once[0] == once[1] == once[2]
    assert once[0] != notes_of(toys.problem(), redraw=False, seed=4)[0]
    fewer = notes_of(toys.problem(forget=9), redraw=False, order="mixed", batch_size=7)[0]
    assert fewer == {name: label for name, label in once[0].items() if name in fewer}


def test_of_two_classes_the_other_one_is_the_other():
    target = torch.tensor([0, 1, 1, 0])
    units = Scored.of(torch.zeros(4, 2), target, torch.arange(4), 4)
    method = Noting({"labels": "other"})
    assert RandomLabels.labels(method, Batch(None, units, None, None, Side(tuple("abcd"), None))).tolist() == [
        1,
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("order", ["forget_first", "mixed"])
def test_the_order_of_passes(order):
    """RL-3: the forgotten records first, or both sets in every batch."""
    rows = []

    class Watching(toys.Mlp):
        def forward(self, x):
            if self.training and torch.is_grad_enabled():
                rows.append([tuple(row) for row in x.tolist()])
            return super().forward(x)

    problem = toys.problem(count=64, forget=16, build=Watching)
    known = {tuple(x.tolist()): i < 16 for i, x in enumerate(problem.records.x)}
    run = toys.context(problem)
    run.notes = []
    Noting({"epochs": 2, "batch_size": 16, "order": order}).unlearn(problem, run)
    gone = [Counter(known[row] for row in step) for step in rows]
    assert len(gone) == 8
    assert sum(sum(step.values()) for step in gone) == 2 * 64
    if order == "forget_first":
        assert [step[True] for step in gone] == [16, 0, 0, 0] * 2
    else:
        assert all(0 < step[True] < 16 for step in gone[:3])


def test_retained_records_keep_their_labels_and_nothing_is_written():
    """RL-4."""
    problem = toys.problem()
    before = problem.records.y.clone()
    seen = defaultdict(list)

    class Listening(Noting):
        def _retained(self, batch):
            seen["retain"] += zip(batch.retain_side.ids, batch.retain.target.tolist(), strict=True)
            return super()._retained(batch)

    run = toys.context(problem)
    run.notes = []
    Listening({"epochs": 1, "batch_size": 16}).unlearn(problem, run)
    assert torch.equal(problem.records.y, before)
    assert dict(seen["retain"]) == {i: int(before[problem.records.position[i]]) for i in problem.retain_view.ids}


def test_where_there_are_no_classes_it_is_refused_before_work():
    problem = toys.problem(task="regression")
    found = [each.what for each in Noting().obstacles(problem)]
    assert any("needs class labels" in what for what in found)
    assert not problem.records.seen
    assert not Noting().obstacles(toys.problem())
