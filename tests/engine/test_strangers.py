import numpy as np
import pytest
import torch
from torch import nn

import expunge
from expunge.conformance import problems as conformance
from expunge.data.arrays import ArrayRecords
from expunge.engine.strangers import Strangers, said
from expunge.numerics import tokens
from expunge.numerics.matching import distance
from tests.support import toys


class Inputs(nn.Module):
    """Its logits are its inputs, so that a test writes down what the model says."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x


TRUE = [0, 0, 1, 1, 2, 2, 0, 1, 2, 0]
GIVEN = [
    0,
    1,
    1,
    2,
    2,
    2,
    0,
    1,
    2,
    0,
]  # the second is a nought that was labelled a one, the fourth a one labelled a two
HELD = [0, 0, 0, 1, 1, 2, 2]


def logits(count, seed):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def problem(forget=5, given=GIVEN, corrections=None, held=HELD):
    ids = [f"r{i}" for i in range(len(given))]
    wrong = {ids[i]: TRUE[i] for i in range(forget) if TRUE[i] != given[i]} if corrections is None else corrections
    return expunge.Problem(
        model=Inputs(),
        train=ArrayRecords(logits(len(given), 0), torch.tensor(given), ids=ids),
        holdout=ArrayRecords(logits(len(held), 1), torch.tensor(held), ids=[f"h{i}" for i in range(len(held))]),
        request=expunge.Request(ids=tuple(ids[:forget]), corrections=wrong),
    )


def phi(row, label):
    """log p - log(1 - p) in float64."""
    p = np.exp(np.asarray(row, dtype=float))
    p = p[label] / p.sum()
    return float(np.log(p) - np.log1p(-p))


def both(of):
    model = of.source.open()
    forget, holdout = of.forget_view, of.held_out
    return Strangers(of, forget, holdout), said(of, model, forget), said(of, model, holdout)


def test_what_is_said_is_the_log_odds_of_the_label():
    _, forget, holdout = both(problem())
    rows = logits(10, 0).numpy()[:5]
    assert forget.score == pytest.approx([phi(row, label) for row, label in zip(rows, GIVEN, strict=False)], rel=1e-6)
    assert forget.known == pytest.approx(1 / (1 + np.exp(-forget.score)), rel=1e-12)
    assert not forget.several
    assert forget.right.tolist() == [float(row.argmax() == y) for row, y in zip(rows, GIVEN, strict=False)]
    assert holdout.logits == pytest.approx(logits(7, 1).numpy())


def test_wrongly_labelled_records_are_compared_with_their_true_class_asked_about_the_label_they_were_given():
    strangers, forget, holdout = both(problem())
    right, wrong = strangers.kinds(forget, holdout)
    rows = logits(7, 1).numpy()
    # a nought labelled one: the three noughts held out, how likely a one; a one labelled two: the two ones, a two
    assert wrong.mine == pytest.approx(forget.score[[1, 3]])
    assert wrong.theirs == pytest.approx([phi(r, 1) for r in rows[:3]] + [phi(r, 2) for r in rows[3:5]], rel=1e-6)
    assert wrong.weights == pytest.approx([1 / 3] * 3 + [1 / 2] * 2)
    assert right.mine == pytest.approx(forget.score[[0, 2, 4]])
    assert right.theirs == pytest.approx([phi(r, y) for r, y in zip(rows, HELD, strict=True)], rel=1e-6)
    assert right.weights == pytest.approx([1 / 3] * 3 + [1 / 2] * 4)
    assert (strangers.missing, strangers.gone) == (0, frozenset())
    for of, score in zip(strangers.probabilities(forget, holdout), (right, wrong), strict=True):
        assert of.mine == pytest.approx(1 / (1 + np.exp(-score.mine)))
        assert of.theirs == pytest.approx(1 / (1 + np.exp(-score.theirs)))
        assert of.weights.tolist() == score.weights.tolist()


def test_the_loss_of_strangers_is_that_of_the_label_the_record_was_given():
    strangers, _, holdout = both(problem())
    rows = logits(7, 1).double()
    losses = [
        float(torch.nn.functional.cross_entropy(rows[np.flatnonzero(np.array(HELD) == t)], torch.tensor([y] * n)))
        for t, y, n in zip(TRUE[:5], GIVEN[:5], (3, 3, 2, 2, 2), strict=True)
    ]
    assert strangers.loss(holdout) == pytest.approx(np.mean(losses), rel=1e-6)


def test_without_corrections_a_wrong_label_is_taken_for_right():
    strangers, forget, holdout = both(problem(corrections={}))
    (kind,) = strangers.kinds(forget, holdout)
    assert len(kind.mine) == 5
    assert kind.weights.sum() == pytest.approx(5.0), "each record counts once"


def test_a_record_that_was_found_to_be_like_wrong_ones_is_compared_with_none():
    found = problem().widened(["r5", "r9"])  # a two and a nought, for all that is known
    strangers = Strangers(found, found.forget_view, found.held_out)
    assert strangers.missing == 2
    named = problem()
    alone = Strangers(named, named.forget_view, named.held_out)
    answers = said(named, Inputs(), named.held_out)
    assert strangers.loss(answers) == alone.loss(answers)
    right = problem(corrections={"r1": 0, "r3": 1, "r5": 1}, forget=5).widened(["r5", "r9"])
    assert Strangers(right, right.forget_view, right.held_out).missing == 1, "of one of them it was said"
    plain = problem(corrections={}).widened(["r5", "r9"])  # where no label is wrong, it is one more record
    assert Strangers(plain, plain.forget_view, plain.held_out).missing == 0


def test_a_class_that_goes_is_compared_with_all_that_stay_asked_about_it():
    given = [0, 0, 0, 1, 1, 2, 2, 1, 2, 1]
    strangers, forget, holdout = both(problem(forget=3, given=given, corrections={}))
    assert strangers.gone == {0}
    assert strangers.staying.tolist() == [label != 0 for label in HELD]
    (kind,) = strangers.kinds(forget, holdout)
    assert kind.theirs == pytest.approx([phi(row, 0) for row in logits(7, 1).numpy()[3:]], rel=1e-6)


def test_records_without_a_held_out_one_of_their_class_are_left_out_and_counted():
    strangers, forget, holdout = both(problem(held=[0, 0, 1, 1], corrections={}))
    (kind,) = strangers.kinds(forget, holdout)
    assert strangers.missing == 2, "of those labelled two none is held out"
    assert len(kind.mine) == 3
    none, forget, holdout = both(problem(held=[2, 2], given=[0, 1, 0, 1, 0, 2, 2, 0, 1, 2], corrections={}))
    assert (none.kinds(forget, holdout), none.missing, none.loss(holdout)) == ([], 5, None)


def test_a_model_that_saw_neither_is_nearer_than_one_that_saw_the_forgotten():
    x, y = toys.records(360, kind=ArrayRecords).read(range(360))
    parts = [ArrayRecords(x[a:b], y[a:b], ids=[f"p{i}" for i in range(a, b)]) for a, b in ((0, 240), (240, 360))]
    of = expunge.Problem(model=toys.network(), train=parts[0], holdout=parts[1], forget=parts[0].ids[:60])
    inputs, labels = x[:240], y[:240]
    gaps = []
    for kept in (range(60, 240), range(240)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 3))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(120):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[list(kept)]), labels[list(kept)]).backward()
            optimiser.step()
        strangers = Strangers(of, of.forget_view, of.held_out)
        gaps.append(distance(strangers.kinds(*(said(of, model, part) for part in (of.forget_view, of.held_out)))))
    assert gaps[0] < 0.8 * gaps[1]


def test_a_task_of_numbers_says_nothing_here():
    records = ArrayRecords(torch.randn(6, 2), torch.randn(6), ids=[f"n{i}" for i in range(6)])
    of = expunge.Problem(model=nn.Linear(2, 1), task="regression", train=records, forget=["n0"])
    assert said(of, of.source.open(), of.records) is None


def test_of_tokens_all_logits_are_never_made_and_held_out_records_stand_for_any(monkeypatch):
    problem = conformance.problem(language=True)
    model = problem.source.open()
    batch = problem.held_out.read(range(len(problem.held_out)))
    with torch.no_grad():
        units = problem.meaning.units(model.eval(), batch)
        rows, target, record = units.logits.double().numpy(), units.target.numpy(), units.record.numpy()
    monkeypatch.setattr(tokens.Tokens, "logits", property(lambda _: pytest.fail("all logits at once")))
    found = said(problem, model, problem.held_out)
    sure = np.array([phi(row, label) for row, label in zip(rows, target, strict=True)])
    assert found.score == pytest.approx([sure[record == i].mean() for i in range(24)], rel=1e-5)
    likely = units.loss.double().numpy()
    assert found.known == pytest.approx([np.exp(-likely[record == i].mean()) for i in range(24)], rel=1e-5)
    assert found.several
    assert found.right == pytest.approx([(rows.argmax(1) == target)[record == i].mean() for i in range(24)])
    assert found.logits.size == 0
    forget = said(problem, model, problem.forget_view)
    strangers = Strangers(problem, problem.forget_view, problem.held_out)
    (kind,) = strangers.kinds(forget, found)
    assert (kind.mine.tolist(), kind.theirs.tolist()) == (forget.score.tolist(), found.score.tolist())
    (kind,) = strangers.probabilities(forget, found)
    assert (kind.mine.tolist(), kind.theirs.tolist()) == (forget.known.tolist(), found.known.tolist())
    assert strangers.loss(found) is None
