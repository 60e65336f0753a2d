"""The contracts that a plug-in fulfils, and what it may use."""

from __future__ import annotations

import importlib

from _reference.members import section
from _reference.text import page as text_page

CONTRACTS = {
    "Contracts": (
        "expunge.core.method:Method",
        "expunge.core.check:Check",
        "expunge.core.task:Task",
        "expunge.core.testbed:Testbed",
        "expunge.core.testbed:ModelTestbed",
        "expunge.core.records:Records",
        "expunge.core.model:ModelSource",
    ),
    "What a method uses": (
        "expunge.engine.descent:Descent",
        "expunge.engine.passes:Passes",
        "expunge.engine.passes:Pass",
        "expunge.engine.passes:Batch",
        "expunge.engine.edits:Edit",
        "expunge.engine.edits:Edited",
        "expunge.engine.loop:LoopConfig",
        "expunge.engine.context:Context",
        "expunge.engine.split:Part",
        "expunge.numerics.units:Units",
        "expunge.numerics.units:Scored",
        "expunge.core.method:Need",
        "expunge.core.method:Cost",
        "expunge.core.outcome:Outcome",
        "expunge.core.config:Config",
        "expunge.core.config:setting",
    ),
    "What a check uses": (
        "expunge.engine.evidence:Evidence",
        "expunge.engine.evidence:Outputs",
        "expunge.core.check:Question",
        "expunge.core.check:EvidenceKind",
        "expunge.core.check:Direction",
        "expunge.core.check:Interval",
        "expunge.core.check:Measurement",
        "expunge.core.check:Yardstick",
        "expunge.core.check:NotMeasured",
        "expunge.core.chart:Chart",
        "expunge.core.chart:Series",
        "expunge.core.chart:Role",
    ),
    "What passes along": (
        "expunge.core.plan:Plan",
        "expunge.core.plan:Option",
        "expunge.core.plan:Foresight",
        "expunge.core.report:Report",
        "expunge.core.report:Audit",
        "expunge.core.report:Attempt",
        "expunge.core.report:Finding",
        "expunge.core.certificate:Predicate",
        "expunge.core.verdict:Decision",
    ),
}
_INTRO = """
The contracts, and what stands behind them. Two guides go from an idea to a running file:
[Adding a method](../guides/add-method.md) and [Adding a check](../guides/add-check.md).
"""


def page() -> str:
    """Return the page."""
    parts = []
    for title, targets in CONTRACTS.items():
        parts.append(f"## {title}")
        for target in targets:
            module, name = target.split(":")
            parts.append(section(name, getattr(importlib.import_module(module), name), level=3))
    return text_page("For authors", _INTRO.strip(), *parts)
