"""One column per category, from counts: a category whose last row is forgotten has no column."""

from __future__ import annotations

from typing import Any

from sklearn.preprocessing import OneHotEncoder

from expunge.core.level import Level
from expunge.estimators._encoding import Encoding


class ForgettingOneHotEncoder(Encoding, OneHotEncoder):
    """Scikit-learn's ``OneHotEncoder``, with ``forget(ids)``; all its parameters mean the same.

    Columns may be texts or numbers, each of one type; a missing value (None or NaN) is a category of its own. A whole
    number in a column of mixed type (NumPy's object) is an integer. With ``categories="auto"`` the columns that come
    out are those of a fresh fit: their number falls when a category loses its last row, and later steps must follow
    (:class:`~expunge.estimators.ForgettingPipeline` sees to it). Categories that become rarer than
    ``min_frequency`` move to the infrequent ones.

    A delete costs O(d) per row, and O(categories) where one is gone. The rows are held as places in a table of
    categories. Categories given by hand (``categories=[...]``) stay, for they were not learnt.
    """

    title = "One-hot encoding that forgets"
    source = "summation form (Cao & Yang, IEEE S&P 2015); scikit-learn's OneHotEncoder"
    guarantee = Level.BITWISE
    argument = "categories and their columns are a function of integer counts, which forgotten rows are taken out of"
    _plain = OneHotEncoder

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(handle_unknown="ignore"), X, y
