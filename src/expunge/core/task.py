"""The task: the seam between models and algorithms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from expunge.core.errors import Obstacle
from expunge.core.records import Records


class Task(ABC):
    """How a model meets a batch of records.

    ``units`` turns a batch into the units that losses, attacks and metrics are written over: one per
    record for a classifier. Results never depend on how records were batched. ``exempt`` names contract
    cases that do not apply, each with the reason (see ``expunge conformance``).
    """

    name = ""
    title: ClassVar[str]
    exempt: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def units(self, model: Any, batch: Any) -> Any:
        """Return the scored units of a batch, with gradients when the caller has them enabled.

        A batch comes on the processor: the task sends what the model reads to where its weights lie.
        """

    @abstractmethod
    def inputs(self, batch: Any) -> Any:
        """Return the inputs of a batch as float rows ``[B, D]``, for distances between records.

        D is one number, and the row of a record the same, whatever is read beside it.
        """

    def relabelled(self, batch: Any, classes: Mapping[int, int]) -> Any:
        """Return a batch, or a single example, with its class labels replaced by ``classes``; others stay.

        None where the task has no class labels: then nothing that needs them is asked of it.
        """
        return None

    @property
    def labelled(self) -> bool:
        """Whether each record has a class label."""
        return type(self).relabelled is not Task.relabelled

    @property
    def scored(self) -> bool:
        """Whether each unit is one class or token of several, with logits (``numerics.units.Scored``)."""
        return self.labelled

    def moved(self, batch: Any, by: Any) -> Any:
        """Return a new batch with ``by`` [B, D], float64, added to its inputs, columns as those of ``inputs``.

        None where inputs are no continuous numbers (tokens, categories).
        """
        return None

    def exchanged(self, batch: Any, other: Any, where: Any) -> Any:
        """Return a new batch in which each record has one value that another record has in the same place.

        ``other`` holds one other record for each; ``where`` [B], float64, in [0, 1), which of the places at which the
        two differ, from the first to the last; a record with no such place stays. Targets stay. None where
        inputs are not values in places: where :meth:`moved` is None too, nothing is measured beside the records.
        """
        return None

    def features(self, model: Any, batch: Any) -> Any:
        """Return what the last layer of the model is given, one row per record ``[B, D]``; None where that is unknown.

        The model is in evaluation mode; nothing of it is changed.
        """
        return None

    def seen(self, model: Any, batch: Any) -> tuple[Any, Any]:
        """Return units and features (:meth:`features`) of a batch, of one pass where both can be had of one."""
        return self.units(model, batch), self.features(model, batch)

    def hidden(self, model: Any, batch: Any, layer: int) -> Any:
        """Return what ``layer`` (0: the embeddings) says where units are predicted, [N, H]; None where not known."""
        return None

    @abstractmethod
    def examine(self, model: Any, records: Records, *, where: str) -> list[Obstacle]:
        """Return where records and model do not fit the task or each other; reads every record once.

        With ``model=None`` only the records are looked at.
        """

    @abstractmethod
    def trial(self, seed: int) -> tuple[Any, Records]:
        """Return a tiny model of this task and a dozen records that fit it, for the contract cases."""
