"""TF-IDF from counts of texts per token: a token whose last text is forgotten is in no vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from expunge.core.level import Level
from expunge.estimators._preparing import Preparing
from expunge.estimators._texts import Texts


class ForgettingTfidf(Preparing, TfidfVectorizer):
    """Scikit-learn's ``TfidfVectorizer``, with ``forget(ids)``; all its parameters mean the same.

    Held are, for each text, which tokens it has how often - not the text. A token whose last text goes is in no
    vocabulary, and one that ``min_df``, ``max_df`` or ``max_features`` keep out may come in, or the reverse: the
    columns are those of a fresh fit, and later steps must follow (:class:`~expunge.estimators.ForgettingPipeline` sees
    to it). Of tokens that are as frequent, ``max_features`` keeps the first by alphabet. Texts in which no token
    remains leave an empty vocabulary: ``fit`` on them is an error, as there, and after ``forget`` ``transform`` is.

    A delete costs the tokens of the text, and one pass over the vocabulary for the weights, which depend on the
    number of texts.
    """

    title = "TF-IDF that forgets"
    source = "document counts (reference section 2.1); scikit-learn's TfidfVectorizer"
    guarantee = Level.BITWISE
    argument = "vocabulary and weights are a function of integer counts, from which those of forgotten texts are taken"
    _holds = "the tokens of each text with their counts"
    _held: Texts

    def fit(self, X: Any, y: Any = None, sample_ids: Any = None) -> Self:
        super().fit(X, y, sample_ids)
        if not self.vocabulary_:
            raise ValueError("empty vocabulary; perhaps the documents only contain stop words, or min_df is too high")
        return self

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        if isinstance(X, str):
            raise ValueError("Iterable over raw text documents expected, string object received.")
        self._validate_params()
        self._check_params()
        analyse = self.build_analyzer()
        found = [Counter(analyse(text)) for text in X]
        rows = np.empty(len(found), dtype=object)
        for place, counts in enumerate(found):
            rows[place] = {token: 1 for token in counts} if self.binary else dict(counts)
        return {"texts": rows}

    def _begin(self) -> None:
        self._held = Texts()

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._held.add(rows["texts"].tolist())

    def _remove(self, places: np.ndarray) -> None:
        self._held.remove(places)

    def _settle(self) -> None:
        held, n = self._held, len(self._held)
        if not n:
            return
        if self.vocabulary is None:
            if held.changed:
                self._order, held.changed = np.array(held.tokens.order(), dtype=np.int64), False
            counts = np.array(held.tokens.counts, dtype=np.int64)
            kept = self._kept(counts[self._order], n)
            self.vocabulary_ = {held.tokens.values[slot]: i for i, slot in enumerate(kept.tolist())}
            self.fixed_vocabulary_ = False
            documents = counts[kept]
        else:
            self._validate_vocabulary()
            documents = np.zeros(len(self.vocabulary_), dtype=np.int64)
            slots = {token: slot for slot, token in enumerate(held.tokens.values) if held.tokens.counts[slot]}
            for token, place in self.vocabulary_.items():
                documents[place] = held.tokens.counts[slots[token]] if token in slots else 0
        weights = TfidfTransformer(
            norm=self.norm, use_idf=self.use_idf, smooth_idf=self.smooth_idf, sublinear_tf=self.sublinear_tf
        )
        weights.n_features_in_ = len(documents)
        if self.use_idf:
            smooth, dtype = int(self.smooth_idf), self.dtype if self.dtype in (np.float32, np.float64) else np.float64
            with np.errstate(divide="ignore"):
                weights.idf_ = np.log(dtype(n + smooth) / (documents + smooth).astype(dtype)) + dtype(1)
        self._tfidf = weights

    def __getstate__(self) -> dict[str, Any]:
        derived = ("vocabulary_", "_tfidf", "_order")  # large
        return {name: value for name, value in super().__getstate__().items() if name not in derived}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        if "_held" in state:
            self._held.changed = True
            self._settle()

    def _kept(self, documents: np.ndarray, n: int) -> np.ndarray:
        """Return the slots of the tokens in the vocabulary, by alphabet; ``documents`` are counts in that order."""
        least, most = (value if isinstance(value, int) else value * n for value in (self.min_df, self.max_df))
        if most < least:
            raise ValueError("max_df corresponds to < documents than min_df")
        inside = np.flatnonzero((documents >= least) & (documents <= most))
        if self.max_features is not None and len(inside) > self.max_features:
            times = self._held.times()[self._order[inside]]
            inside = np.sort(inside[np.argsort(-times, kind="stable")[: self.max_features]])
        return self._order[inside]

    def transform(self, X: Any) -> Any:
        """Return texts ``X`` [m] as a sparse matrix [m, tokens].

        Raises:
            NotFittedError: no text, or no token of one, remains.
        """
        self._check_ready()
        if not self.vocabulary_:
            raise NotFittedError("no token remains in the vocabulary: fit on other texts first")
        return super().transform(X)

    def _acts(self) -> Mapping[str, Any]:
        return {"vocabulary": self.vocabulary_, "idf": getattr(self._tfidf, "idf_", None)}

    def _learnt(self) -> Mapping[str, Any]:
        held = self._held
        if not len(held):
            return {}
        tokens = [(held.tokens.values[slot], held.tokens.counts[slot]) for slot in held.tokens.order()]
        times = held.times()
        return {"texts": len(held), "documents": tokens, "times": [int(times[slot]) for slot in held.tokens.order()]}

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        draw = np.random.default_rng(seed)
        words = ["oak", "ash", "elm", "yew", "fir", "box"]
        return cls(), [" ".join([*draw.choice(words, 4), f"only{i}"]) for i in range(60)], np.arange(60) % 2
