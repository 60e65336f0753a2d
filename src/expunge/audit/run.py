"""One audit of one saved model, in a process that never saw it being made. Knows no method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from expunge.audit import annex
from expunge.audit.judge import asked, judge_all, required_decisions
from expunge.audit.policy import Policy
from expunge.core import registry, wording
from expunge.core.check import EvidenceKind, Measurement, NotMeasured
from expunge.core.digest import tree_digests
from expunge.core.errors import RunFailed, Tampered
from expunge.core.memory import GIB, asked_for, ran_out
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.report import Finding
from expunge.core.verdict import Verdict, judge
from expunge.engine.collect import collect
from expunge.engine.evidence import Evidence
from expunge.engine.parts import Parts
from expunge.engine.peers import peers
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
        have: which evidence there is: found out before, by a look at records that an audit must not see.
        alpha: error rate of this audit.
        seed: of the run; fixes the split into choosing and judging.
        subject: what the rows of the private annex call the candidate.
    """

    folder: str
    candidate: Artefact
    original: Artefact
    references: tuple[Artefact, ...]
    policy: Policy
    have: frozenset[EvidenceKind]
    alpha: float
    seed: int
    subject: str


def run_audit(problem: Problem, request: AuditRequest) -> tuple[tuple[Finding, ...], Cost]:
    """Return the findings on the candidate, and the work of finding them; writes its rows of the private annex.

    Raises:
        Tampered: a saved model is not what its record says.
        RunFailed: the memory did not suffice.
    """
    with _sparing(request):
        return _audited(problem, request)


def _audited(problem: Problem, request: AuditRequest) -> tuple[tuple[Finding, ...], Cost]:
    suite = request.policy.suite(request.have)
    checks = {name: registry.load("checks", name) for name in suite}
    count, results = len(request.references), dict[str, Measurement | NotMeasured]()
    if count < MIN_REFERENCES:
        because = f"needs {MIN_REFERENCES} retrained references or more, there are {count}"
        wanting = [name for name, check in checks.items() if EvidenceKind.REFERENCES in check.needs]
        results = {name: NotMeasured(check=name, because=because) for name in wanting}
        request = replace(request, references=())
    if EvidenceKind.PEERS not in request.have:
        wanting = [name for name, check in checks.items() if EvidenceKind.PEERS in check.needs]
        results |= {name: NotMeasured(check=name, because=peers(problem).because) for name in wanting}
    cost, findings = Cost(), judge_all(suite, results, request.alpha)
    if len(results) < len(suite):
        evidence, cost = _evidence(problem, request, asked({n: m for n, m in suite.items() if n not in results}))
        results |= {name: check().measure(evidence) for name, check in checks.items() if name not in results}
        findings = judge_all(suite, results, request.alpha)
        if judge(required_decisions(findings)) is Verdict.ERASED and _constant(evidence):
            findings = judge_all(suite, {n: NotMeasured(check=n, because=CONSTANT) for n in suite}, request.alpha)
    return tuple(_worded(finding, problem.task) for finding in findings), cost


@contextmanager
def _sparing(request: AuditRequest) -> Iterator[None]:
    """Turn an exhausted memory into an error that says what an audit holds, and which check of it holds most."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        files = (Path(request.folder) / request.candidate.path).rglob("*")
        weights = sum(file.stat().st_size for file in files if file.is_file()) / GIB
        trains = [name for name in request.policy.suite(request.have) if "relearning" in name]
        fix = "a machine with more memory: an audit holds one model at a time, and has no settings that lower it"
        if trains:
            saved = f"{3 * weights:.2g} GiB or more: gradients and moments of a model"
            fix = f"a policy without {', '.join(trains)} saves {saved}"
        raise RunFailed(
            "the memory does not suffice",
            where=f"audit of {request.subject}",
            found=f"{asked_for(error)}{weights:.2g} GiB of files of the model",
            expected="room for the model, for what a batch of records takes"
            + (", and for training it" if trains else ""),
            fix=fix,
        ) from error


def _worded(finding: Finding, task: str) -> Finding:
    """Return the finding in the words of its task."""
    result = finding.result
    if isinstance(result, Measurement):
        charts = tuple(replace(c, x=wording.of_task(c.x, task), y=wording.of_task(c.y, task)) for c in result.charts)
        result = replace(result, cannot_see=wording.of_task(result.cannot_see, task), charts=charts)
    return replace(finding, title=wording.of_task(finding.title, task), result=result)


CONSTANT = (
    "the outputs of the model are constant: what answers everything alike shows nothing by what it says of a record"
)
"""Why a model that knows nothing any more is never called erased, however near the references it comes."""


def _constant(evidence: Evidence) -> bool:
    return bool(evidence.outputs(evidence.candidate, "retain").constant)


def _evidence(problem: Problem, request: AuditRequest, kinds: frozenset[EvidenceKind]) -> tuple[Evidence, Cost]:
    """Return what all models say, and the work of asking; where there are references, annex rows are written, too."""
    compared = bool(request.references)
    judging = split(problem, request.seed)[1]
    parts = Parts.of(problem, judging, request.seed, near=compared, asked=kinds, tasks=request.policy.lm_eval)
    arrays, cost = {}, Cost()
    for artefact in (request.candidate, request.original, *request.references):
        _intact(request.folder, artefact)  # also those that need not be opened: equal ones, and ones asked before
        if artefact.model not in arrays:
            arrays[artefact.model], work = collect(
                problem,
                lambda artefact=artefact: reopen(problem, request.folder, artefact),
                parts,
                request.policy.relearning if compared and EvidenceKind.GRADIENTS in kinds & request.have else None,
                digest=artefact.model,
                seed=request.seed,
                cache=Path(request.folder) / "private" / "outputs",
            )
            cost += work
    evidence = Evidence(
        arrays,
        {name: _targets(view) for name, view in parts.items()},
        candidate=request.candidate.model,
        original=request.original.model,
        references=tuple(r.model for r in request.references),
        alpha=request.alpha,
        corrections=corrections(problem, parts),
        subjects={name: view.subjects for name, view in parts.items()},
        held=parts.held,
        groups=groups(problem, parts),
        classes=tuple(map(str, getattr(problem.records, "classes", ()))),
        target=None if problem.triggered is None else problem.triggered.target,
        texts=texts(parts),
        owners=parts.owners,
        asked=parts.asked.chosen,
        drawn_of=parts.drawn_of,
    )
    if compared:
        annex.write(Path(request.folder), request.subject, evidence, parts.forget.ids)
    return evidence, cost


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
    truth = problem.truth
    return np.array([truth.get(name, -1) for name in parts.forget.ids], dtype=np.int64) if truth else None


def _targets(view: Any) -> np.ndarray:
    labels = np.asarray(view.read(range(len(view)))[1])
    return labels if labels.dtype.kind == "f" else labels.astype(np.int64)


def texts(parts: Parts) -> dict[str, list[str]]:
    """Return what was to be predicted of the judged forget and holdout records, where that is text."""
    found = {name: [view.text(i) for i in range(len(view))] for name, view in parts.items() if name in _TEXTS}
    return {name: [str(text) for text in some] for name, some in found.items() if None not in some}


_TEXTS = ("forget", "holdout")
"""Parts whose texts a membership attack looks at."""


def groups(problem: Problem, parts: Parts) -> np.ndarray | None:
    """Return the group of every judged holdout record, empty where it has none; None where none has any."""
    names = [] if parts.holdout is None else [problem.groups.get(name, "") for name in parts.holdout.ids]
    return np.array(names) if any(names) else None
