"""Does a trainer know the forgotten records although it was not given them? Train it on changed labels and see.

Two models are trained on the same records: one (a) with the labels as they are, one (b) with every class c replaced by
another one, shift(c). Who learns from the view alone answers a record that neither was given with some class under (a)
and with the shift of such a class under (b). Who kept the forget set aside answers its given label y under both. So
these two patterns are counted over the forget set:

    known:  a(x) = y               and  b(x) = y
    mirror: a(x) = shift^-1(y)     and  b(x) = shift(y)

For a trainer without such knowledge (a, shift^-1 b) are two draws of one law, and swapping them swaps the patterns:
their numbers are equal but for chance, however hard the records are and however wrong their labels. The same count over
records that nobody was given (the holdout) says how often a model that merely knows the classes (a pretrained head)
shows the first pattern: that is no knowledge of the forget set, and no reason to refuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from expunge.core.digest import keyed, sha256
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.core.task import Task
from expunge.engine.batches import in_order
from expunge.engine.loop import ready

Labels = NDArray[np.int64]
MOST = 2000
"""Records of each kind that are answered; the test needs tens."""
LEVEL = 1e-4
"""Of either test: refusing an honest trainer is worse than missing a bad one, whose control fails later."""
FEWEST = 14
"""Records that show a pattern, at the least: 2^-14 < LEVEL. A smaller forget set cannot show anything."""


class Relabelled(Records):
    """Records whose labels are replaced by ``classes``; everything else as it is.

    Args:
        base: the records.
        task: says where the label of an example is.
        classes: new class by class; the others stay.
    """

    def __init__(self, base: Records, task: Task, classes: Mapping[int, int]) -> None:
        self._base, self._task, self._classes = base, task, dict(classes)
        self.ids, self.subjects = base.ids, base.subjects

    def __getitem__(self, index: int) -> Any:
        """Return the example with its other label."""
        return self._task.relabelled(self._base[index], self._classes)

    def read(self, indices: Sequence[int]) -> Any:
        """Return the batch with its other labels."""
        return self._task.relabelled(self._base.read(indices), self._classes)

    def content(self, index: int) -> str:
        """Return a content digest of the example with its other label."""
        return sha256(f"{self._base.content(index)} {sorted(self._classes.items())}".encode())


def shift(labels: Labels, step: int) -> dict[int, int]:
    """Return a permutation without fixed point of the classes that occur, empty for fewer than two.

    ``step`` 0, 1, ... give different ones as long as there are classes.
    """
    classes = sorted(set(labels.tolist()))
    if len(classes) < 2:
        return {}
    by = 1 + step % (len(classes) - 1)
    return {name: classes[(place + by) % len(classes)] for place, name in enumerate(classes)}


def labels_of(problem: Problem, records: Records) -> Labels | None:
    """Return the given label of every record, [n]; None where the task has none."""
    if not len(records) or problem.meaning.relabelled(records.read([0]), {}) is None:
        return None
    return np.concatenate([np.asarray(batch[1], dtype=np.int64) for batch in in_order(records)])


def absent(classes: Labels, records: Records) -> frozenset[int]:
    """Return those of ``classes`` that none of ``records`` has; reads only until all the others were met."""
    left = set(classes.tolist())
    for batch in in_order(records):
        left -= set(np.asarray(batch[1], dtype=np.int64).tolist())
        if not left:
            break
    return frozenset(left)


def sample(records: Records) -> View:
    """Return at most MOST records, drawn by a hash of their ids."""
    ranked = sorted(records.ids, key=lambda name: keyed(b"expunge relabelling", name))[:MOST]
    return records.select(ranked)


def answers(problem: Problem, model: Any, records: Records) -> Labels:
    """Return the most likely class of every record, [n]."""
    with torch.no_grad():
        found = [problem.meaning.units(ready(model), batch).logits.argmax(dim=1) for batch in in_order(records)]
    return np.asarray(torch.cat(found).cpu().numpy(), dtype=np.int64)


@dataclass(frozen=True)
class Patterns:
    """Which records show a pattern, [n] each; several pairs of models are joined with ``&``."""

    known: NDArray[np.bool_]
    mirror: NDArray[np.bool_]

    @classmethod
    def of(cls, given: Labels, plain: Labels, changed: Labels, classes: Mapping[int, int]) -> Patterns:
        """Return the patterns of one pair: answers of the model with ``plain`` and with ``changed`` labels."""
        back = {new: old for old, new in classes.items()}
        # A class that the sample lacks has no image: -1 is nobody's answer.
        before = np.array([back.get(int(label), -1) for label in given])
        after = np.array([classes.get(int(label), -1) for label in given])
        return cls((plain == given) & (changed == given), (plain == before) & (changed == after))

    def __and__(self, other: Patterns) -> Patterns:
        """Return the records that show a pattern on this pair and on the other."""
        return Patterns(self.known & other.known, self.mirror & other.mirror)


def suspect(forget: Patterns) -> bool:
    """Return whether the forget set is known more often than mirrored: an exact sign test, one-sided, at LEVEL."""
    known, mirror = int(forget.known.sum()), int(forget.mirror.sum())
    return known >= FEWEST and bool(stats.binomtest(known, known + mirror, 0.5, alternative="greater").pvalue <= LEVEL)


def remembers(forget: Patterns, given: Labels, others: Patterns, given_others: Labels) -> bool:
    """Return whether the forget set is known: more often than mirrored, and more often than what nobody was given.

    Two one-sided tests at LEVEL, both of which must reject: that of :func:`suspect`, and an exact test of ``known`` on
    the forget set against ``others`` within each label (conditional on totals; Mantel and Haenszel 1959). A label that
    the others lack is compared with all of them.
    """
    if not suspect(forget):
        return False
    known = int(forget.known.sum())
    law = np.ones(1)  # of the number of forget records that show the pattern, were the forget set like the others
    elsewhere = Counter(given_others.tolist())
    alone = np.array([elsewhere[int(label)] == 0 for label in given])
    strata = [(given == label, given_others == label) for label in sorted(set(given[~alone].tolist()))]
    if alone.any():
        strata.append((alone, np.ones(len(given_others), dtype=bool)))
    for mine, theirs in strata:
        n, total = int(mine.sum()), int(mine.sum() + theirs.sum())
        shown = int(forget.known[mine].sum() + others.known[theirs].sum())
        law = np.convolve(law, stats.hypergeom(total, shown, n).pmf(np.arange(n + 1)))
    return float(law[known:].sum()) <= LEVEL


def knows_the_classes(others: Patterns) -> bool:
    """Return whether most records that nobody was given are answered as if the labels had not been changed."""
    return len(others.known) >= FEWEST and float(others.known.mean()) > 0.5
