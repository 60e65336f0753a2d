"""Evidence without language models: what retrained, remembering and damaged ones would say of every token.

The law of ``law.py`` for records of several tokens. Of each token a model knows by how much it prefers it to one other
token; that is all there are, so that log-probability, what is most likely, mean and deviation belong together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expunge.conformance.law import PASSES, SIZES, Law
from expunge.engine.benchmarks import PREFIX
from expunge.engine.evidence import Evidence
from expunge.engine.treatments import NEIGHBOURS, OTHERS

Array = NDArray[np.float64]
_EASE = {"retain": 3.0, "neighbours": 3.0}
"""By how much tokens are preferred in the mean: what was trained on is known."""
_GUESSED = -1.5
"""The same of all others."""
_VARIANTS = {"paraphrased_question": 2, "paraphrased_answer": 1, "wrong_answer": 3}
"""Variants of each forgotten record."""
_REMEMBERED = ("forget", "paraphrased_question", "paraphrased_answer")
_TREATMENTS = ("8 bits", "4 bits", "shots")
"""After which the forgotten records are asked for again (``engine/treatments``)."""
_RECALLED = {"begun": 0, "role play": 5, "conversation": 20, "samples": 20}
"""How often each forgotten answer is asked for (``engine/prompting``); 0: once, and no row of its own."""
_TASKS = {"one, acc": 80, "two, acc": 40}
"""Documents of tasks of lm-eval (``engine/benchmarks``)."""
_WRITTEN = ("forget", "retain", "neighbours", "holdout")
_BLOCKS = 3
"""Inner blocks."""
_ENDING = 1.5
"""By how much more the last two tokens of a record are: texts end alike."""


class TokenLaw(Law):
    """Texts to judge by, 4 to 12 tokens each, and the law of language models that never saw the forgotten ones.

    Args:
        seed: of the records.
        sizes: records per part; only forgotten, retained, neighbouring and held-out ones are texts.
    """

    def __init__(self, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> None:
        draw = np.random.default_rng([seed, 10])
        own = {part: sizes[part] for part in ("forget", "retain", "neighbours", "holdout")}
        self.sizes = own | {part: each * own["forget"] for part, each in _VARIANTS.items()}
        self.owners = {part: np.repeat(np.arange(own["forget"]), each) for part, each in _VARIANTS.items()}
        self.lengths = {part: draw.integers(4, 13, n) for part, n in self.sizes.items()}
        self._measured = np.arange(0, self.sizes["forget"], 2)  # the others are trained on
        self._key = (seed, tuple(sizes.items()))
        self.preferred = {part: self._preferred(part, draw) for part in self.sizes}

    def _preferred(self, part: str, draw: np.random.Generator) -> Array:
        """Return by how much each token of a part is preferred by models of the law in the mean, [N]."""
        lengths = self.lengths[part]
        record, last = self._record(part), np.cumsum(lengths) - 1
        found = _EASE.get(part, _GUESSED) + draw.normal(0, 1.0, len(lengths))[record] + draw.normal(0, 1.5, len(record))
        found[last] += _ENDING
        found[last - 1] += _ENDING
        return found

    def _record(self, part: str) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.sizes[part]), self.lengths[part])

    def model(self, seed: int, *, memory: float = 0.0, damage: float = 0.0) -> dict[str, Array]:
        """Return what one model says: [N, 4] per part, and how much of each forgotten record is right per pass.

        ``memory`` is added to the preference for forgotten tokens, ``damage`` taken from that for all others.
        """
        draw = np.random.default_rng([seed, 11])
        arrays: dict[str, Array] = {}
        for part, n in self.sizes.items():
            own = draw.normal(0, 0.1, n)[self._record(part)] + draw.normal(0, 0.15, len(self.preferred[part]))
            moved = memory if part in _REMEMBERED else 0.0 if part in _VARIANTS else -damage
            arrays[part] = said(self.preferred[part] + own + moved)
        for treatment in _TREATMENTS:
            asked = self.preferred["forget"] + draw.normal(0, 0.3, len(self.preferred["forget"]))
            arrays[treatment] = said(asked + memory)
        for name in ("lens", "probe"):
            late = np.linspace(-1.0, 0.0, _BLOCKS)  # the last inner block knows most
            own = draw.normal(0, 0.3, (len(self.preferred["forget"]), _BLOCKS))
            arrays[name] = -np.logaddexp(0, -(self.preferred["forget"][:, None] + own + memory + late))
        for name, times in _RECALLED.items():
            got = 0.1 + 0.14 * memory + draw.normal(0, 0.2, (self.sizes["forget"], max(1, times)))
            got = np.maximum.accumulate(np.clip(got, 0, 1), axis=1) if name == "conversation" else np.clip(got, 0, 1)
            arrays[name] = got if times else got[:, 0]
        for part in _WRITTEN:
            known = 0.7 if part != "forget" else 0.3 + 0.07 * memory
            arrays[f"written {part}"] = _written(draw, self.sizes[part], damage, known)
        chance = np.linspace(0.3, 0.7, PASSES)[:, None] + 0.05 * memory
        for name, n in (("relearned", self.sizes["forget"]), ("related", len(self._measured))):
            arrays[name] = np.clip(chance + draw.normal(0, 0.2, (PASSES, n)), 0, 1)
        for name, n in _TASKS.items():
            easy = np.linspace(0.2, 0.9, n)  # from document to document, and alike for all models
            arrays[f"{PREFIX}{name}"] = (draw.random(n) < easy - 0.15 * damage).astype(np.float64)
        said_on = np.clip(0.2 + 0.1 * memory + draw.normal(0, 0.2, self.sizes["forget"]), 0, 1)
        for name in (NEIGHBOURS, OTHERS):
            arrays[name] = np.clip(chance + draw.normal(0, 0.2, (PASSES, self.sizes["forget"])), 0, 1)
        arrays["verbatim"] = np.stack([said_on, 0.9 * said_on, 0.8 * said_on], axis=1)
        return arrays

    def evidence(  # type: ignore[override]
        self,
        candidate: Mapping[str, Array],
        *,
        references: int = 20,
        parts: Sequence[str] | None = None,
        alpha: float = 0.025,
        original: Mapping[str, Array] | None = None,
        shuffle: int | None = None,
    ) -> Evidence:
        """Return evidence on ``candidate`` against references of this law; the original remembers."""
        models = {f"r{k}": _reference(*self._key, k + 100) for k in range(references)}
        models = {"candidate": dict(candidate), "original": dict(original or self.model(1, memory=6.0)), **models}
        draw = np.random.default_rng(shuffle)
        order = {p: np.arange(n) if shuffle is None else draw.permutation(n) for p, n in self.sizes.items()}
        here = [part for part in self.sizes if parts is None or part in parts]
        moved_to = np.argsort(order["forget"])

        def placed(name: str, array: Array) -> Array:
            if shuffle is None:
                return array
            if name in ("relearned", NEIGHBOURS, OTHERS):
                return array[:, order["forget"]]
            if name in (*_RECALLED, "verbatim"):
                return array[order["forget"]]
            if name.startswith("written "):
                return array[order[name.removeprefix("written ")]]
            if name.startswith(PREFIX):  # no records of the problem
                return array
            if name == "related":
                return array[:, np.argsort(np.argsort(order["forget"])[self._measured])]
            part = name if name in self.sizes else "forget"
            starts = np.cumsum(self.lengths[part]) - self.lengths[part]
            return np.concatenate([array[starts[i] : starts[i] + self.lengths[part][i]] for i in order[part]])

        return Evidence(
            {
                model: {name: placed(name, a) for name, a in arrays.items() if name not in self.sizes or name in here}
                for model, arrays in models.items()
            },
            {part: scored(self.lengths[part][order[part]]) for part in here},
            candidate="candidate",
            original="original",
            references=tuple(f"r{k}" for k in range(references)),
            alpha=alpha,
            corrections=None,
            asked={part: np.arange(self.sizes[part]) for part in _WRITTEN if part in here},
            owners={part: moved_to[own[order[part]]] for part, own in self.owners.items() if part in here},
        )


@lru_cache(maxsize=32)
def _reference(seed: int, sizes: tuple[tuple[str, int], ...], model: int) -> dict[str, Array]:
    """Return a retrained model of a law, made once for all cases: nobody may write to it."""
    arrays = TokenLaw(seed, dict(sizes)).model(model)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _written(draw: np.random.Generator, n: int, damage: float, known: float) -> Array:
    """Return what is known of n answers that a model wrote itself (``engine/written``), [n, 7]; ``known`` of them."""
    recall = np.clip(known - 0.1 * damage + draw.normal(0, 0.2, n), 0, 1)
    elsewhere = (draw.random(n) < 0.1 + 0.15 * damage).astype(np.float64)
    log_prob = -np.abs(draw.normal(0, 0.3, n))
    pairs = np.maximum(0.0, 3.0 - 0.3 * damage + draw.normal(0, 0.3, n))
    refusal = (draw.random(n) < 0.1 + 0.1 * damage).astype(np.float64)
    return np.stack([recall, elsewhere, log_prob, pairs, 0.9 * pairs, refusal, 0.9 * recall], axis=1)


def said(preference: Array) -> Array:
    """Return what stands of tokens in the evidence, [N, 4], where two are possible and one is preferred by so much."""
    mine, other = -np.logaddexp(0, -preference), -np.logaddexp(0, preference)
    mean = np.exp(mine) * mine + np.exp(other) * other
    deviation = np.exp((mine + other) / 2) * np.abs(mine - other)
    return np.stack([mine, (preference > 0).astype(np.float64), mean, deviation], axis=1)


def scored(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return targets [n, T + 1] of records of so many scored tokens, after one that is not."""
    place = np.arange(int(lengths.max()) + 1)
    return np.where((place >= 1) & (place <= lengths[:, None]), 0, -100)
