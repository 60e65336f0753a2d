"""Does a model answer at all: finite numbers, and not everything alike? Asked before anything is read from its answers.

Retrained models are looked at by every run that they serve, and twice in each. One whose answers had nothing wrong is
not asked a second time on the same problem.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from expunge.core.digest import keyed
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import View

SAMPLE = 256
"""Retained records that a model is asked."""

_SAMPLES: WeakKeyDictionary[Problem, View] = WeakKeyDictionary()
_SOUND: WeakKeyDictionary[Problem, set[str]] = WeakKeyDictionary()
"""Digests of models whose answers had nothing wrong."""


def answers(problem: Problem, model: Any, *, where: str, digest: str) -> list[Obstacle]:
    """Return what is wrong with the answers of a model on some retained records; some of it may not be fatal.

    Args:
        problem: whose retained records are asked, a sample of them drawn by keyed hash.
        model: the module or estimator.
        where: what the model is called.
        digest: of the model.
    """
    sound = _SOUND.setdefault(problem, set())
    if digest in sound:
        return []
    found = problem.meaning.examine(model, _sample(problem), where=where)
    if not found:
        sound.add(digest)
    return found


def _sample(problem: Problem) -> View:
    if problem not in _SAMPLES:
        retain = problem.retain_view
        ranked = sorted(retain.ids, key=lambda name: keyed(b"expunge answers", name))[:SAMPLE]
        _SAMPLES[problem] = retain.select(ranked)
    return _SAMPLES[problem]
