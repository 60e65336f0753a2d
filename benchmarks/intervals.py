"""Is the verdict right as often as it says? Simulated with the rule that judges, where the truth is known.

Five laws of seeds (and a sixth, very skewed), 3 to 50 references, 1 to 200 records, alone or clustered by subject:

- coverage: how often the interval of a true retrain holds its true difference, none;
- false passes of a *model* whose own difference lies exactly on the margin, and of a *method* whose difference lies
  there in the mean while every model of it varies as retrained ones do; the margin is endless (the worst), the worse
  side of it is counted;
- a true retrain called a failure, and the chance that it passes, by the width of the margin;
- fifty such models in a row in one run directory, against the same references;
- a holdout of subjects with many records each, with errors over records (as before) and over subjects;
- a holdout that seeds answer differently from record to record, with what they do to records counted twice (as
  before) and once;
- forget sets of 1, 5 and 20 records answered right or wrong, before and after `unseen_error`.

    python benchmarks/intervals.py [--json] [--save FILE]        about a minute on one thread
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _table import Row, arguments, finish
from numpy.typing import NDArray

from expunge.core.verdict import alpha_of_attempt
from expunge.numerics import equivalence

Array = NDArray[np.float64]
ALPHA = 0.05
"""Over all attempts of a run, as in the standard policy; a single one is the first, at half of it."""
REFERENCES = (3, 5, 8, 12, 20, 32, 50)
RECORDS = (1, 5, 20, 200)
CLUSTERS = (1, 10, 50)
LAWS = ("normal", "heavy tails", "skewed", "very skewed", "two modes", "uniform")
NOISE, TOGETHER = 0.5, 0.3
"""Standard deviation of what seeds do to one record alone, in seed deviations; correlation within a subject."""
MARGINS = (3.0, 4.0, 5.0, 7.0)
ATTEMPTS = 50


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One simulated rate: what, where, how often, and its standard error over the simulation."""

    table: str
    law: str
    references: int
    records: int
    cluster: int
    what: str
    rate: float
    error: float

    @property
    def key(self) -> str:
        """Where it stands in the results file."""
        return f"{self.table} | {self.law} | K {self.references} | n {self.records} | by {self.cluster} | {self.what}"


def seeds(draw: np.random.Generator, law: str, shape: tuple[int, ...]) -> Array:
    """Return what seeds do to the mean of all records: mean 0, standard deviation 1.

    Student's t with 3 degrees of freedom; lognormal with a log-deviation of 0.5 (skewness 1.75) and of 1 (6.2); two
    modes, one deviation to either side, each 0.2 wide.
    """
    if law == "heavy tails":
        return draw.standard_t(3, shape) / math.sqrt(3)
    if law in ("skewed", "very skewed"):
        s = 0.5 if law == "skewed" else 1.0
        mean = math.exp(s * s / 2)
        return np.asarray((draw.lognormal(0, s, shape) - mean) / (mean * math.sqrt(math.expm1(s * s))))
    if law == "two modes":
        return np.asarray((draw.choice([-1.0, 1.0], shape) + 0.2 * draw.normal(size=shape)) / math.sqrt(1.04))
    if law == "uniform":
        return draw.uniform(-math.sqrt(3), math.sqrt(3), shape)
    return draw.normal(size=shape)


def clustered(draw: np.random.Generator, runs: int, n: int, size: int) -> Array:
    """Return normal noise of records, [runs, n], of variance 1; those of one subject, ``size`` each, correlated."""
    if size == 1:
        return draw.normal(size=(runs, n))
    count = -(-n // size)
    own, shared = draw.normal(size=(runs, n)), draw.normal(size=(runs, count))
    return math.sqrt(TOGETHER) * np.repeat(shared, size, axis=1)[:, :n] + math.sqrt(1 - TOGETHER) * own


def noise(
    draw: np.random.Generator, runs: int, *, references: int, n: int, size: int
) -> tuple[Array, Array, Array, Array]:
    """Return what seeds do to records: means of the references [runs, K] and the candidate [runs], its rows [runs, n].

    Rows are the candidate's less the mean of the references. The table of K rows of normal noise is never drawn: given
    the mean row, the means of the rows are independent of it but for their own mean (Cochran's theorem), with
    the variance of a mean over n. Last comes the mean square error over records of the references against each other,
    [runs]: K - 1 independent rows of deviations, whose squares have a chi-square law by subject and within.
    """
    mean_row = NOISE / math.sqrt(references) * clustered(draw, runs, n, size)
    own = NOISE * clustered(draw, runs, n, size)
    sizes = np.bincount(np.arange(n) // size)
    variance = NOISE**2 * ((1 - TOGETHER) * n + TOGETHER * np.square(sizes).sum() if size > 1 else n) / n**2
    free = math.sqrt(variance) * draw.normal(size=(runs, references))
    means = free - free.mean(axis=1, keepdims=True) + mean_row.mean(axis=1, keepdims=True)
    squares = np.zeros(runs)
    if n > 1:
        groups = len(sizes) if size > 1 else 1  # subjects of one size, as all are here
        within, between = (references - 1) * (n - groups), (references - 1) * (groups - 1)
        alone = 1 - TOGETHER if size > 1 else 1.0
        squares = alone * draw.chisquare(within, runs)
        if between:
            squares += (alone + TOGETHER * n / groups) * draw.chisquare(between, runs)
        squares *= NOISE**2 * references / (references - 1) ** 2 / (n * (n - 1))
    return means, own.mean(axis=1), own - mean_row, squares


def beyond_seeds(error: Array, squares: Array, references: int) -> Array:
    """Return :func:`expunge.numerics.equivalence.beyond_seeds` of each run, [runs]."""
    return np.sqrt(np.maximum(0.0, np.square(error) - squares * (1 - 1 / references**2)))


def halves(references: Array, record_error: Array, alpha: float) -> Array:
    """Return the half-width of each run from its references [runs, K] and record error [runs]."""
    spread = references.std(axis=1, ddof=1)
    return equivalence.half_width(spread, references.shape[1], record_error=record_error, alpha=alpha)


def passes(difference: Array, half: Array, margin: float) -> NDArray[np.bool_]:
    """Return whether the interval lies inside the margin, as :func:`expunge.core.verdict.decide` says."""
    return np.asarray((-margin <= difference - half) & (difference + half <= margin))


def fails(difference: Array, half: Array, margin: float) -> NDArray[np.bool_]:
    """Return whether the interval lies outside; one required check, so that there is nothing to correct for."""
    return np.asarray((difference - half > margin) | (difference + half < -margin))


def on_the_margin(deviation: Array, half: Array) -> float:
    """Return the larger rate, of either side and all margins, of passing with a difference of the margin + deviation.

    An endless margin is the worst: a finite one has a far side, too, which can only stop a pass.
    """
    return max(float(np.mean(deviation <= -half)), float(np.mean(deviation >= half)))


def cell(table: str, law: str, k: int, n: int, size: int, what: str, rate: float, runs: int) -> Cell:
    """Return a rate with its error; no rate is surer than one more run could make it."""
    spread = max(rate * (1 - rate), 1 / runs)
    return Cell(
        table=table, law=law, references=k, records=n, cluster=size, what=what, rate=rate,
        error=math.sqrt(spread / runs),
    )  # fmt: skip


def forgotten(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield the rates of a check over forgotten records: all there are, so that seeds are the only chance."""
    alpha = alpha_of_attempt(1, ALPHA)
    for law in LAWS:
        for k in REFERENCES:
            for n in RECORDS:
                for size in (size for size in CLUSTERS if size == 1 or n > 1):
                    means, own, rows, squares = noise(draw, runs, references=k, n=n, size=size)
                    references = seeds(draw, law, (runs, k)) + means
                    candidate = seeds(draw, law, (runs,)) + own
                    error = rows.std(axis=1, ddof=1) / math.sqrt(n) if n > 1 else np.zeros(runs)
                    error = beyond_seeds(error, squares, k)
                    half, mean = halves(references, error, alpha), references.mean(axis=1)
                    away = candidate - mean
                    # A model's own difference is its mean over these records from the mean of all retrained ones, 0.
                    found = {
                        "covered": float(np.mean(np.abs(away) <= half)),
                        "model on the margin passes": on_the_margin(-mean, half),
                        "method on the margin passes": on_the_margin(away, half),
                    }
                    deviation = float(candidate.std())
                    for width in MARGINS:
                        found[f"retrain passes at {width:g}"] = float(np.mean(passes(away, half, width * deviation)))
                    found["retrain fails at 3"] = float(np.mean(fails(away, half, 3 * deviation)))
                    for what, rate in found.items():
                        yield cell("forgotten", law, k, n, size, what, rate, runs)


def fifty(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield how often any of fifty attempts in a row passes; seeds alone, the other checks all pass."""
    alphas = [alpha_of_attempt(number, ALPHA) for number in range(1, ATTEMPTS + 1)]
    for law in LAWS:
        for k in REFERENCES:
            references = seeds(draw, law, (runs, k))
            mean, attempts = references.mean(axis=1), seeds(draw, law, (runs, ATTEMPTS))
            zero = np.zeros(runs)
            half = np.stack([halves(references, zero, alpha) for alpha in alphas], axis=1)
            alone = np.stack([halves(seeds(draw, law, (runs, k)), zero, alpha) for alpha in alphas], axis=1)
            away = attempts - mean[:, None]
            apart = attempts - seeds(draw, law, (runs, ATTEMPTS, k)).mean(axis=2)
            bad = {
                "models, references shared": (np.repeat(-mean[:, None], ATTEMPTS, axis=1), half, None),
                "methods, references shared": (away, half, None),
                "methods, references of their own": (apart, alone, None),
                "methods, the model itself outside": (away, half, attempts),
            }
            for what, (deviation, width, own) in bad.items():
                low, high = deviation <= -width, deviation >= width
                if own is not None:  # the model that is called erased lies beyond the margin itself
                    low, high = low & (own >= 0), high & (own <= 0)
                rate = max(float(np.mean(low.any(axis=1))), float(np.mean(high.any(axis=1))))
                yield cell("fifty", law, k, 0, 1, what, rate, runs)
            single = max(float(np.mean(away[:, 0] <= -half[:, 0])), float(np.mean(away[:, 0] >= half[:, 0])))
            yield cell("fifty", law, k, 0, 1, "methods, the first alone", single, runs)


def held_out(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield how often damage of exactly the margin passes: holdout accuracy, wrong on a share of 0.04 of all.

    Subjects are hit in part (a beta law of this mean and correlation) or whole, one in 25. Seeds spread by 0.004, as on
    the demo. The records at hand are a sample: another draw of subjects would show another share.
    """
    for k in (5, 20, 50):
        for n, size in (
            (20, 1),
            (200, 1),
            (1000, 1),
            (200, 10),
            (1000, 10),
            (4000, 10),
            (1000, 50),
            (4000, 50),
            (200, 200),
        ):
            for law in ("in part", "whole") if size > 1 else ("single records",):
                yield from _held_out(draw, runs, law, k, n, size)


def _held_out(draw: np.random.Generator, runs: int, law: str, k: int, n: int, size: int) -> Iterator[Cell]:
    margin, spread, alpha = 0.04, 0.004, alpha_of_attempt(1, ALPHA)
    count, a = n // size, 1 / TOGETHER - 1
    rate: float | Array = margin
    if size > 1:
        shape = (runs, count)
        rate = draw.beta(margin * a, (1 - margin) * a, shape) if law == "in part" else draw.random(shape) < margin
    wrong = draw.binomial(size, rate, (runs, count)).astype(np.float64)
    share = wrong.sum(axis=1) / n
    seen = draw.normal(0, spread, (runs, k + 1))
    references, own = seen[:, :k], seen[:, k]
    away = own - share - references.mean(axis=1)
    for rule in ("records", "subjects"):
        error = error_over(wrong, size) if rule == "subjects" else error_over_records(share, n)
        half = halves(references, error, alpha)
        covered, passed = np.abs(away + margin) <= half, passes(away, half, margin)
        yield cell("holdout", law, k, n, size, f"covered, errors over {rule}", float(covered.mean()), runs)
        yield cell("holdout", law, k, n, size, f"on the margin passes, errors over {rule}", float(passed.mean()), runs)


def error_over_records(share: Array, n: int) -> Array:
    """Return :func:`expunge.numerics.equivalence.sample_error` of n records of which a ``share`` [runs] is wrong."""
    return np.hypot(np.sqrt(share * (1 - share) / (n - 1)), math.sqrt(equivalence.UNSEEN) / n)


def error_over(wrong: Array, size: int) -> Array:
    """Return the same over subjects, of whose ``size`` records so many are wrong, [runs, G]."""
    count = wrong.shape[1]
    residual = wrong - wrong.mean(axis=1, keepdims=True)
    factor = math.sqrt(count / (count - 1)) if count > 1 else 0.0
    own = factor * np.sqrt(np.square(residual).sum(axis=1)) / (count * size)
    return np.hypot(own, math.sqrt(equivalence.UNSEEN) / count)


def differing(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield rates of a holdout accuracy where seeds give other answers to single records: a true retrain, and damage.

    How likely a retrained model is right on a record has a beta law with mean 0.7 and two values nearly, as is usual:
    most records are always right or always wrong, every seventh or so changes from seed to seed. Damage takes right
    answers from so many records at random that the margin, 0.04, is lost in the mean.
    """
    for k in (5, 8, 20, 50):
        for n in (200, 600, 1000):
            yield from _differing(draw, max(100, runs // 4), k, n)


def _differing(draw: np.random.Generator, runs: int, k: int, n: int) -> Iterator[Cell]:
    margin, mean, alpha = 0.04, 0.7, alpha_of_attempt(1, ALPHA)
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        rate = draw.beta(mean / 2, (1 - mean) / 2, n)
        right = draw.random((k + 1, n), dtype=np.float32) < rate
        references, total = right[:k].mean(axis=1), right[:k].sum(axis=0)
        apart = right[:k] - (total - right[:k]) / (k - 1)
        squares = apart.var(axis=1, ddof=1).mean(keepdims=True) / n
        for what, row in (("retrain", right[k]), ("damage", right[k] & (draw.random(n) >= margin / mean))):
            away = row.mean(keepdims=True) - references.mean()
            plain = (row - total / k).std(keepdims=True, ddof=1) / math.sqrt(n)
            for rule, error in (("twice", plain), ("once", beyond_seeds(plain, squares, k))):
                error = np.hypot(error, equivalence.unseen_units(n))
                half = halves(references[None], error, alpha)
                passed = float(passes(away, half, margin)[0])
                found.setdefault(f"{what} passes, seeds counted {rule}", []).append(passed)
                if what == "retrain":
                    held = float(np.abs(away[0]) <= half[0])
                    found.setdefault(f"covered, seeds counted {rule}", []).append(held)
    for what, hits in found.items():
        yield cell("differing", "by record", k, n, 1, what, float(np.mean(hits)), runs)


def retained(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield how often damage to retained records passes, and a true retrain does, where a sample of them is looked at.

    Records have probabilities of being right as in :func:`differing`, of mean 0.99. Damage takes right answers from
    all retained records at random until the margin, 0.02, is lost in their mean; ``size`` is how many there are for
    each that is looked at.
    """
    for k in (8, 20):
        for n in (100, 300, 1000):
            for times in (1, 2, 10):
                yield from _retained(draw, max(100, runs // 4), k, n, times)


def _retained(draw: np.random.Generator, runs: int, k: int, n: int, times: int) -> Iterator[Cell]:
    margin, mean, alpha = 0.02, 0.99, alpha_of_attempt(1, ALPHA)
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        everyone = draw.beta(mean / 2, (1 - mean) / 2, n * times)
        hit = np.zeros(n * times, dtype=bool)
        hit[draw.permutation(n * times)[: round(margin / mean * n * times)]] = True
        rate, damaged = everyone[:n], hit[:n]  # in no order, so that the first are a sample of all
        right = draw.random((k + 1, n), dtype=np.float32) < rate
        references, total = right[:k].mean(axis=1), right[:k].sum(axis=0)
        apart = right[:k] - (total - right[:k]) / (k - 1)
        squares = apart.var(axis=1, ddof=1).mean(keepdims=True) / n
        for what, row in (("retrain", right[k]), ("damage", right[k] & ~damaged)):
            away = row.mean(keepdims=True) - references.mean()
            plain = beyond_seeds((row - total / k).std(keepdims=True, ddof=1) / math.sqrt(n), squares, k)
            error = np.hypot(plain, equivalence.unseen_units(n))
            for rule, left in (("any number", 1.0), ("all there are", equivalence.left_over(n, n * times))):
                passed = passes(away, halves(references[None], left * error, alpha), margin)
                found.setdefault(f"{what} passes, standing for {rule}", []).append(float(passed[0]))
    for what, hits in found.items():
        yield cell("retained", "by record", k, n, times, what, float(np.mean(hits)), runs)


def one_class(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield how often damage to one of ten classes passes the accuracy on the worst one, and a true retrain does.

    Records have probabilities of being right as in :func:`differing`, of mean 0.95. Damage takes every right
    answer of one class with the same chance, by which it loses the margin, 0.15: of the worst class, or of any.
    """
    for k in (5, 8, 20):
        for n in (20, 40, 100, 400):
            yield from _one_class(draw, max(100, runs // 4), k, n)


def _one_class(draw: np.random.Generator, runs: int, k: int, n: int) -> Iterator[Cell]:
    margin, mean, classes, alpha = 0.15, 0.95, 10, alpha_of_attempt(1, ALPHA)
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        rate = draw.beta(mean / 2, (1 - mean) / 2, (classes, n))
        right = draw.random((k + 1, classes, n)) < rate
        total, values = right[:k].sum(axis=0), right[:k].mean(axis=2).min(axis=1)
        apart = right[:k] - (total - right[:k]) / (k - 1)
        squares = apart.var(axis=2, ddof=1).mean(axis=0) / n
        for what, hit in (("retrain", None), ("worst", rate.mean(axis=1).argmin()), ("any", draw.integers(classes))):
            own = right[k].copy()
            if hit is not None:
                own[hit] &= draw.random(n) >= margin / rate[hit].mean()
            away = own.mean(axis=1).min(keepdims=True) - values.mean()
            plain = beyond_seeds((own - total / k).std(axis=1, ddof=1) / math.sqrt(n), squares, k)
            for rule, unseen in (("one", 1), ("three", 3)):
                error = np.hypot(plain, equivalence.unseen_units(n, unseen)).max(keepdims=True)
                passed = passes(away, halves(values[None], error, alpha), margin)
                found.setdefault(f"{what} passes, {rule} unseen", []).append(float(passed[0]))
    for what, hits in found.items():
        yield cell("class", "by record", k, n, 1, what, float(np.mean(hits)), runs)


def few(draw: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Yield how often a model that is right on every forgotten record passes, retrained ones being right less often.

    The margin is 0.08, and so is the difference: spread over all records, or had by one (where one in n is enough).
    """
    margin, alpha = 0.08, alpha_of_attempt(1, ALPHA)
    for k in REFERENCES:
        for n in (1, 5, 20):
            before, after, true = [], [], []
            for hit in {n, max(1, math.ceil(n * margin))}:
                rate = np.zeros(n)
                rate[:hit] = n * margin / hit
                right = draw.random((runs, k, n)) >= rate
                own = draw.random((runs, n)) >= rate
                references = right.mean(axis=2)
                for value, kept in ((1.0, (before, after)), (own.mean(axis=1), (None, true))):
                    rows = (np.ones((runs, n)) if np.isscalar(value) else own) - right.mean(axis=1)
                    plain = rows.std(axis=1, ddof=1) / math.sqrt(n) if n > 1 else np.zeros(runs)
                    others = (right.sum(axis=1, keepdims=True) - right) / (k - 1)
                    squares = (right - others).var(axis=2, ddof=1).mean(axis=1) / n if n > 1 else np.zeros(runs)
                    plain = beyond_seeds(plain, squares, k)
                    agreed = references.max(axis=1) == references.min(axis=1)
                    least = np.where(agreed, equivalence.unseen_error(n, k), 0.0)
                    away = value - references.mean(axis=1)
                    for error, rates in zip((plain, np.maximum(plain, least)), kept, strict=True):
                        if rates is not None:
                            rates.append(float(np.mean(passes(away, halves(references, error, alpha), margin))))
            for what, rates in (
                ("on the margin passes, seeds alone", before),
                ("on the margin passes", after),
                ("retrain passes", true),
            ):
                worst = min(rates) if what == "retrain passes" else max(rates)
                yield cell("few", "right or wrong", k, n, 1, what, worst, runs)


TABLES = {"forgotten": forgotten, "fifty": fifty, "holdout": held_out, "few": few, "differing": differing,
          "class": one_class, "retained": retained}  # fmt: skip


def simulate(runs: int, seed: int = 0) -> list[Cell]:
    """Return every cell, each table from a generator of its own."""
    return [c for i, table in enumerate(TABLES.values()) for c in table(np.random.default_rng([seed, i]), runs)]


def summary(cells: list[Cell]) -> list[Row]:
    """Return the worst rates. A target is the stated error and four standard errors of the simulation."""

    def worst(name: str, target: float | None, what: str, **where: tuple[Any, ...]) -> Row:
        near = [c for c in cells if c.what == what and all(getattr(c, key) in kept for key, kept in where.items())]
        top = max(near, key=lambda c: c.rate)
        slack = max(c.error for c in near if c.rate == top.rate)
        limit = None if target is None else round(target + 4 * slack, 4)
        return Row(
            name=name, value=top.rate, target=limit, better="lower", unit="rate", against=top.law, n=len(near)
        )  # fmt: skip

    first, many = alpha_of_attempt(1, ALPHA), REFERENCES[1:]
    plain, odd = ("normal", "uniform", "two modes"), ("heavy tails", "skewed", "very skewed")
    model, method = "model on the margin passes", "method on the margin passes"
    shared, subjects = "methods, references shared", "on the margin passes, errors over subjects"
    return [
        worst("model on the margin, first attempt: passes, K >= 8", first, model, references=many[1:]),
        worst("  K = 5, against alpha of all attempts", ALPHA, model, references=(5,)),
        worst("  K = 3", None, model, references=(3,)),
        worst("method on the margin: passes, seeds normal", first, method, law=("normal",)),
        worst("  seeds uniform or in two modes, K >= 5", first, method, law=plain, references=many),
        worst("  seeds with heavy tails or skewed, K >= 5", None, method, law=odd, references=many),
        worst("true retrain called not erased, margin of 3 deviations", first, "retrain fails at 3"),
        worst("fifty models on the margin: any passes, K >= 5", ALPHA, "models, references shared", references=many),
        worst("fifty methods: a model outside passes, K >= 5", ALPHA, "methods, the model itself outside",
              references=many),
        worst("fifty methods: any passes, seeds normal, uniform, two modes, K >= 5", ALPHA, shared, law=plain,
              references=many),
        worst("  seeds with heavy tails or skewed, K >= 5", None, shared, law=odd, references=many),
        worst("holdout of single records, all damage to one side: passes", None, subjects, cluster=(1,)),
        worst("holdout of subjects, hit in part: passes, errors over records", None,
              "on the margin passes, errors over records", law=("in part",)),
        worst("  errors over subjects", ALPHA, subjects, law=("in part",)),
        worst("  errors over subjects, hit whole", None, subjects, law=("whole",)),
        worst("holdout that seeds answer differently: damage passes, seeds counted twice", None,
              "damage passes, seeds counted twice"),
        worst("  once, as judged", first, "damage passes, seeds counted once"),
        worst("forgotten 1 to 20, right or wrong: passes, seeds alone", None, "on the margin passes, seeds alone"),
        worst("  as judged", first, "on the margin passes"),
    ]  # fmt: skip


def main() -> int:
    """Simulate, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=8_000, help="simulated audits per cell")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.process_time()
    cells = simulate(given.runs, given.seed)
    rows = summary(cells)
    table = {c.key: f"{c.rate:.4f} ± {c.error:.4f}" for c in cells}
    finish(rows, given, cells=table, runs=given.runs, alpha=ALPHA, cpu_seconds=round(time.process_time() - start))
    return 0 if all(row.met != "MISSED" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
