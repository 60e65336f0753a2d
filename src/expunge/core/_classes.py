"""Whether the classes that are named beside the records are classes of the model: true labels, the target of a trigger.

A check that compares answers with a class that the model does not have finds nothing, and would pass for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.core.trigger import Triggered


def outside(
    task: Task, model: Any, records: Records, *, corrections: Mapping[str, Any], triggered: Triggered | None
) -> list[Obstacle]:
    """Return the classes that are none of the model's; ``records`` are some that it is asked, one is enough."""
    if not (task.labelled and task.scored) or not (corrections or triggered) or not len(records):
        return []
    try:
        count = int(task.units(model, records.read([0])).logits.shape[-1])
    except Exception:  # noqa: BLE001  # that it does not answer is said of the records
        return []
    named = (
        ("true labels", "corrections of the request", list(corrections.values())),
        ("the target of the trigger", "triggered", [triggered.target] if triggered is not None else []),
    )
    found = []
    for what, where, labels in named:
        wrong = [label for label in labels if not _is_class(label, count)]
        if wrong:
            kinds = ", ".join(sorted({type(label).__name__ for label in wrong}))
            found.append(
                Obstacle(
                    what=f"{what}: no class of the model",
                    where=where,
                    found=f"{len(wrong)} of {len(labels)}, {kinds}",
                    expected=f"whole numbers, 0 to {count - 1}",
                    fix="number the classes as the labels of the training records are numbered",
                )
            )
    return found


def _is_class(label: Any, count: int) -> bool:
    return isinstance(label, Integral) and not isinstance(label, bool) and 0 <= int(label) < count
