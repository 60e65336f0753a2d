"""The private annex: what the audit saw of every judged record, under keyed ids, for the holder of the run alone.

A verdict is about the records together; an engineer who wants to know which of them stand out finds them here.
Nothing of it enters the report. A row's id is keyed with the secret of the run, so that the file alone names
nobody, and rows are sorted by it, so that their order tells nothing.

Not covered: the records that methods chose by (a third, see ``engine/split``); no audit looks at them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expunge.core.digest import keyed
from expunge.core.errors import Tampered, UsageError
from expunge.core.storage import write_file
from expunge.engine.runs import read_secret

if TYPE_CHECKING:
    from expunge.engine.evidence import Evidence

PATH = "private/annex.csv"
"""Where it lies in the run directory."""
SECRET = "manifest-salt"
"""The secret of the run that keys the commitments of its report, and the ids here."""
COLUMNS = {
    "record": "keyed id",
    "model": "what was shown to the audit: original, attempt 1, ...",
    "loss": "cross-entropy of the given label, in nats, on that model",
    "loss_original": "the same on the original",
    "loss_references": "mean over the references",
    "sd_references": "standard deviation over the references (n - 1)",
    "z": "(loss - loss_references) / (sd_references * sqrt(1 + 1/K)); below 0: known better than by a retrained model",
    "below": "references with a smaller loss",
    "references": "number of references, K",
    "divergence": "mean Jensen-Shannon divergence of the answer from those of the references, in bits",
    "divergence_references": "the same of a reference from the others: what a true retrain has",
    "correct": "1 where the given label is the most likely one",
    "restored": "1 where the true label is; empty where the request gives none",
    "relearned": "share of relearning passes after which it is right",
    "relearned_references": "the same, mean over the references",
}
Row = dict[str, str]


def write(folder: Path, subject: str, evidence: Evidence, ids: Sequence[str]) -> None:
    """Put the rows of one audit into the annex, in the place of earlier ones of the same ``subject``."""
    key = read_secret(folder, SECRET)
    path = folder / PATH
    kept = [row for row in _read(path) if row["model"] != subject] if path.exists() else []
    rows = sorted([*kept, *_rows(subject, evidence, [hidden(key, name) for name in ids])], key=_place)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode(), mode=0o600)


def find(folder: Path, ids: Iterable[str]) -> dict[str, list[Row]]:
    """Return the rows of each id; none for an id that was not judged.

    Raises:
        UsageError: the run directory has no annex.
        Tampered: it is not what was written.
    """
    path = folder / PATH
    if not path.exists():
        raise UsageError(
            "this run directory has no annex",
            where=folder.name,
            found=f"no {PATH}",
            expected="the run directory of a finished audit",
            fix="give the --out of `expunge erase` or `expunge audit`; without references no record is judged by "
            "itself, and none is written",
        )
    rows: dict[str, list[Row]] = {}
    for row in _read(path):
        rows.setdefault(row["record"], []).append(row)
    key = read_secret(folder, SECRET)
    return {name: rows.get(hidden(key, name), []) for name in ids}


def hidden(key: bytes, name: str) -> str:
    """Return the id that stands for a record in the annex of the run that holds ``key``."""
    return keyed(key, "annex", name).hex()


def _place(row: Mapping[str, str]) -> tuple[str, bool, str]:
    return row["record"], row["model"] != "original", row["model"]


def _read(path: Path) -> list[Row]:
    rows = csv.DictReader(io.StringIO(path.read_text()))
    if rows.fieldnames != list(COLUMNS):
        raise Tampered(
            "the annex is not what was written",
            where=PATH,
            found="other columns",
            expected=", ".join(COLUMNS),
            fix="delete the file; another audit in this run directory writes its rows again",
        )
    return list(rows)


def _rows(subject: str, evidence: Evidence, names: Sequence[str]) -> list[Row]:
    import numpy as np

    def divergences(model: str) -> np.ndarray:
        own = evidence.outputs(model, "forget")
        others = [other for other in evidence.references if other != model]
        return np.mean([own.divergence(evidence.outputs(other, "forget")) for other in others], axis=0)

    def relearned(model: str) -> np.ndarray:
        if not evidence.has("relearned"):
            return np.full(len(names), np.nan)
        return evidence.relearned(model).mean(axis=0)

    models = evidence.references
    candidate = evidence.outputs(evidence.candidate, "forget")
    loss, of_references = candidate.loss, np.stack([evidence.outputs(model, "forget").loss for model in models])
    mean, spread = of_references.mean(axis=0), of_references.std(axis=0, ddof=1)
    error = spread * math.sqrt(1 + 1 / len(models))
    truth = evidence.corrections
    restored = candidate.predicts(truth) if truth is not None else np.full(len(loss), np.nan)
    columns = {
        "loss": loss,
        "loss_original": evidence.outputs(evidence.original, "forget").loss,
        "loss_references": mean,
        "sd_references": spread,
        "z": np.divide(loss - mean, error, out=np.full(len(loss), np.nan), where=error > 0),
        "below": (of_references < loss).sum(axis=0),
        "references": np.full(len(loss), len(models)),
        "divergence": divergences(evidence.candidate),
        "divergence_references": np.mean([divergences(model) for model in models], axis=0),
        "correct": candidate.correct,
        "restored": restored if truth is None else np.where(truth >= 0, restored, np.nan),
        "relearned": relearned(evidence.candidate),
        "relearned_references": np.mean([relearned(model) for model in models], axis=0),
    }
    return [
        {"record": name, "model": subject, **{column: _figure(values[place]) for column, values in columns.items()}}
        for place, name in enumerate(names)
    ]


def _figure(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
