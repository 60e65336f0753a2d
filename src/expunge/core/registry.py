"""The folder is the registry: a thing's name is its file's name.

Listing a room imports none of its modules; loading imports one. Third parties add names through entry
points (``expunge.methods``, ``expunge.checks``, ``expunge.tasks``, ...) that point at a class.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import sys
from importlib import metadata
from typing import Any

from expunge.core.errors import MissingExtra, Refused, UnknownName, UsageError

# Room -> (module, class) every thing in it must subclass. A room without a folder has only plug-ins.
_BASES = {
    "methods": ("expunge.core.method", "Method"),
    "checks": ("expunge.core.check", "Check"),
    "find": ("expunge.core.finder", "Finder"),
    "tasks": ("expunge.core.task", "Task"),
    "data": ("expunge.core.records", "Records"),
    "models": ("expunge.core.model", "ModelSource"),
    "testbeds": ("expunge.core.testbed", "Testbed"),
    "estimators": ("expunge.core.estimator", "Estimator"),
}
_EXTRA_OF = {
    **dict.fromkeys(("mlxtend", "PIL"), "bench"),
    **dict.fromkeys(("torch", "safetensors", "numpy", "scipy", "sklearn"), "torch"),
    **dict.fromkeys(("joblib", "numba", "pandas", "pyarrow", "skops", "threadpoolctl"), "tables"),
    **dict.fromkeys(("tokenizers", "transformers"), "text"),
    "lm_eval": "lm-eval",
    "optuna": "tune",
    "peft": "language",
}
"""Import name -> extra of pyproject.toml that brings it."""


def names(room: str) -> tuple[str, ...]:
    """Return the sorted names in a room, our own and those of plug-ins, without importing them.

    Raises:
        UsageError: a plug-in takes a name that exists, ours or another plug-in's.
    """
    own, plugins = _own(room), _plugins(room)
    clash = sorted(set(own) & set(plugins))
    if clash:
        raise _clash(room, plugins[clash[0]])
    return tuple(sorted({*own, *plugins}))


def load(room: str, name: str, *, where: str = "") -> Any:
    """Return the class called ``name`` in ``room``; an error says ``where`` it was named, by default the room.

    Raises:
        UnknownName: no such name; lists the known ones.
        MissingExtra: the module needs a dependency that is not installed.
    """
    known = names(room)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UnknownName(
            f"no {room.rstrip('s')} called {name!r}",
            where=where or room,
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            fix=f"did you mean {near[0]!r}?" if near else "name one of these, or install the plug-in that brings it",
        )
    plugin = _plugins(room).get(name)
    try:
        if plugin is not None:
            return _checked(room, name, plugin.load())
        module = importlib.import_module(f"expunge.{room}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "expunge":
            raise  # a fault of ours: nothing that could be installed would help
        raise missing_extra(error) from error
    return _only_class(room, name, module)


def adopt(room: str, thing: object) -> Any:
    """Return ``thing`` wrapped by the first kind in ``room`` that accepts it (or itself, if it is one already)."""
    base = contract(room)
    if isinstance(thing, base):
        return thing
    for name in names(room):
        kind = load(room, name)
        if kind.accepts(thing):
            return kind.adopt(thing)
    raise UsageError(
        f"cannot use a {type(thing).__name__} here",
        where=room,
        found=type(thing).__name__,
        expected=f"something that one of these accepts: {', '.join(names(room))}",
        fix=f"convert it, or wrap it in a class of your own that subclasses {_BASES[room][0]}.{_BASES[room][1]}",
    )


def missing_extra(error: ModuleNotFoundError) -> MissingExtra:
    """Return the error that names the command which installs what is missing."""
    top = (error.name or "").split(".")[0]
    extra = _EXTRA_OF.get(top)
    command = f"pip install 'expunge[{extra}]'" if extra else f"pip install {top}"
    return MissingExtra(f"{top} is not installed", fix=command)


def _own(room: str) -> list[str]:
    try:
        package = importlib.import_module(f"expunge.{room}")
    except ModuleNotFoundError:
        return []
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]


def _plugins(room: str) -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for point in _entry_points(tuple(sys.path)).get(f"expunge.{room}", ()):
        if found.setdefault(point.name, point).value != point.value:
            raise _clash(room, point)
    return found


@functools.lru_cache(maxsize=1)
def _entry_points(path: tuple[str, ...]) -> dict[str, list[metadata.EntryPoint]]:
    # Reads the metadata of every installed package, tens of milliseconds: once per search path is enough.
    points = metadata.entry_points()
    return {group: list(points.select(group=group)) for group in points.groups if group.startswith("expunge.")}


def _clash(room: str, point: metadata.EntryPoint) -> UsageError:
    return UsageError(
        f"two {room} are called {point.name!r}",
        where=f"entry point {point.value}",
        fix="rename the plug-in's entry point",
    )


def contract(room: str) -> type:
    """Return the class that every thing in a room subclasses."""
    module, cls = _BASES[room]
    base: type = getattr(importlib.import_module(module), cls)
    return base


def _checked(room: str, name: str, cls: object) -> type:
    base = contract(room)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise Refused(
            f"{name!r} is not a {base.__name__}",
            where=f"entry point of expunge.{room}",
            found=type(cls).__name__,
            fix=f"point it at a subclass of {base.__module__}.{base.__name__}",
        )
    cls.name = name  # type: ignore[attr-defined]  # the name is where the thing was found, never a second spelling
    return cls


def _only_class(room: str, name: str, module: Any) -> type:
    base = contract(room)
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    if len(found) != 1:
        raise UsageError(
            f"{module.__name__} must hold exactly one {base.__name__}", found=str([c.__name__ for c in found])
        )
    return _checked(room, name, found[0])
