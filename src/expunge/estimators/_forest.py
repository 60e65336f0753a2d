"""What the two forests share: settings, rows, when trees are grown, what is saved."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from expunge.core.errors import Tampered, UsageError
from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators import _forest_kernels as kernels
from expunge.estimators._base import Forgetting, secret_seed, unquoted
from expunge.estimators._forest_columns import read_columns
from expunge.estimators._forest_kernels import Trees
from expunge.estimators._keyed import row_keys

_LOCK = threading.RLock()  # a question grows what is tagged, so questions and changes take turns
_MOST = 2**17  # rows of one tree, up to which sums of digits fit 32 bits, and gains 63
_DEEPEST = 62
_F = TypeVar("_F", bound=Callable[..., Any])


def in_turn(method: _F) -> _F:
    """Make a method wait until no other thread is in one of these."""

    @wraps(method)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        with _LOCK:
            return method(*args, **kwargs)

    return waiting  # type: ignore[return-value]


class Forest(Forgetting):
    """Base of the forests; a subclass says what a target is, how it is counted, and what an answer means."""

    source: ClassVar[str] = (
        "Wang, Shen, Ye, Lyu, Zhang: DynFrs, ICLR 2025, arXiv 2410.01588 (sub-sampled occurrence, lazy tags); "
        "keyed randomness is ours"
    )
    guarantee: ClassVar[Level] = Level.BITWISE
    argument: ClassVar[str] = (
        "trees of a row, columns and cuts of a node are pure functions of the seed, the place and the set of rows; the "
        "best cut is found from exact integers with a total order; so the grown forest is a function of (seed, rows). "
        "Assumes requests do not depend on released models, or a fresh seed after them."
    )

    _t: Trees

    # --- what a subclass says ---

    _numbers: ClassVar[bool]  # targets are numbers, not classes

    @abstractmethod
    def _width(self) -> int:
        """Return how many numbers a node counts, W."""

    # --- settings ---

    def _settings(self, columns: int) -> np.ndarray:
        """Return ``Trees.info`` of an empty forest, with the settings in it.

        Raises:
            ValueError: one is out of its range.
        """
        trees = _whole(self, "n_estimators", 1, 2**20)
        cuts = _whole(self, "cuts", 1, 2**12)
        out = np.zeros(kernels.NAMED + columns, dtype=np.int64)
        out[kernels.TREES], out[kernels.CUTS] = trees, cuts
        out[kernels.PER_ROW] = _whole(self, "trees_per_row", 1, trees)
        out[kernels.ROOM] = cuts + max(2, cuts // 2)  # spare values, so that a column is rarely searched anew
        out[kernels.DEEPEST] = _whole(self, "max_depth", 0, _DEEPEST)
        out[kernels.SPLIT_ROWS] = _whole(self, "min_samples_split", 2, 2**31)
        out[kernels.LEAF_ROWS] = _whole(self, "min_samples_leaf", 1, 2**31)
        out[kernels.PICKED] = _picked(self.max_features, columns)
        out[kernels.NUMBERS] = self._numbers
        out[kernels.NAMED :] = self.is_categorical_
        return out

    # --- rows ---

    @in_turn
    def fit(self, X: Any, y: Any = None, sample_ids: Sequence[Any] | None = None) -> Self:
        super().fit(X, y, sample_ids)
        return self.drain()

    @in_turn
    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, sample_ids: Sequence[Any] | None = None) -> Self:
        return super().partial_fit(X, y, classes, sample_ids)

    @in_turn
    def forget(self, ids: Iterable[Any]) -> Self:
        return super().forget(ids)

    @in_turn
    def drain(self) -> Self:
        """Grow every tagged subtree again; then the forest is, bit for bit, a fresh fit on what remains."""
        self._grow(None)
        return self

    def _codes(self, X: Any, *, first: bool = False) -> np.ndarray:
        with unquoted():
            codes = read_columns(self, X, first=first)
        if first:
            self._settings(codes.shape[1])
        return codes

    def _begin(self) -> None:
        self._seed = secret_seed(self.random_state)
        self._t = self._bare(0)

    def _bare(self, rows: int) -> Trees:
        """Return a forest with room for ``rows``, and none in it."""
        info = self._settings(len(self.is_categorical_))
        width, trees, per_row = self._width(), int(info[kernels.TREES]), int(info[kernels.PER_ROW])
        picked, room = int(info[kernels.PICKED]), int(info[kernels.ROOM])
        t = Trees(
            codes=np.zeros((rows, len(self.is_categorical_)), np.int32),
            known=np.zeros((rows, 2), np.int64),
            linked=np.zeros((rows * per_row, 2), np.int32),
            node=np.zeros((trees + rows * per_row // 4, kernels.TOTALS + width), np.int32),
            block=np.zeros((16 + rows * per_row // 8, picked, kernels.VALUES + room * (2 + width)), np.int32),
            info=info,
        )
        kernels.plant(t, np.uint64(self._seed))
        return t

    def _put(self, codes: np.ndarray, target: np.ndarray, key: np.ndarray) -> None:
        """Put rows in after those that are held."""
        held, new = len(self._book), len(codes)
        t, key = self._t, np.array(key, dtype=np.int64)  # of its own, so that kernels are compiled for one layout
        trees, per_row = int(t.info[kernels.TREES]), int(t.info[kernels.PER_ROW])
        fullest = int((kernels.spread(key, trees, per_row) + self._per_tree()).max())
        if fullest > _MOST:
            raise UsageError(
                "too many rows for a tree",
                where=type(self).__name__,
                found=f"{fullest} rows in one tree",
                expected=f"at most {_MOST}",
                fix="raise n_estimators, or lower trees_per_row",
            )
        if held == 0:
            t = self._t = self._bare(new)
        elif held + new > len(t.codes):
            size = max(held + new, held + held // 4)
            t = self._t = t._replace(
                codes=_longer(t.codes, size), known=_longer(t.known, size), linked=_longer(t.linked, size * per_row)
            )
        t.codes[held : held + new] = codes
        t.known[held : held + new, kernels.TARGET], t.known[held : held + new, kernels.KEY] = target, key
        kernels.change(t, np.arange(held, held + new), held, 1, 4 * new > held)

    def _per_tree(self) -> np.ndarray:
        counted = self._t.node[: self._t.info[kernels.TREES], kernels.TOTALS :]
        return counted[:, 0] if self._numbers else counted.sum(axis=1)

    def _keys(self, ids: Sequence[str | int]) -> np.ndarray:
        """Return the key of each row, int64 [n]: a hash of its id under the seed."""
        return row_keys(self._seed, ids).view(np.int64)

    def _remove(self, places: np.ndarray) -> None:
        kernels.change(self._t, places, len(self._book), -1, False)

    # --- growing ---

    def _grow(self, codes: np.ndarray | None) -> None:
        """Grow the tagged nodes that these rows need, all by default."""
        while self._t.info[kernels.PENDING]:
            t = self._t
            used = t.info[kernels.NODES]
            wanted = t.node[:used, kernels.STATE] == kernels.TAGGED if codes is None else kernels.asked(t, codes)
            nodes = np.flatnonzero(wanted)
            if not len(nodes):
                return
            kernels.grow(t, nodes)
            if t.info[kernels.SHORT]:
                self._enlarge()

    def _enlarge(self) -> None:
        """Make room for a third more of what has run out."""
        t = self._t
        if t.info[kernels.NODES] + 2 > len(t.node):
            t = t._replace(node=_longer(t.node, len(t.node) * 4 // 3 + 64))
        if t.info[kernels.BLOCKS] == len(t.block):
            t = t._replace(block=_longer(t.block, len(t.block) * 4 // 3 + 64))
        self._t = t

    def _widen(self, width: int) -> None:
        """Let nodes count ``width`` classes."""
        t = self._t
        old = t.node.shape[1] - kernels.TOTALS
        node = np.pad(t.node, ((0, 0), (0, width - old)))
        values = t.block[:, :, kernels.VALUES :].reshape(*t.block.shape[:2], -1, 2 + old)
        values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, width - old))).reshape(*t.block.shape[:2], -1)
        block = np.concatenate([t.block[:, :, : kernels.VALUES], values], axis=2)
        t.node[...], t.block[...] = 0, 0  # nothing else would overwrite them
        self._t = t._replace(node=node, block=block)

    @in_turn
    def _ask(self, X: Any) -> np.ndarray:
        """Return what the trees say of each row, on average: [m, W]."""
        self._check_ready()
        codes = self._codes(X)
        self._grow(codes)
        out = np.zeros((len(codes), self._t.node.shape[1] - kernels.TOTALS))
        trees = kernels.answer(self._t, codes, out)
        return out / trees

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # --- what is promised beyond ---

    @property
    def what_remains_(self) -> Remains:
        """What of its training rows the forest holds; ``pending`` counts the subtrees that :meth:`drain` would grow."""
        return Remains(
            rows=len(self._book),
            holds="the rows themselves; per node, labels counted on both sides of some cuts, which are values of rows",
            tombstones=self._book.tombstones,
            pending=int(self._t.info[kernels.PENDING]),
            notes=("the seed is key material: with it and a list of ids one can tell which trees hold a row",),
        )

    @in_turn
    def fingerprint(self) -> str:
        self.drain()
        return super().fingerprint()

    def _structure(self) -> np.ndarray:
        """Return the nodes of the grown forest, int32 [nodes, 5 + W]: what each is, and what it counts."""
        t = self._t
        out = np.empty((t.info[kernels.NODES], t.node.shape[1] - kernels.TOTALS + 5), np.int32)
        return out[: kernels.written(t, out)]

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """Return rows and seed, of which the grown forest is a function, and its digest; what is tagged is grown."""
        state = dict(super().__getstate__())
        if "_t" in state:
            self.drain()
            del state["_t"]
            t, n = self._t, len(self._book)
            state["_rows"] = {"codes": t.codes[:n].copy(), "known": t.known[:n].copy()}
            state["_digest"] = self._digest()
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Grow the forest from its rows.

        Raises:
            Tampered: it is not the forest that was saved.
        """
        state = dict(state)
        rows, digest = state.pop("_rows", None), state.pop("_digest", None)
        super().__setstate__(state)
        if rows is None:
            return
        book, self._book = self._book, type(self._book)()
        self._t = self._bare(0)
        if len(book):
            self._put(rows["codes"], *rows["known"].T)
        self._book = book
        self.drain()
        if self._digest() != digest:
            raise Tampered(
                "the saved rows grow into another forest",
                where=type(self).__name__,
                found="another digest of rows and trees",
                expected="the one that was saved with them",
                fix="restore the file, or fit and save anew",
            )

    def _digest(self) -> str:
        n = len(self._book)
        parts = (self._structure(), self._t.codes[:n], self._t.known[:n])
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _longer(array: np.ndarray, size: int) -> np.ndarray:
    """Return a copy with room for ``size`` entries; the old one is overwritten, since nothing else will."""
    out = np.zeros((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    array[...] = 0
    return out


def _whole(estimator: Any, name: str, least: int, most: int) -> int:
    value = getattr(estimator, name)
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}={value!r}: expected an integer in [{least}, {most}]")
    return int(value)


def _picked(given: Any, columns: int) -> int:
    """Return how many columns a node looks at."""
    if given is None:
        return columns
    if given == "sqrt":
        return max(1, int(np.sqrt(columns)))
    if isinstance(given, Integral) and not isinstance(given, bool) and given >= 1:
        return min(int(given), columns)
    if isinstance(given, Real) and not isinstance(given, (Integral, bool)) and 0 < given <= 1:
        return max(1, round(float(given) * columns))
    raise ValueError(f"max_features={given!r}: expected 'sqrt', None, an integer >= 1 or a share in (0, 1]")
