"""Three kinds of model to cheat with: a network of images, one of a table, and a small language model.

Each bed is a problem with a draw of its own: which records there are, and which must be forgotten. Location-30 and the
TOFU texts lie beside the project (``--data``); a bed without its data says so and is left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from expunge.data.arrays import ArrayRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.testbeds import digits

DATA = Path(__file__).parents[2] / "shared/data"


@dataclass(frozen=True, kw_only=True)
class Bed:
    """Records, which of them must go, and how a model is trained; ``last`` names the last layer."""

    title: str
    train: ArrayRecords
    forget: tuple[int, ...]
    holdout: ArrayRecords
    trainer: Trainer
    last: str
    corrections: dict[str, int] = field(default_factory=dict)
    near: Callable[[Tensor, torch.Generator], Tensor]

    @property
    def retain(self) -> list[int]:
        """Indices of what stays."""
        gone = set(self.forget)
        return [i for i in range(len(self.train)) if i not in gone]


def digits_bed(draw: int, data: Path) -> Bed:
    """Return the demo: digits, of which one annotator labelled many wrongly."""
    train, holdout, truth = digits.records(draw)
    return Bed(
        title="digits, convolutions",
        train=train,
        forget=tuple(range(digits.LABELLED)),
        holdout=holdout,
        trainer=digits.TRAINER,
        last="head.3",
        corrections=truth,
        near=lambda x, g: (x + 0.05 * torch.randn(x.shape, generator=g)).clamp(0, 1),
    )


def check_ins() -> nn.Module:
    """Return the network of the published measurements on Location-30."""
    return nn.Sequential(nn.Linear(446, 64), nn.ReLU(), nn.Linear(64, 30))


def location_bed(draw: int, data: Path) -> Bed:
    """Return check-ins of 4,000 people, a quarter of whom must be forgotten; all are memorised."""
    with np.load(data / "location30/location30.npz") as file:
        x, y = file["features"].astype(np.float32), file["labels"].astype(np.int64)
    order = np.random.default_rng([draw, 30]).permutation(len(x))
    train, holdout = order[:4000], order[4000:]
    return Bed(
        title="Location-30, two layers",
        train=ArrayRecords(x[train], y[train], ids=[f"person-{i:04d}" for i in train]),
        forget=tuple(range(1000)),
        holdout=ArrayRecords(x[holdout], y[holdout], ids=[f"person-{i:04d}" for i in holdout]),
        trainer=Trainer(build=check_ins, config=LoopConfig(epochs=25, batch_size=64, lr=0.1, optimiser="sgd")),
        last="2",
        near=lambda x, g: torch.where(torch.rand(x.shape, generator=g) < 0.01, 1 - x, x),
    )


WORDS, CONTEXT = 200, 4


class NextWord(nn.Module):
    """A language model of four words (Bengio et al. 2003): word numbers [B, 4] to logits of the next, [B, 200]."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 16)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16 * CONTEXT, 128), nn.ReLU(), nn.Linear(128, WORDS))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.table(x))
        return logits


def language_bed(draw: int, data: Path) -> Bed:
    """Return answers about forty authors who do not exist; a quarter of those learned must be forgotten.

    A record is a place in a text: the four words before it and the word that stands there. Its subject is the text.
    More texts are held out than learned: errors are reckoned over texts, and sixty of them would leave every model
    open. Of 120 texts learned and thirty forgotten, seeds would make the models differ by more than the policy can tell
    apart.
    """
    lines = (data / "tofu/full.json").read_text().splitlines()
    texts = [re.findall(r"\w+|[^\w\s]", json.loads(line)["answer"].lower()) for line in lines]
    generator = np.random.default_rng([draw, 7])
    authors = generator.permutation(len(texts) // 20)[:40]
    chosen = generator.permutation([20 * a + q for a in authors for q in range(20)])
    train, holdout = chosen[:240], chosen[240:]
    counts = Counter(word for text in train for word in texts[text])
    number = {word: 2 + i for i, (word, _) in enumerate(counts.most_common(WORDS - 2))}

    def places(part: np.ndarray) -> ArrayRecords:
        rows, targets, names = [], [], []
        for text in part:
            line = [0] * CONTEXT + [number.get(word, 1) for word in texts[text]]
            for i in range(CONTEXT, len(line)):
                if line[i] > 1:
                    rows.append(line[i - CONTEXT : i])
                    targets.append(line[i])
                    names.append((f"text-{text:04d}", i - CONTEXT))
        ids = [f"{text}-word-{i:03d}" for text, i in names]
        return ArrayRecords(np.array(rows), np.array(targets), ids=ids, subjects=[text for text, _ in names])

    records = places(train)
    gone = {f"text-{text:04d}" for text in train[:60]}
    return Bed(
        title="next word, four words before",
        train=records,
        forget=tuple(i for i, subject in enumerate(records.subjects) if subject in gone),
        holdout=places(holdout),
        trainer=Trainer(build=NextWord, config=LoopConfig(epochs=30, batch_size=64, lr=0.01, schedule="one_cycle")),
        last="head.3",
        near=lambda x, g: torch.where(
            torch.rand(x.shape, generator=g) < 0.1, torch.randint(2, WORDS, x.shape, generator=g), x
        ),
    )


BEDS: dict[str, Callable[[int, Path], Bed]] = {
    "digits": digits_bed,
    "location": location_bed,
    "language": language_bed,
}
NEEDS = {"digits": None, "location": "location30/location30.npz", "language": "tofu/full.json"}
"""The file of a bed under ``--data``; None where it comes with a library."""
