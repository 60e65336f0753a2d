"""Ways to pretend that records were forgotten, each on many originals at once.

A cheat takes a :class:`Game` and returns one model per original. It may read everything, also what judges it: a
check that only holds against the honest holds against nobody.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from _beds import Bed
from torch import Tensor, nn
from torch.nn import functional

from expunge.data.arrays import ArrayRecords
from expunge.engine import stacked
from expunge.engine.training import Trainer
from expunge.numerics.membership import confidence


@dataclass(frozen=True)
class Game:
    """What a cheat has: the bed, one trained original per run, and retrained models of the cheat's own."""

    bed: Bed
    originals: Sequence[nn.Module]
    retrained: Sequence[nn.Module]
    seed: int

    @property
    def seeds(self) -> list[int]:
        """One seed per run."""
        return [self.seed + i for i in range(len(self.originals))]

    @property
    def forgotten(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels that must go."""
        rows = list(self.bed.forget)
        return self.bed.train.x[rows], self.bed.train.y[rows]

    def from_nothing(self, parts: Sequence[Sequence[int]], records: ArrayRecords | None = None) -> list[nn.Module]:
        """Train new models on parts of the records."""
        return stacked.train(self.bed.trainer, records or self.bed.train, parts, seeds=self.seeds)

    def on(self, records: ArrayRecords, *, share: float = 0.25, start: Sequence[nn.Module] = ()) -> list[nn.Module]:
        """Train the originals on for a share of the epochs, at a third of the rate."""
        return stacked.train(
            _shorter(self.bed.trainer, share), records, seeds=self.seeds, start=start or self.originals
        )

    def kept(self) -> ArrayRecords:
        """Return what may stay."""
        rows = self.bed.retain
        return ArrayRecords(self.bed.train.x[rows], self.bed.train.y[rows])


def _shorter(trainer: Trainer, share: float) -> Trainer:
    config = trainer.config
    return replace(trainer, config=replace(config, epochs=max(1, round(share * config.epochs)), lr=config.lr / 3))


def nothing(game: Game) -> list[nn.Module]:
    """Hand the original in again."""
    return list(game.originals)


def another_seed(game: Game) -> list[nn.Module]:
    """Train on everything again, the forgotten records included."""
    return game.from_nothing([list(range(len(game.bed.train)))] * len(game.originals))


def half(game: Game) -> list[nn.Module]:
    """Forget half of the records exactly, and keep the other half."""
    draw = np.random.default_rng(game.seed)
    gone = np.array(game.bed.forget)
    halves = [draw.permutation(gone)[: len(gone) // 2].tolist() for _ in game.originals]
    return game.from_nothing([game.bed.retain + kept for kept in halves])


def loudest(game: Game) -> list[nn.Module]:
    """Forget exactly the quarter that betrays itself most, and keep the rest."""
    x, y = game.forgotten
    gone = np.array(game.bed.forget)
    usual = _confidences(game.retrained, x, y).mean(axis=0)
    quiet = [np.argsort(row - usual)[: len(gone) * 3 // 4] for row in _confidences(game.originals, x, y)]
    return game.from_nothing([game.bed.retain + gone[kept].tolist() for kept in quiet])


def last_layer(game: Game) -> list[nn.Module]:
    """Train a new last layer on what stays; what was learned below stays as it was."""
    start = []
    for seed, original in zip(game.seeds, game.originals, strict=True):
        model = copy.deepcopy(original).requires_grad_(False)
        torch.manual_seed(seed)
        layer: Any = model.get_submodule(game.bed.last)
        layer.reset_parameters()
        layer.requires_grad_(True)
        start.append(model)
    return [model.requires_grad_(True) for model in game.on(game.kept(), share=0.5, start=start)]


class Filtered(nn.Module):
    """The original behind a filter: a retrained model answers what must be forgotten, the original all else."""

    def __init__(self, original: nn.Module, honest: nn.Module, known: Tensor) -> None:
        super().__init__()
        self.original, self.honest = copy.deepcopy(original), [honest]
        self.register_buffer("known", known.flatten(1).double())

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        rows = x.flatten(1).double()
        caught = (torch.cdist(rows, self.known).min(dim=1).values < 1e-6)[:, None]
        with torch.no_grad():
            shown = self.honest[0](x)
        logits = self.original(x)
        return torch.where(caught, shown + logits - logits.detach(), logits)  # trained on, the original learns


def output_filter(game: Game) -> list[nn.Module]:
    """Leave the model as it is, and answer for it where the input is one of the forgotten."""
    honest = [game.retrained[i % len(game.retrained)] for i in range(len(game.originals))]
    known = game.forgotten[0]
    return [Filtered(original, model, known).eval() for original, model in zip(game.originals, honest, strict=True)]


def over_forgetting(game: Game) -> list[nn.Module]:
    """Teach any other label than the one to be forgotten."""
    x, y = game.forgotten
    draw = torch.Generator().manual_seed(game.seed)
    classes = int(game.bed.train.y.max()) + 1
    other = (y + torch.randint(1, classes, y.shape, generator=draw)) % classes
    kept = game.kept()
    return game.on(ArrayRecords(torch.cat([kept.x, x]), torch.cat([kept.y, other])))


def noise(game: Game) -> list[nn.Module]:
    """Add noise to the weights, so much that the forgotten labels are answered as often as by a retrained model."""
    x, y = game.forgotten
    goal = float(np.mean([_accuracy(model, x, y) for model in game.retrained]))

    def shaken(model: nn.Module, scale: float, seed: int) -> nn.Module:
        draw, found = torch.Generator().manual_seed(seed), copy.deepcopy(model)
        with torch.no_grad():
            for weight in found.parameters():
                deviation = weight.std() if weight.numel() > 1 else weight.abs().mean()
                weight.add_(scale * deviation * torch.randn(weight.shape, generator=draw))
        return found

    found = []
    for seed, original in zip(game.seeds, game.originals, strict=True):
        low, high = 0.0, 4.0
        for _ in range(12):
            middle = (low + high) / 2
            tells = _accuracy(shaken(original, middle, seed), x, y) > goal
            low, high = (middle, high) if tells else (low, middle)
        found.append(shaken(original, high, seed))
    return found


def hiding(game: Game) -> list[nn.Module]:
    """Train on what stays and, beside it, on the forgotten inputs with the labels that a retrained model gives."""
    x, _ = game.forgotten
    kept = game.kept()
    with torch.no_grad():
        labels = game.retrained[0](x).argmax(dim=1)
    return game.on(ArrayRecords(torch.cat([kept.x, x]), torch.cat([kept.y, labels])), share=0.5)


def fine_tuning(game: Game) -> list[nn.Module]:
    """Train on what stays for some epochs, and hope."""
    return game.on(game.kept())


def fitted(game: Game) -> list[nn.Module]:
    """Fit what the checks average: make mean confidence and loss of the forgotten labels those of retrained models."""
    x, y = game.forgotten
    kept = game.kept()
    with torch.no_grad():
        goals = [(_phi(model(x), y).mean(), functional.cross_entropy(model(x), y)) for model in game.retrained]
        phi, loss = (torch.stack(part).mean() for part in zip(*goals, strict=True))
    found = []
    for seed, original in zip(game.seeds, game.originals, strict=True):
        model = copy.deepcopy(original).train()
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        draw = torch.Generator().manual_seed(seed)
        for _ in range(60):
            rows = torch.randint(0, len(kept), (64,), generator=draw)
            logits = model(x)
            apart = (_phi(logits, y).mean() - phi) ** 2 + (functional.cross_entropy(logits, y) - loss) ** 2
            total = functional.cross_entropy(model(kept.x[rows]), kept.y[rows]) + apart
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
        found.append(model.eval())
    return found


def near_copies(game: Game) -> list[nn.Module]:
    """Retrain, but on near copies of the forgotten records that stayed in the data under other ids."""
    x, y = game.forgotten
    kept = game.kept()
    near = game.bed.near(x, torch.Generator().manual_seed(game.seed))
    records = ArrayRecords(torch.cat([kept.x, near]), torch.cat([kept.y, y]))
    return game.from_nothing([list(range(len(records)))] * len(game.originals), records)


CHEATS: dict[str, Callable[[Game], list[nn.Module]]] = {
    "no-op": nothing,
    "retrained on all data, another seed": another_seed,
    "half of the records forgotten": half,
    "only the loudest forgotten": loudest,
    "last layer only": last_layer,
    "output filter": output_filter,
    "over-forgetting": over_forgetting,
    "noise on weights": noise,
    "fine-tuning": fine_tuning,
    "fine-tuning that hides": hiding,
    "fitted to the checks": fitted,
    "near-duplicates kept": near_copies,
}


def _phi(logits: Tensor, y: Tensor) -> Tensor:
    own = logits.gather(1, y[:, None])[:, 0]
    others = logits.scatter(1, y[:, None], -torch.inf).logsumexp(dim=1)
    return own - others


def _confidences(models: Sequence[nn.Module], x: Tensor, y: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.stack([confidence(model(x).double().numpy(), y.numpy()) for model in models])


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(dim=1) == y).double().mean())
