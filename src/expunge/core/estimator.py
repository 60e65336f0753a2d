"""The contract of an estimator that can forget: scikit-learn's, and after any history equal to a fresh fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.core.level import Level


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What of its training rows an estimator holds.

    Attributes:
        rows: how many rows the model is a function of.
        holds: what the state keeps of them: ``the rows themselves``, ``sums``, ...
        tombstones: keyed hashes of ids that were forgotten, kept so that forgetting twice is no error.
        pending: parts of the state that still show a forgotten row until they are rebuilt; 0 says that nothing is left.
        notes: what else is worth knowing: key material, state of parts, assumptions.
    """

    rows: int
    holds: str
    tombstones: int = 0
    pending: int = 0
    notes: tuple[str, ...] = ()


class Estimator(ABC):
    """A scikit-learn estimator with ``forget(ids)``: rows are known by the ``sample_ids`` given to ``fit``.

    After any sequence of ``partial_fit`` and ``forget`` it equals, to the level of ``guarantee``, a fresh fit with
    the same settings and seed on the rows that remain. Class attributes: ``title`` for people, ``source`` (paper and
    equation), ``guarantee``, and ``argument``: what the guarantee rests on, with its assumptions. ``exempt`` names
    contract cases that do not apply, each with the reason (see ``expunge conformance``).
    """

    name = ""
    title: ClassVar[str]
    source: ClassVar[str]
    guarantee: ClassVar[Level]
    argument: ClassVar[str]
    exempt: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def forget(self, ids: Sequence[str] | Sequence[int]) -> Any:
        """Forget the rows with these ids, all or none, and return the estimator; ids forgotten before are passed over.

        Raises:
            UsageError: an id was never given, or is of another type than the ids that were; nothing has changed.
        """

    @property
    @abstractmethod
    def what_remains_(self) -> Remains:
        """What of its training rows the estimator holds."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 of what was learnt: equal for equal settings, seed and set of rows, whatever the past.

        What must differ after another past (tombstones, the order in which rows lie in memory) is left out.
        """

    @classmethod
    @abstractmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an estimator that is not fitted and some sixty rows ``X, y`` that fit it, for the contract cases."""
