"""The digest of one example: tensors, arrays, text and numbers, nested; the same in every process."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from expunge.core.errors import UsageError


def digest(example: object) -> str:
    """Return the SHA-256 of an example's content.

    Raises:
        UsageError: the example holds something without a defined content.
    """
    state = hashlib.sha256()
    _feed(state, example)
    return state.hexdigest()


def _feed(state: Any, thing: object) -> None:
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().resolve_conj().resolve_neg()
        if thing.dtype is torch.bfloat16:  # NumPy has no such type
            _frame(state, "bfloat16", b"")
            thing = thing.view(torch.int16)
        thing = thing.numpy()
    if isinstance(thing, (np.ndarray, np.generic)):
        array = np.asarray(thing)
        if array.dtype.hasobject:
            raise _unknown(thing)
        _frame(state, f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array).tobytes())
    elif isinstance(thing, dict):
        _frame(state, "mapping", str(len(thing)).encode())
        for key in sorted(thing):
            _feed(state, key)
            _feed(state, thing[key])
    elif isinstance(thing, (tuple, list)):
        _frame(state, "sequence", str(len(thing)).encode())
        for part in thing:
            _feed(state, part)
    elif isinstance(thing, (str, int, float, bool, type(None))):
        _frame(state, type(thing).__name__, str(thing).encode())
    elif isinstance(thing, bytes):
        _frame(state, "bytes", thing)
    elif callable(getattr(thing, "tobytes", None)) and hasattr(thing, "size"):  # a PIL image
        _frame(state, f"image {getattr(thing, 'mode', '')} {thing.size}", thing.tobytes())
    else:
        raise _unknown(thing)


def _frame(state: Any, kind: str, data: bytes) -> None:
    head = f"{kind} {len(data)}\n".encode()
    state.update(head)
    state.update(data)


def _unknown(thing: object) -> UsageError:
    return UsageError(
        f"an example holds a {type(thing).__name__}, whose content has no defined digest",
        expected="tensors, arrays, images, text, numbers, or tuples, lists and dicts of them",
        fix="convert it in the dataset's __getitem__",
    )
