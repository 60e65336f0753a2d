"""Evidence: what the models under comparison said about the judging part. Arrays only; no model stays open.

Keys name models by their digest. Shapes: n records of a part, C classes, K references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import Chart, Role, Series
from expunge.core.check import Check, Measurement, NotMeasured, Yardstick
from expunge.engine import around, benchmarks, members, prompting, written
from expunge.engine.answers import Answers, Outputs, Spoken, typical_error
from expunge.engine.parts import part_of
from expunge.numerics import curves, equivalence, known

Array = NDArray[np.float64]
EXACT = "models answer half of the records that they never saw without any error: nothing to measure answers by"
_SAMPLED = ("retain", "holdout", "triggered")
"""Parts that are a sample; forgotten records and their neighbours are all there is. Retained ones may be, too."""


class Evidence:
    """What checks may ask for.

    Args:
        arrays: per model digest what :func:`collect` returned.
        targets: labels per part; of a regressor, whose outputs are one number per record, numbers; of a language model
            the scored tokens at their places, [n, T], negative elsewhere.
        candidate / original / references: model digests.
        alpha: one-sided error of the interval for passing.
        corrections: true labels of the judged forget records, -1 where not given; None where none is.
        subjects: whose the records of a part are, [n], None where unknown; a part that is not named has none.
        groups: the group of each judged holdout record, [n], empty where it has none; None where none has any.
        classes: what the user calls each class, in the order of class numbers; by default these numbers.
        held: which member of a sharded ensemble held each judged forget record; None where there is none.
        target: the class that the trigger of a backdoor leads to; None where there is none.
        texts: what was to be predicted of each record of a part, as text; a part that is not named has none.
        owners: which judged forget record each variant of a part is of, [m]; a part that is not named has no variants.
        asked: which records of a part a language model was asked to answer in its own words, [m], ascending.
        drawn_of: how many records a part was drawn from; one that is not named stands for any number.
    """

    def __init__(
        self,
        arrays: Mapping[str, Mapping[str, Array]],
        targets: Mapping[str, NDArray[Any]],
        *,
        candidate: str,
        original: str,
        references: tuple[str, ...],
        alpha: float,
        corrections: NDArray[np.int64] | None,
        subjects: Mapping[str, Sequence[str | None]] | None = None,
        held: members.Held | None = None,
        groups: NDArray[Any] | None = None,
        classes: Sequence[str] = (),
        target: int | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
        owners: Mapping[str, NDArray[np.int64]] | None = None,
        asked: Mapping[str, NDArray[np.int64]] | None = None,
        drawn_of: Mapping[str, int] | None = None,
    ) -> None:
        self.classes = classes
        self.asked, self._drawn_of = asked or {}, drawn_of or {}
        self.groups, self.target, self.texts, self._owners = groups, target, texts or {}, owners or {}
        self._arrays, self._targets, self._subjects = arrays, targets, subjects or {}
        self.candidate, self.original, self.references = candidate, original, references
        self.alpha, self.corrections, self.held = alpha, corrections, held
        self._outputs: dict[tuple[str, str], Outputs | Spoken | Answers] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """Candidate, original and references, each once."""
        return tuple(dict.fromkeys([self.candidate, self.original, *self.references]))

    def lacks(self, *parts: str, tokens: bool = False) -> str:
        """Return why a comparison over these parts cannot be made; empty when it can. ``tokens``: of texts alone."""
        missing = [part for part in parts if part not in self._targets]
        if missing:
            return f"there are no {missing[0]} records"
        if tokens and any(self._targets[part].ndim < 2 for part in parts):
            return "records are no texts: the model predicts no tokens"
        broken = sum(not all(np.isfinite(self._arrays[model][part]).all() for part in parts) for model in self.models)
        if broken:
            return f"the outputs of {broken} of {len(self.models)} models are NaN or infinite"
        return EXACT if self.scale is not None and math.isnan(self.scale) else ""

    def called(self, group: str) -> str:
        """Return the name of a group of holdout records for a report; who one person's group names stays unsaid."""
        mine = None if self.groups is None else self.groups == group
        whose = None if mine is None else self.clusters("holdout", mine)
        alone = whose is not None and len(whose) > 1 and whose.max() == 0
        return "of one subject" if alone else group

    def has(self, name: str) -> bool:
        """Return whether every model has this array of :func:`collect`."""
        return all(name in self._arrays[model] for model in self.models)

    def lacks_array(self, name: str, because: str) -> str:
        """Return why an array of :func:`collect` cannot be used, ``because`` where it is missing; empty when it can."""
        if not self.has(name):
            return because
        broken = sum(not np.isfinite(self._arrays[model][name]).all() for model in self.models)
        return f"the outputs of {broken} of {len(self.models)} models are NaN or infinite" if broken else ""

    def twins(self, *parts: str) -> str:
        """Return a reason where a reference says exactly what another model says of these records; else empty.

        A model that is attacked with its own copy is told by its own noise.
        """
        said = {model: b"".join(self._arrays[model][part].tobytes() for part in parts) for model in self.models}
        others = {said[model] for model in (self.candidate, self.original) if model not in self.references}
        answers = {said[model] for model in self.references}
        apart = len(answers) == len(self.references) and not answers & others
        return "" if apart else "a reference says of every record exactly what another model says: they are one"

    @cached_property
    def scale(self) -> float | None:
        """The typical error of the references on records they never saw, or of the original; None of classes.

        Never of the model under audit, which is measured by it.
        """
        part = next((part for part in ("holdout", "aside", "forget") if part in self._targets), None)
        if part is None or self._arrays[self.candidate][part].shape[1] > 1:
            return None
        return typical_error(
            [self._arrays[model][part][:, 0] for model in self.references or (self.original,)], self._targets[part]
        )

    def around(self, model: str) -> Array:
        """Return the confidence of the label beside the judged forget records, [n].

        Of copies moved by noise the mean; of copies with one value exchanged the largest: what is remembered shows
        where the value that is missing mattered least.
        """
        said = self._arrays[model][self.beside]
        copies = said if self.scale is None else np.stack([self._answers(row, "forget").confidence for row in said])
        return np.asarray(copies.max(axis=0) if self.beside == around.Exchange.name else copies.mean(axis=0))

    @property
    def beside(self) -> str:
        """The name of the array of what was said beside the forgotten records (``engine/around``)."""
        return around.Exchange.name if self.has(around.Exchange.name) else around.Noise.name

    def by_member(self, model: str) -> Array:
        """Return the confidence of the label of the judged forget records by each member of an ensemble, [S, n]."""
        return self._arrays[model]["members"]

    def treated(self, model: str, treatment: str) -> Spoken:
        """Return what a model said of the judged forget records after a treatment (``engine/treatments``)."""
        return Spoken(self._arrays[model][treatment], self._targets["forget"])

    def by_owner(self, part: str, values: Array) -> Array:
        """Return the mean of ``values`` [m] over the variants of each record that has some, [n]; NaN of one without."""
        owner, n = self._owners[part], len(self._targets[part_of(part)])
        total: Array = np.full(n, np.nan)
        count = np.bincount(owner, minlength=n)
        np.divide(np.bincount(owner, values, n), count, out=total, where=count > 0)
        return total

    def recalled(self, model: str, array: str) -> Array:
        """Return how much of m forgotten answers a model wrote, one of the arrays of ``engine/prompting``."""
        return self._arrays[model][array]

    def verbatim(self, model: str) -> dict[str, Array]:
        """Return how m begun answers go on word for word, [m] by the names of ``engine/prompting.VERBATIM``."""
        return dict(zip(prompting.VERBATIM, self._arrays[model]["verbatim"].T, strict=True))

    @property
    def asks_some(self) -> bool:
        """Whether more forgotten records are judged than are asked at most: those that are stand for the others."""
        return len(self.outputs(self.candidate, "forget").loss) > prompting.MOST

    def composed(self, model: str, part: str) -> written.Composed:
        """Return what a model wrote of the records :attr:`asked` of a part, numbers [m]."""
        return written.Composed.of(self._arrays[model][f"written {part}"])

    def inner(self, model: str, reading: str) -> Array:
        """Return the mean probability of a forgotten token by each inner block, [n, B]; ``lens`` or ``probe``."""
        said = self.outputs(model, "forget")
        return np.stack([said.by_record(np.exp(column)) for column in self._arrays[model][reading].T], axis=1)

    def benchmarks(self, model: str) -> dict[str, Array]:
        """Return what each document of a task of lm-eval comes to, [m], by the name of the array."""
        return {name: row for name, row in sorted(self._arrays[model].items()) if name.startswith(benchmarks.PREFIX)}

    def related(self, model: str) -> Array:
        """Return the extraction strength of some forget records after each pass of training on others, [passes, m]."""
        return self._arrays[model]["related"]

    def after(self, model: str, training: str) -> Array:
        """Return the extraction strength of the forget records after each pass of a training, [passes, n].

        ``training`` is ``treatments.NEIGHBOURS`` or ``treatments.OTHERS``: on texts that were not forgotten.
        """
        return self._arrays[model][training]

    def features(self, model: str, part: str) -> Array:
        """Return what the last layer of a model was given, [n, D]; ``part`` is one of :data:`REPRESENTED`."""
        return self._arrays[model][f"features {part}"]

    def outputs(self, model: str, part: str) -> Any:
        """Return what a model said about a part: :class:`Outputs` of classes, and with the same names others.

        Of tokens :class:`Spoken`, of numbers :class:`Answers`. ``log_probs`` and ``logits`` are of classes alone.
        """
        key = (model, part)
        if key not in self._outputs:
            said = self._arrays[model][part]
            target = self._targets[part]
            if target.ndim == 2:
                self._outputs[key] = Spoken(said, target)
            elif self.scale is not None:
                self._outputs[key] = self._answers(said[:, 0], part)
            else:
                self._outputs[key] = Outputs(said, target)
        return self._outputs[key]

    def _answers(self, said: Array, part: str) -> Answers:
        return Answers(said, np.asarray(self._targets[part], dtype=np.float64), self.scale or math.nan)

    def relearned(self, model: str) -> Array:
        """Return which judged forget records are right after each relearning pass, [passes, n], in [0, 1]."""
        said = self._arrays[model]["relearned"]
        return said if self.scale is None else np.stack([self._answers(row, "forget").correct for row in said])

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

    def clusters(self, part: str, where: NDArray[np.bool_] | None = None) -> equivalence.Clusters | None:
        """Return which records of a part go together when errors are reckoned, [n]; None: each stands for itself.

        Records of one subject go together in the holdout alone: it stands for a distribution of subjects. Retained
        records are drawn one by one from so many as there are, forgotten records and neighbours are all there is; what
        those of one subject share moves no mean of theirs (Abadie, Athey, Imbens and Wooldridge 2023, QJE 138(1):
        errors are clustered where the sampling is). ``where`` selects some of the records.
        """
        if part != "holdout" or not any(subject is not None for subject in self._subjects.get(part, ())):
            return None
        return self.units(part, where)

    def units(self, part: str, where: NDArray[np.bool_] | None = None) -> equivalence.Clusters:
        """Return which records of a part are of one subject, [n]; one whose subject is not known stands for itself.

        ``where`` selects some of the records.
        """
        subjects = self._subjects.get(part) or [None] * len(self._targets[part])
        own = [f"subject {name}" if name is not None else f"record {i}" for i, name in enumerate(subjects)]
        kept = own if where is None else [name for name, keep in zip(own, where, strict=True) if keep]
        return np.unique(kept, return_inverse=True)[1].astype(np.int64)

    def record_errors(
        self,
        part: str,
        rows: Mapping[str, Array],
        where: NDArray[np.bool_] | None = None,
        *,
        unseen: int = equivalence.UNSEEN,
        sample: bool = False,
    ) -> dict[str, float]:
        """Return per judged model the error over records of its mean less that of the other references.

        As far as seeds do not explain it (:func:`~expunge.numerics.equivalence.beyond_seeds`), and no less than so few
        records could not have shown. ``rows`` are a per-record statistic by model, [n], of all records of the part or
        of those in ``where``; for ``unseen`` see :func:`~expunge.numerics.equivalence.unseen_units`. ``sample``
        says that they stand for others, as those of a sampled part do: forgotten records of which some were looked at.
        """
        sampled, n = sample or part in _SAMPLED, len(rows[self.candidate])
        clusters = self.clusters(part, where) if sampled else None
        if clusters is not None and len(clusters) != n:
            raise ValueError(f"{n} values for {len(clusters)} {part} records: `where` says which they are of")
        plain = {m: equivalence.clustered_error(self.differences(rows, m), clusters) for m in self.judged}
        errors = equivalence.beyond_seeds(plain, self.references)
        if sampled:
            least = equivalence.unseen_units(n if clusters is None else int(clusters.max()) + 1, unseen)
            left = 1.0 if sample else equivalence.left_over(len(self._targets[part]), self._drawn_of.get(part))
            errors = {model: left * math.hypot(error, least) for model, error in errors.items()}
        for model in errors:
            others = [float(np.mean(rows[other])) for other in self.references if other != model]
            rounding = 1e-12 * max(1.0, *np.abs(others))
            if len(others) > 1 and np.ptp(others) <= rounding:
                errors[model] = max(errors[model], equivalence.unseen_error(n, len(self.references)))
        return errors

    def compare_means(
        self,
        check: Check,
        parts: tuple[str, ...],
        statistic: Callable[[str], Array],
        *,
        where: NDArray[np.bool_] | None = None,
        sample: bool = False,
        **more: Any,
    ) -> Measurement | NotMeasured:
        """Measure the mean over records of a per-record statistic ``model -> [n]``, paired on the same records.

        ``where`` says which records of the part it is of, where not of all; for ``sample`` see :meth:`record_errors`.
        """
        because = self.lacks(*parts)
        if because:
            return NotMeasured(check=check.name, because=because)
        rows = {model: statistic(model) for model in self.models}
        if not len(rows[self.candidate]):
            return NotMeasured(check=check.name, because="no record of the judging part qualifies")
        values = {model: float(row.mean()) for model, row in rows.items()}
        if not all(np.isfinite(value) for value in values.values()):
            return NotMeasured(check=check.name, because="a value is not a finite number")
        part = next((part for part in parts if part in _SAMPLED), parts[0])
        errors = self.record_errors(part, rows, where, sample=sample)
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
            details=self._measured_by | dict(details or {}),
            cannot_see=check.cannot_see,
            charts=charts(),
        )

    @property
    def _measured_by(self) -> dict[str, str]:
        """Return what a nat, a bit and a right answer mean where answers are numbers."""
        if self.scale is None:
            return {}
        return {"typical error of an answer": f"{self.scale:.4g}: answers within it are right, losses are in it"}

    def against(
        self,
        check: Check,
        values: Mapping[str, float],
        yardstick: Yardstick,
        *,
        n: int,
        error: float,
        details: Mapping[str, str] | None = None,
        charts: Callable[[], tuple[Chart, ...]] = tuple,
    ) -> Measurement:
        """Return the measurement of a quantity that has a yardstick without references.

        ``values`` on the candidate and the original; ``error`` is the standard error of the candidate's difference.
        """
        value = values[self.candidate]
        return Measurement(
            check=check.name,
            value=value,
            references=(),
            original=values[self.original],
            interval=known.difference(value, yardstick.value, error=error, alpha=self.alpha),
            n=n,
            record_error=error,
            null_errors=(),
            better=check.better,
            unit=check.unit,
            details=self._measured_by | dict(details or {}),
            cannot_see=check.cannot_see,
            charts=charts(),
            yardstick=yardstick,
        )
