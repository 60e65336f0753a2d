"""One number per category, from counts: a category whose last row is forgotten has no number."""

from __future__ import annotations

from typing import Any

from sklearn.preprocessing import OrdinalEncoder

from expunge.core.level import Level
from expunge.estimators._encoding import Encoding


class ForgettingOrdinalEncoder(Encoding, OrdinalEncoder):
    """Scikit-learn's ``OrdinalEncoder``, with ``forget(ids)``; all its parameters mean the same.

    Columns may be texts or numbers, each of one type; a missing value is encoded as ``encoded_missing_value`` (NaN). A
    whole number in a column of mixed type (NumPy's object) is an integer. When a category loses its last row, the
    numbers of those behind it fall by one, as in a fresh fit, and later steps must follow
    (:class:`~expunge.estimators.ForgettingPipeline` sees to it).

    A delete costs O(d) per row, and O(categories) where one is gone. The rows are held as places in a table of
    categories. Categories given by hand (``categories=[...]``) stay, for they were not learnt.
    """

    title = "Ordinal encoding that forgets"
    source = "summation form (Cao & Yang, IEEE S&P 2015); scikit-learn's OrdinalEncoder"
    guarantee = Level.BITWISE
    argument = "categories and their numbers are a function of integer counts, which forgotten rows are taken out of"
    _plain = OrdinalEncoder

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(handle_unknown="use_encoded_value", unknown_value=-1), X, y
