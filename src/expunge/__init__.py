"""Delete training data from trained models, and prove it.

``import expunge`` loads no torch: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.core.level import Level
    from expunge.core.problem import Problem
    from expunge.core.records import Records
    from expunge.core.request import Request
    from expunge.core.trigger import Triggered
    from expunge.core.verdict import Verdict
    from expunge.data.arrays import ArrayRecords
    from expunge.data.dataset import DatasetRecords
    from expunge.data.language import LanguageRecords
    from expunge.data.table import TableRecords
    from expunge.data.texts import TextRecords
    from expunge.engine.ensemble import ShardedTrainer
    from expunge.engine.fitting import Refit
    from expunge.engine.loop import LoopConfig
    from expunge.engine.recorded import Recorded, recorded, train
    from expunge.engine.recorder import Recorder
    from expunge.engine.training import Trainer
    from expunge.models.adapted import AdaptedModel
    from expunge.models.estimator import EstimatorModel
    from expunge.models.huggingface import HuggingFaceModel
    from expunge.models.torch import TorchModel
    from expunge.workflow import Result, audit, erase, find, plan

__version__ = "0.1.0"

_HOMES = {
    "AdaptedModel": "expunge.models.adapted",
    "ArrayRecords": "expunge.data.arrays",
    "DatasetRecords": "expunge.data.dataset",
    "EstimatorModel": "expunge.models.estimator",
    "HuggingFaceModel": "expunge.models.huggingface",
    "LanguageRecords": "expunge.data.language",
    "Level": "expunge.core.level",
    "LoopConfig": "expunge.engine.loop",
    "Problem": "expunge.core.problem",
    "Recorded": "expunge.engine.recorded",
    "Recorder": "expunge.engine.recorder",
    "Records": "expunge.core.records",
    "Refit": "expunge.engine.fitting",
    "Request": "expunge.core.request",
    "Result": "expunge.workflow",
    "ShardedTrainer": "expunge.engine.ensemble",
    "TableRecords": "expunge.data.table",
    "TextRecords": "expunge.data.texts",
    "TorchModel": "expunge.models.torch",
    "Trainer": "expunge.engine.training",
    "Triggered": "expunge.core.trigger",
    "Verdict": "expunge.core.verdict",
    "audit": "expunge.workflow",
    "erase": "expunge.workflow",
    "find": "expunge.workflow",
    "plan": "expunge.workflow",
    "recorded": "expunge.engine.recorded",
    "train": "expunge.engine.recorded",
}

__all__ = [
    "AdaptedModel",
    "ArrayRecords",
    "DatasetRecords",
    "EstimatorModel",
    "HuggingFaceModel",
    "LanguageRecords",
    "Level",
    "LoopConfig",
    "Problem",
    "Recorded",
    "Recorder",
    "Records",
    "Refit",
    "Request",
    "Result",
    "ShardedTrainer",
    "TableRecords",
    "TextRecords",
    "TorchModel",
    "Trainer",
    "Triggered",
    "Verdict",
    "audit",
    "erase",
    "find",
    "plan",
    "recorded",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name in _HOMES:
        globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'expunge' has no attribute {name!r}")


class _Package(ModuleType):
    """This package: `plan`, `audit` and `find` are functions here, though rooms of these names exist inside."""

    def __setattr__(self, name: str, value: object) -> None:
        """Keep a room, which the import system sets on its package, from taking the place of a public name."""
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
