import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine.training import Trainer
from expunge.engine.visits import Batch
from expunge.methods.bad_teacher import BadTeacher
from expunge.numerics.units import Scored
from tests.support import languages, texts, toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.5, "optimiser": "sgd", "momentum": 0.0, "retain_share": 1.0}


class Watching(BadTeacher):
    """Keeps its teachers."""

    kept: list

    def teachers(self, problem, run):
        self.kept += super().teachers(problem, run)
        return tuple(self.kept)


def watched(settings, problem, **more):
    method = Watching(settings)
    method.kept = []
    return method.unlearn(problem, toys.context(problem, **more)), method.kept


def logits(model, inputs):
    weight, bias = (p.detach().numpy() for p in model.parameters())
    return inputs @ weight.T + bias


@pytest.mark.parametrize(("reduction", "divisor"), [("batchmean", 1), ("mean", 3)])
def test_a_step_equals_arithmetic_in_float64(reduction, divisor):
    """BT-2: the plain form divides by records, the other by classes as well."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    outcome, (original, bad) = watched({**STEP, "temperature": 2.0, "reduction": reduction}, problem)
    parts = {
        name: view.read(range(len(view)))[0].numpy()
        for name, view in (("retain", problem.retain_view), ("forget", problem.forget_view))
    }

    def by_hand(retain, forget, *, scale=2.0 / 60 / divisor, swapped=False):
        weight, bias = (p.detach().numpy().copy() for p in original.parameters())
        for name, teacher in (("retain", retain), ("forget", forget)):
            inputs = parts[name]
            mine, theirs = (softmax(logits(model, inputs) / 2.0, axis=1) for model in (original, teacher))
            apart = mine - theirs
            if swapped:
                odds = np.log(mine / theirs)
                apart = mine * (odds - (mine * odds).sum(1, keepdims=True))
            weight, bias = weight - 0.5 * scale * apart.T @ inputs, bias - 0.5 * scale * apart.sum(0)
        return weight, bias

    def distance(values):
        pairs = zip(outcome.model.parameters(), values, strict=True)
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in pairs)

    assert distance(by_hand(original, bad)) < 1e-14
    slips = {
        "teachers swapped": by_hand(bad, original),
        "bad everywhere": by_hand(bad, bad),
        "good everywhere": by_hand(original, original),
        "flipped sign": by_hand(original, bad, scale=-2.0 / 60 / divisor),
        "the other reduction": by_hand(original, bad, scale=2.0 / 60 / (4 - divisor)),
        "mean of each set": by_hand(original, bad, scale=2.0 / 12 / divisor),
        "student and teacher swapped": by_hand(original, bad, swapped=True),
    }
    for name, values in slips.items():
        assert distance(values) > 1e-4, name


def test_the_bad_teacher_is_a_network_of_the_same_kind_that_knows_nothing():
    """BT-1, G-13: no tensor of it is the original's, in any depth; frozen ones neither."""
    trainer = Trainer(build=toys.Noisy, config=toys.TRAINER.config)
    problem = toys.problem(model=trainer(toys.records(60), seed=1), trainer=None)
    problem.model[0].weight.requires_grad_(False)
    _, (original, bad) = watched(STEP, problem)
    assert type(bad) is type(original)
    assert [p.shape for p in bad.parameters()] == [p.shape for p in original.parameters()]
    before = original.state_dict()
    assert not [name for name, tensor in bad.state_dict().items() if torch.equal(tensor, before[name])]
    assert toys.same(original, problem.source.open())
    _, (_, again) = watched(STEP, problem)
    assert toys.same(bad, again)
    _, (_, other) = watched(STEP, problem, seed=4)
    assert not toys.same(bad, other)


def test_teachers_evaluate_and_the_student_trains():
    """BT-3; each teacher answers its own records alone."""
    asked = []

    class Noting(toys.Noisy):
        def forward(self, x):
            asked.append((id(self), self.training, torch.is_grad_enabled(), len(x)))
            return super().forward(x)

    problem = toys.problem(build=Noting)
    outcome, teachers = watched({**STEP, "batch_size": 20}, problem)
    roles = {id(model): name for model, name in zip(teachers, ("original", "bad"), strict=True)}
    sizes = {"original": 0, "bad": 0, "student": 0}
    for who, training, graded, count in asked:
        if who in roles:
            assert not training
            assert not graded
            sizes[roles[who]] += count
        elif graded:
            assert training
            sizes["student"] += count
    assert sizes == {"original": 48, "bad": 12, "student": 60}
    assert outcome.cost.trained == 60
    assert outcome.cost.read == 60 + 2 * 8 + 4 == BadTeacher(STEP).cost(problem).read


def batch(retain, forget, taught_retain, taught_forget):
    def units(values):
        count = len(values)
        return Scored.of(values, torch.zeros(count, dtype=torch.long), torch.arange(count), count)

    return Batch(units(retain), units(forget), Batch(units(taught_retain), units(taught_forget)))


def test_the_loss_is_never_negative_and_zero_at_the_teachers():
    """BT-4 and BT-5."""
    draw = torch.Generator().manual_seed(1)
    student = [torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in (7, 3)]
    method = BadTeacher()
    for _ in range(20):
        taught = [3 * torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in (7, 3)]
        assert method._follow(batch(*student, *taught)) > 0
    assert method._follow(batch(*student, *student)).item() == pytest.approx(0, abs=1e-15)
    alone = batch(*student, *student)
    assert method._follow(Batch(alone.retain, None, Batch(alone.retain, None))).item() == pytest.approx(0, abs=1e-15)


def test_a_part_of_the_retained_records_is_drawn_once():
    problem = toys.problem()
    outcome = BadTeacher({**STEP, "epochs": 3, "retain_share": 0.3}).unlearn(problem, toys.context(problem))
    read = set(problem.records.seen) & set(problem.retain_view.ids)
    assert len(read) == round(0.3 * 48)
    assert (
        outcome.cost.trained
        == 3 * (14 + 12)
        == BadTeacher({**STEP, "epochs": 3, "retain_share": 0.3}).cost(problem).trained
    )
    other = toys.problem()
    BadTeacher({**STEP, "retain_share": 0.3}).unlearn(other, toys.context(other, seed=4))
    assert set(other.records.seen) & set(other.retain_view.ids) != read


def test_forgotten_records_are_answered_as_the_bad_teacher_does():
    problem = toys.problem(model=toys.TRAINER(toys.records(60), seed=1), trainer=None)
    outcome, (original, bad) = watched({**STEP, "epochs": 30, "batch_size": 16, "lr": 0.1}, problem)
    inputs = problem.forget_view.read(range(12))[0]
    with torch.no_grad():
        shares = [torch.softmax(model.eval()(inputs), dim=1) for model in (outcome.model, original, bad)]
    assert (shares[0] - shares[2]).abs().mean() < 0.7 * (shares[1] - shares[2]).abs().mean()


def classified():
    records, model = texts.records(24), texts.untrained()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # it falls by the row of the batch
    return Problem(model=model, train=records, forget=records.ids[:8])


@pytest.mark.parametrize("given", [languages.spoken, classified])
def test_texts_that_stand_for_retained_ones_are_read_beside_shorter_ones(given):
    """The records are no parts of one set, and their batches not of one width: the result is as if they were."""
    whole = given()
    apart = dataclasses.replace(
        whole,
        train=whole.records.select(whole.forget_ids),
        forget=whole.forget_ids,
        request=Request(),
        calibration=whole.retain_view,
    )
    settings = {**STEP, "batch_size": 5}
    models = [BadTeacher(settings).unlearn(each, toys.context(each)).model for each in (whole, apart)]
    start, one, other = ([p.detach() for p in model.parameters()] for model in (whole.source.open(), *models))
    assert max(float((a - b).abs().max()) for a, b in zip(start, one, strict=True)) > 1e-4
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_layers_that_cannot_be_drawn_anew_are_an_obstacle():
    class Stubborn(toys.Mlp):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.scale * super().forward(x)

    problem = toys.problem(build=Stubborn)
    assert ["initialised anew" in found.what for found in BadTeacher().obstacles(problem)] == [True]
    assert not problem.records.seen
    assert not BadTeacher().obstacles(toys.problem())
