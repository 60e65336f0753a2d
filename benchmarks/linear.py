"""Forgetting from integer sums against fitting scikit-learn's estimators again: CPU time on one thread, side by side.

Adult (`../shared/data/tabular`; random rows of the same shape where it is absent): 6 standardised columns and 102
one-hot ones, with the intercept 109. The refit is scikit-learn's own, on arrays that hold the remaining rows already:
the fastest plain form. Rows are forgotten one by one and 2,000 at once, interleaved with refits; of each figure the
best of several rounds counts. Every ``forget`` ends with weights that are solved, checked and ready (``coef_``).

    python benchmarks/linear.py [--json] [--save FILE]        about 3 minutes
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _table import Row, arguments, finish
from scipy import linalg, sparse
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid

from expunge import estimators

DATA = Path(__file__).parents[2] / "shared" / "data" / "tabular" / "adult_train.csv"
NUMERIC = (0, 2, 4, 10, 11, 12)
LEVELS = (9, 16, 7, 15, 6, 5, 2, 42)
AT_ONCE = 2_000
SINGLE = 200


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=12, choices=range(1, 15))
    given = parser.parse_args()
    load = os.getloadavg()[0]
    numbers, codes, label, source = adult()
    one_hot = np.hstack([np.eye(codes[:, j].max() + 1)[codes[:, j]] for j in range(codes.shape[1])])
    X, y = np.hstack([numbers, one_hot]), np.where(label == 1, 1.0, -1.0)
    rows = ridge(X, y, given.rounds)
    for name, plain, data in (
        ("GaussianNB", GaussianNB(), X),
        ("MultinomialNB", MultinomialNB(), sparse.csr_array(one_hot)),
        ("BernoulliNB", BernoulliNB(), sparse.csr_array(one_hot)),
        ("CategoricalNB", CategoricalNB(), codes),
        ("NearestCentroid", NearestCentroid(), X),
        ("LinearDiscriminant", LinearDiscriminantAnalysis(), X),
        ("RidgeClassifier", RidgeClassifier(solver="cholesky"), X),
        ("PCA", PCA(), X),
    ):
        rows += others(name, plain, data, label, given.rounds)
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    facts = {"rows_of_the_table": len(X), "columns": X.shape[1] + 1, "data": source, "rounds": given.rounds}
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count(), note=note, **facts)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def adult() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return standardised numbers [n, 6], codes of categories [n, 8], labels [n], and where they are from."""
    if not DATA.exists():
        draw = np.random.default_rng(0)
        codes = np.column_stack([draw.integers(0, levels, 32_561) for levels in LEVELS])
        return draw.normal(size=(32_561, 6)), codes, draw.integers(0, 2, 32_561), "random rows of Adult's shape"
    with DATA.open(newline="") as file:
        table = np.array([row for row in csv.reader(file, skipinitialspace=True) if row])
    numbers = table[:, NUMERIC].astype(float)
    named = [column for column in range(14) if column not in NUMERIC]
    codes = np.column_stack([np.unique(table[:, column], return_inverse=True)[1] for column in named])
    return (numbers - numbers.mean(0)) / numbers.std(0), codes, (table[:, 14] == ">50K").astype(int), "Adult"


def ridge(X: np.ndarray, y: np.ndarray, rounds: int) -> list[Row]:
    """Return the figures of ridge regression, and how near its state and weights are to a new fit's."""
    order = np.random.default_rng(0).permutation(len(X))
    made, plain = estimators.ForgettingRidge().fit(X, y), Ridge(solver="cholesky")
    refits, singles, many = [], [], []
    size = SINGLE + AT_ONCE
    for turn in range(rounds):
        gone = order[turn * size : (turn + 1) * size].tolist()
        kept = np.delete(order, slice(turn * size, (turn + 1) * size))
        data, target = X[kept], y[kept]
        refits.append(seconds(lambda data=data, target=target: plain.fit(data, target)))
        singles.append([seconds(lambda place=place: made.forget([place])) for place in gone[:SINGLE]])
        many.append(seconds(lambda gone=gone: made.forget(gone[SINGLE:])))
        made.partial_fit(X[gone], y[gone], sample_ids=gone)  # every round has all rows
    tried = 2_000
    for place in order[:tried].tolist():  # for the figure of drift: as many as the reference says
        made.forget([place])
    kept = order[tried:]
    fresh = estimators.ForgettingRidge().fit(X[kept], y[kept], sample_ids=kept)
    same = made.fingerprint() == fresh.fingerprint()
    apart = float(np.linalg.norm(made.coef_ - fresh.coef_) / np.linalg.norm(fresh.coef_))
    plain.fit(X[kept], y[kept])
    from_plain = float(np.linalg.norm(made.coef_ - plain.coef_) / np.linalg.norm(plain.coef_))
    one = min(float(np.median(times)) for times in singles)
    slow = min(float(np.quantile(times, 0.99)) for times in singles)
    refit, batch, n = min(refits), min(many), rounds * SINGLE
    return [
        row("ridge: forget a row, median", 1000 * one, 0.2, "CPU-ms", n, "lower"),
        row("  99th percentile", 1000 * slow, None, "CPU-ms", n, "lower"),
        row("  against a refit", refit / one, 1000, "times as fast", n),
        row("ridge: forget 2,000 rows at once", 1000 * batch, 15, "CPU-ms", rounds, "lower"),
        row("  each of them against a refit", refit / (batch / AT_ONCE), None, "times as fast", rounds),
        row("  all of them against one refit", refit / batch, None, "times as fast", rounds),
        row("  scikit-learn's refit", 1000 * refit, None, "CPU-ms", rounds, "lower"),
        row(
            "  float Gram matrix and Cholesky, in NumPy", 1000 * plainest(X, y, rounds), None, "CPU-ms", rounds, "lower"
        ),
        row("  statistics equal a new fit's, bit for bit", float(same), 1, "1: yes", rounds * 2 * size + tried),
        row("  weights from a new fit's", apart, 1e-10, "relative", rounds * 2 * size + tried, "lower"),
        row("  weights from scikit-learn's", from_plain, None, "relative", rounds * 2 * size + tried, "lower"),
    ]


def plainest(X: np.ndarray, y: np.ndarray, rounds: int) -> float:
    """Return the time of solving the normal equations by hand, with the intercept as a column."""
    data = np.hstack([X, np.ones((len(X), 1))])
    penalty = np.diag([1.0] * X.shape[1] + [0.0])

    def solve() -> np.ndarray:
        return linalg.solve(data.T @ data + penalty, data.T @ y, assume_a="sym")

    return min(seconds(solve) for _ in range(rounds))


def others(name: str, plain: Any, X: Any, y: np.ndarray, rounds: int) -> list[Row]:
    """Return the time of forgetting a row from one estimator, and the ratio to scikit-learn's refit."""
    made = getattr(estimators, f"Forgetting{name}")().fit(X, y)
    order = np.random.default_rng(0).permutation(X.shape[0])
    refits, singles = [], []
    for turn in range(rounds):
        refits.append(seconds(lambda: plain.fit(X, y)))
        part = order[turn * 20 : turn * 20 + 20].tolist()
        singles.append([seconds(lambda place=place: made.forget([place])) for place in part])
    one, refit = min(float(np.median(times)) for times in singles), min(refits)
    return [
        row(f"{name}: forget a row, median", 1000 * one, None, "CPU-ms", rounds * 20, "lower"),
        row("  against a refit", refit / one, None, "times as fast", rounds * 20),
    ]


def row(name: str, value: float, target: float | None, unit: str, n: int, better: str = "higher") -> Row:
    """Return one figure."""
    return Row(name=name, value=value, target=target, better=better, unit=unit, against="scikit-learn's refit", n=n)


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
