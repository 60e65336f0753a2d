"""Held-out records in the place of forgotten ones: what a model that never saw a record would say of it.

A model that was trained on neither answers a forgotten record as it answers held-out records of its class, where both
are draws of one law. So the forgotten record's counterparts ("strangers") tell, without any retrained model, how it
should be answered. Which these are:

- the class of a record is its true one: that of the request's corrections where its label was wrong, else its label;
- its strangers are the held-out records of that class, and all are asked about the label that the *record* was given: a
  six that was labelled a two is compared with held-out sixes and how likely a two they are held to be. Held-out twos
  would say that a wrong label ought to be known;
- of a class that goes altogether nothing is retained, and the strangers are the held-out records of all classes that
  stay, asked about the class that goes: a model that was never taught it holds nothing to be of it. Held-out records of
  the class itself are known to the original for the wrong reason;
- of a record whose label may be wrong, and of which the request does not say what it is (``Request.also``), none;
- without class labels, all held-out records, each asked about what it is itself.

None of this holds where the forgotten records are no ordinary sample of their class (one person's, the hardest), nor
where labels are wrong and the request does not say which.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch.nn import functional as F

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import evaluating
from expunge.engine.relabelling import absent, labels_of
from expunge.numerics.matching import Kind
from expunge.numerics.membership import confidence
from expunge.numerics.units import Scored

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Said:
    """What a model says of records.

    Attributes:
        logits: of all classes, [n, C]; empty where there are no class labels, or a record has not one unit.
        score: how sure the model is of the label, log p - log(1 - p), the mean over units, [n], in nats.
        known: probability of the label, in (0, 1); of several units their geometric mean, [n].
        right: share of units whose most likely class is the label, [n].
        several: whether a record has several units, as a text has tokens.
    """

    logits: Array
    score: Array
    known: Array
    right: Array
    several: bool


def said(problem: Problem, model: Any, records: Records) -> Said | None:
    """Return what ``model`` says of ``records``, in evaluation mode; None for a task without classes."""
    logits, score, known, right, several = [], [], [], [], False
    labelled = problem.meaning.labelled
    with evaluating(model), torch.no_grad():
        for batch in in_order(records):
            units = problem.meaning.units(model, batch)
            if not isinstance(units, Scored):
                return None
            phi = units.per_unit(_sureness)
            if labelled:
                logits.append(units.logits.double().cpu().numpy())
            score.append(units.by_record(phi).cpu().numpy())
            known.append(units.by_record(F.logsigmoid(phi)).exp().cpu().numpy())
            right.append(units.by_record(units.correct.double()).cpu().numpy())
            several |= len(phi) > units.batch_size
    whole = np.concatenate(logits) if logits else np.zeros((0, 0))
    single = len(whole) == len(records)
    parts = [np.concatenate(each) for each in (score, known, right)]
    return Said(whole if single else np.zeros((0, 0)), *parts, several=several)


def _sureness(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    found = confidence(logits.double().cpu().numpy(), target.cpu().numpy())
    return torch.from_numpy(found).to(target.device)


class Strangers:
    """The counterparts of the forgotten records of a part that has both forget and holdout records.

    Attributes:
        gone: classes of which no record is retained; empty without class labels.
        missing: how many forgotten records have no counterpart: no held-out record is of their class, or that is
            unknown.
        staying: which held-out records are of a class that stays, [m], bool: those that a good model still answers.
    """

    def __init__(self, problem: Problem, forget: Records, holdout: Records) -> None:
        given, held = labels_of(problem, forget), labels_of(problem, holdout)
        self.gone: frozenset[int] = frozenset()
        self.staying = np.ones(len(holdout), dtype=bool)
        self._labelled = given is not None and held is not None
        self._asked: list[tuple[Labels, list[_Asked]]] = []
        if given is not None and held is not None:
            truth = problem.truth
            classes = np.array([truth.get(name, label) for name, label in zip(forget.ids, given, strict=True)])
            self.gone = gone(problem, classes)
            self.staying = ~np.isin(held, list(self.gone))
            # Of a record that was found to be like wrongly labelled ones nobody has said what it is.
            untold = set(problem.request.also) - set(truth) if truth else set()
            told = np.array([name not in untold for name in forget.ids])
            for wrong in (False, True):
                self._pair(np.flatnonzero(told & ((given != classes) == wrong)), classes, given, held)
        compared = sum(len(mine) for mine, _ in self._asked)
        self.missing = len(forget) - compared if self._labelled else 0

    def _pair(self, mine: Labels, classes: Labels, given: Labels, held: Labels) -> None:
        asked = []
        for (own, label), count in Counter(zip(classes[mine].tolist(), given[mine].tolist(), strict=True)).items():
            theirs = np.flatnonzero(self.staying if own in self.gone else held == own)
            if len(theirs):
                asked.append(_Asked(own, theirs, label, count))
        mine = mine[np.isin(classes[mine], [each.own for each in asked])]
        if len(mine):
            self._asked.append((mine, asked))

    def kinds(self, forget: Said, holdout: Said) -> list[Kind]:
        """Return the scores of forgotten records beside those of their strangers, rightly and wrongly labelled apart.

        Both as one model says them, of all records of the part. Strangers count as often as forgotten records are of
        their class, so that a difference in the mix of classes is no difference. Empty where no record has a stranger.
        """
        if not self._labelled:
            return [Kind(forget.score, holdout.score, np.ones(len(holdout.score)))]
        return [_kind(forget.score[mine], asked, holdout.logits) for mine, asked in self._asked]

    def probabilities(self, forget: Said, holdout: Said) -> list[Kind]:
        """Return probabilities in the place of the scores of :meth:`kinds`; of several units their geometric mean."""
        if not self._labelled:
            return [Kind(forget.known, holdout.known, np.ones(len(holdout.known)))]
        return [kind.mapped(expit(kind.mine), expit(kind.theirs)) for kind in self.kinds(forget, holdout)]

    def loss(self, holdout: Said) -> float | None:
        """Return the mean loss of strangers, in nats, asked as above; None where no record has one by its class."""
        asked = [each for _, group in self._asked for each in group]
        if not asked:
            return None
        losses = [np.logaddexp(0.0, -each.scores(holdout.logits)).mean() for each in asked]
        return float(np.average(losses, weights=[each.count for each in asked]))


@dataclass(frozen=True)
class _Asked:
    """Strangers of ``count`` forgotten records of class ``own`` that were given one ``label``."""

    own: int
    theirs: Labels
    label: int
    count: int

    def scores(self, logits: Array) -> Array:
        """Return how sure the model is that each stranger is of this label, from the logits of all held-out records."""
        return confidence(logits[self.theirs], np.full(len(self.theirs), self.label))


def _kind(mine: Array, asked: list[_Asked], logits: Array) -> Kind:
    scores = [each.scores(logits) for each in asked]
    weights = [np.full(len(each.theirs), each.count / len(each.theirs)) for each in asked]
    return Kind(mine, np.concatenate(scores), np.concatenate(weights))


def staying(problem: Problem, records: Records) -> Records:
    """Return those of the records, which are no forgotten ones, whose class stays: all of them where there are none."""
    forgotten, labels = labels_of(problem, problem.forget_view), labels_of(problem, records)
    if forgotten is None or labels is None:
        return records
    kept = ~np.isin(labels, list(gone(problem, forgotten)))
    return records if kept.all() else records.select([records.ids[i] for i in np.flatnonzero(kept)])


def gone(problem: Problem, classes: Labels) -> frozenset[int]:
    """Return those of ``classes`` of which no record is retained; reads only until all the others were met."""
    return absent(classes, problem.retain_view)
