"""Long lists of plain values as one array of bytes: a saved file with an entry for each would take minutes to write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

_MARK = "packed"


def pack(values: Any) -> Any:
    """Return a list, or an array of objects, of texts and numbers as bytes of JSON; other values as they are."""
    shape = None
    if isinstance(values, np.ndarray):
        if values.dtype != object:
            return values
        shape, values = list(values.shape), values.tolist()
    try:
        text = json.dumps(values, default=lambda value: value.item())
    except (TypeError, AttributeError):  # of a type that only its library can write
        return values if shape is None else np.array(values, dtype=object).reshape(shape)
    return {_MARK: np.frombuffer(text.encode(), dtype=np.uint8), "shape": shape}


def unpack(values: Any) -> Any:
    """Return what :func:`pack` was given."""
    if not (isinstance(values, dict) and _MARK in values):
        return values
    found = json.loads(values[_MARK].tobytes())
    if values["shape"] is None:
        return found
    made = np.empty(values["shape"], dtype=object)
    made[...] = np.array([*found, None], dtype=object)[:-1] if made.ndim == 1 else found
    return made
