"""The model source: where a model comes from, so that a fresh instance can be opened at any time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from expunge.core.errors import Obstacle
from expunge.core.level import Level


class ModelSource(ABC):
    """Opens fresh instances; what a user holds is never changed.

    ``gradients`` says whether its models are networks, which can be trained further step by step; ``rests_on`` is the
    digest of weights that its models need, that never move and that :meth:`save` leaves where they are; empty where it
    saves all.
    """

    name = ""
    gradients: ClassVar[bool] = True
    rests_on: str = ""

    @property
    def forgets(self) -> Level | None:
        """What the original guarantees when it forgets by itself (``core/estimator.py``); None where it cannot."""
        return None

    @property
    def carries(self) -> tuple[str, ...]:
        """Names of files beside the weights that ship as they came; none where there are none."""
        return ()

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether :meth:`adopt` can turn ``thing`` into a source of this kind."""
        return False

    @classmethod
    @abstractmethod
    def adopt(cls, thing: Any) -> ModelSource:
        """Return ``thing`` as a source; a live model is copied once."""

    @abstractmethod
    def open(self) -> Any:
        """Return a fresh instance of the original, in evaluation mode."""

    def bare(self) -> Any:
        """Return what its models rest on by itself, in evaluation mode; None where they need nothing."""
        return None

    @abstractmethod
    def digest(self, model: Any = None) -> str:
        """Return the model digest of ``model`` (of the original by default)."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write ``model`` into the empty ``folder`` in the form it was handed in."""

    @abstractmethod
    def reopen(self, folder: Path) -> Any:
        """Return the model that :meth:`save` wrote into ``folder``, in evaluation mode.

        Raises:
            UnsafeFile: the folder holds a pickle.
            Tampered: the file is truncated, or does not fit the architecture.
        """

    def alike(self, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
        """Return what keeps the model that somebody else laid into ``folder`` from being judged beside the original.

        Before any of it is opened. ``texts`` are some that it would be asked: it must read them as the original does.
        """
        return []

    def settings(self, folder: Path) -> str:
        """Return the digest of what lies beside the weights in ``folder`` and bears on answers; empty where nothing."""
        return ""

    def unsaved(self, model: Any) -> list[str]:
        """Return names of state that :meth:`save` leaves out of ``model`` and that is not the original's."""
        return []

    @abstractmethod
    def examine(self) -> list[Obstacle]:
        """Return what is wrong with the original (NaN or infinite weights, ...)."""
