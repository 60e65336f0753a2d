"""A conversation of twenty turns: how much of what was forgotten leaks in it, put together?"""

from __future__ import annotations

import numpy as np

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.prompting import MOST, TALK


class Conversation(Check):
    """Mean share of an answer's telling words that the model has written by the end of a scripted conversation.

    Each turn asks again, asks for a hint, or for what goes with it; the model sees its own answers before, as many as
    it has room for. What it said in any turn counts. The script is the same for all records and all models.
    """

    title = "Answers gathered in a conversation"
    source = "Li et al. 2024, arXiv 2408.15221, with a script in the place of a person; metric: ROUGE-L recall"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.CONVERSATION})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "what a person, or a model that adapts its questions, would get out, and models that know no turns"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for a text, prompt and answer, of every turn, on each model."""
        return Cost(read=2 * len(TALK) * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean share after the last turn, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "conversation", "there is no room for two turns of a conversation"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.recalled(model, "conversation")[:, -1],
            sample=evidence.asks_some,
            charts=lambda: _charts(evidence),
        )


def _charts(evidence: Evidence) -> tuple[Chart, ...]:
    rows = {model: evidence.recalled(model, "conversation") for model in evidence.models}
    n, turns = rows[evidence.candidate].shape
    if n < FEWEST:
        return ()
    return (
        Chart(
            title="What leaks in a conversation, turn by turn",
            x="turns",
            y="share of the telling words said so far",
            series=evidence.series(np.arange(1.0, turns + 1), {m: row.mean(axis=0) for m, row in rows.items()}),
            n=n,
            note="Above the band: what asking again brings out and retrained models do not say.",
        ),
    )
