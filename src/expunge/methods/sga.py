"""Selective gradient ascent: raise the loss of those texts alone that are remembered better than unseen ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.context import Context
from expunge.engine.forgetting import held
from expunge.engine.memorised import extraction_likelihood, shares
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.split import held_choosing
from expunge.numerics.extraction import outlier_threshold, outliers
from expunge.tasks.causal_lm import CausalLM

_QUARTILES = 4
"""Unseen texts that a threshold takes, at the fewest."""


class SelectiveAscent(Passes):
    """Before every epoch measure what share of its tokens the model has by heart of each forgotten record.

    ``rule = "each"``: ascend on the mean loss of a token of those above the threshold alone, and stop once there is
    none. The threshold is given, or that above which an unseen text would be an outlier: the third quartile and 1.5
    interquartile ranges of the held-out records of the choosing part, at the original. The paper gives no code; what is
    measured is exact memorisation, once an epoch.

    ``rule = "mean"`` (Jang et al. 2023): ascend on all of them in one step per epoch, and stop once the mean share and
    the mean extraction likelihood (EL_n) are both below those of the unseen texts; few updates are what preserves the
    model. Averages leave single records behind that are still known by heart.

    Held-out records of the judging part are never read. The forgotten ones all are: they are what is trained on. Both
    papers hold the rest by nothing but few updates; by their loss, or by the divergence from the original's answers,
    retained records can be held beside each step.
    """

    title = "SGA (gradient ascent on what is still remembered)"
    source = "Barbulescu and Triantafillou 2024, arXiv 2405.03097, SGA; rule of the mean: Jang et al. 2023, 2210.01504"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {"threshold": 0.0, "lr": 1e-3}
    adapts = True  # its hook before an epoch measures, and changes nothing
    only_reads = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of selective ascent; rate and epochs are those of Jang et al."""

        epochs: int = setting(20, "passes over what is to be raised, at the most", low=0, search=(5, 30))
        batch_size: int = setting(8, "records per step, of rule `each`", low=1)
        lr: float = setting(5e-5, "peak learning rate", above=0, search=(1e-5, 1e-2))
        rule: str = setting("each", "who is raised, and what ends it", choices=("each", "mean"))
        threshold: float = setting(
            -1.0,
            "share of a record's tokens that may be known, of rule `each`; -1: found on unseen text",
            low=-1,
            high=1,
        )
        ngram: int = setting(10, "tokens of the pieces that are compared, of rule `mean`", low=1)
        stride: int = setting(1, "beginnings of a text that are continued: every so many tokens, of rule `mean`", low=1)
        retain: str = setting(
            "none",
            "what holds the retained records: nothing, as in the papers (`none`), their loss (`nll`), or the "
            "divergence from the original's answers (`kl`; it keeps a second model)",
            choices=("nll", "kl", "none"),
        )
        retain_weight: float = setting(1.0, "weight of what holds the retained records", low=0)
        beside: int = setting(1, "retained records that are read for each forgotten one, where they are held", low=1)

    _raised: Records | None = None
    _epoch = 0

    def __init__(self, config: Mapping[str, object] | Method.Config | None = None) -> None:
        super().__init__(config)
        if self.config.retain != "none":
            self.needs = self.needs | {Need.RETAIN}  # type: ignore[misc]

    @property
    def teacher(self) -> bool:  # type: ignore[override]
        """Whether the original answers beside the model."""
        return bool(self.config.retain == "kl")

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether the model is held against what the original says: dropout rests then."""
        return self.teacher

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that the task has no tokens, or that there is no unseen text to measure."""
        found = super().obstacles(problem)
        if not isinstance(problem.meaning, CausalLM):
            what, fix = f"{self.name} counts tokens known by heart", "see which methods `expunge plan` offers instead"
            found.append(Obstacle(what=what, found=f"task {problem.task}", expected="a language model", fix=fix))
        elif self._measures and held_choosing(problem) < _QUARTILES:
            what, fix = f"{self.name} needs unseen text to compare with", "give more holdout records, or a threshold"
            held, expected = f"{held_choosing(problem)} for choosing", f"{_QUARTILES}, a third of the holdout"
            found.append(Obstacle(what=what, where="holdout", found=held, expected=expected, fix=fix))
        return found

    @property
    def _measures(self) -> bool:
        return self.config.rule == "mean" or self.config.threshold < 0

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Measure the unseen text, and the forgotten records."""
        self._run, self._forget, self._end = run, problem.forget_view, _end_of(model)
        self._limits = (self.config.threshold, math.inf)
        if self._measures:
            assert run.choosing.holdout is not None
            unseen = shares(run, model, run.choosing.holdout)
            self._limits = (outlier_threshold(unseen), math.inf)
            if self.config.rule == "mean":
                self._limits = (float(unseen.mean()), self._likelihood(model, run.choosing.holdout))
        self._look(model, 1)
        return Cost()

    def preparation(self, problem: Problem) -> Cost:
        """Return a look at unseen text and at the forgotten records, by rule ``mean`` two."""
        times = 2 if self.config.rule == "mean" else 1
        held = held_choosing(problem) if self._measures else 0
        return Cost(read=times * (held + len(problem.forget_view)))

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of as many epochs as there may be, and a look at the forgotten records after each."""
        times = 2 if self.config.rule == "mean" else 1
        twin = copy.copy(self)
        twin._forget = problem.forget_view
        return super(SelectiveAscent, twin).cost(problem) + Cost(
            read=times * self.config.epochs * len(problem.forget_view)
        )

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Look again where an earlier process was interrupted: it knew whom to raise."""
        if self._epoch != epoch:
            self._look(model, epoch)

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over what is to be raised; before that is known, over all forgotten records."""
        c = self.config
        once, known = c.rule == "mean", self._raised if epoch == self._epoch and c.rule == "each" else None
        size = max(1, len(self._forget)) if once else c.batch_size
        if c.retain == "none":
            return (Pass("forget", self._up, size, forget=known),)
        sides = {"forget": self._up, "retain": self._held}
        return (Pass("both", sides, size, lead="forget", beside=size * c.beside, taught="retain", forget=known),)

    def _held(self, batch: Batch) -> Tensor:
        return self.config.retain_weight * held(batch, by=self.config.retain)

    def _up(self, batch: Batch) -> Tensor:
        assert batch.forget is not None
        if self.config.rule == "mean":
            return -batch.forget.loss.mean()
        return -batch.forget.by_record(batch.forget.loss).mean()

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return how many are above the threshold, the highest share and the mean one; by rule ``mean`` also EL_n."""
        self._look(model, epoch + 1)
        return self._seen

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return that none is left above the threshold, or that both means are below those of unseen text."""
        limit, other = self._limits
        if self.config.rule == "each":
            return "" if self._seen["above"] else f"no record is left of which more than {limit:.0%} is known by heart"
        share, likelihood = self._seen["mean"], self._seen["extraction likelihood"]
        if share >= limit or likelihood >= other:
            return ""
        return (
            f"{share:.0%} of tokens known by heart, {limit:.0%} of unseen text; EL {likelihood:.3g} below {other:.3g}"
        )

    def remarks(self, history: Sequence[dict[str, float]]) -> tuple[str, ...]:
        """Return that no record can lie above the threshold, where unseen texts are known too unevenly."""
        if self.config.rule != "each" or self._limits[0] < 1:
            return ()
        return (
            f"no record can stand out: unseen texts are known so unevenly that only {self._limits[0]:.0%} would; "
            "give a threshold, or take the rule of the mean",
        )

    def _look(self, model: nn.Module, epoch: int) -> None:
        """Measure the forgotten records for ``epoch``."""
        values, limit = shares(self._run, model, self._forget), self._limits[0]
        self._epoch = epoch
        self._raised = self._forget.select(
            [name for name, value in zip(self._forget.ids, values, strict=True) if value > limit]
        )
        above = outliers(values, threshold=limit)
        self._seen = {"above": float(above), "worst": float(values.max()), "mean": float(values.mean())}
        if self.config.rule == "mean":
            self._seen["extraction likelihood"] = self._likelihood(model, self._forget)

    def _likelihood(self, model: nn.Module, records: Records) -> float:
        n, stride = self.config.ngram, self.config.stride
        return float(extraction_likelihood(self._run, model, records, n=n, stride=stride, end=self._end).mean())


def _end_of(model: Any) -> int | None:
    """Return the token that ends a text, as the model's configuration names it; None where it names none or several."""
    end = getattr(getattr(model, "config", None), "eos_token_id", None)
    return end if isinstance(end, int) else None
