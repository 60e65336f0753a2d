"""Two steps of random labels against NumPy; laws and orders are tested with ``engine/random_labels``."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.digest import keyed_int
from expunge.core.method import Cost
from expunge.methods.random_label import RandomLabel
from tests.support import toys

FIXED = {"epochs": 1, "batch_size": 64, "lr": 0.3, "momentum": 0.0, "redraw": False, "labels": "other"}


def labels_of(names, given, *, classes=3, seed=3):
    draws = [keyed_int(b"expunge random label", seed, name) % (classes - 1) for name in names]
    return np.array([(label + 1 + draw) % classes for label, draw in zip(given, draws, strict=True)])


def by_hand(problem, passes, *, decay=0.0):
    """Steps of softmax regression over (inputs, labels), each the mean cross entropy with an L2 pull."""
    weight, bias = (p.detach().numpy().copy() for p in problem.source.open().parameters())
    for inputs, labels in passes:
        apart = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) / len(labels)
        weight, bias = (
            weight - 0.3 * (apart.T @ inputs + decay * weight),
            bias - 0.3 * (apart.sum(0) + decay * bias),
        )
    return weight, bias


def distance(model, values):
    return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))


@pytest.mark.parametrize("order", ["forget_first", "mixed"])
def test_an_epoch_equals_arithmetic_in_float64(order):
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    settings = {**FIXED, "order": order, "weight_decay": 0.01}
    model = RandomLabel(settings).unlearn(problem, toys.context(problem)).model
    retain, forget = ([p.numpy() for p in v.read(range(len(v)))] for v in (problem.retain_view, problem.forget_view))
    wrong = (forget[0], labels_of(problem.forget_ids, forget[1]))
    both = tuple(np.concatenate(pair) for pair in zip(retain, wrong, strict=True))
    courses = {"forget_first": [wrong, retain], "mixed": [both]}
    assert distance(model, by_hand(problem, courses.pop(order), decay=0.01)) < 1e-14
    others = {
        **courses,
        "retained first": [retain, wrong],
        "true labels": [forget, retain],
        "forgotten alone": [wrong],
        "labels of another seed": [(forget[0], labels_of(problem.forget_ids, forget[1], seed=4)), retain],
    }
    for name, course in others.items():
        assert distance(model, by_hand(problem, course, decay=0.01)) > 1e-4, name


def test_work_is_counted():
    problem = toys.problem()
    outcome = RandomLabel({**FIXED, "epochs": 2}).unlearn(problem, toys.context(problem))
    told = RandomLabel({**FIXED, "epochs": 2}).cost(problem)
    assert told == outcome.cost == Cost(trained=2 * 60, read=3 * 8 + 4)


def test_confidence_in_forgotten_labels_falls():
    problem = toys.problem(trainer=None, model=toys.TRAINER(toys.records(60), seed=1))
    run = toys.context(problem)
    model = RandomLabel({"epochs": 5, "batch_size": 16}).unlearn(problem, run).model
    original = problem.source.open()
    assert run.mean_loss(model, problem.forget_view) > 1.05 * run.mean_loss(original, problem.forget_view)
