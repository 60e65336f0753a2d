"""Learning forgotten records with labels drawn at random, and retained ones as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import drawn_labels, relabelled


class RandomLabels(Passes):
    """Cross entropy of random labels on forgotten records, of their own on retained ones.

    Nothing is written to the records: labels are drawn for a batch, or are a function of (seed, record id).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    classes: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are those of SalUn's code for random labels."""

        epochs: int = setting(10, "passes over both sets", low=0, search=(1, 10))
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(0.01, "peak learning rate", above=0, search=(1e-4, 0.1))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        labels: str = setting(
            "any",
            "drawn evenly from `any` class, the true one included, or the `other` ones",
            choices=("any", "other"),
        )
        redraw: bool = setting(True, "new labels in every epoch; else one for each record, before training")
        order: str = setting(
            "forget_first",
            "in each epoch a pass over the forgotten records and then one over the retained, or both shuffled together",
            choices=("forget_first", "mixed"),
        )

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Note the seed: labels that are drawn once are a function of it."""
        self._seed = run.seed
        return Cost()

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return the passes of an epoch."""
        size = self.config.batch_size
        if self.config.order == "mixed":
            return (Pass("all", self._mixed, size),)
        return (Pass("forget", self._forgotten, size), Pass("retain", self._retained, size))

    def labels(self, batch: Batch) -> Tensor:
        """Return labels for the forget units of ``batch``, [N], by the law of the settings."""
        units, other = batch.forget, self.config.labels == "other"
        assert units is not None
        assert batch.forget_side is not None
        if self.config.redraw:
            return drawn_labels(units, other=other)
        count = units.logits.shape[1] - other
        draws = [keyed_int(b"expunge random label", self._seed, name) % count for name in batch.forget_side.ids]
        drawn = torch.tensor(draws, device=units.target.device)[units.record]
        return (units.target + 1 + drawn) % units.logits.shape[1] if other else drawn

    def _forgotten(self, batch: Batch) -> Tensor:
        assert batch.forget is not None
        return relabelled(batch.forget, self.labels(batch)).mean()

    def _retained(self, batch: Batch) -> Tensor:
        assert batch.retain is not None
        return batch.retain.loss.mean()

    def _mixed(self, batch: Batch) -> Tensor:
        parts = [] if batch.retain is None else [batch.retain.loss]
        if batch.forget is not None:
            parts.append(relabelled(batch.forget, self.labels(batch)))
        return torch.cat(parts).mean()
