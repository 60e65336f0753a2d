"""What to say where the memory does not suffice: which setting lowers the need, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from expunge.core.errors import RunFailed
from expunge.core.memory import GIB, asked_for, ran_out
from expunge.engine.anatomy import MIXERS, drawing
from expunge.engine.loop import LoopConfig, batch_sizes
from expunge.engine.masters import HALF


@contextmanager
def sparing(model: nn.Module, config: LoopConfig) -> Iterator[None]:
    """Turn memory that a method exhausts into an error that says which of its settings would need less.

    Raises:
        RunFailed: the memory did not suffice.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        held, ways = _Held.by(model, config), []
        if getattr(config, "relearner", 0):
            second = held.gradients + held.copies // 2  # of halves in float32, and what the model holds meanwhile
            ways.append(f"relearner = 0 saves {second / GIB:.2g} GiB of a second copy of the weights")
        if halves := [f"{name} = {size // 2}" for name, size in batch_sizes(config).items() if size > 1]:
            verb = "halves" if len(halves) == 1 else "halve"
            ways.append(f"{' and '.join(halves)} {verb} what the records of a step take")
        if getattr(config, "lora", None) == 0:
            ways.append(f"lora = 8 saves nearly all of {held.beside / GIB:.2g} GiB of {held.names}")
        if config.optimiser == "adamw":
            ways.append(f'optimiser = "sgd" saves {held.moments / 2 / GIB:.2g} GiB of moments')
        raise _exhausted(error, model, held, ways) from error


@contextmanager
def sparing_again(model: nn.Module, config: LoopConfig, *, at_once: int = 0) -> Iterator[None]:
    """Do the same for a training that is repeated as it was: its settings are no way out, other processes are.

    So are smaller parts of a step, where it takes that many records ``at_once`` and no layer normalises over them: in
    parts that would be another training.

    Raises:
        RunFailed: the memory did not suffice.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        held = _Held.by(model, config)
        each = (held.weights + held.beside) / GIB
        ways = [f"workers = 1 trains one after the other; each of them at a time takes {each:.2g} GiB"]
        if at_once > 1 and not any(isinstance(layer, MIXERS) for layer in model.modules()):
            but = " but for what dropout draws" if drawing(model) else ""
            ways.append(f"micro_batch = {at_once // 2} makes the same steps{but}, and halves what their records take")
        raise _exhausted(error, model, held, ways) from error


@dataclass(frozen=True)
class _Held:
    """What a training holds before any record, in bytes."""

    weights: int
    gradients: int
    moments: int
    copies: int

    @classmethod
    def by(cls, model: nn.Module, config: LoopConfig) -> _Held:
        """Return what training ``model`` holds."""
        known = [p for p in model.parameters() if not nn.parameter.is_lazy(p)]
        moving = [p for p in known if p.requires_grad]
        # Of halves there are copies in float32 (engine/masters); their gradients and moments are float32 as well.
        wide = sum(p.numel() * (4 if p.dtype in HALF else p.element_size()) for p in moving)
        copies = sum(p.numel() * 4 * 2 for p in moving if p.dtype in HALF)
        weights, gradients = (sum(p.numel() * p.element_size() for p in each) for each in (known, moving))
        return cls(weights, gradients, (2 if config.optimiser == "adamw" else 1) * wide, copies)

    @property
    def beside(self) -> int:
        """What comes to the weights."""
        return self.gradients + self.moments + self.copies

    @property
    def names(self) -> str:
        """What that is."""
        return "gradients, moments and copies in float32" if self.copies else "gradients and moments"


def _exhausted(error: Exception, model: nn.Module, held: _Held, ways: Sequence[str]) -> RunFailed:
    numbers = sum(p.numel() for p in model.parameters() if not nn.parameter.is_lazy(p))
    return RunFailed(
        "the memory does not suffice",
        where=f"training of {numbers:,} weights",
        found=f"{asked_for(error)}{held.weights / GIB:.2g} GiB of weights, "
        f"{held.beside / GIB:.2g} GiB of {held.names}, before any record",
        expected="room for these, and for what the records of a step take",
        fix="; or ".join(ways) or "a machine with more memory",
    )
