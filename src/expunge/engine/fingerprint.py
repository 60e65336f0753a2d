"""What the bits of a run depend on beside its program: versions, threads, instructions, what kernels give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

import torch
from torch.nn import functional

from expunge.core.digest import sha256
from expunge.engine.runtime import environment


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Run with this many threads and deterministic kernels only; what was set before comes back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextmanager
def unfilled() -> Iterator[None]:
    """Leave memory that is handed out as it is, for a loop that reads none before it is written.

    With deterministic kernels torch fills all of it, so that reading it gives NaN and no chance numbers: a tenth of
    the time of a small network. What was set before comes back.
    """
    before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before  # type: ignore[attr-defined]


def fingerprint() -> dict[str, str]:
    """Return what must be equal for equal bits, as it is now; within :func:`pinned` that is what a run gets."""
    return {
        "expunge": metadata.version("expunge"),
        **environment(),
        "threads": str(torch.get_num_threads()),
        "default type": str(torch.get_default_dtype()).removeprefix("torch."),
        "oneDNN": "on" if torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled else "off",  # type: ignore[attr-defined]
        "float32 products": torch.get_float32_matmul_precision(),
        "kernels": _kernels(),
    }


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return ``name: then, now`` of every entry that differs, sorted by name."""
    return [
        f"{name}: {then.get(name, 'unknown')}, now {now.get(name, 'unknown')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _kernels() -> str:
    """Return a digest of what products, convolutions, sums and functions give here: libraries choose by machine."""
    # Numbers from integers, so that they do not depend on the generator; odd sizes, so that kernels have remainders.
    x = (torch.arange(37 * 53, dtype=torch.float32).reshape(37, 53) * 0.37) % 1.7 - 0.8
    image = x.flatten()[: 2 * 3 * 13 * 11].reshape(2, 3, 13, 11)
    found = [
        x @ x.T,
        torch.baddbmm(x[:, :37][None], x[None], x.T[None]),
        functional.conv2d(image, image[:, :, :3, :3].contiguous(), padding=1),
        functional.layer_norm(x, (53,)),
        torch.softmax(x, dim=1),
        torch.tanh(x) + torch.exp(x) + torch.rsqrt(x.abs() + 0.1),
        x.sum(0),
        x.double() @ x.double().T,
    ]
    return sha256(b"".join(each.contiguous().numpy().tobytes() for each in found))[:16]
