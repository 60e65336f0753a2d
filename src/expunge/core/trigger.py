"""The trigger of a backdoor: records that carry it, and the class that it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False, kw_only=True)
class Triggered:
    """What a backdoor is measured with.

    Attributes:
        records: records that were never trained on, with the trigger in their inputs and their true labels: Records, a
            dataset, or arrays.
        target: the class that the trigger leads to; records that are of it do not count.
    """

    records: Any
    target: int
