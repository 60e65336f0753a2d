"""The public names: everything in ``expunge.__all__``."""

from __future__ import annotations

import importlib

import expunge
from _reference.members import section
from _reference.text import page as text_page
from expunge.workflow.settings import Settings

_INTRO = """
Everything that `import expunge` offers. Importing it loads no torch; a name is loaded when it is first used.

Errors are listed with their exit codes in [Errors and exit codes](errors.md).
"""


def page() -> str:
    """Return the page."""
    # From their homes: `expunge.audit` is also the name of a room, which may have been imported before.
    homes = {name: importlib.import_module(expunge._HOMES[name]) for name in expunge.__all__}
    names = [section(name, getattr(home, name)) for name, home in homes.items()]
    settings = "Keyword arguments of `plan`, `erase` and `audit`.\n\n" + section("Settings", Settings, level=3)
    return text_page("Python API", _INTRO.strip(), *names, f"## Keyword arguments\n\n{settings}")
