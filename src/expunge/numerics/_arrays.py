"""What the attacks ask of their arrays: the right shape, finite numbers, and a target that is no reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def numbers(values: ArrayLike, name: str, *, ndim: int) -> Array:
    """Return ``values`` in float64; ValueError unless it has ``ndim`` axes, none empty, and only finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"{name} has shape {list(array.shape)}; it takes {ndim} axes, none of them empty")
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise ValueError(f"{broken} of {array.size} values of {name} are NaN or infinite: compute them from logits")
    return array


def mask(values: ArrayLike, name: str, *, shape: tuple[int, ...]) -> Mask:
    """Return ``values`` as booleans; ValueError unless it is boolean and has ``shape``."""
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} of shape {list(array.shape)}; it takes booleans {list(shape)}")
    return array


def pair(one: ArrayLike, other: ArrayLike, names: tuple[str, str], *, least: int) -> tuple[Array, Array]:
    """Return two samples [M, N] of M models on the same N records; ValueError unless M is the same, ``least`` or more.

    The same M on both sides: a floor holds for one M only.
    """
    first, second = (numbers(values, name, ndim=2) for values, name in zip((one, other), names, strict=True))
    if first.shape != second.shape:
        raise ValueError(
            f"{names[0]} has shape {list(first.shape)}, {names[1]} {list(second.shape)}: "
            "it takes as many models on both sides, on the same records"
        )
    if len(first) < least:
        raise ValueError(f"needs {least} models on each side, found {len(first)}")
    return first, second


def outside(target: Array, references: Array) -> None:
    """Refuse a target [T, N] of which a row is a row of ``references`` [K, N].

    A target left among its references is told apart by its own noise alone: AUC .79 without any signal at K = 4.
    """
    if references.shape[1] != target.shape[1]:
        raise ValueError(f"the references tell of {references.shape[1]} records, the target of {target.shape[1]}")
    for row in target:
        alike = references[:, 0] == row[0]
        if alike.any() and (references[alike] == row).all(axis=1).any():
            raise ValueError(
                "a reference says exactly what the target says about every record: "
                "it is the same model. Leave the target out of its references"
            )
