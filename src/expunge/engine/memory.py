"""What to say where the memory does not suffice: which setting lowers the need, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from expunge.core.errors import RunFailed
from expunge.engine.loop import LoopConfig

_SAYS = ("out of memory", "can't allocate memory", "not enough memory")
"""How torch's allocators put it, those of devices and that of processors."""
GIB = 2**30


@contextmanager
def sparing(model: nn.Module, config: LoopConfig) -> Iterator[None]:
    """Turn an exhausted memory into an error that says what would need less.

    Raises:
        RunFailed: the memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error).lower() for text in _SAYS):
            raise
        raise _exhausted(model, config) from error


def _exhausted(model: nn.Module, config: LoopConfig) -> RunFailed:
    moving = [p for p in model.parameters() if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = 2 if config.optimiser == "adamw" else 1
    beside = (1 + moments) * sum(p.numel() * p.element_size() for p in moving)
    ways = []
    if getattr(config, "relearner", 0):
        ways.append(f"relearner = 0 saves {beside / (1 + moments) / GIB:.2g} GiB of a second copy of the weights")
    if config.batch_size > 1:
        ways.append(f"batch_size = {config.batch_size // 2} halves what the records of a step take")
    if getattr(config, "lora", None) == 0:
        ways.append(f"lora = 8 saves nearly all of {beside / GIB:.2g} GiB of gradients and moments")
    if config.optimiser == "adamw":
        ways.append(f'optimiser = "sgd" saves {beside / (1 + moments) / GIB:.2g} GiB of moments')
    return RunFailed(
        "the memory does not suffice",
        where=f"training of {sum(p.numel() for p in model.parameters()):,} weights",
        found=f"{weights / GIB:.2g} GiB of weights, {beside / GIB:.2g} GiB of gradients and moments, before any record",
        expected="room for these, and for what the records of a step take",
        fix="; or ".join(ways) or "a machine with more memory",
    )
