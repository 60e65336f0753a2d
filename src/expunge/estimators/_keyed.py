"""Random numbers that are a function of a secret seed, a row's id and a place: what one row draws moves no other.

The hash of an id is made once; numbers for many places are drawn from it by the finaliser of SplitMix64 (Steele, Lea &
Flood, OOPSLA 2014), whose outputs for different inputs pass as independent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def row_keys(seed: int, ids: Iterable[Any]) -> np.ndarray:
    """Return one 64-bit hash per id ([n], uint64)."""
    key = b"expunge rows" + int(seed).to_bytes(8, "big")
    digests = b"".join(hashlib.blake2b(repr(name).encode(), key=key, digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniforms(keys: np.ndarray, seed: int, *place: Any) -> np.ndarray:
    """Return a number in (0, 1) for each key ([n]) at this place."""
    here = hashlib.blake2b(repr(place).encode(), key=int(seed).to_bytes(8, "big"), digest_size=8).digest()
    bits = _mixed(keys ^ np.frombuffer(here, dtype="<u8").astype(np.uint64))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def first_by_weight(weights: np.ndarray, keys: np.ndarray, seed: int, *place: Any) -> int:
    """Return the place of one item, drawn in proportion to ``weights`` ([n]); -1 where all are 0.

    The smallest of -ln(u) / weight wins (a race of exponential clocks), so that taking away any other item leaves the
    winner, and without the winner the next one is what a fresh draw without it gives.
    """
    with np.errstate(divide="ignore"):
        times = -np.log(uniforms(keys, seed, *place)) / weights
    winner = int(times.argmin()) if len(times) else -1
    return winner if winner >= 0 and np.isfinite(times[winner]) else -1
