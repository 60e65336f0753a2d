"""AltDPO: teach plausible other answers, given by the user, in the place of the forgotten ones."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.variants import variant_of
from expunge.engine.context import Context
from expunge.engine.instead import Instead

ALTERNATIVE = "alternative"


class Alternatives(Instead):
    """Prefer answers of ``Problem(variants={"alternative": ...})`` to the ones that were learnt.

    The paper takes five for each question, of the same form and with other facts, written by a language model. What
    they say is learnt: a model that never saw the records would not say it either.
    """

    title = "AltPO (other answers preferred to the forgotten ones)"
    source = "Mekala et al. 2024, arXiv 2409.13474"

    @dataclass(frozen=True, kw_only=True)
    class Config(Instead.Config):
        """Settings; weight and epochs are the best of a published grid, on models of a billion weights."""

        retain_weight: float = setting(2.0, "weight of what holds the retained records", low=0, search=(0.1, 10))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that forgotten records have no other answers."""
        found = super().obstacles(problem)
        given = {variant_of(name) for name in self._given(problem).ids} if ALTERNATIVE in problem.variants else set()
        without = len(set(problem.forget_ids) - given)
        if without:
            found.append(
                Obstacle(
                    what=f"{self.name} needs another answer to every forgotten record",
                    where="variants, alternative",
                    found=f"none to {without} of {len(problem.forget_ids)}",
                    expected="one to each: the column that `alternative` names in a file, variants ID#0 in Python",
                    fix="give them, or choose idk_dpo, which refuses to answer",
                )
            )
        return found

    def others(self, problem: Problem, run: Context) -> Records:
        """Return the answers that were given."""
        gone, given = set(problem.forget_ids), self._given(problem)
        return given.select([name for name in given.ids if variant_of(name) in gone])

    def count(self, problem: Problem) -> int:
        """Return how many were given."""
        gone = set(problem.forget_ids)
        given = self._given(problem).ids if ALTERNATIVE in problem.variants else ()
        return sum(variant_of(name) in gone for name in given)

    def _given(self, problem: Problem) -> Records:
        return problem.variant_records[ALTERNATIVE]
