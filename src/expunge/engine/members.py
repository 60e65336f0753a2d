"""The members of a sharded ensemble as models that never saw a record: who held which, and what each says of it.

Whoever trained in shards has them for nothing: of a record that lay in one shard, every other member is a model that
was trained without it. Which shard that was stands in the ledgers of the members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.ensemble import FILE, Ensemble, held, ledgers
from expunge.engine.loop import ready
from expunge.engine.split import judged_count
from expunge.numerics.dealt import chance_before
from expunge.numerics.membership import confidence

Array = NDArray[np.float64]
FEWEST_UNITS = 10
"""Subjects (or records of their own) that must have been dealt out: with fewer the law of their mean is no bell."""
LARGEST_CHANCE = 0.05
"""Standard deviation that the deal may give the mean place: with more a true retrain would pass less often than 7 times
in 10 within 0.15. It takes 50 units with five members, 100 with two."""


@dataclass(frozen=True)
class Held:
    """Which member held each record: ``holders`` [n], -1 where that tells nothing; ``members``, their number.

    A record tells nothing where another one of its subject stays: its member goes on knowing that subject by right.
    """

    holders: NDArray[np.int64]
    members: int


def dealt_out(problem: Problem) -> bool:
    """Return whether ledgers say which member of an ensemble held each record."""
    return problem.ledger is not None and (Path(problem.ledger) / FILE).is_file()


def lacks(problem: Problem) -> str:
    """Return why the members say nothing of the forgotten records; empty where they do. Opens the original."""
    if not dealt_out(problem):
        return "there are no ledgers of an ensemble in shards"
    model = problem.source.open()
    if not isinstance(model, Ensemble) or len(model.members) < 2:
        return "the original is no ensemble of two members or more"
    units, members = judged_units(problem)
    if not units or chance_before(members, units) > LARGEST_CHANCE:
        needed = math.ceil((members + 1) / (12 * (members - 1) * LARGEST_CHANCE**2))
        return (
            f"{units} forgotten subjects or single records are judged, {needed} or more are needed with {members} "
            "members"
        )
    return ""


def holders(problem: Problem, forget: Records) -> Held:
    """Return which member held each of these forgotten records, by the ledgers of the problem.

    Raises:
        UsageError: the ledgers of a member are missing.
        Tampered: they are damaged.
    """
    assert problem.ledger is not None
    members = ledgers(Path(problem.ledger))
    shard_of = held(members)
    staying = {subject for subject in problem.retain_view.subjects if subject is not None}
    found = [
        -1 if subject in staying else shard_of.get(name, -1)
        for name, subject in zip(forget.ids, forget.subjects, strict=True)
    ]
    return Held(np.array(found, dtype=np.int64), len(members))


def judged_units(problem: Problem) -> tuple[int, int]:
    """Return (how many subjects or single records that the deal tells of are judged, members); canaries aside."""
    forget = problem.records.select([name for name in problem.forget_ids if name not in problem.planted_ids])
    found = holders(problem, forget)
    told = {subject or f"record {i}" for i, subject in enumerate(forget.subjects) if found.holders[i] >= 0}
    return judged_count(len(told)), found.members


def confidences(problem: Problem, model: Any, records: Records) -> Array | None:
    """Return the confidence of the label by each member of an ensemble, [S, n]; None for another kind of model.

    Of a record of several units it is their mean.
    """
    if not isinstance(model, Ensemble):
        return None
    members = [ready(member) for member in model.members]
    rows = []
    with torch.no_grad():
        for batch in in_order(records):
            said = [problem.meaning.units(member, batch) for member in members]
            rows.append(np.stack([u.by_record(u.per_unit(_confidence)).numpy() for u in said]))
    return np.concatenate(rows, axis=1)


def _confidence(logits: Tensor, target: Tensor) -> Tensor:
    return torch.from_numpy(confidence(logits.double().cpu().numpy(), target.cpu().numpy()))
