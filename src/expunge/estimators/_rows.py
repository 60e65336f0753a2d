"""Rows as they were given - arrays, sparse matrices, texts, frames - held, joined, left out and saved."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from expunge.estimators._packed import pack, unpack


class Rows:
    """Rows of any kind that scikit-learn takes, in memory; frames are saved as Arrow, never as a pickle.

    A frame loses its index. Categories of a pandas column that no row has are dropped, and those without an order
    are sorted, so that what is held does not show what was there before.
    """

    def __init__(self, X: Any) -> None:
        self.X = _tidy(np.array(list(X), dtype=object) if len(getattr(X, "shape", (0, 0))) == 1 else X)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.X.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as the rows have it."""
        return tuple(self.X.shape)

    def take(self, order: np.ndarray) -> Rows:
        """Return the rows at these places, in this order."""
        made = Rows.__new__(Rows)
        made.X = _tidy(self.X.iloc[order] if hasattr(self.X, "iloc") else self.X[order])
        return made

    def join(self, other: Rows) -> Rows:
        """Return these rows and then the others.

        Raises:
            ValueError: they are of another kind, or have other columns.
        """
        one, two = self.X, other.X
        if not hasattr(one, "columns") and len(one.shape) == len(two.shape) == 2 and one.shape[1] != two.shape[1]:
            raise ValueError(f"X has {two.shape[1]} features, but this is expecting {one.shape[1]} features as input")
        if _kind(one) != _kind(two) or _columns(one) != _columns(two):
            raise ValueError(
                f"the rows before are {_kind(one)} with columns {_columns(one)}, the new {_kind(two)} with columns "
                f"{_columns(two)}: give the same kind of table with the same columns"
            )
        made = Rows.__new__(Rows)
        if _kind(one) == "pandas":
            import pandas as pd

            plain = {c: t for c, t in one.dtypes.items() if not isinstance(t, pd.CategoricalDtype)}
            loose = [c for c in one.columns if c not in plain]
            both = [pd.concat([part.astype({c: object for c in loose})]) for part in (one, two.astype(plain))]
            made.X = _tidy(pd.concat(both, ignore_index=True).astype({c: "category" for c in loose}))
        elif _kind(one) == "polars":
            import polars as pl

            made.X = pl.concat([one, two.cast(dict(one.schema))])
        elif _kind(one) == "sparse":
            made.X = sp.vstack([one, two]).tocsr()
        else:
            made.X = np.concatenate([one, two])
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return frames as Arrow's bytes, the rest as it is."""
        kind = _kind(self.X)
        if kind not in ("pandas", "polars"):
            return {"X": pack(self.X)}
        import pyarrow as pa

        table = pa.Table.from_pandas(self.X) if kind == "pandas" else self.X.to_arrow()
        into = io.BytesIO()
        with pa.ipc.new_stream(into, table.schema) as writer:
            writer.write_table(table)
        return {"frame": kind, "arrow": np.frombuffer(into.getvalue(), dtype=np.uint8)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Open what :meth:`__getstate__` returned."""
        if "X" in state:
            self.X = unpack(state["X"])
            return
        import pyarrow as pa

        table = pa.ipc.open_stream(state["arrow"].tobytes()).read_all()
        if state["frame"] == "pandas":
            self.X = table.to_pandas()
        else:
            import polars as pl

            self.X = pl.from_arrow(table)

    def __deepcopy__(self, memo: dict[int, Any]) -> Rows:
        """Return itself: rows are never changed in place."""
        return self


def _kind(X: Any) -> str:
    if hasattr(X, "iloc"):
        return "pandas"
    if hasattr(X, "columns"):
        return "polars"
    return "sparse" if sp.issparse(X) else "an array"


def _columns(X: Any) -> Sequence[Any] | int:
    return list(X.columns) if hasattr(X, "columns") else X.shape[1] if len(X.shape) > 1 else 1


def _tidy(X: Any) -> Any:
    """Return rows that can be taken by place, copied, and free of what no row has."""
    kind = _kind(X)
    if kind == "pandas":
        X = X.reset_index(drop=True)
        for name, dtype in X.dtypes.items():
            if str(dtype) == "category":
                used = X[name].cat.remove_unused_categories()
                X[name] = used if dtype.ordered else used.cat.reorder_categories(sorted(used.cat.categories))
        return X
    if kind == "polars":
        import polars as pl

        return X.with_columns(pl.col(pl.Categorical).cast(pl.String))
    if kind == "sparse":
        return sp.csr_array(X) if isinstance(X, sp.sparray) else sp.csr_matrix(X)
    if isinstance(X, np.ndarray):
        return X.copy()
    found = np.asarray(X)
    return np.asarray(X, dtype=object) if found.dtype.kind in "US" else found
