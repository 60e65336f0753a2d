"""Evidence without models: what retrained, remembering and damaged models would say, drawn from one law.

The answer that a check must give is known, because it was drawn: a new model of the law is a true retrain; one
with ``memory`` favours the labels it was to forget; one with ``damage`` has lost what it knew of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.engine.evidence import Evidence

Array = NDArray[np.float64]
SIZES: dict[str, int] = {"forget": 200, "retain": 400, "neighbours": 200, "holdout": 400}
CLASSES = 4
PASSES = 4
_EASE = {"forget": (2.5, 1.0), "retain": (2.6, 0.6), "neighbours": (2.6, 0.6), "holdout": (3.0, 1.0)}
"""Mean and spread of how easy records are; what was trained on differs less than what was not."""


class Law:
    """Records to judge by, and the law of models that never saw the forgotten ones.

    Args:
        seed: of the records.
        sizes: records per part.
        wrong: whether the labels of the forgotten records were wrong, so that a retrained model contradicts them.
    """

    def __init__(self, seed: int = 0, sizes: Mapping[str, int] = SIZES, *, wrong: bool = True) -> None:
        draw = np.random.default_rng([seed, 0])
        self.sizes = dict(sizes)
        self.truth = {part: draw.integers(0, CLASSES, n) for part, n in self.sizes.items()}
        self.labels = {**self.truth, "forget": (self.truth["forget"] + wrong) % CLASSES}
        self.ease = {part: draw.normal(*_EASE[part], n) for part, n in self.sizes.items()}

    def model(self, seed: int, *, memory: float = 0.0, damage: float = 0.0) -> dict[str, Array]:
        """Return what one model says: logits [n, 4] per part, and which forgotten records it has right per pass.

        ``memory`` is added to the logits of the labels to forget (less than 0: pushed below what a retrained
        model says), ``damage`` taken from those of all other records' true labels.
        """
        draw = np.random.default_rng([seed, 1])
        arrays: dict[str, Array] = {}
        for part, n in self.sizes.items():
            rows = np.arange(n)
            logits = draw.normal(0, 0.4, (n, CLASSES))
            logits[rows, self.truth[part]] += self.ease[part] - (damage if part != "forget" else 0.0)
            if part == "forget":
                logits[rows, self.labels[part]] += memory
            arrays[part] = logits
        # The chance to be right rises from pass to pass, and with what is remembered.
        ease, n = self.ease["forget"], self.sizes["forget"]
        chance = np.linspace(0.2, 0.6, PASSES)[:, None] + 0.1 * np.sign(ease) + 0.08 * memory
        arrays["relearned"] = (draw.random((PASSES, n)) < chance).astype(np.float64)
        return arrays

    def evidence(
        self,
        candidate: Mapping[str, Array],
        *,
        references: int = 20,
        parts: Sequence[str] = tuple(SIZES),
        alpha: float = 0.025,
        corrections: bool = True,
        original: Mapping[str, Array] | None = None,
        shuffle: int | None = None,
    ) -> Evidence:
        """Return evidence on ``candidate`` against references of this law; the original remembers.

        ``parts`` are those the problem has; ``shuffle`` puts the records of each into another order.
        """
        models = {f"r{k}": self.model(k + 100) for k in range(references)}
        models = {"candidate": dict(candidate), "original": dict(original or self.model(1, memory=6.0)), **models}
        draw = np.random.default_rng(shuffle)
        order = {n: np.arange(n) if shuffle is None else draw.permutation(n) for n in set(self.sizes.values())}
        place = {part: order[n] for part, n in {**self.sizes, "relearned": self.sizes["forget"]}.items()}
        arrays = {
            name: {
                part: a[:, place[part]] if part == "relearned" else a[place[part]]
                for part, a in said.items()
                if part in parts or part == "relearned"
            }
            for name, said in models.items()
        }
        return Evidence(
            arrays,
            {part: self.labels[part][place[part]] for part in parts},
            candidate="candidate",
            original="original",
            references=tuple(f"r{k}" for k in range(references)),
            alpha=alpha,
            corrections=self.truth["forget"][place["forget"]] if corrections else None,
        )
