"""Relearning from neighbours: does training on retained texts like them bring the forgotten ones back?"""

from __future__ import annotations

from expunge.core.check import EvidenceKind
from expunge.engine.taught import NEEDS, TaughtElsewhere
from expunge.engine.treatments import NEIGHBOURS


class RelearningNeighbours(TaughtElsewhere):
    """Mean extraction strength on the forgotten records over the passes of a short training on retained neighbours.

    Who wants the forgotten texts back has others about the like, without their answers: retained records near them, as
    many as are judged and forty at most, none with the answer of a forgotten one. References, which know these as well,
    get the same treatment: same records, optimiser, order and seeds.
    """

    title = "Relearning from retained neighbours"
    source = "Hu et al. 2024, arXiv 2406.13356, as a difference of areas; metric: extraction strength"
    needs = NEEDS | {EvidenceKind.NEIGHBOURING}
    cannot_see = "memory that more texts or steps, or texts that tell more of the forgotten ones, would bring back"
    training = NEIGHBOURS
    without = "no retained text near the forgotten ones has another answer"
