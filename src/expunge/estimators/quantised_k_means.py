"""Centres on a lattice with a random phase: the loss of one row seldom moves one, and else nothing is run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators._base import secret_seed, vacate
from expunge.estimators._clustering import Clustering, nearest, race, totals
from expunge.estimators._keyed import row_keys, uniforms
from expunge.estimators._moments import Moments, on_grid

_FINE = 16  # bits of a row's coordinates below the lattice
_SUMS = 12  # bits fewer than 49 that a coordinate may have, so that 2^24 of them sum within int64


class ForgettingQuantisedKMeans(Clustering):
    """k-means whose centres lie on a lattice, with ``forget(ids)``: mostly a check that no step would differ.

    A fixed number of steps of Lloyd's algorithm; after each, clusters that are small beside ``balance · n / k`` are
    drawn towards their centre before, and all centres are rounded to a lattice with a keyed random phase. The sums of
    each step are kept as integers. A delete takes the row out of the sums of each step; while all centres are rounded
    to where they were (all are looked at, for ``balance · n / k`` moves with n), nothing else changes; from the first
    step at which one is not, the steps are run again. When a seed goes, or the lattice changes, all are. That pays
    with few columns and many rows per cluster; in many columns some coordinate nearly always crosses to another
    point of the lattice, and :class:`~expunge.estimators.ForgettingKMeans` is the better choice.

    Args:
        n_clusters: how many centres; fewer where there are fewer distinct rows.
        max_iter: how many steps; none is left out.
        n_init: from how many draws of seeds; the centres with the least sum of squares are taken. All are kept up.
        lattice: width of the lattice, rounded down to a power of two, in the unit of the columns (scale them alike);
            None takes one from 1/16 to 1/8 of the columns' mean deviation, which follows the rows that are held. A
            coarser one makes deletes cheaper and centres worse.
        balance: the share of n / k below which a cluster counts as small, from 0 to 1.
        random_state: an integer makes the same centres again; None draws a secret seed, which is kept and saved.

    Attributes:
        n_runs_: how many times steps were run, in part or whole, since ``fit``; of the past, and in no fingerprint.
        lattice_: the width of the lattice.
    """

    title = "Quantised k-means, that forgets"
    source = "Q-k-means (Ginart et al., NeurIPS 2019, arXiv 1907.05012), with keyed seeds and phases and integer sums"
    guarantee = Level.BITWISE
    argument = (
        "seeds and phases are keyed, sums are integers, and steps are kept only where each centre of each of them is "
        "what the remaining rows give"
    )

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        max_iter: int = 10,
        n_init: int = 3,
        lattice: float | None = None,
        balance: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.max_iter = max_iter
        self.n_init = n_init
        self.lattice = lattice
        self.balance = balance
        self.random_state = random_state

    # --- rows ---

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        self._check_settings(max_iter=1, n_init=1)
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance must lie from 0 to 1; found {self.balance!r}")
        if self.lattice is not None and not 0 < self.lattice < np.inf:
            raise ValueError(f"lattice must be above 0, or None; found {self.lattice!r}")
        return {"X": self._read_points(X, first=first)}

    def _begin(self) -> None:
        self._seed = secret_seed(self.random_state)
        self._held = Moments()
        self._keys = np.empty(0, dtype=np.uint64)
        self._grid = (0, 0)
        self._runs: list[Run] = []
        self.n_runs_ = 0

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._held.add(rows["X"])
        self._keys = np.concatenate([self._keys, row_keys(self._seed, ids)])
        self._run_all([*self._book.ids, *ids])

    def _remove(self, places: np.ndarray) -> None:
        ids = [self._book.ids[place] for place in places]
        gone = self._held.X[places]
        left = vacate(np.arange(len(self._keys)), places)
        self._held.remove(places)
        self._keys = self._keys[left]
        if not len(left):
            self._runs = []
        elif self._measure() != self._grid:
            self._run_all([self._book.ids[place] for place in left])
        else:
            less = self._whole(gone)
            self._runs = [
                self._run(turn, [self._book.ids[place] for place in left])
                if not run.seeds.isdisjoint(ids)
                else Run(run.seeds, self._checked(run.steps, less, turn))
                for turn, run in enumerate(self._runs)
            ]

    def _rows(self) -> np.ndarray:
        return self._held.X

    # --- steps ---

    def _measure(self) -> tuple[int, int]:
        """Return (bits after the point of rows, bits of them below the lattice); a function of the rows held."""
        if self.lattice is not None:
            wanted = -int(np.floor(np.log2(self.lattice)))
        else:
            deviation = float(np.sqrt(self._held.variance().mean()))
            wanted = 3 - int(np.floor(np.log2(deviation))) if deviation > 0 else 0
        bits = min(wanted + _FINE, int(self._held.bits.min()) - _SUMS)
        return bits, max(0, bits - wanted)

    def _whole(self, X: np.ndarray) -> np.ndarray:
        return on_grid(X, self._grid[0])

    def _run_all(self, names: Sequence[Any]) -> None:
        self._grid = self._measure()
        self._runs = [self._run(turn, names) for turn in range(self.n_init)]

    def _run(self, turn: int, names: Sequence[Any]) -> Run:
        """Draw seeds and run all steps."""
        whole = self._whole(self._held.X)
        points = whole.astype(np.float64)
        chosen = race(points, np.ones(len(points)), self._keys, self.n_clusters, self._seed, turn)
        return Run({names[i] for i in chosen}, self._from(turn, 0, points[chosen], whole))

    def _from(self, turn: int, start: int, centres: np.ndarray, whole: np.ndarray) -> list[Step]:
        """Return the steps from ``start`` on, from these centres; the last one has the final centres."""
        self.n_runs_ += 1
        points, made = whole.astype(np.float64), []
        for place in range(start, self.max_iter + 1):
            step = Step(centres, *_gathered(nearest(points, centres), whole, len(centres)))
            made.append(step)
            if place < self.max_iter:
                centres = self._rounded(step, turn, place)
        return made

    def _checked(self, steps: list[Step], gone: np.ndarray, turn: int) -> list[Step]:
        """Return the steps without these rows, run again from the first at which a centre is another."""
        points = gone.astype(np.float64)
        kept: list[Step] = []
        for place, step in enumerate(steps):
            sums, counts = _gathered(nearest(points, step.centres), gone, len(step.centres))
            kept.append(Step(step.centres, step.sums - sums, step.counts - counts))
            if place < self.max_iter:
                centres = self._rounded(kept[-1], turn, place)
                if not np.array_equal(centres, steps[place + 1].centres):
                    return [*kept, *self._from(turn, place + 1, centres, self._whole(self._held.X))]
        return kept

    def _rounded(self, step: Step, *place: int) -> np.ndarray:
        """Return the centres after a step: means, small clusters drawn to where they were, on the lattice."""
        counts = step.counts.astype(np.float64)[:, None]
        least = self.balance * step.counts.sum() / self.n_clusters
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, step.sums / counts, step.centres)
            share = counts / least if least > 0 else np.ones_like(counts)
        moved = np.where(share < 1, share * means + (1 - share) * step.centres, means)
        width = 2.0 ** self._grid[1]
        axes = np.arange(moved.shape[1], dtype=np.uint64)
        phase = np.floor(uniforms(axes, self._seed, "phase", *place) * width)
        return phase + width * np.rint((moved - phase) / width)

    def _settle(self) -> None:
        if not self._runs:
            for name in ("cluster_centers_", "lattice_"):
                self.__dict__.pop(name, None)
            return
        bits, below = self._grid
        best = min(self._runs, key=lambda run: run.steps[-1].cost())
        self.cluster_centers_ = np.ldexp(best.steps[-1].centres, -bits)
        self.lattice_ = float(np.ldexp(1.0, below - bits))
        self.n_iter_ = self.max_iter

    # --- what is promised beyond ---

    def _learnt(self) -> Mapping[str, Any]:
        if not self._runs:
            return {}
        steps = [[[step.centres, step.sums, step.counts] for step in run.steps] for run in self._runs]
        return {"seed": self._seed, "grid": list(self._grid), "steps": steps, "moments": self._held.learnt()}

    @property
    def what_remains_(self) -> Remains:
        return Remains(
            rows=len(self._held.X),
            holds="the rows themselves, and integer sums of each step",
            tombstones=self._book.tombstones,
            notes=("the seed of seeds and phases is kept: it is key material",),
        )

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(3, random_state=seed), X, y


class Step:
    """Centres before a step [k, d], and the sums [k, d] and counts [k] of the rows that are nearest to each."""

    def __init__(self, centres: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> None:
        self.centres, self.sums, self.counts = centres, sums, counts

    def cost(self) -> float:
        """Return the sum of squared distances, less that of the squares of all rows, which all runs share."""
        own, with_rows = np.square(self.centres).sum(axis=1), (self.centres * self.sums).sum(axis=1)
        return float((self.counts * own - 2 * with_rows).sum())


class Run:
    """The ids of the seeds of one run, and its steps."""

    def __init__(self, seeds: set[Any], steps: list[Step]) -> None:
        self.seeds, self.steps = seeds, steps


def _gathered(labels: np.ndarray, whole: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums [k, d] and counts [k] of rows by label, as integers."""
    return totals(labels, whole, k), np.bincount(labels, minlength=k).astype(np.int64)
