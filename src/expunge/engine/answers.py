"""What a model said about records, as checks ask for it: of classes, of tokens, or of numbers.

Of a record with several scored tokens what is asked for is their mean: its loss is the mean loss of a token, and
``correct`` is the share of tokens that are the most likely ones where all before them are given (exact memorisation).

A regressor gives no probabilities. Its answer stands for a normal law around it, by one stated rule: the deviation is
the typical error of retrained models on records they never saw, the same for every model that is compared. Then its
losses are nats, its divergences bits, and an answer is right where it lies within one typical error of the target, so
that one suite with one set of margins judges both.

Shapes: n records of a part, C classes, K models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import ready
from expunge.numerics import divergences, extraction, membership
from expunge.numerics.units import ALIKE, alike

Array = NDArray[np.float64]
QUARTILE = 0.6744897501960817
"""The median distance of a standard normal number from 0."""


def output_of(problem: Problem, model: Any, records: Records, *, size: int | None = None) -> Array:
    """Return what ``model``, in evaluation mode from now on, says of ``records``: a row for each unit."""
    model = ready(model)
    with torch.no_grad():
        rows = [problem.meaning.units(model, batch).output.double().numpy() for batch in in_order(records, size)]
    return np.concatenate(rows)


def seen_of(problem: Problem, model: Any, records: Records) -> tuple[Array, Array | None]:
    """Return the same, and features [n, D] of the same pass; None where the task knows none of this model."""
    model = ready(model)
    with torch.no_grad():
        pairs = [problem.meaning.seen(model, batch) for batch in in_order(records)]
    outputs = np.concatenate([units.output.double().numpy() for units, _ in pairs])
    if any(features is None for _, features in pairs):
        return outputs, None
    return outputs, np.concatenate([features.double().numpy() for _, features in pairs])


@dataclass(frozen=True)
class Outputs:
    """Logits [n, C] in float64 and targets [n] of one model on one part."""

    logits: Array
    target: NDArray[np.int64]

    @cached_property
    def log_probs(self) -> Array:
        """Log-probabilities, [n, C]."""
        return divergences.log_softmax(self.logits)

    @cached_property
    def loss(self) -> Array:
        """Minus the log-probability of the label, in nats, [n]."""
        result: Array = -self.log_probs[np.arange(len(self.target)), self.target]
        return result

    @cached_property
    def correct(self) -> Array:
        """1.0 where the most likely class is the label, [n]."""
        return self.predicts(self.target)

    @cached_property
    def confidence(self) -> Array:
        """Logit-scaled confidence of the label, [n]."""
        return membership.confidence(self.logits, self.target)

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class of every record, [n]."""
        return self.target

    @property
    def constant(self) -> bool:
        """Whether all records got one answer."""
        return alike(torch.from_numpy(self.logits))

    def predicts(self, labels: NDArray[np.int64]) -> Array:
        """Return 1.0 where the most likely class is ``labels``, [n]."""
        result: Array = (self.logits.argmax(axis=1) == labels).astype(np.float64)
        return result

    def divergence(self, other: Outputs) -> Array:
        """Return the Jensen-Shannon divergence from what another model said, in bits, [n]."""
        return divergences.jensen_shannon(self.log_probs, other.log_probs)


@dataclass(frozen=True)
class Spoken:
    """What one model said of the scored tokens of one part, [N, 4] (``numerics/tokens.SAID``), and these, [n, T].

    ``target`` holds the scored tokens of each record at their places, and a negative number elsewhere.
    """

    said: Array
    target: NDArray[np.int64]

    @cached_property
    def record(self) -> NDArray[np.int64]:
        """The index of the record of every scored token, [N], ascending."""
        scored = self.target[:, 1:] >= 0
        return np.repeat(np.arange(len(self.target)), scored.sum(axis=1))

    def by_record(self, values: Array) -> Array:
        """Return the mean of ``values`` [N] over the tokens of each record, [n]."""
        n = len(self.target)
        total: Array = np.bincount(self.record, values, n) / np.bincount(self.record, minlength=n)
        return total

    @cached_property
    def loss(self) -> Array:
        """Minus the mean log-probability of a scored token, in nats, [n]."""
        return -self.by_record(self.said[:, 0])

    @cached_property
    def correct(self) -> Array:
        """Share of scored tokens that are the most likely ones, [n]: exact memorisation."""
        return self.by_record(self.said[:, 1])

    @cached_property
    def extraction(self) -> Array:
        """Share of scored tokens that are right to the end of the record, [n]: extraction strength."""
        return extraction.extraction_strength(self.said[:, 1] > 0.5, self.record, len(self.target))

    @cached_property
    def confidence(self) -> Array:
        """Logit-scaled probability of a scored token, the mean of each record, [n]."""
        return self.by_record(_logit(self.said[:, 0]))

    @property
    def classes(self) -> None:
        """There are none."""
        return None

    @property
    def constant(self) -> bool:
        """Whether the same is said of every token, whatever stands before it."""
        return len(self.said) > 1 and float(np.ptp(self.said[:, 2:], axis=0).max()) < ALIKE

    def predicts(self, labels: Array) -> Array:
        """Refuse: tokens have no other labels.

        Raises:
            TypeError: always; no request for a language model gives true labels.
        """
        raise TypeError("tokens have no other labels")

    def divergence(self, other: Spoken) -> Array:
        """Return the Jensen-Shannon divergence from another model on "the token comes, or another one", in bits, [n].

        The mean over tokens; at most the divergence over the whole vocabulary (Lin 1991: no grouping adds to it).
        """
        return self.by_record(divergences.jensen_shannon(_two(self.said[:, 0]), _two(other.said[:, 0])))


def _two(log_prob: Array) -> Array:
    """Return log-probabilities of an event and of its opposite, [N, 2]."""
    return np.stack([log_prob, _opposite(log_prob)], axis=1)


def _opposite(log_prob: Array) -> Array:
    """Return ``log(1 - p)``, [N], with p at most 1 - 1e-7: what single precision tells from 1."""
    result: Array = np.log(-np.expm1(np.minimum(log_prob, -1e-7)))
    return result


def _logit(log_prob: Array) -> Array:
    return log_prob - _opposite(log_prob)


@dataclass(frozen=True)
class Answers:
    """Answers [n] in float64 and targets [n] of one model on one part; ``scale`` is the typical error.

    Where the scale is NaN (:func:`typical_error`) so is all that is measured in it.
    """

    answer: Array
    target: Array
    scale: float

    @cached_property
    def loss(self) -> Array:
        """Minus the log-density of the target, less that of an answer without error, in nats, [n]."""
        return ((self.answer - self.target) / self.scale) ** 2 / 2

    @cached_property
    def correct(self) -> Array:
        """1.0 where the answer lies within one typical error of the target, [n]."""
        return self.predicts(self.target)

    @property
    def confidence(self) -> Array:
        """Log-density of the target, less that of an answer without error, in nats, [n]."""
        return -self.loss

    @property
    def classes(self) -> None:
        """There are none."""
        return None

    @property
    def constant(self) -> bool:
        """Whether all records got one answer."""
        return len(self.answer) > 1 and float(np.ptp(self.answer)) < ALIKE * self.scale

    def predicts(self, targets: Array) -> Array:
        """Return 1.0 where the answer lies within one typical error of ``targets``, [n]."""
        return (np.abs(self.answer - targets) <= self.scale).astype(np.float64)

    def divergence(self, other: Answers) -> Array:
        """Return the Jensen-Shannon divergence from what another model said, in bits, [n]."""
        return divergences.normal_jensen_shannon((self.answer - other.answer) / self.scale)


def typical_error(answers: Sequence[Array], target: Array) -> float:
    """Return the deviation of the normal law whose median error is that of K models' answers [n] to ``target`` [n].

    The median, so that a few records that nobody can answer make no error typical. NaN where it is 0: models that
    answer half of all records without error leave nothing to measure in.
    """
    found = float(np.median(np.abs(np.stack(answers) - target))) / QUARTILE
    return found if found > 0 else float("nan")
