"""What methods share that draw a network anew and train it for a while: where they start, how sure it ends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import blocks, cannot_reset, freeze_all_but, head, last, reset, unresettable
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.relabelling import labels_of
from expunge.engine.split import held_choosing
from expunge.engine.strangers import gone, said
from expunge.engine.training import LEAST, settings_of, smaller
from expunge.numerics.sureness import scale, sureness

ALL = 1000
"""Blocks: more than any network has."""
NEARLY = 0.02
"""How far twice the head's weights may be from twice the logits, as a share of the largest: half precision rounds."""
AS_TRAINED = ("lr", "schedule", "decay", "optimiser", "momentum", "weight_decay", "warmup", "clip")
"""Settings of a training that a network drawn anew is best served by."""


class Anew(Passes):
    """The last blocks are drawn anew and trained on what remains; what comes before them is frozen.

    Weights, biases, normalisation and its statistics are all drawn anew, at any depth.
    """

    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    trial: ClassVar[Mapping[str, object]] = {"epochs": 8, "lr": 0.1}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of what is drawn anew."""

        epochs: int = setting(
            30, "passes over the retain set; as many as the original's training", low=0, search=(1, 30)
        )
        lr: float = setting(0.01, "peak learning rate", above=0, search=(1e-3, 0.1))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        as_sure: bool = setting(
            False,
            "whether the head is scaled at the end until the model is as sure of its answers about held-out records as "
            "the original is; not in the paper, right where the forgotten are no errors",
        )

    @classmethod
    def start(cls, problem: Problem) -> Mapping[str, object]:
        """Return the settings of the training itself in smaller batches, where it says them."""
        config = settings_of(problem)
        if config is None:
            return {}
        return {
            **{name: getattr(config, name) for name in AS_TRAINED},
            "batch_size": smaller(config.batch_size),
            "epochs": config.epochs,
            "as_sure": not problem.request.corrections and not _unscalable(problem),
        }

    @abstractmethod
    def learnt(self, batch: Batch) -> Tensor:
        """Return the scalar to minimise on a batch of retained records."""

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the retained records."""
        return (Pass("retain", self.learnt, self.config.batch_size),)

    @property
    def fresh(self) -> int:
        """How many blocks before the head are drawn anew with it."""
        return ALL

    def anew(self, problem: Problem) -> bool:
        """Return whether nothing of the original is left: no block is frozen, and no number stays that is saved."""
        model = problem.source.open()
        whole = self.fresh >= len(blocks(model)) - 1 and all(p.requires_grad for p in model.parameters())
        return bool(self.config.epochs and whole and not any(map(_remembers, model.modules())))

    @property
    def adapts(self) -> bool:
        """Whether adapters may move in the place of the weights: not where the head is scaled."""
        return not self.config.as_sure

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and layers among the last ones that cannot be drawn anew."""
        found = super().obstacles(problem)
        if found:
            return found
        model = problem.source.open()
        stubborn = unresettable(model, last(model, self.fresh))
        if stubborn:
            found.append(cannot_reset([type(part).__name__ for part in stubborn]))
        lacks = _unscalable(problem) if self.config.as_sure else ""
        if lacks:
            what = f"{self.name} cannot make answers as sure as the original's"
            found.append(Obstacle(what=what, where=self.at("as_sure"), found=lacks, fix="set as_sure = false"))
        return found

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the last blocks anew, and freeze what comes before."""
        fresh = last(model, self.fresh)
        freeze_all_but(model, fresh)
        reset(model, fresh)
        return Cost()

    def observation(self, problem: Problem) -> Cost:
        """Return the looks at held-out records, of the original and at the end, where answers are scaled."""
        return Cost(read=2 * held_choosing(problem) if self.config.as_sure and self.config.epochs else 0)

    def finish(self, model: nn.Module, problem: Problem, run: Context) -> None:
        """Scale the head until the model is as sure of its answers about held-out records as the original.

        Of classes that stay: what the original answers about others no model without them should.
        """
        held = run.choosing.holdout
        if not self.config.as_sure or held is None or not len(held):
            return
        run.spent += Cost(read=2 * len(held))
        before, after = (said(problem, each, held) for each in (problem.source.open(), model))
        labels, layer = labels_of(problem, held), head(model, problem)
        assert before is not None
        assert after is not None
        assert labels is not None
        assert layer is not None, "see obstacles"
        staying = ~np.isin(labels, list(gone(problem, labels)))
        if staying.any():
            factor = scale(after.logits[staying], float(sureness(before.logits[staying]).mean()))
            _multiply(layer, factor)


def _unscalable(problem: Problem) -> str:
    """Return what keeps answers from being scaled by those about held-out records; empty where nothing does."""
    if problem.held_out is None or not len(problem.held_out):
        return "no holdout"
    if not problem.meaning.labelled:
        return f"task {problem.task}, which has no classes"
    model = problem.source.open()
    layer = head(model, problem)
    if layer is None:
        return "no linear layer at the end"
    if not all(p.requires_grad for p in layer.parameters()):
        return "a last layer that is frozen"
    few = problem.held_out.select(problem.held_out.ids[:LEAST])
    before = said(problem, model, few)
    _multiply(layer, 2.0)
    after = said(problem, model, few)
    assert before is not None
    assert after is not None
    once, twice = (each.logits - each.logits.mean(axis=1, keepdims=True) for each in (before, after))
    off = float(np.abs(twice - 2 * once).max())
    return "" if off <= NEARLY * float(np.abs(once).max()) else "answers that are not in proportion to its last layer"


def _multiply(layer: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(factor)


def _remembers(part: nn.Module) -> bool:
    """Return whether a module saves numbers that nothing draws anew: a bank of what it has seen, say."""
    saved = {name for name, _ in part.named_buffers(recurse=False)} - part._non_persistent_buffers_set
    return bool(saved) and not hasattr(part, "reset_parameters")
