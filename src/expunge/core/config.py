"""Settings that check themselves: one declaration gives default, limits, error text and documentation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from expunge.core.errors import UsageError
from expunge.core.serial import build

C = TypeVar("C", bound="Config")


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | None = None,
    search: tuple[float, float] | None = None,
    later: bool = False,
) -> Any:
    """Declare a field of a :class:`Config`: ``low <= value <= high``, ``value > above``, or one of ``choices``.

    ``search`` is where tuning looks (``plan/tune``), both ends included: on a logarithmic scale where the ends are
    more than a factor of 20 apart and the first is above 0. With ``dataclasses.MISSING`` for a default the field must
    be given. One that came ``later`` is not written where it has its default (``core/serial``).
    """
    meta = {"doc": doc, "low": low, "high": high, "above": above, "choices": choices, "search": search, "later": later}
    return dataclasses.field(default=default, metadata=meta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all settings; frozen, validated at construction.

    Raises:
        UsageError: a value is outside its declared limits.
    """

    def __post_init__(self) -> None:
        """Check every field against its declaration."""
        for field in dataclasses.fields(self):
            value, where = getattr(self, field.name), f"{type(self).__qualname__}.{field.name}"
            limits = _limits(field.metadata)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if not math.isfinite(value) or not _inside(value, field.metadata):
                    raise UsageError(
                        "value out of range",
                        where=where,
                        found=str(value),
                        expected=limits,
                        fix="set it within these limits",
                    )
            elif field.metadata.get("choices") and value not in field.metadata["choices"]:
                raise UsageError(
                    "unknown choice",
                    where=where,
                    found=repr(value),
                    expected=limits,
                    fix="choose one of these",
                )

    @classmethod
    def of(cls: type[C], values: Mapping[str, object] | C | None, *, where: str = "") -> C:
        """Return ``values`` as this configuration; unknown keys and wrong types raise."""
        if isinstance(values, cls):
            return values
        if isinstance(values, Config):
            raise UsageError(
                "settings of another thing",
                where=where,
                found=type(values).__qualname__,
                expected=cls.__qualname__,
            )
        return build(cls, dict(values or {}), where=where or cls.__qualname__)


def _limits(meta: Mapping[str, Any]) -> str:
    parts = [
        f">= {meta['low']}" if meta.get("low") is not None else "",
        f"> {meta['above']}" if meta.get("above") is not None else "",
        f"<= {meta['high']}" if meta.get("high") is not None else "",
        f"one of {', '.join(meta['choices'])}" if meta.get("choices") else "",
    ]
    return " and ".join(part for part in parts if part) or "a finite number"


def _inside(value: float, meta: Mapping[str, Any]) -> bool:
    low, above, high = meta.get("low"), meta.get("above"), meta.get("high")
    return (low is None or value >= low) and (above is None or value > above) and (high is None or value <= high)
