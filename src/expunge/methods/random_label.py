"""Random labels: learn forgotten records with labels drawn at random, and retained ones as they are."""

from __future__ import annotations

from typing import ClassVar

from expunge.core.level import Level
from expunge.engine.random_labels import RandomLabels


class RandomLabel(RandomLabels):
    """Minimise the cross entropy of random labels on forgotten records and of their own on retained ones.

    As in SalUn's code for CIFAR-10: labels drawn anew from all classes, the forgotten records first in each epoch, one
    optimiser for both. ``order = "mixed"`` is its form for CIFAR-100. Amnesiac unlearning (Graves et al.) is
    ``labels = "other"``, ``redraw = false``, ``order = "mixed"``, with ``optimiser = "adamw"``, ``lr = 1e-4``,
    ``weight_decay = 0``, ``epochs = 3`` and ``batch_size = 128``. Batch statistics move in passes over forgotten
    records as well, as in that code.
    """

    title = "Random labels on forgotten records"
    source = "Fan et al. 2024, arXiv 2310.12508, baseline RL; Graves et al. 2021, arXiv 2010.10981 (amnesiac)"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
