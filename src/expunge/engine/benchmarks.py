"""What a language model can do apart from its records: tasks of lm-eval, EleutherAI's evaluation harness, by name.

Models are asked in memory, each the same documents; what lm-eval says of each document is kept, and no text of it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.core.config import Config, setting
from expunge.core.digest import file_digest
from expunge.core.errors import UsageError
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.registry import missing_extra
from expunge.data.language import LanguageRecords
from expunge.engine import ranks
from expunge.engine.loop import ready

Array = NDArray[np.float64]
PREFIX = "lm-eval "
"""What the names of its arrays begin with; behind it stand task and metric."""
ANSWERS = 4
"""Answers that a document is taken to ask for, where costs are foreseen: as many as most tasks let choose from."""
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Benchmarks(Config):
    """Which tasks of lm-eval are asked, the same for every model that is compared."""

    tasks: tuple[str, ...] = setting((), "names of tasks or groups, as lm-eval has them")
    limit: int = setting(100, "documents of a task that are asked, the first ones of it", low=1)
    include: str = setting("", "folder with tasks of your own, which may hold Python that runs here")

    @property
    def key(self) -> list[Any]:
        """Return what tells this from others, ready for JSON: tasks of one's own by what their folder holds."""
        from importlib.metadata import version

        own = []
        if self.include:
            root = Path(self.include)
            runs = {each.parent for each in root.rglob("run.json")}  # of our own: they grow while tasks stay the same
            files = sorted(
                each
                for each in root.rglob("*")
                if each.is_file() and each.suffix != ".pyc" and runs.isdisjoint(each.parents)
            )
            own = [[each.relative_to(root).as_posix(), file_digest(each)] for each in files]
        return [list(self.tasks), self.limit, own, version("lm-eval")]


def look(problem: Problem, config: Benchmarks) -> None:
    """Open the tasks, so that what cannot be asked is told before any work; fetches their data.

    Raises:
        MissingExtra: lm-eval is not installed.
        UsageError: no such task, its data cannot be reached, or the model is none of transformers with its records.
    """
    _opened(config)
    from transformers import PreTrainedModel

    records, model = problem.records, problem.source.open()
    if isinstance(records, LanguageRecords) and isinstance(model, PreTrainedModel) and not ranks.joined():
        return
    raise UsageError(
        "lm-eval cannot ask this model",
        where="lm_eval",
        found="several processes" if ranks.joined() else f"{type(model).__name__} with {type(records).__name__}",
        expected="one process, and a causal language model of transformers with LanguageRecords",
        fix="leave lm_eval out, and ask the model that ships by lm-eval's own command line",
    )


@dataclass(frozen=True)
class Bench:
    """The tasks, and the tokenizer that models are asked by."""

    config: Benchmarks
    tokenizer: Any

    @classmethod
    def of(cls, problem: Problem, config: Benchmarks) -> Bench:
        """Return what a problem's models are asked; :func:`look` has seen that they can be."""
        assert isinstance(problem.records, LanguageRecords)
        return cls(config, problem.records.tokenizer)

    def answered(self, model: Any) -> tuple[dict[str, Array], Cost]:
        """Return what each document of a task comes to, [m] by ``lm-eval TASK, METRIC``, and the work of it.

        The metric is the first of the task's that gives each document a number and is better when larger.
        """
        with _quiet(), _own_chance():
            from lm_eval import simple_evaluate
            from lm_eval.models.huggingface import HFLM

            # A copy of the tokenizer: lm-eval gives one that cannot pad something to pad with.
            asked = HFLM(pretrained=ready(model), tokenizer=copy.deepcopy(self.tokenizer), batch_size=_BATCH)
            found = simple_evaluate(
                asked,
                tasks=list(self.config.tasks),
                task_manager=_opened(self.config),
                limit=self.config.limit,
                bootstrap_iters=0,
                log_samples=True,
            )
        arrays, read = {}, 0
        for task, samples in found["samples"].items():
            first = [each for each in samples if each["filter"] == samples[0]["filter"]]
            metric = _metric(task, first, found["higher_is_better"][task])
            arrays[f"{PREFIX}{task}, {metric}"] = np.array([float(each[metric]) for each in first])
            read += sum(len(each["arguments"]) for each in first)
        return arrays, Cost(read=read)


def _askable(name: str, task: Any) -> None:
    """Refuse a task that runs what a model writes, and one without a metric of which more is better."""
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(
            "a task of lm-eval runs code that the model writes",
            where=name,
            found="marked as unsafe",
            expected="a task that only reads answers",
            fix="leave the task out, and ask the model that ships by lm-eval's own command line, in a sandbox",
        )
    better = task.higher_is_better()
    if not any(better.values()):
        raise _no_number(name, better)


def _metric(task: str, samples: list[Mapping[str, Any]], better: Mapping[str, bool]) -> str:
    for name, larger in better.items():
        if larger and all(isinstance(each.get(name), (bool, int, float, np.number)) for each in samples):
            return name
    raise _no_number(task, better)


def _no_number(task: str, better: Mapping[str, bool]) -> UsageError:
    return UsageError(
        "a task of lm-eval gives no number for each document",
        where=task,
        found=", ".join(better) or "no metric",
        expected="a metric such as acc or exact_match, of which more is better",
        fix="leave the task out, and ask the model that ships by lm-eval's own command line",
    )


@lru_cache(maxsize=1)
def _opened(config: Benchmarks) -> Any:
    """Return lm-eval's manager of tasks, with those that are named seen to open."""
    try:
        with _quiet():
            from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    include = config.include or None
    if include is not None and not Path(include).is_dir():
        raise UsageError("no such folder", where="lm_eval, include", found=include, fix="name a folder with tasks")
    with _quiet():
        manager = TaskManager(include_path=include, include_defaults=False)
        if not set(config.tasks) <= set(manager.all_tasks):  # its own are thousands of files
            manager = TaskManager(include_path=include)
    for task in config.tasks:
        if task not in manager.all_tasks:
            raise UsageError(
                "no such task of lm-eval", where="lm_eval", found=task, fix="see `lm-eval ls tasks`, or give include ="
            )
        try:
            with _quiet():
                found = manager.load([task])["tasks"]
        except Exception as error:  # whatever a task and the library that fetches its data may raise
            raise UsageError(
                "a task of lm-eval cannot be opened",
                where=task,
                found=f"{type(error).__name__}: {str(error)[:200]}",
                expected="its data, on this machine or within reach",
                fix="run once with a network (without HF_HUB_OFFLINE): data are kept for later; or leave the task out",
            ) from error
        for name, each in found.items():
            _askable(name, each)
    return manager


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's progress, log and warnings to itself."""
    log = logging.getLogger("lm_eval")
    before = log.level
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(before)


@contextlib.contextmanager
def _own_chance() -> Iterator[None]:
    """Leave the states of random numbers as they were: lm-eval seeds them all."""
    plain, array = random.getstate(), np.random.get_state()  # the state that lm-eval sets
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(array)
