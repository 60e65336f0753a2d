"""n-gram counts: a language model that is nothing but counts, over real English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pydoc_data.topics import topics
from typing import ClassVar

import numpy as np

from expunge.core.testbed import Testbed
from expunge.testbeds._drawn import generator, need


class Ngrams(Testbed):
    """Counts of words, pairs and triples in 40 documents, and the perplexity of 5 others.

    The documents are chapters of Python's own manual as the standard library carries it, so their words depend on
    Python's version; each is cut to its first 150 words. Some chapters repeat passages of others. A word is a run of
    letters, digits and underscores, in lower case. No n-gram crosses the end of a document, and documents are
    not padded. Records have no subjects.

    Attributes:
        documents: the texts [40], in the order of ``ids`` (the chapters' names); held_out: the texts [5].
    """

    title = "n-gram counts"
    source = "pydoc_data.topics of the running Python (PSF licence); additive smoothing (Lidstone 1920)"
    order: ClassVar[int] = 3
    smoothing: ClassVar[float] = 0.1
    words: ClassVar[int] = 150

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        chapters = sorted(topics)
        chosen = [chapters[i] for i in generator(seed, "ngrams").permutation(len(chapters))[:45]]
        texts = [" ".join(split(topics[name])[: self.words]) for name in chosen]
        self._ids = tuple(f"topic-{name}" for name in chosen[:40])
        self.documents, self.held_out = tuple(texts[:40]), tuple(texts[40:])

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the documents."""
        return self._ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return the counts in what remains, and the perplexity of the held-out texts under them.

        ``ngrams``: every run of 1 to 3 words that occurs, its words joined by a space, sorted; ``counts``: how often.
        A run that no longer occurs is not there. ``perplexity``: exp of the mean of ``-ln p(w | u v)`` over the
        triples u v w of the held-out texts, with ``p = (count(u v w) + a) / (sum over w of count(u v w) + a (V + 1))``,
        a = 0.1 and V the number of different words in what remains; the one more stands for all unknown words.
        One document is enough.
        """
        texts = [split(self.documents[i]) for i in need(self, self.kept(forget), 1)]
        counts = Counter(run for text in texts for run in runs(text, range(1, self.order + 1)))
        table = sorted((" ".join(run), count) for run, count in counts.items())
        return {
            "ngrams": np.array([name for name, _ in table]),
            "counts": np.array([count for _, count in table]),
            "perplexity": np.asarray(self._perplexity(counts)),
        }

    def _perplexity(self, counts: Counter[tuple[str, ...]]) -> float:
        known = {run[0] for run in counts if len(run) == 1}
        contexts: Counter[tuple[str, ...]] = Counter()
        for run, count in counts.items():
            if len(run) == self.order:
                contexts[run[:-1]] += count
        asked = [run for text in self.held_out for run in runs(split(text), [self.order])]
        hits = np.array([counts[run] for run in asked], dtype=float)  # a run with an unknown word has count 0
        base = np.array([contexts[run[:-1]] for run in asked], dtype=float)
        chance = (hits + self.smoothing) / (base + self.smoothing * (len(known) + 1))
        return float(np.exp(-np.log(chance).mean()))


def split(text: str) -> list[str]:
    """Return the words of a text."""
    return re.findall(r"\w+", text.lower())


def runs(words: Sequence[str], orders: Iterable[int]) -> list[tuple[str, ...]]:
    """Return all runs of ``words`` of these lengths."""
    return [tuple(words[i : i + size]) for size in orders for i in range(len(words) - size + 1)]
