"""Whether an error says that memory ran out, and how much was asked for then; known without torch, by its words."""

from __future__ import annotations

import errno
import re

_SAYS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""How torch's allocators and operating systems put it, for devices and for processors."""
_ASKED = re.compile(r"tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", re.IGNORECASE)
GIB = 2**30
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": GIB}


def ran_out(error: BaseException) -> bool:
    """Return whether ``error`` says that memory did not suffice: Python's, torch's, or the operating system's."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    # By class what torch raises of a device; of a processor it is an error like any other, but for its words.
    return isinstance(error, (RuntimeError, OSError)) and any(text in str(error).lower() for text in _SAYS)


def asked_for(error: BaseException) -> str:
    """Return how much memory was asked for when it ran out, as the start of a sentence; empty where nobody said."""
    told = _ASKED.search(str(error))
    return "" if told is None else f"{float(told[1]) * _UNITS[told[2].lower()] / GIB:.2g} GiB asked for; "
