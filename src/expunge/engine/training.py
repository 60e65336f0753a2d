"""Training from scratch, reproducible by seed: expunge's own trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from expunge.core import registry
from expunge.core.config import setting
from expunge.core.digest import sha256
from expunge.core.errors import Obstacle, UsageError
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.serial import canonical
from expunge.engine import adapters
from expunge.engine.adapters import Adapters, AdaptersConfig
from expunge.engine.batches import bounds, drawn
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.engine.memory import sparing_again
from expunge.engine.runtime import seed_everything

SMALLER = 4
"""How many times smaller than the training's batches are where few passes must do: hardly fewer steps than it took."""
LEAST = 3
"""Records of such a batch: of two the last one of a pass may be alone, and one alone cannot be normalised."""


def smaller(batch_size: int, *, least: int = LEAST) -> int:
    """Return a batch of a quarter as many records as the training's, of ``least`` where it had so many."""
    return max(min(batch_size, least), batch_size // SMALLER)


def settings_of(problem: Problem) -> LoopConfig | None:
    """Return the settings of the training, where the problem's trainer says them, as expunge's own does."""
    config = getattr(problem.trainer, "config", None)
    return config if isinstance(config, LoopConfig) else None


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer that keeps the contract: same seed twice equal, another seed different, reads only its view.

    Attributes:
        build: makes a new, randomly initialised model, or the one that is fine-tuned; a module-level function, so that
            workers find it.
        task: name of the task.
        config: settings of the loop.
        micro_batch: gradients are accumulated over parts of at most so many records; 0 takes a step at once. The steps
            stay what they are, but for what dropout draws; batch normalisation is over a part then, another training.
        lora: rank of the adapters (LoRA) that are trained in the place of the weights and merged into them at the end,
            by peft; 0: the weights themselves are trained.
        lora_alpha: adapters are added so many times, divided by their rank.
        lora_layers: linear layers with adapters, by name or its last part; none named: all but the head.

    Raises:
        UsageError: adapters on new weights, or settings of adapters without any.
    """

    build: Callable[[], nn.Module]
    task: str = "classification"
    config: LoopConfig = LoopConfig(epochs=30)
    micro_batch: int = 0
    lora: int = 0
    lora_alpha: float = 16.0
    lora_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse adapters where there is nothing to put them beside, and what says something of none."""
        said = [name for name in ("lora_alpha", "lora_layers") if getattr(self, name) != getattr(Trainer, name)]
        if said and not self.lora:
            raise UsageError(
                "settings of adapters without adapters",
                where=f"[training] {said[0]}",
                found="lora = 0, or none",
                expected="the rank of the adapters beside it",
                fix="write lora = 8, or whatever it was; leave the others out where all weights were trained",
            )
        if self.lora and getattr(self.build, "base", "") is None:
            raise UsageError(
                "adapters are trained beside the weights of a base, and none is named",
                where="[training] lora",
                found="no base under [model]: training would start from new weights, which adapters leave as they are",
                expected="what the model was before the adapters were trained",
                fix='write base = "what-it-was-fine-tuned-from" under [model]; or leave lora out, where it started '
                "from nothing",
            )

    @property
    def passes(self) -> int:
        """How many times a record is read."""
        return self.config.epochs

    @property
    def meaning(self) -> Any:
        """The task."""
        return registry.load("tasks", self.task)()

    def describe(self) -> str:
        """Return a text that is equal for equal trainers."""
        # What has its default stays unsaid: a trainer is described as it was before there was such a setting.
        more = {name: value for name in _BESIDE if (value := getattr(self, name)) != getattr(Trainer, name)}
        settings = sha256(canonical([self.config, more] if more else self.config))[:16]
        what = f"adapters of rank {self.lora} beside " if self.lora else ""
        return f"expunge trainer of {what}{self.build.__module__}:{self.build.__qualname__}, settings {settings}"

    def obstacles(self) -> list[Obstacle]:
        """Return that what training starts from can have no such adapters, before any work."""
        return adapters.obstacles(self.begin(0), self.lora_layers) if self.lora else []

    def begin(self, seed: int) -> nn.Module:
        """Return a new model that is not trained."""
        seed_everything(seed)
        return self.build()

    def __call__(
        self,
        records: Records,
        *,
        seed: int,
        start: nn.Module | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> nn.Module:
        """Return a new model trained on ``records``; initial weights and order are functions of ``seed``.

        With ``start`` a copy of that model is trained on instead.
        """
        model = self.begin(seed) if start is None else copy.deepcopy(start)
        beside = self.beside(model, seed) if self.lora else None
        task, size = self.meaning, self.config.batch_size
        steps = Steps(
            count=lambda epoch: -(-len(records) // size),
            batches=lambda epoch: drawn(records, size, seed=seed, epoch=epoch),
            objective=lambda places: self._terms(model, task, records, places),
        )
        with sparing_again(model, self.config, at_once=min(len(records), self.micro_batch or size)):
            run_loop(model, steps, self.config, seed=seed, checkpoints=checkpoints, saved=beside)
        if checkpoints:
            checkpoints.clear()
        return model if beside is None else self.merged(model, beside, seed)

    def beside(self, model: nn.Module, seed: int) -> Adapters:
        """Put adapters into ``model``, which are drawn from ``seed``."""
        return adapters.drawn(model, rank=self.lora, alpha=self.lora_alpha, names=self.lora_layers, seed=seed)

    def merged(self, model: nn.Module, beside: Adapters, seed: int) -> nn.Module:
        """Return the model with its adapters added to its weights."""
        beside.merge()
        return model

    def _terms(self, model: nn.Module, task: Any, records: Records, places: Sequence[int]) -> Iterator[Tensor]:
        """Yield the mean loss of the units of a step; in parts, what adds up to its gradient in the end.

        How many units a step has is known once all its parts were read, so what stands after each is the gradient of
        the mean over the units so far: like that of the whole step it is no larger than that of one unit can be, and
        halves do not overflow. In float32 that is the gradient of the step at once, but for rounding.
        """
        count = len(places)
        if not self.micro_batch or self.micro_batch >= count:
            yield task.units(model, records.read(places)).loss.mean()
            return
        before = 0
        for start, stop in bounds(count, self.micro_batch):
            losses = task.units(model, records.read(places[start:stop])).loss
            if not len(losses):
                continue  # texts of which nothing is scored: of no units there is no mean
            units = before + len(losses)
            for p in model.parameters():
                if p.grad is not None:
                    p.grad *= before / units
            yield losses.mean() * (len(losses) / units)
            before = units


_BESIDE = ("micro_batch", "lora", "lora_alpha", "lora_layers")
"""What a trainer is told beside the settings of its loop."""


@dataclass(frozen=True, kw_only=True)
class Training(AdaptersConfig):
    """All settings of a training, as ``[training]`` of a job file says them."""

    micro_batch: int = setting(
        0,
        "records that are read at once, for room: the gradients of a step are accumulated over parts of at most so "
        "many; 0 takes a step at once. Steps stay what they are, but for what dropout draws; batch normalisation is "
        "over a part then: another training",
        low=0,
    )

    def __post_init__(self) -> None:
        """Refuse a training that trains nothing."""
        super().__post_init__()
        if not self.epochs:
            raise UsageError(
                "a training of no epochs",
                where="[training] epochs",
                found="0",
                expected="1 or more: what was not trained is nothing to compare with",
                fix="say how often the training read each record",
            )

    def trainer(self, build: Callable[[], nn.Module], *, task: str) -> Trainer:
        """Return the trainer of models that ``build`` makes.

        Raises:
            UsageError: as of :class:`Trainer`.
        """
        loop = LoopConfig(**{each.name: getattr(self, each.name) for each in fields(LoopConfig)})
        return Trainer(build=build, task=task, config=loop, **{name: getattr(self, name) for name in _BESIDE})
