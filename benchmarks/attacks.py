"""Membership attacks and measures of forgetting on real data, against the figures they should reach.

Location-30 (Bangkok check-ins, 5,010 records, 446 binary features, 30 classes; ``--data`` says where it lies): 80 MLPs
446-64-30 are trained as one, each on half of 4,000 records, every record in half of them. 64 are references, 16 are
attacked. Then 32 models that unlearned 200 records by fine-tuning are compared with 32 that were retrained without,
and these with 32 more: what every measure says when nothing is wrong.

    python benchmarks/attacks.py [--json] [--save FILE]        about 2 minutes
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _table import Row, arguments, finish
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from expunge.data.arrays import ArrayRecords
from expunge.engine import stacked
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.training import Trainer
from expunge.numerics.forgetting import Rule, forgetting
from expunge.numerics.klom import klom
from expunge.numerics.lira import Variant, lira
from expunge.numerics.literature import average_gap, relearning_index, tug_of_war, zero_retrain_forgetting
from expunge.numerics.membership import confidence, ranking, tpr_at
from expunge.numerics.rmia import log_ratio
from expunge.numerics.ulira import ulira

Array = NDArray[np.float64]
Score = Callable[[Array, Array, NDArray[np.bool_]], Array]
DATA = Path(__file__).parents[2] / "shared/data/location30/location30.npz"
POOL, REFERENCES, TARGETS, ENSEMBLE, FORGET, AUDIT, CAP = 4000, 64, 16, 32, 200, 1000, 400


def build() -> nn.Module:
    """Return the network of the published measurements."""
    return nn.Sequential(nn.Linear(446, 64), nn.ReLU(), nn.Linear(64, 30))


TRAINER = Trainer(build=build, config=LoopConfig(epochs=25, batch_size=64, lr=0.1, optimiser="sgd"))


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="location30.npz")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.data.exists():
        parser.error(f"there is no {given.data.name} at --data; without Location-30 nothing is measured")
    single_thread()
    hold_memory()
    load = os.getloadavg()[0]
    pool, others = records(given.data, given.seed)
    rows = [*attacks(pool, others, given.seed), *measures(pool, others, given.seed)]
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count(), note=note)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def records(path: Path, seed: int) -> tuple[ArrayRecords, ArrayRecords]:
    """Return (pool of members and non-members, population that no model sees)."""
    with np.load(path) as file:
        x, y = file["features"].astype(np.float32), file["labels"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    return ArrayRecords(x[order[:POOL]], y[order[:POOL]]), ArrayRecords(x[order[POOL:]], y[order[POOL:]])


def confidences(models: list[nn.Module], part: ArrayRecords) -> Array:
    """Return the logit-scaled confidence of every label under every model, [K, N]."""
    with torch.no_grad():
        return np.stack([confidence(model(part.x).double().numpy(), part.y.numpy()) for model in models])


def attacks(pool: ArrayRecords, others: ArrayRecords, seed: int) -> list[Row]:
    """Attack 16 models with 1 to 64 references."""
    keep = stacked.balanced(POOL, REFERENCES + TARGETS, seed=seed)
    start = time.process_time()
    models = stacked.train(TRAINER, pool, [np.flatnonzero(row) for row in keep], seeds=range(len(keep)))
    spent = time.process_time() - start
    phi, known = confidences(models, pool), keep
    with torch.no_grad():
        right = [float((model(others.x).argmax(dim=1) == others.y).double().mean()) for model in models]
    rows = [
        _row("80 shadow MLPs on Location-30, trained as one", spent, 30.0, "CPU-s", 80, better="lower"),
        _row("  their accuracy on records that none has seen", float(np.mean(right)), None, "share", 80),
    ]
    loss = [_figures(phi[t], known[t]) for t in range(REFERENCES, REFERENCES + TARGETS)]
    rows += _pair("LOSS, no reference", loss, None, None)
    for count in (1, 4, 8, 16, 64):
        goals = {8: (0.905, 0.295), 64: (0.925, 0.385)}.get(count, (None, None))
        rows += _pair(f"LiRA doubly shrunk, {count} references", _each(phi, known, count, _lira), *goals)
    rows += _pair("LiRA shrunk variance, 64 references", _each(phi, known, 64, _shrunk), 0.925, 0.385)
    rows += _pair("RMIA, 1 reference", _each(phi, known, 1, _rmia), 0.815, None)
    rows += _pair("RMIA, 2 references", _each(phi, known, 2, _rmia), None, None)
    return rows


def _each(phi: Array, keep: NDArray[np.bool_], count: int, score: Score) -> list[tuple[float, float]]:
    """Return (AUC, TPR at 1 %) of every target, attacked with ``count`` of the references, of both kinds where many."""
    found = []
    for target in range(REFERENCES, REFERENCES + TARGETS):
        first = (target * 4) % REFERENCES  # other references for every target: one bad draw is not the figure
        chosen = [(first + k) % REFERENCES for k in range(count)]
        found.append(_figures(score(phi[target], phi[chosen], keep[chosen]), keep[target]))
    return found


def _lira(target: Array, references: Array, keep: NDArray[np.bool_]) -> Array:
    return lira(target, references=references, keep=keep, variant=Variant.DOUBLY_SHRUNK)


def _shrunk(target: Array, references: Array, keep: NDArray[np.bool_]) -> Array:
    return lira(target, references=references, keep=keep, variant=Variant.SHRUNK)


def _rmia(target: Array, references: Array, keep: NDArray[np.bool_]) -> Array:
    logs = -np.logaddexp(0.0, -references)
    return log_ratio(-np.logaddexp(0.0, -target), references=logs, keep=keep)


def _figures(score: Array, member: NDArray[np.bool_]) -> tuple[float, float]:
    return ranking(score[member], score[~member]).auc, tpr_at(score[member], score[~member], 0.01)


def _pair(name: str, found: list[tuple[float, float]], auc: float | None, tpr: float | None) -> list[Row]:
    aucs, rates = np.array(found).T
    return [
        _row(
            f"{name}: AUC",
            float(aucs.mean()),
            auc,
            f"mean of {len(aucs)} targets, sd {aucs.std(ddof=1):.3f}",
            len(aucs),
        ),
        _row(
            "  caught at 1 % false alarms", float(rates.mean()), tpr, f"share, sd {rates.std(ddof=1):.3f}", len(rates)
        ),
    ]


def measures(pool: ArrayRecords, others: ArrayRecords, seed: int) -> list[Row]:
    """Compare unlearned with retrained ensembles, and retrained ones with each other; then attack record by record."""
    gone = np.random.default_rng(seed + 1).permutation(POOL)[:FORGET]
    stay, judged = np.setdiff1d(np.arange(POOL), gone), ArrayRecords(pool.x[gone], pool.y[gone])
    short = replace(TRAINER, config=replace(TRAINER.config, epochs=3, lr=0.05))

    def parts(count: int) -> list[NDArray[np.int64]]:
        return [stay] * count

    before = stacked.train(TRAINER, pool, seeds=range(1000, 1000 + ENSEMBLE))
    tuned = stacked.train(short, pool, parts(ENSEMBLE), seeds=range(2000, 2000 + ENSEMBLE), start=before)
    true = stacked.train(TRAINER, pool, parts(2 * ENSEMBLE), seeds=range(3000, 3000 + 2 * ENSEMBLE))
    unlearned, one, two = (confidences(part, judged) for part in (tuned, true[:ENSEMBLE], true[ENSEMBLE:]))
    rows = []
    for name, candidate, right in (("fine-tuned", unlearned, False), ("retrained, nothing wrong", two, True)):
        for rule in Rule:
            found = forgetting(candidate, retrained=one, rule=rule)
            excess, null = float(found.excess.mean()), float(found.null_epsilon.mean())
            title = f"{name}: epsilon less its null ({rule.value})"
            rows.append(
                _row(
                    title,
                    abs(excess) if right else excess,
                    0.1 if right else None,
                    f"null {null:.2f}, F {found.quality:.3f} of {found.null_quality:.3f}",
                    FORGET,
                    better="lower" if right else "higher",
                )
            )
        distance = klom(candidate, retrained=one)
        rows.append(
            _row(
                f"{name}: KLoM less its null",
                distance.mean - distance.null_mean,
                None,
                f"nats, null {distance.null_mean:.2f}, p {distance.p_value:.2f}",
                FORGET,
            )
        )
    sets = {"forget": judged, "retain": ArrayRecords(pool.x[stay], pool.y[stay]), "test": others}
    for name, models in (("fine-tuned", tuned), ("retrained, nothing wrong", true[ENSEMBLE:])):
        rows += literature(name, models, true[:ENSEMBLE], sets)
    return [*rows, *per_record(pool, short, seed)]


def literature(
    name: str, models: Sequence[nn.Module], retrained: Sequence[nn.Module], sets: Mapping[str, ArrayRecords]
) -> list[Row]:
    """Return what papers report, model by model against a retrained one: gap, tug of war, ZRF, relearning index."""
    forget = sets["forget"]
    gaps, wars, zeros = [], [], []
    random = [TRAINER.begin(seed) for seed in range(5)]
    for model, reference in zip(models, retrained, strict=True):
        one, other = ({part: _accuracy(each, rows) for part, rows in sets.items()} for each in (model, reference))
        gaps.append(average_gap(one, retrained=other))
        wars.append(tug_of_war(one, retrained=other))
        said = _log_probs(model, forget)
        zeros.append(np.mean([zero_retrain_forgetting(said, untrained=_log_probs(m, forget)) for m in random]))
    times = [[_relearning(each[0], forget, seed) for seed in range(8)] for each in (models, retrained)]
    index = relearning_index(times[0], retrained=times[1], cap=CAP)
    count, each = len(models), f"mean of {len(models)} models"
    relearned = f"{index.relation}, 90% {index.low:.2f} to {index.high:.2f}"
    return [
        _row(
            f"{name}: average gap of forget, retain and test accuracy",
            float(np.mean(gaps)),
            None,
            f"points, {each}",
            count,
        ),
        _row(f"{name}: tug of war", float(np.mean(wars)), None, each, count),
        _row(f"{name}: ZRF", float(np.mean(zeros)), None, each, count),
        _row(f"{name}: relearning index, AIN", index.value, None, relearned, 8),
    ]


def _accuracy(model: nn.Module, part: ArrayRecords) -> float:
    with torch.no_grad():
        return float((model(part.x).argmax(dim=1) == part.y).double().mean())


def _log_probs(model: nn.Module, part: ArrayRecords) -> Array:
    with torch.no_grad():
        return torch.log_softmax(model(part.x).double(), dim=1).numpy()


def _relearning(model: nn.Module, part: ArrayRecords, seed: int) -> int:
    """Return the minibatches until 95 % of the records are known, as before; a copy is trained."""
    model = copy.deepcopy(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    draw = torch.Generator().manual_seed(seed)
    for step in range(1, CAP + 1):
        rows = torch.randint(0, len(part), (32,), generator=draw)
        optimiser.zero_grad()
        functional.cross_entropy(model(part.x[rows]), part.y[rows]).backward()
        optimiser.step()
        if _accuracy(model, part) >= 0.95:
            return step
    return CAP


def per_record(pool: ArrayRecords, short: Trainer, seed: int) -> list[Row]:
    """Attack models that had half of the audit set and forgot it, and models that only say they had."""
    drawn = np.random.default_rng(seed + 2).permutation(POOL)
    gone, stay = drawn[:AUDIT], np.sort(drawn[AUDIT:])
    had = stacked.balanced(AUDIT, ENSEMBLE, seed=seed + 2)
    parts = [np.concatenate([stay, gone[row]]) for row in had]
    judged = ArrayRecords(pool.x[gone], pool.y[gone])
    before = stacked.train(TRAINER, pool, parts, seeds=range(4000, 4000 + ENSEMBLE))
    after = stacked.train(short, pool, [stay] * ENSEMBLE, seeds=range(5000, 5000 + ENSEMBLE), start=before)
    true = stacked.train(TRAINER, pool, [stay] * ENSEMBLE, seeds=range(6000, 6000 + ENSEMBLE))
    tuned, null = (ulira(confidences(models, judged), had=had) for models in (after, true))
    return [
        _row("fine-tuned: U-LiRA, AUC", float(tuned.auc.mean()), None, f"mean of {ENSEMBLE} models", ENSEMBLE),
        _row(
            "retrained, nothing wrong: U-LiRA, AUC from .5",
            abs(float(null.auc.mean()) - 0.5),
            0.015,
            "distance",
            ENSEMBLE,
            better="lower",
        ),
    ]


def _row(name: str, value: float, target: float | None, unit: str, n: int, *, better: str = "higher") -> Row:
    return Row(name=name, value=value, target=target, better=better, unit=unit, against="published measurements", n=n)


if __name__ == "__main__":
    raise SystemExit(main())
