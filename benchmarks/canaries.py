"""Canaries and the `quick` policy: are retrains passed, originals and fine-tuning caught, and what do canaries cost?

Digits (scikit-learn's, 1,197 training records, 200 canaries, MLP 64-64-10, 60 epochs) and, where the data are there,
Location-30 (4,000 records, 500 canaries, MLP 446-64-30, 25 epochs). 24 times each: canaries are drawn anew, a model is
trained with the included half, retrained without them, and fine-tuned on what remains, at a tenth of the rate of
training, as is usual, and at the whole of it. Digits trained with SGD instead of Adam, 6 times, show where fine-tuning
hides: at a high rate it shakes memory off. Every model is judged as `expunge erase --policy quick` judges a first
attempt. What canaries cost: accuracy with them in, retrained without them, and of 6 models that never had any.

    python benchmarks/canaries.py [--json] [--save FILE]        about 5 minutes on one core
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _table import Row, arguments, finish
from torch import nn

from expunge.audit import policy as policies
from expunge.audit.judge import judge_all, leak_decisions, required_decisions
from expunge.core import registry
from expunge.core.canaries import Planted
from expunge.core.check import EvidenceKind, Measurement
from expunge.core.digest import keyed
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.verdict import Verdict, alpha_of_attempt, verdict
from expunge.data.arrays import ArrayRecords
from expunge.data.canaries import plant
from expunge.engine.collect import collect
from expunge.engine.context import Context
from expunge.engine.evidence import Evidence
from expunge.engine.loop import LoopConfig
from expunge.engine.parts import Parts
from expunge.engine.runtime import single_thread
from expunge.engine.split import split
from expunge.engine.training import Trainer
from expunge.numerics.known import auc_error
from expunge.testbeds import digits

MODELS, FEW, CLEAN = 24, 6, 6
POLICY = policies.load("quick")
SUITE = POLICY.suite({EvidenceKind.CANARIES})
ALPHA = alpha_of_attempt(1, POLICY.alpha)
LOCATION = Path(__file__).parents[2] / "shared" / "data" / "location30" / "location30.npz"


def digits_network() -> nn.Module:
    """Return a perceptron 64-64-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def location_network() -> nn.Module:
    """Return a perceptron 446-64-30."""
    return nn.Sequential(nn.Linear(446, 64), nn.ReLU(), nn.Linear(64, 30))


@dataclass(frozen=True)
class Setting:
    """One data set: its records, its trainer, how many canaries, and how long is fine-tuned."""

    name: str
    train: Records
    holdout: Records
    trainer: Trainer
    canaries: int
    tuned: tuple[int, ...]
    models: int


def settings() -> list[Setting]:
    """Return digits, and Location-30 where it is there."""
    train, holdout = _right_digits()
    adam = LoopConfig(epochs=60, batch_size=40, lr=1e-2)
    sgd = LoopConfig(epochs=60, batch_size=64, lr=0.1, optimiser="sgd")
    found = [
        Setting(name, train, holdout, Trainer(build=digits_network, config=config), 200, (1, 5, 20), models)
        for name, config, models in (("digits", adam, MODELS), ("digits, SGD", sgd, FEW))
    ]
    if LOCATION.exists():
        data = np.load(LOCATION)
        x, y = data["features"].astype(np.float32), data["labels"].astype(np.int64)
        place = np.random.default_rng(0).permutation(len(y))
        inside, outside = place[:4000], place[4000:]
        records = ArrayRecords(x[inside], y[inside], ids=[f"place-{i}" for i in inside])
        beside = ArrayRecords(x[outside], y[outside], ids=[f"place-{i}" for i in outside])
        config = LoopConfig(epochs=25, batch_size=128, lr=1e-2)
        trainer = Trainer(build=location_network, config=config)
        found.append(Setting("Location-30", records, beside, trainer, 500, (1, 3, 10), MODELS))
    return found


def _right_digits() -> tuple[Records, Records]:
    """Return the demo's images with their right labels."""
    train, holdout, truth = digits.records(0)
    labels = torch.tensor([truth.get(name, int(y)) for name, y in zip(train.ids, train.y, strict=True)])
    return ArrayRecords(train.x, labels, ids=train.ids), holdout


def judged(
    setting: Setting, planted: Planted, original: nn.Module, models: dict[str, nn.Module], seed: int, cache: Path
) -> dict[str, tuple[float, float, str, Verdict]]:
    """Return (AUC, holdout accuracy, epsilon in words, verdict) of every model and of the original."""
    problem = _problem(setting, planted, original)
    parts = Parts.of(problem, split(problem, seed)[1], seed, near=False)
    arrays = {}
    for name, model in {"before": original, **models}.items():
        arrays[name], _ = collect(
            problem, lambda model=model: model, parts, None, digest=f"{seed} {name}", seed=seed, cache=cache
        )
    targets = {name: np.asarray(view.read(range(len(view)))[1]) for name, view in parts.items()}

    def findings(name: str, alpha: float) -> tuple:
        evidence = Evidence(
            arrays, targets, candidate=name, original="before", references=(), alpha=alpha, corrections=None
        )
        return judge_all(SUITE, {n: registry.load("checks", n)().measure(evidence) for n in SUITE}, alpha)

    leaks = leak_decisions(findings("before", POLICY.alpha))
    found = {}
    for name in arrays:
        said = findings(name, ALPHA)
        gone, kept = said[0].result, said[1].result
        assert isinstance(gone, Measurement)
        assert isinstance(kept, Measurement)
        outcome = verdict(required_decisions(said), control_leaks=leaks)
        found[name] = gone.value, kept.value, gone.details["epsilon"], outcome
    return found


def _problem(setting: Setting, planted: Planted, original: nn.Module) -> Problem:
    return Problem(
        model=original, train=planted.train, holdout=setting.holdout, trainer=setting.trainer, canaries=planted
    )


def tuned(setting: Setting, planted: Planted, original: nn.Module, epochs: int, seed: int, share: float) -> nn.Module:
    """Return the original fine-tuned on what remains, at this share of the rate it was trained with."""
    problem = _problem(setting, planted, original)
    config = setting.trainer.config
    method = registry.load("methods", "finetune")(
        {"epochs": epochs, "lr": share * config.lr, "batch_size": config.batch_size}
    )
    run = Context(problem=problem, seed=seed, label="", choosing=split(problem, seed)[0], choosing_models=list)
    model: nn.Module = method.unlearn(problem, run).model
    return model


def measure(setting: Setting, cache: Path) -> list[Row]:
    """Return all figures of one data set."""
    seen: dict[str, list[tuple[float, float, str, Verdict]]] = {}
    clean, errors = [], []
    for seed in range(setting.models):
        _, planted = plant(setting.train, count=setting.canaries, secret=keyed(b"benchmark", setting.name, seed))
        errors.append(auc_error(len(planted.included), len(planted.aside)))
        original = setting.trainer(planted.train, seed=seed)
        rest = planted.train.without(planted.included)
        models = {"retrain": setting.trainer(rest, seed=1000 + seed)}
        for epochs in setting.tuned:
            models[f"fine-tune {epochs}"] = tuned(setting, planted, original, epochs, seed, 0.1)
        models["whole rate"] = tuned(setting, planted, original, setting.tuned[-1], seed, 1.0)
        for name, figures in judged(setting, planted, original, models, seed, cache).items():
            seen.setdefault(name, []).append(figures)
        if seed < CLEAN:
            clean.append(_accuracy(setting.trainer(setting.train, seed=seed), setting, seed))
    return _rows(setting, seen, clean, errors)


def _accuracy(model: nn.Module, setting: Setting, seed: int) -> float:
    problem = Problem(model=model, train=setting.train, holdout=setting.holdout)
    held = split(problem, seed)[1].holdout
    assert held is not None
    x, y = held.read(range(len(held)))
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


def _rows(
    setting: Setting,
    seen: dict[str, list[tuple[float, float, str, Verdict]]],
    clean: Sequence[float],
    errors: Sequence[float],
) -> list[Row]:
    longest = f"fine-tune {setting.tuned[-1]}"
    auc = {name: np.array([figures[0] for figures in all_]) for name, all_ in seen.items()}
    right = {name: float(np.mean([figures[1] for figures in all_])) for name, all_ in seen.items()}
    apart = np.abs(auc["retrain"] - 0.5)
    caught = {
        name: np.mean([figures[3] is Verdict.NOT_ERASED for figures in all_])
        for name, all_ in seen.items()
        if name != "retrain"
    }
    # At the number of canaries: of 24 retrains together, and of a single one at three standard deviations.
    together, single = 3 * float(np.mean(errors)) / setting.models**0.5, 3 * max(errors)
    small = setting.canaries == 200
    ends = setting.tuned[-1]
    gate = setting.name != "digits, SGD"
    rows = [
        ("AUC before, mean", auc["before"].mean(), (0.98 if small else 0.985) if gate else None, "higher", "AUC"),
        ("AUC of retrains, mean", auc["retrain"].mean(), None, "higher", "AUC"),
        (
            "  distance from 0.5",
            abs(auc["retrain"].mean() - 0.5),
            (0.03 if small else 0.016) if gate else None,
            "lower",
            "AUC",
        ),
        ("  three errors of that mean, by the coin", together, None, "lower", "AUC"),
        ("AUC of retrains, sd", auc["retrain"].std(ddof=1), None, "lower", "AUC"),
        ("  by the coin", float(np.mean(errors)), None, "lower", "AUC"),
        ("furthest single retrain from 0.5", apart.max(), single if small else 0.077, "lower", "AUC"),
        *[(f"AUC, fine-tuned {e} epochs", auc[f"fine-tune {e}"].mean(), None, "lower", "AUC") for e in setting.tuned],
        (f"  smallest, {ends} epochs", auc[longest].min(), None, "higher", "AUC"),
        (f"AUC, fine-tuned {ends} epochs, whole rate", auc["whole rate"].mean(), None, "lower", "AUC"),
        ("retrains erased", np.mean([f[3] is Verdict.ERASED for f in seen["retrain"]]), None, "higher", "share"),
        ("originals not erased", caught["before"], 1.0, "higher", "share"),
        *[
            (f"fine-tuned {e} not erased", caught[f"fine-tune {e}"], 0.95 if gate else None, "higher", "share")
            for e in setting.tuned
        ],
        (f"fine-tuned {ends}, whole rate, not erased", caught["whole rate"], None, "higher", "share"),
        ("  erased", np.mean([f[3] is Verdict.ERASED for f in seen["whole rate"]]), None, "lower", "share"),
        ("accuracy with canaries in", right["before"], None, "higher", "share"),
        ("accuracy retrained without them", right["retrain"], None, "higher", "share"),
        ("accuracy, never any canaries", float(np.mean(clean)), None, "higher", "share"),
    ]
    against = f"{setting.canaries} canaries among {len(setting.train)} records, policy quick"
    return [
        Row(
            name=f"{setting.name}: {name}",
            value=float(value),
            target=target,
            better=better,
            unit=unit,
            against=against,
            n=CLEAN if "never" in name else setting.models,
        )
        for name, value, target, better, unit in rows
    ]


def main() -> None:
    """Run and print."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    single_thread()
    with tempfile.TemporaryDirectory() as cache:
        rows = [row for setting in settings() for row in measure(setting, Path(cache))]
    finish(rows, options, policy=POLICY.digest, absent=[] if LOCATION.exists() else ["Location-30"])


if __name__ == "__main__":
    main()
