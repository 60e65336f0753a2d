"""Softmax regression and its slopes, written out in NumPy: what one step of a method is checked against."""

import numpy as np
from scipy.special import softmax

from tests.support import toys


def parameters(model):
    """Return copies of all parameters, in float64."""
    return [p.detach().numpy().astype(np.float64) for p in model.parameters()]


def distance(model, values):
    """Return the largest difference between the parameters of a model and ``values``."""
    return max(float(np.abs(p - v).max()) for p, v in zip(parameters(model), values, strict=True))


def read(records):
    """Return (inputs, labels) of all records."""
    return tuple(part.numpy() for part in records.read(range(len(records))))


def onehot(labels):
    """Return [N, 3]."""
    return np.eye(toys.CLASSES)[labels]


def back(inputs, by_logits):
    """Return the slopes in weights and bias of a sum over records, from those in the logits."""
    return by_logits.T @ inputs, by_logits.sum(0)


def slope(values, records):
    """Return the slopes of the mean cross entropy over ``records`` at (weight, bias)."""
    inputs, labels = read(records)
    return back(inputs, (softmax(inputs @ values[0].T + values[1], axis=1) - onehot(labels)) / len(labels))
