"""Evidence without models: what retrained, remembering and damaged models would say, drawn from one law.

The answer that a check must give is known, because it was drawn: a new model of the law is a true retrain; one
with ``memory`` favours the labels it was to forget; one with ``damage`` has lost what it knew of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expunge.engine.evidence import Evidence
from expunge.engine.members import Held
from expunge.engine.parts import REPRESENTED
from expunge.numerics.membership import confidence

Array = NDArray[np.float64]
SIZES: dict[str, int] = {
    "forget": 200,
    "retain": 400,
    "neighbours": 200,
    "holdout": 400,
    "planted": 150,
    "aside": 150,
    "triggered": 300,
}
CLASSES = 4
PASSES = 4
_EASE = {
    "forget": (2.5, 1.0),
    "retain": (2.6, 0.6),
    "neighbours": (2.6, 0.6),
    "holdout": (3.0, 1.0),
    # All alike, so that every model is dealt out to both sides anew.
    "planted": (2.5, 0.0),
    "aside": (2.5, 0.0),
    # Hard enough that retrained models take some for the target without any trigger.
    "triggered": (1.0, 1.0),
}
TARGET = 0
"""The class that the trigger leads to; a model that remembers favours it on triggered records."""
"""Mean and spread of how easy records are; what was trained on differs less than what was not."""
DRAWS = 4
MEMBERS = 5
"""Of a sharded ensemble: each forgotten record was in one of them."""
_BY_FORGOTTEN = ("relearned", "around", "members")
"""Arrays with one column per forgotten record; the features of a part have its name at the end."""
_CANARIES = ("planted", "aside")
_WRONG = ("forget", *_CANARIES, "triggered")
_REMEMBERED = ("forget", "planted", "triggered")


class Law:
    """Records to judge by, and the law of models that never saw the forgotten ones.

    Args:
        seed: of the records.
        sizes: records per part.
        wrong: whether the labels of the forgotten records were wrong, so that a retrained model contradicts them.
        alike: whether forgotten and held-out records are draws of one law; then no label is wrong.
    """

    def __init__(
        self, seed: int = 0, sizes: Mapping[str, int] = SIZES, *, wrong: bool = True, alike: bool = False
    ) -> None:
        draw = _draws(seed, 0)
        self.sizes = dict(sizes)
        self._key = (seed, tuple(sizes.items()), wrong, alike)
        self.truth = {part: draw[part].integers(0, CLASSES, n) for part, n in self.sizes.items()}
        # The label of a canary is wrong by design.
        shift = {"forget": wrong and not alike, **dict.fromkeys(_CANARIES, 1)}
        self.labels = {part: (truth + shift.get(part, 0)) % CLASSES for part, truth in self.truth.items()}
        ease = {**_EASE, "forget": _EASE["holdout"]} if alike else _EASE
        self.ease = {part: draw[part].normal(*ease[part], n) for part, n in self.sizes.items()}
        self.groups = np.random.default_rng([seed, 6]).choice(["a", "b"], self.sizes["holdout"])
        self.holders = np.random.default_rng([seed, 4]).integers(0, MEMBERS, self.sizes["forget"])

    def model(self, seed: int, *, memory: float = 0.0, damage: float = 0.0) -> dict[str, Array]:
        """Return what one model says: logits [n, 4] per part, and which forgotten records it has right per pass.

        ``memory`` is added to the logits of the labels to forget (less than 0: pushed below what a retrained
        model says), also of the canaries planted; ``damage`` is taken from those of all other records' true labels.
        """
        draw = _draws(seed, 1)
        arrays: dict[str, Array] = {}
        for part, n in self.sizes.items():
            rows = np.arange(n)
            logits = draw[part].normal(0, 0.4, (n, CLASSES))
            logits[rows, self.truth[part]] += self.ease[part] - (damage if part not in _WRONG else 0.0)
            if part in _REMEMBERED:
                logits[rows, TARGET if part == "triggered" else self.labels[part]] += memory
            arrays[part] = logits
        # The chance to be right rises from pass to pass, and with what is remembered.
        ease, n = self.ease["forget"], self.sizes["forget"]
        chance = np.linspace(0.2, 0.6, PASSES)[:, None] + 0.1 * np.sign(ease) + 0.08 * memory
        arrays["relearned"] = (draw["forget"].random((PASSES, n)) < chance).astype(np.float64)
        said = confidence(arrays["forget"], self.labels["forget"])
        arrays["members"] = said + np.random.default_rng([seed, 5]).normal(0, 0.4, (MEMBERS, n))
        arrays["members"][self.holders, np.arange(n)] += memory
        arrays["around"] = said + _draws(seed, 2)["forget"].normal(0, 0.3, (DRAWS, n))
        arrays |= self._features(arrays, seed)
        return arrays

    def _features(self, arrays: Mapping[str, Array], seed: int) -> dict[str, Array]:
        """Return what the last layer is given, [n, 6]: logits and noise, turned: each model has its own axes."""
        draw, own = np.random.default_rng([seed, 3]), {}
        turn = np.linalg.qr(draw.normal(size=(CLASSES + 2, CLASSES + 2)))[0]
        for part in REPRESENTED:
            noise = draw.normal(0, 0.4, (self.sizes[part], CLASSES + 2))
            noise[:, :CLASSES] += arrays[part]
            own[f"features {part}"] = noise @ turn
        return own

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
        models = {f"r{k}": _drawn(*self._key, k + 100) for k in range(references)}
        before = original or _drawn(*self._key, 1, memory=6.0)
        models = {"candidate": dict(candidate), "original": dict(before), **models}
        draw = np.random.default_rng(shuffle)
        order = {n: np.arange(n) if shuffle is None else draw.permutation(n) for n in set(self.sizes.values())}
        place = {part: order[n] for part, n in self.sizes.items()}

        def placed(name: str, array: Array) -> Array:
            if shuffle is None:
                return array
            return array[:, place["forget"]] if name in _BY_FORGOTTEN else array[place[name.split()[-1]]]

        arrays = {
            name: {
                name: placed(name, a) for name, a in said.items() if name in _BY_FORGOTTEN or name.split()[-1] in parts
            }
            for name, said in models.items()
        }
        return Evidence(
            arrays,
            {part: self.labels[part][place[part]] for part in parts if part in self.sizes},
            candidate="candidate",
            original="original",
            references=tuple(f"r{k}" for k in range(references)),
            alpha=alpha,
            corrections=self.truth["forget"][place["forget"]] if corrections else None,
            held=Held(self.holders[place["forget"]], MEMBERS),
            groups=self.groups[place["holdout"]] if "holdout" in parts else None,
            target=TARGET,
        )


@lru_cache(maxsize=64)
def _drawn(
    seed: int, sizes: tuple[tuple[str, int], ...], wrong: bool, alike: bool, model: int, memory: float = 0.0
) -> dict[str, Array]:
    """Return a model of a law, made once for all cases: nobody may write to it."""
    arrays = Law(seed, dict(sizes), wrong=wrong, alike=alike).model(model, memory=memory)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _draws(seed: int, of: int) -> dict[str, np.random.Generator]:
    """Return what each part is drawn from; canaries have one of their own, so that the others do not depend on them."""
    draw, own = np.random.default_rng([seed, of]), np.random.default_rng([seed, of, 1])
    marked = np.random.default_rng([seed, of, 2])
    return {part: own if part in _CANARIES else marked if part == "triggered" else draw for part in SIZES}
