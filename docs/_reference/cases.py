"""The contract cases: every promise, the mistakes that each is known to catch, and the exemptions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from _reference.text import page as text_page
from _reference.text import plain, table
from expunge.conformance.run import SUITES
from expunge.core import registry

PLANTED = Path(__file__).parents[2] / "tests" / "conformance" / "planted.py"

_INTRO = """
What `expunge conformance NAME` tries; [Conformance](../concepts/conformance.md) says why. Numbers in the last column
are mistakes of published code; [below](#planted-mistakes) is what they are.
"""


def page() -> str:
    """Return the page."""
    parts = []
    for room, suite in SUITES.items():
        rows = [(f"`{case.name}`", plain(case.promise), ", ".join(case.catches)) for case in suite]
        parts += [f"## {room.capitalize()}", table(("case", "promise", "catches"), rows)]
    mistakes = [(m.number, plain(m.what), plain(m.seen), f"`{m.case}`") for m in planted().MISTAKES]
    return text_page(
        "Contract cases",
        _INTRO.strip(),
        *parts,
        "## Planted mistakes",
        "Each is planted in a method or a check that is right otherwise; a test shows that the case catches it, and "
        "that without the mistake it passes (`tests/conformance/planted.py`).",
        table(("number", "mistake", "seen in", "caught by"), mistakes),
        "## Exemptions",
        _exemptions(),
    )


def planted() -> ModuleType:
    """Return the module that holds the planted mistakes, which the tests own."""
    spec = importlib.util.spec_from_file_location("planted_mistakes", PLANTED)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _exemptions() -> str:
    rows = [
        (f"`{room}/{name}`", f"`{case}`", reason)
        for room in SUITES
        for name in registry.names(room)
        for case, reason in registry.load(room, name).exempt.items()
    ]
    return table(("of", "case", "because"), rows) if rows else "None."
