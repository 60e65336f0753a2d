"""Which evidence there is on a problem, known before any work."""

from __future__ import annotations

import numpy as np
import torch

from expunge.core.check import EvidenceKind
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.engine import around, inside, members, prompting, treatments, written
from expunge.engine.groups import Groups
from expunge.engine.loop import ready
from expunge.engine.parts import VARIANTS, variants
from expunge.engine.peers import peers

ENOUGH = 45
"""Holdout records of a class, two thirds of them judged: with 30 one record weighs 3 points of its accuracy."""


def available(problem: Problem) -> frozenset[EvidenceKind]:
    """Return which evidence there is on a problem, apart from references: known before any work.

    Reads the labels of held-out and forgotten records, and, where these could be alike (``engine/peers``), all of both.
    """
    there = {
        EvidenceKind.FORGET: True,
        EvidenceKind.RETAIN: True,
        EvidenceKind.HOLDOUT: problem.held_out is not None,
        EvidenceKind.CORRECTIONS: bool(problem.request.corrections) and _has_classes(problem),
        EvidenceKind.CANARIES: problem.canaries is not None,
        EvidenceKind.TRIGGER: problem.triggered is not None and _has_classes(problem),
        EvidenceKind.TOKENS: _has_tokens(problem),
        EvidenceKind.ROUNDED: _has_tokens(problem) and problem.source.gradients,
        EvidenceKind.NEIGHBOURING: _has_tokens(problem) and problem.source.gradients,
        EvidenceKind.UNRELATED: _has_tokens(problem) and problem.source.gradients and bool(problem.held_out),
        EvidenceKind.RELATED: _has_tokens(problem) and problem.source.gradients and _several(problem),
        **{
            kind: _has_tokens(problem) and bool(variants(problem, problem.forget_view, names))
            for kind, names in VARIANTS.items()
        },
        EvidenceKind.SHOTS: _has_tokens(problem) and treatments.shots(problem, 0) is not None,
        EvidenceKind.WRITTEN: _has_tokens(problem) and bool(_written(problem).parts),
        EvidenceKind.INNER: _has_tokens(problem) and inside.readable(problem),
        EvidenceKind.AROUND: around.possible(problem),
        EvidenceKind.FEATURES: _has_features(problem),
        EvidenceKind.GRADIENTS: problem.source.gradients,
        EvidenceKind.CLASSES: _has_classes(problem) and _smallest_class(problem.held_out) >= ENOUGH,
        EvidenceKind.PEERS: not peers(problem).because,
        EvidenceKind.SHARDS: not members.lacks(problem),
        EvidenceKind.GROUPS: (groups := Groups.of(problem)).smallest >= Groups.ENOUGH,
        EvidenceKind.CELLS: groups.rarest >= Groups.ENOUGH,
    }
    prompts = prompting.Prompting.of(problem, problem.forget_view, 0, prompting.KINDS)
    return frozenset(kind for kind, here in there.items() if here) | prompts.questions.keys()


def _written(problem: Problem) -> written.Writing:
    return written.Writing.of(problem, {"forget": problem.forget_view}, 0)


def _has_features(problem: Problem) -> bool:
    """Return whether the task finds features in the original."""
    task, records = problem.meaning, problem.retain_view
    if type(task).features is Task.features or not len(records):
        return False
    return task.features(ready(problem.source.open()), records.read([0])) is not None


def _has_tokens(problem: Problem) -> bool:
    """Return whether labels are scored tokens at their places; reads one retained record."""
    records = problem.retain_view
    if not len(records):
        return False
    labels = np.asarray(records.read([0])[1])
    return labels.ndim == 2 and labels.dtype.kind == "i"


def _several(problem: Problem) -> bool:
    """Return whether forgotten texts are of several kinds; reads them."""
    return len(problem.forget_view) > 1 and len(np.unique(treatments.groups(problem.forget_view))) > 1


def _has_classes(problem: Problem) -> bool:
    """Return whether the task has class labels; reads one retained record."""
    records = problem.retain_view
    return len(records) > 0 and problem.meaning.relabelled(records.read([0]), {}) is not None


def _smallest_class(holdout: Records | None) -> int:
    """Return how many records the rarest class of the holdout has."""
    if holdout is None or not len(holdout):
        return 0
    labels = torch.as_tensor(holdout.read(range(len(holdout)))[1])
    return int(labels.unique(return_counts=True)[1].min())
