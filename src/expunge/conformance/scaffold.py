"""Write the files of a new method, check or task, from templates that keep their contract."""

from __future__ import annotations

import keyword
import re
import tomllib
from importlib import resources
from pathlib import Path
from string import Template

from expunge.core import registry
from expunge.core.errors import UsageError
from expunge.core.storage import write_file

ROOMS = {"method": "methods", "check": "checks", "task": "tasks"}
_CONFORM = ("from expunge.conformance.run import Result, conform", "from expunge.core import registry")


def scaffold(kind: str, name: str, folder: Path) -> list[Path]:
    """Write source, test and changelog fragment of ``name``; return the files.

    In a checkout of expunge they go where the project keeps them; in any other ``folder`` a package of their
    own, ``expunge-NAME``, is made, which brings the name by an entry point.

    Raises:
        UsageError: an unknown kind, a name that is no module's name or is taken, or a file that is there already.
    """
    words = _words(kind, name)
    house = _house(folder)
    files = _at_home(house, words) if house else _plugin(folder / f"expunge-{words['dashed']}", words)
    there = [path for path in files if path.exists()]
    if there:
        raise UsageError(
            "the file is there already",
            where=there[0].name,
            fix="choose another name, or move the file away: nothing is overwritten",
        )
    for path, text in files.items():
        write_file(path, text.encode())
    return list(files)


def _words(kind: str, name: str) -> dict[str, str]:
    if kind not in ROOMS:
        raise UsageError("unknown kind", where="new", found=repr(kind), expected=f"one of {', '.join(ROOMS)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(
            "not a name for a module",
            where=f"new {kind}",
            found=repr(name),
            expected="lower-case words joined by single _, e.g. neg_grad_plus",
        )
    if name in registry.names(ROOMS[kind]):
        raise UsageError(f"there is a {kind} called {name!r} already", where=ROOMS[kind], fix="choose another name")
    parts = name.split("_")
    return {
        "kind": kind,
        "room": ROOMS[kind],
        "name": name,
        "dashed": "-".join(parts),
        "cls": "".join(part.capitalize() for part in parts),
        "title": " ".join(parts).capitalize(),
    }


def _house(folder: Path) -> Path | None:
    """Return the checkout of expunge that ``folder`` lies in, if any."""
    for place in (folder.resolve(), *folder.resolve().parents):
        project = place / "pyproject.toml"
        if project.is_file():
            ours = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name") == "expunge"
            return place if ours else None
    return None


def _at_home(house: Path, words: dict[str, str]) -> dict[Path, str]:
    kind, room, name = words["kind"], words["room"], words["name"]
    words = {**words, "module": f"expunge.{room}.{name}"}
    return {
        house / "src" / "expunge" / room / f"{name}.py": _filled(kind, words),
        house / "tests" / room / f"test_{name}.py": _sorted(_filled(f"{kind}_test", words)),
        house / "changelog.d" / f"+{words['dashed']}.feature.md": _filled("fragment", words),
    }


def _plugin(folder: Path, words: dict[str, str]) -> dict[Path, str]:
    kind, name = words["kind"], words["name"]
    module = f"expunge_{name}"
    words = {**words, "module": module}
    test = _filled(f"{kind}_test", words) + _filled("plugin_test", words)
    return {
        folder / "pyproject.toml": _filled("pyproject", words),
        folder / f"{module}.py": _filled(kind, words),
        folder / f"test_{name}.py": _sorted(test, *_CONFORM),
    }


def _sorted(text: str, *more: str) -> str:
    """Return ``text`` with its imports of expunge, and ``more`` of them, in order: module names decide it."""
    lines = text.splitlines()
    ours = sorted([*more, *(line for line in lines if line.startswith("from expunge"))])
    place = next(i for i, line in enumerate(lines) if line.startswith("from expunge"))
    others = [line for line in lines if not line.startswith("from expunge")]
    return "\n".join([*others[:place], *ours, *others[place:]]) + "\n"


def _filled(template: str, words: dict[str, str]) -> str:
    text = resources.files("expunge.conformance").joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(words)
