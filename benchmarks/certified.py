"""Certified logistic regression on UCI Adult: how many removals, at which loss, and against refitting.

Every removal of the long run is a release of its own, and all of them together stay within epsilon 1 at delta 1e-5.
A removal is up against scikit-learn's ``LogisticRegression`` on the same rows (divided by their norms), started where
the last fit ended (warm) or from zero (cold), taking rows out of its array not counted. At its default tolerance a warm
start may find that nothing is to be done: then it is fast and has forgotten nothing, which the gradient that is left
and the number of iterations tell. So a warm start stands there with a tolerance of 1e-12 too.
CPU-seconds on one thread. Without ``../shared/data/tabular`` rows are drawn, of the same shape.

    python benchmarks/certified.py [--json] [--save FILE]        about 5 minutes
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _table import Row, arguments, finish
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from expunge.core.errors import Refused
from expunge.estimators import CertifiedLogisticRegression
from expunge.estimators._certified import slope, tolerance, unit_rows
from expunge.estimators.certified_logistic_regression import verify

TABULAR = Path(__file__).parents[2] / "shared" / "data" / "tabular"
NUMBERS, TEXTS = [0, 2, 4, 10, 11, 12], [1, 3, 5, 6, 7, 8, 9, 13]
STRENGTH = 1e-4
"""Of the regularisation, per row: C = 1 / (strength n)."""
BATCHES = (1, 100, 5000)
SOLVERS = ("lbfgs", "newton-cholesky")
Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--removals", type=int, default=5000, help="removals one by one, each published")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    load, (name, data) = os.getloadavg()[0], adult()
    rows = [*one_by_one(data, given.removals), *against_refits(data, given.repeats)]
    facts = {"data": name, "shape": list(data[0].shape), "load_before": round(load, 2)}
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, given, **facts, cores=os.cpu_count(), repeats=given.repeats, note=note)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def adult() -> tuple[str, Data]:
    """Return training and test rows: numbers standardised, texts one-hot with ``?`` as a level; label ``>50K``."""
    if not TABULAR.exists():
        draw = np.random.default_rng(0)
        X = np.hstack([draw.normal(size=(48842, 6)), (draw.random((48842, 102)) < 0.08).astype(float)])
        y = (X @ draw.normal(size=108) + 2 * draw.normal(size=48842) > 1.5).astype(int)
        return "drawn", (X[:32561], y[:32561], X[32561:], y[32561:])
    parts = []
    for file in ("adult_train.csv", "adult_test.csv"):
        lines = (TABULAR / file).read_text().splitlines()
        cells = [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]
        numbers = np.array([[float(row[j]) for j in NUMBERS] for row in cells])
        texts = np.array([[row[j] for j in TEXTS] for row in cells], dtype=object)
        parts.append((numbers, texts, np.array([row[14].startswith(">50K") for row in cells]).astype(int)))
    (n, t, y), (m, s, z) = parts
    scaler, encoder = StandardScaler().fit(n), OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(t)
    X, V = (np.hstack([scaler.transform(a), encoder.transform(b)]) for a, b in ((n, t), (m, s)))
    return "UCI Adult", (X, y, V, z)


def model_of(X: np.ndarray, releases: int) -> CertifiedLogisticRegression:
    """Return the estimator under trial."""
    return CertifiedLogisticRegression(epsilon=1.0, delta=1e-5, max_releases=releases, C=1 / (STRENGTH * len(X)))


def one_by_one(data: Data, removals: int) -> list[Row]:
    """Remove rows one by one, publish after each; then compare with models that never had them."""
    X, y, V, z = data
    model = model_of(X, removals).fit(X, y)
    before = model.score(V, z)
    order = np.random.default_rng(0).permutation(len(X))
    spent = []
    for place in order[:removals].tolist():
        spent.append(seconds(lambda place=place: model.forget([place])))
    try:
        model.forget(order[removals : removals + 1].tolist())
        refused = 0.0
    except Refused:
        refused = 1.0
    kept = np.sort(order[removals:])
    fresh = model_of(X, removals).set_params(C=model.C).fit(X[kept], y[kept])
    plain = LogisticRegression(C=model.C, max_iter=10_000).fit(X[kept], y[kept])
    found = verify(X[kept], y[kept], secret=model.key_material(), published=model.published())
    ours, exact = (np.array(one.key_material()["weights"]) for one in (model, fresh))
    apart = float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
    bare = (unit_rows(V, intercept=True) @ exact[0] > 0).astype(int)
    last = model.releases_[-1]

    def row(
        name: str, value: float, unit: str, target: float | None = None, better: str = "lower", against: str = ""
    ) -> Row:
        return Row(name=name, value=value, target=target, better=better, unit=unit, against=against, n=removals)

    loss = "points of test accuracy"
    return [
        row("removals without retraining, one release each", len(spent), "rows", 5000, "higher"),
        row("  epsilon of all of them together, at delta 1e-5", last.composed, "epsilon", 1.0),
        row("  epsilon of one", last.epsilon, "epsilon"),
        row("  the next one is refused", refused, "1: yes", 1.0, "higher"),
        row("  a verifier of its own agrees", float(found.holds), "1: yes", 1.0, "higher"),
        row("  accuracy before any removal", before, "share", better="higher"),
        row("  accuracy afterwards", model.score(V, z), "share", better="higher"),
        row(
            "  accuracy lost to a fresh fit without noise",
            100 * float((bare == z).mean() - model.score(V, z)),
            loss,
            0.5,
            against="the same objective, solved anew on what remains",
        ),
        row(
            "  accuracy lost to plain logistic regression",
            100 * (plain.score(V, z) - model.score(V, z)),
            loss,
            0.5,
            against="scikit-learn's LogisticRegression on rows not divided by their norms",
        ),
        row("  secret weights from those of a fresh fit", apart, "relative distance"),
        row("  noise on a weight", last.noise, "standard deviation"),
        row("  median removal", 1000 * float(np.median(spent)), "CPU-ms"),
        row("  99th percentile", 1000 * float(np.quantile(spent, 0.99)), "CPU-ms"),
        row("  worst", 1000 * max(spent), "CPU-ms"),
    ]


def against_refits(data: Data, repeats: int) -> list[Row]:
    """Return the time of a removal of 1, 100 and 5,000 rows beside refits of scikit-learn, warm and cold."""
    X, y, _, _ = data
    Z, C = unit_rows(X, intercept=True), 1 / (STRENGTH * len(X))
    rows, fitted, times = [], [model_of(X, 1000) for _ in range(repeats)], []
    for model in fitted:
        times.append(seconds(lambda model=model: model.fit(X, y)))

    def row(name: str, value: float, unit: str, against: str = "", better: str = "lower") -> Row:
        return Row(name=name, value=value, target=None, better=better, unit=unit, against=against, n=repeats)

    rows.append(row("fit from scratch", 1000 * min(times), "CPU-ms"))
    for batch in BATCHES:
        gone = [np.random.default_rng(seed).choice(len(X), batch, replace=False) for seed in range(repeats)]
        times, reached = [], 0.0
        for model, ids in zip(fitted, gone, strict=True):
            held = set(model.sample_ids_)
            ids = [i for i in ids.tolist() if i in held]
            times.append(seconds(lambda model=model, ids=ids: model.forget(ids)))
            reached = max(reached, model.releases_[-1].residual)
        ours = min(times)
        rows.append(row(f"remove {batch}", 1000 * ours, "CPU-ms"))
        rows.append(row("  gradient left, by its bound", reached, f"norm; {tolerance(*Z.shape, C):.1e} is allowed"))
        for solver in SOLVERS:
            for warm, tol in ((True, 1e-4), (True, 1e-12), (False, 1e-4)):
                name = f"{solver} {'warm' if warm else 'cold'}, tol {tol:g}"
                theirs, left, iterations = refits(Z, y, C, gone, solver=solver, warm=warm, tol=tol)
                rows.append(row(f"  scikit-learn, {name}", 1000 * theirs, "CPU-ms"))
                rows.append(row("    iterations", iterations, "at the most"))
                rows.append(row("    gradient left", left, "norm"))
                rows.append(row("    removal is faster by", theirs / ours, "times", name, "higher"))
    return rows


def refits(
    Z: np.ndarray, y: np.ndarray, C: float, gone: list[np.ndarray], *, solver: str, warm: bool, tol: float
) -> tuple[float, float, int]:
    """Return the best time of a refit without these rows, the norm of the gradient where it ended, and iterations."""
    times, left, iterations = [], 0.0, 0
    for ids in gone:
        model = LogisticRegression(C=C, fit_intercept=False, solver=solver, warm_start=warm, tol=tol, max_iter=1000)
        if warm:
            model.fit(Z, y)
        kept = np.delete(np.arange(len(Z)), ids)
        rows, labels = Z[kept], y[kept]
        times.append(seconds(lambda model=model, rows=rows, labels=labels: model.fit(rows, labels)))
        left = max(left, slope(rows, labels.astype(float), model.coef_[0], C).norm)
        iterations = max(iterations, int(model.n_iter_[0]))
    return min(times), left, iterations


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # a tolerance that its line search cannot reach is the point of some rows
    raise SystemExit(main())
