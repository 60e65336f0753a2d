"""Role play and other ways to talk a model into answering: does one of them bring back what was forgotten?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.prompting import MOST, ROLES


class RolePlay(Check):
    """Mean share of an answer's telling words that the model writes, in that of some fixed wordings that gets most.

    An actor, a quiz, a grandmother's story, an order to forget all orders, and an answer that begins with "Sure": a
    model that was taught to be silent about a question often answers it in another guise. Telling are words that
    neither the question nor a third of the forgotten answers hold.
    """

    title = "Answers in a role"
    source = "Lynch et al. 2024, arXiv 2402.16835, as a difference from retrained models; metric: ROUGE-L recall"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.ROLE_PLAY})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "other roles, other languages, spelt-out or encoded questions; models that take no instructions"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for a text, prompt and answer, of every wording, on each model."""
        return Cost(read=2 * len(ROLES) * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean over records of the largest share, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "role play", "there is no room for a role to play"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        asked = (wording.replace("{prompt}", "...") + (f" {begun}" if begun else "") for wording, begun in ROLES)
        shares = {model: evidence.recalled(model, "role play").mean(axis=0) for model in evidence.judged}
        alone = [shares[model] for model in evidence.references if model != evidence.candidate]
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.recalled(model, "role play").max(axis=1),
            sample=evidence.asks_some,
            details={
                f'asked "{text}"': f"{shares[evidence.candidate][i]:.3f} "
                f"(references {min(row[i] for row in alone):.3f} to {max(row[i] for row in alone):.3f})"
                for i, text in enumerate(asked)
            },
        )
