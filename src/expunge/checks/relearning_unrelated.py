"""Relearning from unrelated texts: does training on texts that nobody asked to forget bring the forgotten ones back?"""

from __future__ import annotations

from expunge.core.check import EvidenceKind
from expunge.engine.taught import NEEDS, TaughtElsewhere
from expunge.engine.treatments import OTHERS


class RelearningUnrelated(TaughtElsewhere):
    """Mean extraction strength on the forgotten records over the passes of a short training on held-out records.

    What was only hidden may come back by training on anything: here on texts of others that no model was trained on,
    as many as are judged and forty at most, none with the answer of a forgotten one. References get the same treatment:
    same records, optimiser, order and seeds.
    """

    title = "Relearning from unrelated texts"
    source = "Łucki et al. 2024, arXiv 2409.18025, as a difference of areas; metric: extraction strength"
    needs = NEEDS | {EvidenceKind.UNRELATED}
    cannot_see = "memory that more texts or steps would bring back, or texts of another kind than the held-out ones"
    training = OTHERS
    without = "no held-out text has another answer than the forgotten ones"
