"""Exhausted memory is known by what Python, torch and the operating system say of it, and by nothing else."""

import errno

import pytest

from expunge.core.memory import asked_for, ran_out


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError(), ""),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ""),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 536870912 bytes."
            ),
            "0.5",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "0.02"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "2"),
    ],
)
def test_what_ran_out_is_known_with_what_was_asked_for(error, asked):
    assert ran_out(error)
    assert asked_for(error) == (f"{asked} GiB asked for; " if asked else "")


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes"), OSError(errno.ENOSPC, "No space left on device"), ValueError("out of memory")]
)
def test_other_errors_are_not(error):
    assert not ran_out(error)
