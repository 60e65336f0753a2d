"""The plainest of passes: one over the retain set in every epoch, one objective, a forget batch beside each step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from expunge.core.method import Need
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.units import Scored


class Descent(Passes):
    """A method with one objective over a retain batch and, where it declares ``Need.FORGET``, a forget batch."""

    @abstractmethod
    def objective(self, retain: Scored, forget: Scored | None) -> Tensor:
        """Return the scalar to minimise; ``forget`` is None unless the method declares ``Need.FORGET``."""

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass: the forget set is read if and only if ``needs`` says so."""
        over = "both" if Need.FORGET in self.needs else "retain"
        return (Pass(over, self._of, self.config.batch_size),)

    def _of(self, batch: Batch) -> Tensor:
        assert batch.retain is not None
        return self.objective(batch.retain, batch.forget)
