"""Where a benchmark computes: the option for it, seconds and memory there, and how fast matrices are multiplied."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from expunge.engine.device import device_of

MIB = 2**20
COUNTED = ("cuda", "xpu")
"""Kinds of devices on which torch's own allocator counts what tensors hold (``torch.accelerator.memory_stats``)."""
SQUARE = 8192
"""Rows of the squares that are multiplied, large enough for a product to wait for nothing but the multiplications."""
_PRODUCTS, _ROUNDS = 20, 5


def option(parser: argparse.ArgumentParser) -> torch.device:
    """Add ``--device``, and return what it names: what other options are by default depends on that."""
    words = {"default": "", "help": "where to compute: by default CUDA's first device, else the processor"}
    parser.add_argument("--device", **words)
    alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    alone.add_argument("--device", **words)
    return device_of(alone.parse_known_args()[0].device)


def clock(where: torch.device) -> float:
    """Return seconds: those that the processor worked for this process; of a device, on the wall, once it is done."""
    if where.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(where)
    return time.perf_counter()


class Memory:
    """What is held above what was held before, in MiB: by this process, or on a device by torch's tensors."""

    def __init__(self, where: torch.device) -> None:
        self._where = where
        self._before = _of_process("VmRSS") if where.type == "cpu" else _of_tensors(where, "current")
        if where.type == "cpu":
            Path("/proc/self/clear_refs").write_text("5")  # the peak is reckoned from here
        elif self._before is not None:
            torch.accelerator.reset_peak_memory_stats(where)

    @property
    def peak(self) -> float | None:
        """The most so far; None on a device of a kind of which torch keeps no such figures."""
        most = _of_process("VmHWM") if self._where.type == "cpu" else _of_tensors(self._where, "peak")
        return None if most is None or self._before is None else most - self._before


def _of_process(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def _of_tensors(where: torch.device, which: str) -> float | None:
    if where.type not in COUNTED:
        return None
    torch.zeros(1, device=where)  # there are no figures before memory was first asked for
    return float(torch.accelerator.memory_stats(where)[f"allocated_bytes.all.{which}"]) / MIB


def matrix_rate(where: torch.device, kind: torch.dtype, *, side: int = SQUARE) -> float:
    """Return multiplications and additions a second of a plain product of two squares, in the best of some rounds."""
    one, other = (torch.randn(side, side, dtype=torch.float32).to(where, kind) for _ in range(2))
    made = torch.empty_like(one)
    fastest = float("inf")
    for _ in range(1 + _ROUNDS):  # in the first one a library chooses how to do it
        start = clock(where)
        for _ in range(_PRODUCTS):
            torch.mm(one, other, out=made)
        fastest = min(fastest, clock(where) - start)
    return _PRODUCTS * 2 * side**3 / fastest
