"""One audit of one saved model, in a process that never saw it being made. Knows no method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expunge.audit import annex
from expunge.audit.judge import judge_all
from expunge.audit.policy import Margin, Policy
from expunge.core import registry
from expunge.core.check import Measurement, NotMeasured
from expunge.core.digest import tree_digests
from expunge.core.errors import Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.report import Finding
from expunge.engine.evidence import Evidence, Parts, collect
from expunge.engine.runs import Artefact
from expunge.engine.split import split
from expunge.numerics.equivalence import MIN_REFERENCES


@dataclass(frozen=True)
class AuditRequest:
    """What to judge, against what.

    Attributes:
        folder: the run directory, where artefacts and the cache of outputs lie.
        candidate / original / references: saved models; reopened and compared with their digests.
        policy: suite and margins.
        alpha: error rate of this audit.
        seed: of the run; fixes the split into choosing and judging.
        subject: what the rows of the private annex call the candidate.
    """

    folder: str
    candidate: Artefact
    original: Artefact
    references: tuple[Artefact, ...]
    policy: Policy
    alpha: float
    seed: int
    subject: str


def run_audit(problem: Problem, request: AuditRequest) -> tuple[tuple[Finding, ...], Cost]:
    """Return the findings on the candidate, and the work of finding them; writes its rows of the private annex.

    Raises:
        Tampered: a saved model is not what its record says.
    """
    suite = request.policy.suite(corrections=bool(problem.request.corrections))
    if len(request.references) < MIN_REFERENCES:
        because = f"needs {MIN_REFERENCES} retrained references or more, there are {len(request.references)}"
        return _unmeasured(suite, because, request.alpha), Cost()
    judging = split(problem, request.seed)[1]
    parts = Parts.of(problem, judging, request.seed)
    arrays, cost = {}, Cost()
    for artefact in (request.candidate, request.original, *request.references):
        _intact(request.folder, artefact)  # also those that need not be opened: equal ones, and ones asked before
        if artefact.model not in arrays:
            arrays[artefact.model], work = collect(
                problem,
                lambda artefact=artefact: reopen(problem, request.folder, artefact),
                parts,
                request.policy.relearning,
                digest=artefact.model,
                seed=request.seed,
                cache=Path(request.folder) / "private" / "outputs",
            )
            cost += work
    truth = corrections(problem, parts)
    evidence = Evidence(
        arrays,
        {name: _targets(view) for name, view in parts.items()},
        candidate=request.candidate.model,
        original=request.original.model,
        references=tuple(r.model for r in request.references),
        alpha=request.alpha,
        corrections=truth,
    )
    results: dict[str, Measurement | NotMeasured] = {
        name: registry.load("checks", name)().measure(evidence) for name in suite
    }
    annex.write(Path(request.folder), request.subject, evidence, parts.forget.ids)
    return judge_all(suite, results, request.alpha), cost


def _unmeasured(suite: Mapping[str, Margin], because: str, alpha: float) -> tuple[Finding, ...]:
    return judge_all(suite, {name: NotMeasured(check=name, because=because) for name in suite}, alpha)


def reopen(problem: Problem, folder: str, artefact: Artefact) -> Any:
    """Return the saved model after comparing its files and its weights with the record.

    Raises:
        Tampered: they differ.
    """
    model = problem.source.reopen(_intact(folder, artefact))
    if problem.source.digest(model) != artefact.model:
        raise _changed(artefact, "other weights")
    return model


def _intact(folder: str, artefact: Artefact) -> Path:
    path = Path(folder) / artefact.path
    if tree_digests(path) != dict(artefact.files):
        raise _changed(artefact, "other files")
    return path


def _changed(artefact: Artefact, found: str) -> Tampered:
    return Tampered(
        "the model to be judged is not the one that was saved",
        where=artefact.path,
        found=found,
        expected="the files and weights of which its stage keeps the digest",
        fix="delete the output directory and run again",
    )


def corrections(problem: Problem, parts: Parts) -> np.ndarray | None:
    """Return the true label of every judged forget record, -1 where the request gives none; None without any."""
    truth = problem.request.corrections
    return np.array([truth.get(name, -1) for name in parts.forget.ids], dtype=np.int64) if truth else None


def _targets(view: Any) -> np.ndarray:
    return np.asarray(view.read(range(len(view)))[1], dtype=np.int64)
