"""Recorded training with ``transformers.Trainer``, and trainers made from it (TRL's ``SFTTrainer``).

The recorder says which records meet which step, seeds every step and writes the ledger; the trainer does the rest:
loss, gradients, clipping, accumulation, logging. What it reads comes from the recorded records, in an order that hangs
on (seed, epoch, id) alone, and not from a sampler of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

from expunge.core.errors import Obstacle, UsageError
from expunge.data.language import NOT_SCORED
from expunge.engine.fingerprint import unfilled
from expunge.engine.recorder import Recorder, Step


def follow(recorder: Recorder, trainer: Trainer) -> nn.Module:
    """Make every step of a recorded run with a trainer; return the model as it was given to the trainer, trained.

    To be called in the loop of an :class:`expunge.Recorded`, with a trainer that was made there for this one run.
    Length and batches are the recorder's: ``num_train_epochs``, ``max_steps``, ``per_device_train_batch_size``,
    ``train_dataset`` and ``data_collator`` are not used. With ``gradient_accumulation_steps`` a step's records are
    parted into so many. Checkpoints hold what needs gradients: of adapters on a frozen base, the adapters.

    Args:
        recorder: what the loop was called with. A batch of its records is a pair (inputs by name, labels).
        trainer: not trained yet.

    Raises:
        UsageError: settings of which no checkpoint holds the state, that leave copies of the model behind, or that need
            more than one process.
        ForeignRun: the frozen base is not that of the recorded run.
    """
    args = trainer.args
    for wrong in _obstacles(recorder, trainer):
        raise UsageError(wrong.what, where=wrong.where, found=wrong.found, expected=wrong.expected, fix=wrong.fix)
    batches = _Batches(recorder, args.gradient_accumulation_steps)
    optimiser = trainer.create_optimizer()
    schedule = trainer.lr_scheduler or LambdaLR(optimiser, _rate(recorder, args))
    recorder.track(trainer.model, optimiser, schedule)
    trainer.lr_scheduler = _Told(schedule)
    trainer.get_train_dataloader = lambda: batches
    trainer.training_step = batches.counting(trainer.training_step)
    trainer.add_callback(_Written(batches))
    args.max_steps = recorder.epochs * recorder.steps
    with unfilled():
        trainer.train()
    batches.finish()
    model: nn.Module = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return model


class _Batches:
    """The steps of a recorder as batches for a trainer, each step in ``parts``: what it iterates over, once.

    Nothing is read ahead of a step, since asking for the next one says that the last one is done.
    """

    def __init__(self, recorder: Recorder, parts: int) -> None:
        self.dataset, self.recorder, self._parts = recorder.records, recorder, parts
        self._steps: Iterator[Step] | None = None
        self.step: Step | None = None
        self.loss = 0.0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        if self._steps is None:
            self._steps = iter(self.recorder)
        for step in self._steps:
            self.step, self.loss = step, 0.0
            yield from _parted(step, self._parts)

    def counting(self, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return ``make``, a trainer's way to the gradients of one part, with its loss noted."""

        def counted(*given: Any, **named: Any) -> Tensor:
            loss = make(*given, **named)
            self.loss += float(loss)
            return loss

        return counted

    def finish(self) -> None:
        """Let the recorder write the last step; what is left to do then was left by the trainer."""
        if self._steps is not None:
            next(self._steps, None)


class _Written(TrainerCallback):
    """Tells the recorder that a step was made, and the trainer which one it was."""

    def __init__(self, batches: _Batches) -> None:
        self._batches = batches

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> TrainerControl:
        """Note the loss of the step, over all its parts."""
        step = self._batches.step
        assert step is not None
        step.done(self._batches.loss)
        state.global_step, state.epoch = step.number + 1, (step.number + 1) / self._batches.recorder.steps
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> TrainerControl:
        """End the training: to the trainer the whole run is one epoch."""
        control.should_training_stop = True
        return control


class _Told:
    """A schedule that the recorder advances, after steps without records too, as the trainer sees it."""

    def __init__(self, schedule: LRScheduler) -> None:
        self._schedule = schedule

    def step(self) -> None:
        """Do nothing: the recorder does."""

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the rates of the step under way."""
        return self._schedule.get_last_lr()


def _parted(step: Step, parts: int) -> Iterator[dict[str, Tensor]]:
    """Yield a step's records in so many parts; where there are too few, one without a label that counts."""
    if parts == 1:
        yield _named(step.batch)
        return
    inputs, labels = step.batch
    for places in np.array_split(np.arange(len(labels)), parts):
        here = places if len(places) else np.zeros(1, dtype=np.int64)
        part = _named(({name: value[here] for name, value in inputs.items()}, labels[here]))
        yield part if len(places) else {**part, "labels": torch.full_like(part["labels"], NOT_SCORED)}


def _named(batch: Any) -> dict[str, Tensor]:
    inputs, labels = batch
    return {**inputs, "labels": labels}


def _rate(recorder: Recorder, args: TrainingArguments) -> Callable[[int], float]:
    """Return the factor on the learning rate of a step, by the arguments' own schedule, anew in every stage."""
    made: dict[int, Callable[[int], float]] = {}

    def factor(number: int) -> float:
        first, last = recorder.stage_of(min(number // recorder.steps, recorder.epochs - 1))
        length = (last - first) * recorder.steps
        if length not in made:
            made[length] = _schedule(args, length).lr_lambdas[0]
        return made[length](number - first * recorder.steps)

    return factor


def _schedule(args: TrainingArguments, length: int) -> Any:
    # Of an optimiser of its own: a schedule changes the rates of the one that it is made for.
    apart = torch.optim.SGD([torch.zeros(1)], lr=args.learning_rate)
    return get_scheduler(
        args.lr_scheduler_type,
        optimizer=apart,
        num_warmup_steps=args.get_warmup_steps(length),
        num_training_steps=length,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )


def _obstacles(recorder: Recorder, trainer: Trainer) -> list[Obstacle]:
    """Return why the trainer's run could not be replayed, or would leave behind what a replay does not reach."""
    args, parts = trainer.args, trainer.args.gradient_accumulation_steps
    given = trainer.lr_scheduler is not None
    schedule = trainer.lr_scheduler if given else _schedule(args, 1)
    own = not given and type(trainer).create_scheduler is not Trainer.create_scheduler
    follows = "metrics" in inspect.signature(schedule.step).parameters or not (given or hasattr(schedule, "lr_lambdas"))
    told = (
        (
            args.save_strategy != "no",
            "the trainer's own checkpoints would outlive a deletion: they saw every record",
            f"save_strategy {args.save_strategy!s}",
            'save_strategy="no": the ledger keeps the states, and the same call goes on from them',
        ),
        (
            "epoch" in (args.logging_strategy, args.eval_strategy),
            "the trainer does not know where an epoch ends: to it the run is one",
            "a strategy by epochs",
            f'"steps" every {recorder.steps} steps',
        ),
        (args.fp16, "the scale of half-precision gradients is in no checkpoint", "fp16", "float32 or bf16"),
        (
            args.world_size > 1 or args.n_gpu > 1,
            "the order in which devices add up gradients is not recorded",
            f"{max(args.world_size, args.n_gpu)} devices",
            "one process on one device",
        ),
        (
            recorder.rule != "drop",
            "the trainer's loss knows no empty slots",
            f"rule {recorder.rule}",
            'Recorded(rule="drop")',
        ),
        (
            parts > 1 and not (trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None),
            "the loss is a mean over each part, in which a record counts for more in a smaller part",
            f"gradient_accumulation_steps {parts}",
            "1, or a model of transformers that divides its loss by the tokens of the whole step",
        ),
        (
            own or follows,
            "a schedule that is not a function of the step",
            "create_scheduler of its own" if own else type(schedule).__name__,
            "a schedule by lr_scheduler_type, or one in optimizers=(optimizer, schedule)",
        ),
    )
    return [
        Obstacle(what=what, where="the trainer's arguments", found=found, expected=expected, fix="change it")
        for wrong, what, found, expected in told
        if wrong
    ]
