import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.errors import InvalidProblem
from expunge.core.method import Cost
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.methods.finetune import Finetune
from expunge.methods.retain_distill import RetainDistill
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.3, "optimiser": "sgd", "momentum": 0.0}


def test_a_step_equals_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, holdout=60)
    run = toys.context(problem)
    model = RetainDistill({**STEP, "weight": 0.7}).unlearn(problem, run).model
    start = [p.detach().numpy() for p in problem.source.open().parameters()]

    def read(records):
        inputs, labels = (part.numpy() for part in records.read(range(len(records))))
        return inputs, labels, softmax(inputs @ start[0].T + start[1], axis=1)

    retain, forget, held = map(read, (problem.retain_view, problem.forget_view, run.choosing.holdout))
    means = np.stack([held[2][held[1] == label].mean(axis=0) for label in range(3)])
    overall = np.tile(held[2].mean(axis=0), (12, 1))

    def by_hand(goal, *, weight=0.7, swapped=False):
        first = (retain[2] - np.eye(3)[retain[1]]) / 48
        second = weight * (forget[2] - goal) / 12
        if swapped:
            odds = np.log(forget[2] / goal)
            second = weight * forget[2] * (odds - (forget[2] * odds).sum(1, keepdims=True)) / 12
        return [
            start[0] - 0.3 * (first.T @ retain[0] + second.T @ forget[0]),
            start[1] - 0.3 * (first.sum(0) + second.sum(0)),
        ]

    def distance(values):
        pairs = zip(model.parameters(), values, strict=True)
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in pairs)

    assert distance(by_hand(means[forget[1]])) < 1e-14
    slips = {
        "not by class": by_hand(overall),
        "of another class": by_hand(means[(forget[1] + 1) % 3]),
        "flipped sign": by_hand(means[forget[1]], weight=-0.7),
        "student and goal swapped": by_hand(means[forget[1]], swapped=True),
        "towards the labels": by_hand(np.eye(3)[forget[1]]),
    }
    for name, values in slips.items():
        assert distance(values) > 1e-4, name


def test_without_weight_it_is_fine_tuning_to_the_bit():
    problem = toys.problem()
    one = RetainDistill({**STEP, "weight": 0.0}).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, Finetune(STEP).unlearn(problem, toys.context(problem)).model)


def test_forgotten_records_come_to_be_answered_as_held_out_ones():
    """Certainty that comes of having seen a record goes."""
    records = toys.records(60)
    model = Trainer(build=toys.Mlp, config=LoopConfig(epochs=120, batch_size=16, lr=0.02))(records, seed=1)
    problem = toys.problem(model=model, train=records, trainer=None, holdout=90)
    run = toys.context(problem)
    outcome = RetainDistill({"epochs": 30, "lr": 0.01, "weight": 5.0}).unlearn(problem, run)

    def confidence(of, part):
        inputs, labels = part.read(range(len(part)))
        with torch.no_grad():
            return float(torch.softmax(of.eval()(inputs), dim=1)[range(len(labels)), labels].mean())

    goal = confidence(problem.source.open(), run.choosing.holdout)
    before, after = (abs(confidence(m, problem.forget_view) - goal) for m in (problem.source.open(), outcome.model))
    assert after < before / 2


def test_it_reads_the_choosing_part_of_the_holdout_once_for_its_goal():
    problem = toys.problem()
    run = toys.context(problem)
    outcome = RetainDistill(STEP).unlearn(problem, run)
    assert set(problem.held_out.seen) == set(run.choosing.holdout.ids)
    assert RetainDistill(STEP).cost(problem) == outcome.cost == Cost(trained=60, read=8 + 2 * 8 + 4)


def test_without_held_out_records_it_is_refused():
    for held in (0, 2):
        problem = toys.problem(holdout=held)
        assert [found.where for found in RetainDistill().obstacles(problem)] == ["holdout"]
        assert not problem.records.seen
    assert not RetainDistill().obstacles(toys.problem())


def test_a_forgotten_class_that_no_held_out_record_has_is_an_error():
    problem = toys.problem()
    problem.held_out.y[problem.held_out.y == problem.records.y[0]] = (problem.records.y[0] + 1) % 3
    (told,) = RetainDistill().obstacles(problem)
    assert (told.where, told.found) == ("holdout", "none of 1 of the classes of forgotten records")
    with pytest.raises(InvalidProblem, match="every forgotten class"):
        RetainDistill(STEP).unlearn(problem, toys.context(problem))
