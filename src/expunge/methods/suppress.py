"""Suppression: the model is left as it is, and a filter beside it stops what it was to forget. Never an erasure."""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass
from typing import ClassVar

from expunge.core.config import setting
from expunge.core.errors import Obstacle, Refused, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.suppression import OUTPUT_FILTER, OutputFilter
from expunge.engine.context import Context
from expunge.tasks.causal_lm import CausalLM

_KEY = 32


class Suppress(Method):
    """Write ``output-filter.json``: a text is stopped that holds some words in a row of a forgotten answer.

    ``OutputFilter.load(path).answer(text)``, of ``expunge.core.suppression``, applies it, without torch. The file holds
    keyed hashes and no text. What retained answers say as well is let through. The weights are bit for bit those of the
    original: whoever has them, asks for a paraphrase, or looks inside, finds all that was there. A stop-gap while the
    records are really erased.
    """

    title = "Output filter (the model is unchanged)"
    source = "guardrails as in Thaker et al. 2024, arXiv 2403.03329; the filter is our own"
    guarantee = Level.SUPPRESSED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Settings of the filter."""

        words: int = setting(5, "words in a row by which a forgotten answer is known; shorter ones as a whole", low=1)
        instead: str = setting("I cannot answer this.", "what is answered in the place of what is stopped")
        until: str = setting("", "date (YYYY-MM-DD) by which the records are to be erased; noted, not enforced")

        def __post_init__(self) -> None:
            """Check the date."""
            super().__post_init__()
            try:
                _ = self.until and datetime.date.fromisoformat(self.until)
            except ValueError:
                raise UsageError(
                    "no date", where="suppress, until", found=repr(self.until), expected="YYYY-MM-DD, or nothing"
                ) from None

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return that the model writes no text that could be filtered."""
        found = super().obstacles(problem)
        if not isinstance(problem.meaning, CausalLM):
            what, fix = (
                "suppress filters what a language model writes",
                "see which methods `expunge plan` offers instead",
            )
            found.append(Obstacle(what=what, found=f"task {problem.task}", expected="a language model", fix=fix))
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return no work: no model is asked."""
        return Cost()

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return a fresh instance of the original; the filter lies in ``run.folder``."""
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        if run.folder is None:
            raise Refused("suppress needs a folder for its filter", found="none")
        gone = _texts(problem.forget_view)
        kept = [] if problem.calibration is not None else _texts(problem.retain_view)
        c = self.config
        made = OutputFilter.against(
            gone, kept, key=secrets.token_bytes(_KEY), length=c.words, instead=c.instead, until=c.until
        )
        made.save(run.folder / OUTPUT_FILTER)
        through = sum(not made.stops(text) for text in gone)
        open_ends = f"{through} of {len(gone)} forgotten answers pass the filter: all they say is retained elsewhere"
        return Outcome(
            model=model,
            stopped=f"a filter of {len(made.marks)} pieces was written{f', until {c.until}' if c.until else ''}",
            warnings=("no parameter changed: only output is filtered", *((open_ends,) if through else ())),
        )


def _texts(records: Records) -> list[str]:
    return [records.text(i) or "" for i in range(len(records))]
