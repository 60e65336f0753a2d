"""Task arithmetic: fine-tune on the forgotten records, and go the other way."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.level import Level
from expunge.engine.task_vectors import Negated


class TaskArithmetic(Negated):
    """Return ``original - scale * (fine-tuned on the forgotten records - original)``.

    Batch statistics and other buffers are the original's. Settings are our own: the paper edits large pretrained
    models, and chooses ``scale`` by what they can still do; here tuning does. It reads no retained records; with
    ``retain = "kl"`` the fine-tuning is held where it changes no answer to these, and so, to first order, is the way
    back. There is no ``nll``: what fine-tuning learnt of retained records would be taken away with the rest.
    """

    title = "Task arithmetic (fine-tuning on forgotten records, negated)"
    source = "Ilharco et al. 2023, arXiv 2212.04089, negation of a task vector"
    guarantee = Level.AUDITED

    def rates(self) -> Sequence[float]:
        """Return 1: there is one fine-tuning."""
        return (1.0,)
