"""From a table to codes that a forest compares: numbers keep their order, categories become hashes.

A code is a pure function of the value, so there is no list of categories, nor of bin edges, that would have to forget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from expunge.estimators._forest_kernels import MISSING

_NAMED = ("category", "categorical", "enum", "object", "str", "string", "large_string")


def read_columns(estimator: Any, X: Any, *, first: bool) -> np.ndarray:
    """Return the codes of a table, int32 [n, d]; ``first`` sets which columns are categories.

    Args:
        estimator: has ``categorical_features``, and ``is_categorical_`` (bool [d]) unless ``first``.
        X: array or data frame [n, d]; NaN (and None in categories) are missing values.
        first: whether this is what ``fit`` sees.

    Raises:
        ValueError: another number of columns than before, infinities, numbers beyond float32, text where numbers are.
    """
    frame = hasattr(X, "columns") and hasattr(X, "dtypes")
    if first:
        named = _declared(estimator.categorical_features, X if frame else None)
    else:
        named = estimator.is_categorical_
    if named is None or not np.any(named):
        numbers = validate_data(estimator, X, reset=first, dtype=np.float64, ensure_all_finite="allow-nan")
        if first:
            estimator.is_categorical_ = np.zeros(numbers.shape[1], dtype=bool)
        return number_codes(numbers)
    if not frame:
        X = check_array(X, dtype=None, ensure_all_finite=False)
    validate_data(estimator, X, reset=first, skip_check_array=True)
    width = X.shape[1]
    if first:
        estimator.is_categorical_ = named = _mask(named, list(X.columns) if frame else None, width)
    if X.shape[0] < 1:
        raise ValueError(f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
    names = list(X.columns) if frame else range(width)
    out = np.empty((X.shape[0], width), dtype=np.int32)
    for c, name in enumerate(names):
        if named[c]:
            values = np.asarray(X[name]) if frame else X[:, c]
            out[:, c] = category_codes(values.tolist())
        else:
            part = X[[name]] if frame else X[:, [c]]
            out[:, [c]] = number_codes(check_array(part, dtype=np.float64, ensure_all_finite="allow-nan"))
    return out


def number_codes(numbers: np.ndarray) -> np.ndarray:
    """Return int32 codes in the order of float64 numbers, which are rounded to float32 as scikit-learn's trees do.

    Raises:
        ValueError: a number is beyond the range of float32.
    """
    if np.any(np.abs(numbers) > np.finfo(np.float32).max):
        where = sorted({int(c) for c in np.nonzero(np.abs(numbers) > np.finfo(np.float32).max)[1]})
        raise ValueError(f"Input X contains infinity or a value too large for dtype('float32'), in columns {where}.")
    single = numbers.astype(np.float32) + np.float32(0)  # one zero
    bits = single.view(np.int32)
    codes = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return np.ascontiguousarray(np.where(np.isnan(single), np.int32(MISSING), codes))


def category_codes(values: Iterable[Any]) -> np.ndarray:
    """Return 32 bits of the SHA-256 of each category; of a thousand categories two agree once in ten thousand columns.

    Raises:
        TypeError: a category is neither text nor number.
    """
    known: dict[Any, int] = {}
    codes = []
    for value in values:
        code = known.get((type(value), value))
        if code is None:
            digest = hashlib.sha256(_text(value).encode("utf-8", "surrogatepass")).digest()
            code = known[type(value), value] = int.from_bytes(digest[:4], "big", signed=True)
        codes.append(code)
    return np.array(codes, dtype=np.int32)


def _text(value: Any) -> str:
    """Return what names a category: the same for 1, 1.0 and True, and one name for all that is missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return "missing"
    if isinstance(value, str):
        return "text " + value
    if isinstance(value, (int, float, np.number, np.bool_)):
        if value != value:
            return "missing"
        return f"number {int(value)}" if float(value).is_integer() else f"number {float(value)!r}"
    raise TypeError(f"a category must be a string or a number, not {type(value).__name__}")


def _declared(declared: Any, frame: Any) -> Any:
    """Return the mask of columns a frame's types make categories, or what the user declared."""
    if declared is None or not isinstance(declared, str):
        return declared
    if declared != "from_dtype":
        raise ValueError(f"categorical_features={declared!r}: expected 'from_dtype', None, columns or a mask")
    if frame is None:
        return None
    kinds = [str(frame[name].dtype).lower() for name in frame.columns]
    return np.array([kind.startswith(_NAMED) for kind in kinds])


def _mask(declared: Any, names: list[Any] | None, width: int) -> np.ndarray:
    """Return bool [d] of columns given by number, by name or by mask."""
    given = np.asarray(declared)
    if given.dtype == bool and given.shape == (width,):
        return given.copy()
    out = np.zeros(width, dtype=bool)
    for one in given.ravel().tolist():
        if names is not None and one in names:
            out[names.index(one)] = True
        elif isinstance(one, int) and not isinstance(one, bool) and -width <= one < width:
            out[one] = True
        else:
            raise ValueError(f"categorical_features names {one!r}, which is no column of the {width} here")
    return out
