"""Whether the other processes of a launch still live: each says so now and then, and hears the others.

A process that waits for another has no other way to know: where they lie on several machines, no launcher sees them
all, and a launcher can die as well.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

import torch.distributed as dist

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 300.0
"""Seconds without one after which a process counts as gone: one call into C may well hold Python for some.

Counted by own signs of life: a machine that was put to sleep heard nobody, and nobody is gone by that."""
HUB = "the first process or the launcher"
"""Which of them holds what the processes tell each other by depends on the launcher."""


class Pulse(threading.Thread):
    """Tells the others that this process lives, and notes when one that matters does not.

    Args:
        store: a connection of its own: one that somebody waits on can say nothing meanwhile.
        rank: the number of this process.
        others: the numbers of those it cannot do without.
        grace: seconds that the rest of this process has to end by itself, once another is gone. It ends here
            after that: it waits in the middle of a step, where no Python runs.
    """

    def __init__(self, store: dist.Store, rank: int, others: Sequence[int], grace: float) -> None:
        super().__init__(daemon=True)
        self._store, self._rank, self._others, self._grace = store, rank, others, grace
        self._over = threading.Event()
        self.gone = ""
        """Who is gone; empty while all live."""

    def stop(self) -> None:
        """Say nothing more, and mind nobody."""
        self._over.set()
        if self.is_alive():
            self.join(1.0)  # in the middle of a call into C it would be torn down with the interpreter, and abort

    def run(self) -> None:
        """Beat until stopped, or until another is gone for longer than ``grace``."""
        beats = 0
        heard = dict.fromkeys(self._others, (b"", 0))
        while not self.gone:
            try:
                self._store.set(f"{self._rank}", f"{beats}")
                for other in self._others:
                    heard[other] = self._hear(other, *heard[other])
            except dist.DistError:
                self.gone = HUB
            beats += 1
            if self._over.wait(BEAT):
                return
        if not self._over.wait(self._grace):
            sys.stderr.write(f"process {self._rank} ends: {self.gone} is gone; the same command resumes\n")
            sys.stderr.flush()
            os._exit(3)

    def _hear(self, other: int, before: bytes, missed: int) -> tuple[bytes, int]:
        """Return the last sign of a process, and how often it was looked for since."""
        beat = self._store.get(f"{other}") if self._store.check([f"{other}"]) else b""
        if beat != before:
            return beat, 0
        if missed * BEAT > SILENCE:
            self.gone = f"process {other}"
        return before, missed + 1
