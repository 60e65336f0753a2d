"""Passes over the forget set, again in NumPy: softmax regression, whole sets in every step, slopes given by hand."""

import numpy as np
import torch
from scipy.special import softmax

from tests.support import toys

STEP = {"batch_size": 64, "lr": 0.3, "optimiser": "sgd", "momentum": 0.0, "epochs": 3}


def regression():
    """Return a problem of softmax regression in float64; one step reads all of each set."""
    return toys.problem(build=toys.Softmax, dtype=torch.float64)


def far(problem):
    """Return a retrained model to which the forgotten records are stranger than to any that training reaches."""
    model = problem.source.open()
    inputs, labels = problem.forget_view.read(range(len(problem.forget_view)))
    with torch.no_grad():
        model.weight.copy_(-1e3 * torch.nn.functional.one_hot(labels, toys.CLASSES).double().T @ inputs)
    return model


def unlearned(cls, settings):
    """Return what the method makes of the problem in three steps."""
    problem = regression()
    run = toys.context(problem, models=[far(problem)])
    outcome = cls({**STEP, **settings}).unlearn(problem, run)
    assert outcome.stopped == "after 3 epochs"
    return outcome


def nll(logits, hot, original):
    """Return the slope of the mean loss in the logits."""
    return (softmax(logits, 1) - hot) / len(logits)


def kl(logits, hot, original):
    """Return the slope of the mean divergence from the original's answers."""
    return (softmax(logits, 1) - softmax(original, 1)) / len(logits)


def by_hand(forgotten, *, kept=nll, weights=(1.0, 1.0), steps=3, note=None):
    """Return weight and bias after the steps; ``weights`` may move: ``note(kept logits, hot)`` returns the next."""
    problem = regression()
    start = [p.detach().numpy().copy() for p in problem.source.open().parameters()]
    weight, bias = (p.copy() for p in start)
    sets = []
    for view in (problem.forget_view, problem.retain_view):
        inputs, labels = (part.numpy() for part in view.read(range(len(view))))
        sets.append((inputs, np.eye(toys.CLASSES)[labels]))
    for _ in range(steps):
        by_weight, by_bias = np.zeros_like(weight), np.zeros_like(bias)
        for (inputs, hot), slope, share in zip(sets, (forgotten, kept), weights, strict=True):
            rows = share * slope(inputs @ weight.T + bias, hot, inputs @ start[0].T + start[1])
            by_weight, by_bias = by_weight + rows.T @ inputs, by_bias + rows.sum(0)
        if note is not None:
            weights = note(sets[1][0] @ weight.T + bias, sets[1][1])
        weight, bias = weight - 0.3 * by_weight, bias - 0.3 * by_bias
    return weight, bias


def apart(model, values):
    """Return the largest difference of the model's weights from these."""
    return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))


def check(cls, settings, right, slips):
    """Assert that the method's weights are those of ``right``, and far from those of every slip."""
    model = unlearned(cls, settings).model
    assert apart(model, right) < 1e-12
    for name, values in slips.items():
        assert apart(model, values) > 1e-4, name
