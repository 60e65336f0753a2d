"""Tables for tests of estimators: a part of UCI Adult where it is there, and frames of both kinds."""

from pathlib import Path

import numpy as np
import pytest

ADULT = Path(__file__).parents[3] / "shared" / "data" / "tabular" / "adult_train.csv"
NUMBERS = [0, 2, 4, 10, 11, 12]
TEXTS = [1, 3, 5, 6, 7, 8, 9, 13]


def adult(rows):
    """The first rows: numbers [n, 6], texts [n, 8] with `?` where unknown, label [n]; skips without the file."""
    if not ADULT.exists():
        pytest.skip("shared/data/tabular is not here")
    with ADULT.open() as file:
        cells = [next(file).strip().split(", ") for _ in range(rows)]
    numbers = np.array([[float(row[j]) for j in NUMBERS] for row in cells])
    texts = np.array([[row[j] for j in TEXTS] for row in cells], dtype=object)
    return numbers, texts, np.array([row[14] == ">50K" for row in cells]).astype(int)


def frame(kind, X):
    """The columns as a frame of pandas or polars, called a, b, c, ..."""
    module = pytest.importorskip(kind)
    return module.DataFrame({chr(ord("a") + j): X[:, j].tolist() for j in range(X.shape[1])})
