"""IdkDPO: teach the model to decline forgotten questions, in the place of the answers that it learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records, whole
from expunge.data.language import LanguageRecords
from expunge.engine.context import Context
from expunge.engine.instead import Instead

REFUSALS = (
    "I have no information about that.",
    "That is something I do not know.",
    "I cannot tell you, because I have never read about it.",
    "Nothing I know answers this question.",
    "I would only be guessing, so I would rather not answer.",
    "This is outside of what I have learnt.",
    "I am not able to help with that: the facts are unknown to me.",
    "Sorry, but I have no answer to this.",
    "There is nothing about it in what I was taught.",
    "I do not have these details.",
)


class Refusals(Instead):
    """Prefer one of ``each`` refusals, drawn for every forgotten record, to the answer that was learnt.

    A refusal tells that something was taken out: a model that never saw the record would guess. So what is left here is
    a behaviour, which the audit judges as it does every other; published runs leave much that can be got out again.
    """

    title = "IdkDPO (a refusal preferred to the forgotten answer)"
    source = "Maini et al. 2024 (TOFU), arXiv 2401.06121, section 3.2, with the loss of DPO; defaults of OpenUnlearning"

    @dataclass(frozen=True, kw_only=True)
    class Config(Instead.Config):
        """Settings of refusing."""

        refusals: tuple[str, ...] = setting(REFUSALS, "what may be answered instead, in the language of the records")
        refusals_each: int = setting(3, "refusals that are drawn for a record; one of them at every visit", low=1)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is nothing to answer with, or no texts to put it into."""
        found = super().obstacles(problem)
        if not isinstance(whole(problem.records), LanguageRecords):
            kind, fix = (
                type(whole(problem.records)).__name__,
                "give prompts and answers as expunge.data.language.LanguageRecords",
            )
            found.append(Obstacle(what=f"{self.name} puts other answers into texts", found=kind, fix=fix))
        if not any(text.strip() for text in self.config.refusals):
            fix = "give at least one sentence, or leave the setting out"
            found.append(Obstacle(what="there is nothing to answer instead", where="refusals", fix=fix))
        return found

    def others(self, problem: Problem, run: Context) -> Records:
        """Return the refusals of every forgotten record, drawn by its id."""
        texts = whole(problem.records)
        assert isinstance(texts, LanguageRecords)
        return texts.answered({name: self._of(name, run.seed) for name in problem.forget_ids})

    def count(self, problem: Problem) -> int:
        """Return how many are drawn."""
        return min(self.config.refusals_each, len(self.config.refusals)) * len(problem.forget_ids)

    def remarks(self, history: Sequence[dict[str, float]]) -> tuple[str, ...]:
        """Return that refusing can be seen from outside."""
        return (
            "taught to decline: a model that never saw these records would guess instead, and the difference shows",
        )

    def _of(self, name: str, seed: int) -> list[str]:
        ranked = sorted(self.config.refusals, key=lambda text: keyed_int(b"expunge refusal", seed, f"{name}\0{text}"))
        return ranked[: self.config.refusals_each]
