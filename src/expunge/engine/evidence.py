"""Evidence: what the models under comparison said about the judging part. Arrays only; no model stays open.

Keys name models by their digest. Shapes: n records of a part, C classes, K references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from expunge.core.chart import Chart, Role, Series
from expunge.core.check import Check, Measurement, NotMeasured
from expunge.core.digest import keyed, sha256
from expunge.core.errors import Diverged, Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.core.serial import canonical
from expunge.engine.batches import in_order
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.engine.split import Part
from expunge.engine.storage import write_file
from expunge.numerics import curves, equivalence, membership
from expunge.numerics.divergences import log_softmax

Array = NDArray[np.float64]
SAMPLE = 2000
"""Retained records that are measured; a paired mean over 2,000 has an error far below any margin in use."""
NEIGHBOURS = 3
"""Nearest retained records per forgotten one."""
_FORM = 2
"""Of what is cached: 2 keeps relearning per pass. A cache of another form is not read but made anew."""


@dataclass(frozen=True)
class Outputs:
    """Logits [n, C] in float64 and targets [n] of one model on one part."""

    logits: Array
    target: NDArray[np.int64]

    @cached_property
    def log_probs(self) -> Array:
        """Log-probabilities, [n, C]."""
        return log_softmax(self.logits)

    @cached_property
    def loss(self) -> Array:
        """Minus the log-probability of the label, in nats, [n]."""
        result: Array = -self.log_probs[np.arange(len(self.target)), self.target]
        return result

    @cached_property
    def correct(self) -> Array:
        """1.0 where the most likely class is the label, [n]."""
        return self.predicts(self.target)

    @cached_property
    def confidence(self) -> Array:
        """Logit-scaled confidence of the label, [n]."""
        return membership.confidence(self.logits, self.target)

    def predicts(self, labels: NDArray[np.int64]) -> Array:
        """Return 1.0 where the most likely class is ``labels``, [n]."""
        result: Array = (self.logits.argmax(axis=1) == labels).astype(np.float64)
        return result


@dataclass(frozen=True)
class Parts:
    """The records that are judged, by name; None where the problem has none."""

    forget: View
    retain: View
    neighbours: View
    holdout: View | None

    @classmethod
    def of(cls, problem: Problem, judging: Part, seed: int) -> Parts:
        """Return the judging records of a problem: forget and holdout as split, a sample of the retain set."""
        key = keyed(b"expunge sample", seed)
        retain = problem.retain_view
        ranked = sorted(retain.ids, key=lambda name: keyed(key, name))[:SAMPLE]
        return cls(judging.forget, retain.select(ranked), neighbours(problem, judging.forget), judging.holdout)

    def items(self) -> list[tuple[str, View]]:
        """Return (name, records) of the parts that have records."""
        named = {
            "forget": self.forget,
            "retain": self.retain,
            "neighbours": self.neighbours,
            "holdout": self.holdout,
        }
        return [(name, view) for name, view in named.items() if view is not None and len(view)]


def neighbours(problem: Problem, forget: Records) -> View:
    """Return the retained records nearest to the forgotten ones, by Euclidean distance of the inputs."""
    retain, task = problem.retain_view, problem.meaning
    if not len(forget):
        return retain.select([])
    rows = torch.cat([task.inputs(batch) for batch in in_order(forget)])
    best = torch.empty(len(rows), 0, dtype=torch.float64)
    index = torch.empty(len(rows), 0, dtype=torch.long)
    start = 0
    for batch in in_order(retain):
        distance = torch.cdist(rows, task.inputs(batch))
        here = torch.arange(start, start + distance.shape[1]).expand_as(distance)
        best, index = torch.cat([best, distance], dim=1), torch.cat([index, here], dim=1)
        keep = best.topk(min(NEIGHBOURS, best.shape[1]), largest=False).indices
        best, index = best.gather(1, keep), index.gather(1, keep)
        start += distance.shape[1]
    return retain.select([retain.ids[i] for i in sorted(set(index.flatten().tolist()))])


def collect(
    problem: Problem,
    open_model: Callable[[], Any],
    parts: Parts,
    config: RelearningConfig,
    *,
    digest: str,
    seed: int,
    cache: Path,
) -> tuple[dict[str, Array], Cost]:
    """Return what one model says about the parts, and the work it took; read from ``cache`` if done before."""
    asked = [[name, list(view.ids)] for name, view in parts.items()]
    key = sha256(canonical([_FORM, digest, config, seed, asked]))
    # The file's name ends in its own digest: outputs that were changed afterwards would change a verdict.
    for path in sorted(cache.glob(f"{key}-*.safetensors")):
        data = path.read_bytes()
        if path.stem != f"{key}-{sha256(data)}":
            raise Tampered(
                "the kept outputs of a model are not what was written",
                where=f"{cache.name}/{path.name}",
                found="other bytes",
                expected="the bytes whose digest the name holds",
                fix="delete this file: the outputs are computed again",
            )
        return dict(load(data)), Cost()
    model = open_model()
    arrays = {name: _logits(problem, model, view) for name, view in parts.items()}
    read = sum(len(view) for _, view in parts.items())
    if len(parts.forget):
        arrays["relearned"] = _relearned(problem, model, parts.forget, config, seed)
    trained = config.epochs * len(parts.forget)
    data = save(arrays)
    write_file(cache / f"{key}-{sha256(data)}.safetensors", data, mode=0o600)
    return arrays, Cost(trained=trained, read=read + trained)


def _relearned(problem: Problem, model: Any, forget: Records, config: RelearningConfig, seed: int) -> Array:
    try:
        return relearn(problem, model, forget, config, seed=seed)
    except Diverged:
        return np.full((config.epochs, len(forget)), np.nan)  # measured as: not measured


def _logits(problem: Problem, model: Any, records: Records) -> Array:
    model.eval()
    with torch.no_grad():
        rows = [problem.meaning.units(model, batch).logits.double().numpy() for batch in in_order(records)]
    return np.concatenate(rows)


class Evidence:
    """What checks may ask for.

    Args:
        arrays: per model digest what :func:`collect` returned.
        targets: labels per part.
        candidate / original / references: model digests.
        alpha: one-sided error of the interval for passing.
        corrections: true labels of the judged forget records, -1 where not given; None where none is.
    """

    def __init__(
        self,
        arrays: Mapping[str, Mapping[str, Array]],
        targets: Mapping[str, NDArray[np.int64]],
        *,
        candidate: str,
        original: str,
        references: tuple[str, ...],
        alpha: float,
        corrections: NDArray[np.int64] | None,
    ) -> None:
        self._arrays, self._targets = arrays, targets
        self.candidate, self.original, self.references = candidate, original, references
        self.alpha, self.corrections = alpha, corrections
        self._outputs: dict[tuple[str, str], Outputs] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """Candidate, original and references, each once."""
        return tuple(dict.fromkeys([self.candidate, self.original, *self.references]))

    def lacks(self, *parts: str) -> str:
        """Return why a comparison over these parts cannot be made; empty when it can."""
        missing = [part for part in parts if part not in self._targets]
        if missing:
            return f"there are no {missing[0]} records"
        broken = sum(not all(np.isfinite(self._arrays[model][part]).all() for part in parts) for model in self.models)
        return f"the outputs of {broken} of {len(self.models)} models are NaN or infinite" if broken else ""

    def outputs(self, model: str, part: str) -> Outputs:
        """Return what a model said about a part."""
        key = (model, part)
        if key not in self._outputs:
            self._outputs[key] = Outputs(self._arrays[model][part], self._targets[part])
        return self._outputs[key]

    def relearned(self, model: str) -> Array:
        """Return which judged forget records are right after each relearning pass, [passes, n], in [0, 1]."""
        return self._arrays[model]["relearned"]

    def series(self, x: Array, rows: Mapping[str, Array]) -> tuple[Series, ...]:
        """Return the lines of a chart from one row of ``y`` per model: candidate, original, the band of references.

        A candidate that is the original or a reference is drawn once, as the model under audit.
        """
        places = curves.short(x)
        lines = [Series(role=Role.SUBJECT, x=places, y=curves.short(rows[self.candidate]))]
        if self.original != self.candidate:
            lines.append(Series(role=Role.ORIGINAL, x=places, y=curves.short(rows[self.original])))
        band = np.stack([rows[model] for model in self.references if model != self.candidate])
        mean, low, high = (curves.short(side) for side in (band.mean(axis=0), band.min(axis=0), band.max(axis=0)))
        lines.append(Series(role=Role.REFERENCES, x=places, y=mean, low=low, high=high))
        return tuple(lines)

    def compare_means(
        self, check: Check, parts: tuple[str, ...], statistic: Callable[[str], Array], **more: Any
    ) -> Measurement | NotMeasured:
        """Measure the mean over records of a per-record statistic ``model -> [n]``, paired on the same records."""
        because = self.lacks(*parts)
        if because:
            return NotMeasured(check=check.name, because=because)
        rows = {model: statistic(model) for model in self.models}
        if not len(rows[self.candidate]):
            return NotMeasured(check=check.name, because="no record of the judging part qualifies")
        values = {model: float(row.mean()) for model, row in rows.items()}
        if not all(np.isfinite(value) for value in values.values()):
            return NotMeasured(check=check.name, because="a value is not a finite number")
        # Retained and holdout records are a sample; forgotten records and their neighbours are all there is.
        sampled = any(part in ("retain", "holdout") for part in parts)
        error = equivalence.sample_error if sampled else equivalence.paired_error
        errors = {model: error(self.differences(rows, model)) for model in self.judged}
        return self.compare(check, values, n=len(rows[self.candidate]), errors=errors, **more)

    @property
    def judged(self) -> tuple[str, ...]:
        """Candidate and references: what is compared with the (other) references."""
        return tuple(dict.fromkeys([self.candidate, *self.references]))

    def differences(self, rows: Mapping[str, Array], model: str) -> Array:
        """Return the model's row minus the mean row of the references, itself left out, [n]."""
        others = [rows[reference] for reference in self.references if reference != model]
        return rows[model] - np.asarray(np.mean(others, axis=0))

    def compare(
        self,
        check: Check,
        values: Mapping[str, float],
        *,
        n: int,
        errors: Mapping[str, float],
        seed_scale: float = 1.0,
        details: Mapping[str, str] | None = None,
        charts: Callable[[], tuple[Chart, ...]] = tuple,
    ) -> Measurement:
        """Return the measurement of a quantity given on every model; ``errors`` over records on :attr:`judged`.

        ``charts`` is asked only where there is a measurement to draw beside.
        """
        record_error = errors[self.candidate]
        references = tuple(values[model] for model in self.references)
        interval = equivalence.difference(
            values[self.candidate], references, record_error=record_error, alpha=self.alpha, scale=seed_scale
        )
        return Measurement(
            check=check.name,
            value=values[self.candidate],
            references=references,
            original=values[self.original],
            interval=interval,
            n=n,
            record_error=record_error,
            null_errors=tuple(errors[model] for model in self.references),
            seed_scale=seed_scale,
            better=check.better,
            unit=check.unit,
            details=details or {},
            cannot_see=check.cannot_see,
            charts=charts(),
        )
