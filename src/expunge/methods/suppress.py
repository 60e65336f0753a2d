"""Suppression: the model is left as it is, and filters beside it stop what it was to forget. Never an erasure."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.core.config import setting
from expunge.core.errors import Obstacle, Refused, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.records import Records, whole
from expunge.core.suppression import INPUT_FILTER, OUTPUT_FILTER, InputFilter, OutputFilter
from expunge.data.language import LanguageRecords
from expunge.engine.context import Context
from expunge.tasks.causal_lm import CausalLM

_KEY = 32


class Suppress(Method):
    """Write ``output-filter.json`` and ``input-filter.json``: what stops answers, and what stops prompts.

    ``OutputFilter`` and ``InputFilter`` of ``expunge.core.suppression`` apply them, without torch. The files hold keyed
    hashes and no text. An answer is stopped that holds some words in a row of a forgotten one; a prompt that names whom
    several forgotten questions name and hardly a retained one does, or holds some words in a row of a forgotten
    question that shares no such name. What retained answers say as well is let through, and so are retained questions.

    The weights are bit for bit those of the original: whoever has them, or looks inside, finds all that was there. What
    is asked without the name, or spelt otherwise, and answered in other words, passes both filters. A stop-gap while
    the records are really erased: the filters are written before anything is trained.
    """

    title = "Filters of prompts and answers (the model is unchanged)"
    source = "guardrails as in Thaker et al. 2024, arXiv 2403.03329; the filter is our own"
    guarantee = Level.SUPPRESSED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Settings of the filter."""

        words: int = setting(
            5,
            "words in a row by which a forgotten answer is known, and a question that shares no name with another; "
            "shorter ones as a whole",
            low=1,
        )
        name: int = setting(
            1,
            "fewest words in a row of a name by which prompts are known; of 2 a first or a last name alone passes, and "
            "so does a namesake's",
            low=1,
        )
        instead: str = setting("I cannot answer this.", "what is answered in the place of what is stopped")
        until: str = setting("", "date (YYYY-MM-DD) by which the records are to be erased; noted, not enforced")

        def __post_init__(self) -> None:
            """Check the date."""
            super().__post_init__()
            try:
                _ = self.until and datetime.date.fromisoformat(self.until)
            except ValueError:
                raise UsageError(
                    "no date",
                    where=f"{type(self).__qualname__}.until",
                    found=repr(self.until),
                    expected="a day as YYYY-MM-DD, or nothing",
                    fix='for example until = "2027-01-31"',
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
        more = {"length": c.words, "instead": c.instead, "until": c.until}
        made = OutputFilter.against(gone, kept, key=secrets.token_bytes(_KEY), **more)
        made.save(run.folder / OUTPUT_FILTER)
        through = sum(not made.stops(text) for text in gone)
        open_ends = f"{through} of {len(gone)} forgotten answers pass the filter: all they say is retained elsewhere"
        until = f", until {c.until}" if c.until else ""
        told, wrongly = self._asked(problem, run, more)
        return Outcome(
            model=model,
            stopped=f"a filter of {len(made.marks)} pieces was written{until}; {told}",
            warnings=(
                "no parameter changed: only prompts and output are filtered",
                *((open_ends,) if through else ()),
                *wrongly,
            ),
        )

    def _asked(self, problem: Problem, run: Context, more: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Write the filter of prompts; return what it stops, in words, and what it stops wrongly, as a warning."""
        gone = _questions(problem.forget_view)
        if not gone:
            return "plain texts ask nothing: give prompts to it as well", ()
        retained = _questions(problem.retain_view)
        made = InputFilter.against(gone, retained, key=secrets.token_bytes(_KEY), name=self.config.name, **more)
        assert run.folder is not None
        made.save(run.folder / INPUT_FILTER)
        held = _questions(run.choosing.holdout) if run.choosing.holdout is not None else []
        told, many = f"one of prompts stops {sum(map(made.stops, gone))} of {len(gone)} forgotten questions", len(held)
        alarms = sum(map(made.stops, held))
        wrongly = (
            f"{alarms} of {many} held-out questions are stopped as well: what tells names from other words are "
            f"{len(retained)} retained questions; more words in a row are safer (name = {self.config.name + 1})"
        )
        told += f" and {alarms} of {many} held-out ones" if held else ""
        told += f"; retained ones with such a name pass as they are written: {len(made.passes)}" if made.passes else ""
        return told, (wrongly,) if alarms else ()


def _texts(records: Records) -> list[str]:
    """Return what these records answer, each turn of a conversation by itself, as it was written."""
    return [answer for i in range(len(records)) for answer in records.said(i) or (records.text(i) or "",)]


def _questions(records: Records) -> list[str]:
    """Return what these records ask, without those that ask nothing; of a conversation all turns in one.

    Whom it is about is named once, and rarely in the last turn.
    """
    texts = whole(records)
    if not isinstance(texts, LanguageRecords):
        return []
    asked = ["\n".join(texts.questions(texts.position[name])) for name in records.ids]
    return [question for question in asked if question]
