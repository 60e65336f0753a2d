"""Tasks of lm-eval that were named: does the model do them as well as retrained ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.benchmarks import ANSWERS
from expunge.engine.evidence import Evidence


class LmEval(Check):
    """Mean over the named tasks of their metric, each the mean over its documents.

    Tasks are named in the job (``[lm_eval]``); nothing is asked where none are. A group counts by each of its tasks.
    The metric of a task is the first of lm-eval's that gives every document a number and is better when larger,
    accuracy for most. A text longer than the model reads is cut at its beginning, as lm-eval does.
    """

    title = "Tasks of lm-eval"
    source = "EleutherAI's lm-evaluation-harness, Gao et al., doi:10.5281/zenodo.10256836, as a difference"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.BENCHMARKS})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "what the named tasks do not ask for, and documents beyond the limit"

    def cost(self, n: int, references: int) -> Cost:
        """Return the work of ``n`` documents on each model, of tasks that let choose from four answers."""
        return Cost(read=ANSWERS * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean, paired by document with the references; documents are a sample of their task."""
        rows = {model: evidence.benchmarks(model) for model in evidence.models}
        names = list(rows[evidence.candidate])
        because = "" if names else "no task is named"
        for name in names:
            because = because or evidence.lacks_array(name, "a model was not asked")
        if because:
            return NotMeasured(check=self.name, because=because)
        terms = {model: _terms(list(each.values())) for model, each in rows.items()}
        errors = evidence.record_errors("forget", terms, sample=True)
        values = {model: float(np.mean([row.mean() for row in each.values()])) for model, each in rows.items()}
        return evidence.compare(
            self,
            values,
            n=len(terms[evidence.candidate]),
            errors=errors,
            details={name: _said(evidence, name) for name in names},
        )


def _terms(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return numbers of all documents whose mean is that of the means of the tasks."""
    count = sum(map(len, rows))
    return np.concatenate([row * (count / (len(rows) * len(row))) for row in rows])


def _said(evidence: Evidence, name: str) -> str:
    alone = [float(evidence.benchmarks(m)[name].mean()) for m in evidence.references if m != evidence.candidate]
    own = evidence.benchmarks(evidence.candidate)[name]
    return f"{own.mean():.3f} on {len(own)} documents (references {min(alone):.3f} to {max(alone):.3f})"
