"""What papers measure, against numbers computed by hand and against another library's attack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from expunge.bench import measures
from expunge.core.errors import InvalidProblem
from expunge.core.problem import Problem
from expunge.data.arrays import ArrayRecords
from expunge.engine.split import split


class Given(nn.Module):
    """Answers with its input: what a test wants it to say."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x


def problem():
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 3, generator=draw) * 2, torch.randint(3, (60,), generator=draw)
    records = ArrayRecords(logits[:45], labels[:45], ids=[f"r{i}" for i in range(45)])
    holdout = ArrayRecords(logits[45:], labels[45:], ids=[f"h{i}" for i in range(15)])
    return Problem(model=Given(), train=records, forget=[f"r{i}" for i in range(9)], holdout=holdout)


def test_accuracies_are_those_of_the_records_they_are_named_after():
    made = problem()
    found = measures.measure(made, measures.listen(made, made.source.open()), seed=4)
    right = (made.records.x.argmax(1) == made.records.y).double()
    assert found["forget"] == pytest.approx(float(right[:9].mean()))
    assert found["retain"] == pytest.approx(float(right[9:].mean()))
    held = split(made, 4)[1].holdout
    x, y = held.read(range(len(held)))
    assert found["test"] == pytest.approx(float((x.argmax(1) == y).double().mean()))
    assert len(held) == 10, "a method may look at the other third"


def test_a_class_that_goes_counts_among_the_forgotten_alone():
    """As in the code of SalUn: test images of the class are taken out, and so strangers of the attack are."""
    made = problem()
    labels = made.records.y
    made = replace(made, forget=[made.records.ids[i] for i in range(45) if labels[i] == 2])
    held = split(made, 4)[1].holdout
    x, y = held.read(range(len(held)))
    assert 0 < int((y == 2).sum()) < len(held)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "efficacy", lambda forget, **sides: float(asked.append(sides) or 0.5))
        found = measures.measure(made, measures.listen(made, made.source.open()), seed=4)
    assert found["test"] == pytest.approx(float((x.argmax(1) == y)[y != 2].double().mean()))
    assert len(asked[0]["strangers"]) == int((y != 2).sum())
    assert found["forget"] == pytest.approx(float((made.records.x.argmax(1) == labels)[labels == 2].double().mean()))


def test_a_holdout_of_the_class_that_goes_alone_measures_nothing():
    made = problem()
    only = made.holdout.x[made.holdout.y == 2], made.holdout.y[made.holdout.y == 2]
    made = replace(
        made,
        forget=[made.records.ids[i] for i in range(45) if made.records.y[i] == 2],
        holdout=ArrayRecords(*only, ids=[f"h{i}" for i in range(len(only[1]))]),
    )
    with pytest.raises(InvalidProblem, match="of a class that stays"):
        measures.measure(made, measures.listen(made, made.source.open()), seed=4)


def test_what_was_said_is_read_as_it_was_written():
    made = problem()
    heard = measures.listen(made, made.source.open())
    again = measures.Heard.read(heard.write())
    for name in ("forget", "retain", "held"):
        one, other = vars(getattr(heard, name)), vars(getattr(again, name))
        assert all(np.array_equal(one[field], other[field]) for field in one)
    assert np.isnan(again.success)
    assert [len(part.sure) for part in (again.forget, again.retain, again.held)] == [9, 36, 15]
    assert measures.Heard.read(replace(heard, success=0.25).write()).success == 0.25
    assert all(measures.measure(made, again, seed=k) == measures.measure(made, heard, seed=k) for k in range(3))


def test_confidence_is_the_probability_of_the_label():
    made = problem()
    found = measures.said(made, made.source.open(), made.records)
    truth = torch.softmax(made.records.x.double(), 1)[torch.arange(45), made.records.y]
    np.testing.assert_allclose(found.sure, truth.numpy(), rtol=1e-12)


def test_efficacy_counts_who_is_taken_for_a_stranger():
    members, strangers = np.linspace(0.9, 1.0, 40), np.linspace(0.0, 0.3, 40)
    forget = np.array([0.95, 0.97, 0.1, 0.2, 0.05])
    assert measures.efficacy(forget, members=members, strangers=strangers) == pytest.approx(0.6)
    assert measures.efficacy(forget, members=strangers, strangers=members) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="as many"):
        measures.efficacy(forget, members=members, strangers=strangers[1:])


def test_gaps_by_hand():
    oracle = {"forget": 0.9, "retain": 1.0, "test": 0.8, "mia": 0.2}
    other = {"forget": 0.8, "retain": 1.0, "test": 0.9, "mia": 0.3}
    mine = {"forget": 0.75, "retain": 0.9, "test": 0.85, "mia": 0.45}
    found = measures.gaps(mine, [oracle, other])
    assert found["avg_gap"] == pytest.approx(100 * (0.1 + 0.1 + 0.0 + 0.2) / 4)
    assert found["tow"] == pytest.approx(0.9 * 0.9 * 1.0)
    assert found["tow_mia"] == pytest.approx(0.8 * 0.9 * 1.0)


def test_what_retrained_models_score_among_themselves_is_no_zero():
    oracle = {"forget": 0.9, "retain": 1.0, "test": 0.8, "mia": 0.2}
    other = {**oracle, "forget": 0.8}
    found = measures.among_themselves([oracle, other])
    assert [one["avg_gap"] for one in found] == pytest.approx([2.5, 2.5])
    with pytest.raises(ValueError, match="two retrained"):
        measures.among_themselves([oracle])


def test_success_counts_the_target():
    made = problem()
    triggered = ArrayRecords(torch.eye(3)[[0, 0, 1, 2, 0]], torch.tensor([1, 2, 1, 2, 1]))
    assert measures.success(made, made.source.open(), triggered, 0) == pytest.approx(0.6)
