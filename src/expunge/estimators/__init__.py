"""Scikit-learn estimators that can forget, one file each; a class is found here by its name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    """Load an estimator when it is first used: ``ForgettingRidge`` lies in ``ridge.py``."""
    if name == "StateFolder":
        return importlib.import_module("expunge.estimators._folder").StateFolder
    squashed = name.lower()
    for info in pkgutil.iter_modules(__path__):
        if not info.name.startswith("_") and squashed.endswith(info.name.replace("_", "")):
            found = getattr(importlib.import_module(f"{__name__}.{info.name}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
