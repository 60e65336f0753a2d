"""What to say where the memory does not suffice: which setting lowers the need, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from expunge.core.errors import RunFailed
from expunge.core.memory import GIB, asked_for, ran_out
from expunge.engine.loop import LoopConfig


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
        weights, beside = _sizes(model, config)
        moments = 2 if config.optimiser == "adamw" else 1
        ways = []
        if getattr(config, "relearner", 0):
            ways.append(f"relearner = 0 saves {beside / (1 + moments) / GIB:.2g} GiB of a second copy of the weights")
        if config.batch_size > 1:
            ways.append(f"batch_size = {config.batch_size // 2} halves what the records of a step take")
        if getattr(config, "lora", None) == 0:
            ways.append(f"lora = 8 saves nearly all of {beside / GIB:.2g} GiB of gradients and moments")
        if config.optimiser == "adamw":
            ways.append(f'optimiser = "sgd" saves {beside / (1 + moments) / GIB:.2g} GiB of moments')
        raise _exhausted(error, model, weights, beside, ways) from error


@contextmanager
def sparing_again(model: nn.Module, config: LoopConfig) -> Iterator[None]:
    """Do the same for a training that is repeated as it was: its settings are no way out, other processes are.

    Raises:
        RunFailed: the memory did not suffice.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        weights, beside = _sizes(model, config)
        ways = [
            f"workers = 1 trains one after the other; each of them at a time takes {(weights + beside) / GIB:.2g} GiB"
        ]
        raise _exhausted(error, model, weights, beside, ways) from error


def _sizes(model: nn.Module, config: LoopConfig) -> tuple[int, int]:
    """Return the bytes of the weights, and of the gradients and moments of those that move."""
    known = [p for p in model.parameters() if not nn.parameter.is_lazy(p)]
    moments = 2 if config.optimiser == "adamw" else 1
    weights = sum(p.numel() * p.element_size() for p in known)
    return weights, (1 + moments) * sum(p.numel() * p.element_size() for p in known if p.requires_grad)


def _exhausted(error: Exception, model: nn.Module, weights: int, beside: int, ways: Sequence[str]) -> RunFailed:
    numbers = sum(p.numel() for p in model.parameters() if not nn.parameter.is_lazy(p))
    return RunFailed(
        "the memory does not suffice",
        where=f"training of {numbers:,} weights",
        found=f"{asked_for(error)}{weights / GIB:.2g} GiB of weights, {beside / GIB:.2g} GiB of gradients and moments, "
        "before any record",
        expected="room for these, and for what the records of a step take",
        fix="; or ".join(ways) or "a machine with more memory",
    )
