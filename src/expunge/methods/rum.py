"""RUM: split the forget set by how hard its records are to forget, and give each part the method that suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from expunge.core.config import Config, setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine.context import Context
from expunge.engine.passes import NO_EFFECT, touched
from expunge.engine.split import Part, held_choosing
from expunge.engine.strata import cost as cost_of_scores
from expunge.engine.strata import scores, split_by, unrankable

_GIVEN = frozenset({Need.RETAIN, Need.FORGET})
NOTHING = "nothing"
"""The name of the method that leaves a part alone: what the model would know without it anyway."""


class RefinedUnlearning(Method):
    """Rank the forget set by a proxy, cut it in equal parts, and unlearn them one after the other, the easiest first.

    Each part is a problem of its own for the model as the part before left it: the methods see nothing of each other.
    The whole forget set is dealt with; the paper takes the records at the ends and in the middle of the ranking.
    """

    title = "Refined unlearning by parts (RUM)"
    source = "Zhao, Kurmanji and Triantafillou 2024, arXiv 2406.01257"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = _GIVEN
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {
        "methods": ["neg_grad_plus", "neg_grad_plus"],
        "settings": [{"epochs": 2, "batch_size": 16}, {"epochs": 2, "batch_size": 16, "alpha": 0.8}],
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of RUM."""

        methods: tuple[str, ...] = setting(
            (NOTHING, "finetune", "salun"), f"method of each part, the easiest first; `{NOTHING}` leaves a part alone"
        )
        settings: tuple[Mapping[str, Any], ...] = setting((), "settings of each of these, in order; none: its defaults")
        by: str = setting(
            "confidence",
            "what ranks the records: `confidence` in the label; `curvature` of the loss in the inputs; `held_out`: "
            "what training on held-out records changes; `entanglement` with the retained records",
            choices=("confidence", "curvature", "held_out", "entanglement"),
        )
        retain: str = setting(
            "exclude_all",
            "what is retained while a part is forgotten: nothing of any part (`exclude_all`), or also the parts that "
            "are still to be forgotten (`cumulative`, as in the paper's code for exact memorisation)",
            choices=("exclude_all", "cumulative"),
        )

        def __post_init__(self) -> None:
            """Check that every part has one method."""
            super().__post_init__()
            if not self.methods or "rum" in self.methods or len(self.settings) not in (0, len(self.methods)):
                raise UsageError(
                    "parts without a method of their own",
                    where=f"{type(self).__qualname__}.methods",
                    found=f"methods {list(self.methods)}, settings of {len(self.settings)}",
                    expected="at least one method, none of them rum; settings of all or of none",
                    fix="name a method for every part",
                )

    def __init__(self, config: Mapping[str, object] | Config | None = None) -> None:
        super().__init__(config)
        settings = self.config.settings or ({},) * len(self.config.methods)
        self._methods: list[Method | None] = [
            None
            if name == NOTHING
            else self.using(name, given, setting=f"settings[{place}]", named=f"methods[{place}]")
            for place, (name, given) in enumerate(zip(self.config.methods, settings, strict=True))
        ]
        strange = [m.name for m in self._methods if m is not None and (m.control or m.needs - _GIVEN)]
        if strange:
            raise UsageError(
                "methods that are no part of another",
                where=self.at("methods"),
                found=", ".join(strange),
                expected="methods that change the original and need nothing but its records",
                fix="name others",
            )

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what keeps any of the methods from the problem, and what the proxy lacks."""
        found = super().obstacles(problem)
        for method in self._methods:
            found += [each for each in method.obstacles(problem) if each not in found] if method is not None else []
        if not problem.source.gradients and not found:
            found.append(Obstacle(what="rum ranks records by a network", found="no network"))
        if self.config.retain == "cumulative" and problem.calibration is not None:
            what, fix = "rum retains the parts that are still to be forgotten", "set retain = exclude_all"
            found.append(Obstacle(what=what, found="calibration records in the place of retained ones", fix=fix))
        if self.config.by in ("held_out", "entanglement") and not problem.meaning.labelled:
            what, fix = f"rum ranks by {self.config.by}, which needs classes", "rank by confidence or curvature"
            found.append(Obstacle(what=what, found=f"task {problem.task}, which has none", fix=fix))
        if self.config.by == "held_out" and not held_choosing(problem):
            fix = "give a holdout, or rank by another proxy"
            found.append(Obstacle(what="rum ranks by training on held-out records", found="no holdout", fix=fix))
        return found or unrankable(self.config.by, problem)

    def cost(self, problem: Problem) -> Cost:
        """Return the work of the ranking and of the methods; how many records a part has is known before."""
        if not len(problem.forget_view):
            return Cost()
        anyhow = split_by(np.zeros(len(problem.forget_ids)), problem.forget_ids, len(self._methods))
        total = cost_of_scores(self.config.by, problem, held_choosing(problem))
        for place, (method, ids) in enumerate(zip(self._methods, anyhow, strict=True)):
            if method is not None and ids:
                total = total + method.cost(self._part(problem, problem.model, anyhow, place))
        return total

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the model after all parts.

        Raises:
            InvalidProblem: the proxy cannot rank these records.
            Diverged: a method ruined the model.
        """
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        own = replace(run, spent=Cost())
        values, remark = scores(self.config.by, problem, model, own)
        strata = split_by(values, problem.forget_ids, len(self._methods))
        total, history, warnings = own.spent, [], []
        told = [f"ranked by {self.config.by}{', ' if remark else ''}{remark}"]
        for place, (name, ids) in enumerate(zip(self.config.methods, strata, strict=True)):
            method, words = self._methods[place], f"part {place + 1}, {len(ids)} records: {name}"
            if method is not None and ids:
                part = self._part(problem, model, strata, place)
                outcome = method.unlearn(part, _within(run, part, place))
                model, total = outcome.model, total + outcome.cost
                done = len(history)
                history += [{**row, "epoch": done + i + 1, "part": place + 1} for i, row in enumerate(outcome.history)]
                warnings += [f"part {place + 1}: {text}" for text in outcome.warnings]
                words += f" {outcome.stopped}"
            told.append(f"{words}; model {problem.source.digest(model)[:12]}")
        share = touched(before, model)
        return Outcome(
            model=model,
            cost=total,
            history=tuple(history),
            touched=share,
            stopped="; ".join(told),
            warnings=(*((NO_EFFECT,) if share == 0 else ()), *(w for w in warnings if NO_EFFECT not in w)),
        )

    def _part(self, problem: Problem, model: Any, strata: Sequence[Sequence[str]], place: int) -> Problem:
        """Return the problem of one part, for the model as it is by now."""
        later = strata[place + 1 :] if self.config.retain == "cumulative" else ()
        there = {*problem.retain_view.ids, *strata[place], *(name for ids in later for name in ids)}
        truth = problem.request.corrections
        return replace(
            problem,
            model=model,
            train=problem.records.select([name for name in problem.records.ids if name in there]),
            forget=strata[place],
            request=Request(corrections={name: truth[name] for name in strata[place] if name in truth}),
            canaries=None,
            ledger=None,
            origin=None,
        )


def _within(run: Context, part: Problem, place: int) -> Context:
    """Return what the method of a part is given; the first one the seed of the run."""
    gone = set(part.forget_ids)
    return replace(
        run,
        problem=part,
        seed=run.seed if not place else keyed_int(b"expunge rum", run.seed, place) % 2**31,
        label=f"{run.label}, part {place + 1}",
        choosing=Part(part.records.select([i for i in run.choosing.forget.ids if i in gone]), run.choosing.holdout),
        checkpoints=None if run.checkpoints is None else run.checkpoints.inside(f"part-{place + 1}"),
        spent=Cost(),
    )
