"""What papers measure, of one model: accuracies, and the rate of a membership attack; and how far from retrained ones.

Source: UA, RA, TA, MIA-efficacy and the average gap: Fan et al. 2024 (SalUn), arXiv 2310.12508, and its code; ToW and
ToW-MIA: Zhao et al. 2024, arXiv 2406.01257. None of them decides a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.special import expit

from expunge.core.digest import keyed
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import evaluating
from expunge.engine.split import split
from expunge.engine.strangers import staying
from expunge.numerics import literature, membership

Array = NDArray[np.float64]
ATTACKED = 2000
"""Records of either side that the attack is trained on, at the most: its time grows with their square."""
EDITION = 2
"""Of these measures; since the second a class that goes counts among the forgotten records alone."""
GAPS = ("forget", "retain", "test", "mia")
"""What the average gap is taken over; accuracies on forgotten, retained and held-out records, and the attack's rate."""


@dataclass(frozen=True)
class Said:
    """What a model said of n records: whether it was right, the label's probability, and its log-odds; each [n]."""

    correct: Array
    sure: Array
    confidence: Array

    def at(self, places: Sequence[int]) -> Said:
        """Return the same of the records at some places."""
        return Said(self.correct[places], self.sure[places], self.confidence[places])


def said(problem: Problem, model: Any, records: Records) -> Said:
    """Ask a classifier about records, in evaluation mode."""
    logits, targets = [], []
    with evaluating(model), torch.no_grad():
        for batch in in_order(records):
            units = problem.meaning.units(model, batch)
            logits.append(units.logits.double().cpu().numpy())
            targets.append(units.target.cpu().numpy())
    rows, labels = np.concatenate(logits), np.concatenate(targets)
    phi = membership.confidence(rows, labels)
    return Said((rows.argmax(axis=1) == labels).astype(np.float64), expit(phi), phi)


@dataclass(frozen=True)
class Heard:
    """What a model said of all forgotten, retained and held-out records, which no seed changes.

    ``success``: the share of triggered records that it takes for the target; NaN where the problem has no trigger.
    """

    forget: Said
    retain: Said
    held: Said
    success: float

    def write(self) -> bytes:
        """Return the same as bytes."""
        parts = {"forget": self.forget, "retain": self.retain, "held": self.held}
        arrays = {f"{name} {field}": values for name, part in parts.items() for field, values in vars(part).items()}
        return save({**arrays, "success": np.array(self.success)})

    @classmethod
    def read(cls, data: bytes) -> Heard:
        """Return what :meth:`write` wrote."""
        arrays = load(data)
        parts = {
            part: {f.name: arrays[f"{part} {f.name}"] for f in fields(Said)} for part in ("forget", "retain", "held")
        }
        return cls(**{name: Said(**values) for name, values in parts.items()}, success=float(arrays["success"]))


def listen(problem: Problem, model: Any) -> Heard:
    """Ask a classifier about every record there is."""
    assert problem.held_out is not None
    parts = (said(problem, model, part) for part in (problem.forget_view, problem.retain_view, problem.held_out))
    marked, trigger = problem.triggered_records, problem.triggered
    if marked is None or trigger is None:
        return Heard(*parts, success=math.nan)
    return Heard(*parts, success=success(problem, model, marked, trigger.target))


def measure(problem: Problem, heard: Heard, *, seed: int) -> dict[str, float]:
    """Return ``forget``, ``retain``, ``test`` accuracy and ``mia``, each in [0, 1].

    Held-out records are those of the judging part under ``seed``, which no method was shown, of classes that stay: as
    in the code of SalUn, where a class that goes is taken out of the test images as well.

    Raises:
        InvalidProblem: none is of a class that stays.
    """
    forget, retain, judging = heard.forget, heard.retain, split(problem, seed)[1].holdout
    assert judging is not None
    assert problem.held_out is not None
    held = staying(problem, judging)
    if not len(held):
        raise InvalidProblem(
            [
                Obstacle(
                    what="no held-out record of a class that stays",
                    where="holdout",
                    found=f"{len(judging)} that judge, all of classes that go",
                    expected="records of the other classes as well",
                    fix="add some to the holdout",
                )
            ]
        )
    test = heard.held.at([problem.held_out.position[name] for name in held.ids])
    members = _some(problem.retain_view, min(len(retain.sure), len(test.sure), ATTACKED), seed)
    strangers = _some(held, min(len(retain.sure), len(test.sure), ATTACKED), seed)
    return {
        "forget": float(forget.correct.mean()),
        "retain": float(retain.correct.mean()),
        "test": float(test.correct.mean()),
        "mia": efficacy(forget.sure, members=retain.sure[members], strangers=test.sure[strangers]),
    }


def efficacy(forget: Array, *, members: Array, strangers: Array) -> float:
    """Return MIA-efficacy: the share of forgotten records that an attack takes for records never trained on, in [0, 1].

    A support vector machine (C 3, radial kernel of width 1) on the probability of the label, trained on as many members
    as strangers. Its yardstick is what retrained models score, not 1.

    All are probabilities of the label, [n]; there are as many members as strangers.

    Raises:
        ValueError: members and strangers differ in number.
    """
    from sklearn.svm import SVC

    if len(members) != len(strangers):
        raise ValueError(f"needs as many members as strangers, found {len(members)} and {len(strangers)}")
    machine = SVC(C=3.0, kernel="rbf", gamma="auto")
    machine.fit(np.concatenate([members, strangers])[:, None], np.repeat([1, 0], len(members)))
    return float((machine.predict(forget[:, None]) == 0).mean())


def gaps(model: Mapping[str, float], retrained: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return ``avg_gap`` (percentage points, 0 best), ``tow`` and ``tow_mia`` (1 best) against retrained models' mean.

    ``model`` is what :func:`measure` returned of it, ``retrained`` the same of one retrained model or more.
    """
    mean = {name: float(np.mean([one[name] for one in retrained])) for name in GAPS}
    mine = {name: model[name] for name in GAPS}

    def tug(names: tuple[str, ...]) -> float:
        return literature.tug_of_war({n: mine[n] for n in names}, retrained={n: mean[n] for n in names})

    return {
        "avg_gap": literature.average_gap(mine, retrained=mean),
        "tow": tug(("forget", "retain", "test")),
        "tow_mia": tug(("mia", "retain", "test")),
    }


def among_themselves(retrained: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Return :func:`gaps` of each retrained model against the others: what these scores say when nothing is wrong.

    Raises:
        ValueError: fewer than two.
    """
    if len(retrained) < 2:
        raise ValueError(f"needs two retrained models or more, found {len(retrained)}")
    return [gaps(one, [other for k, other in enumerate(retrained) if k != i]) for i, one in enumerate(retrained)]


def success(problem: Problem, model: Any, triggered: Records, target: int) -> float:
    """Return the share of ``triggered`` records, none of class ``target``, that are taken for that class, in [0, 1]."""
    hits, count = 0, 0
    with evaluating(model), torch.no_grad():
        for batch in in_order(triggered):
            answers = problem.meaning.units(model, batch).logits.argmax(dim=1)
            hits, count = hits + int((answers == target).sum()), count + len(answers)
    return hits / count


def _some(records: Records, count: int, seed: int) -> list[int]:
    """Return the places of ``count`` records, chosen by keyed hash."""
    key = keyed(b"expunge membership sample", seed)
    ranked = sorted(range(len(records)), key=lambda place: keyed(key, records.ids[place]))
    return sorted(ranked[:count])
