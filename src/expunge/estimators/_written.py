"""What an estimator of another library has learnt, as nested values that can be compared and hashed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

_PLAIN = (str, bytes, int, float, complex, bool, type(None), np.generic)


def written(value: Any) -> Any:
    """Return ``value`` as arrays, numbers, texts, lists and mappings, following whatever it is made of.

    Objects are followed by their own ``__reduce_ex__``; nothing is called that would make one.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.names:  # structured, as the nodes of trees: field by field, for padding is no value
            return {name: written(np.ascontiguousarray(value[name])) for name in value.dtype.names}
        return [written(each) for each in value.tolist()] if value.dtype == object else value
    if isinstance(value, Mapping):
        return {repr(key): written(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, BaseEstimator):
        return {"class": name, "state": {key: written(each) for key, each in sorted(vars(value).items())}}
    if hasattr(value, "indptr"):
        return {"class": name, "shape": list(value.shape), "parts": [value.indptr, value.indices, value.data]}
    parts = value.__reduce_ex__(4)
    return {"class": name, "parts": parts if isinstance(parts, str) else [written(each) for each in parts[1:3]]}
