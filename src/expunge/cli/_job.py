"""The job file: TOML that names the problem, the request and how to work on it."""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.cli import _console
from expunge.core.errors import UsageError
from expunge.core.request import Request
from expunge.core.serial import build

if TYPE_CHECKING:
    from expunge.core.problem import Origin, Problem


@dataclass(frozen=True, kw_only=True)
class Model:
    """The table ``[model]``: a saved estimator, or a directory of a Hugging Face model.

    Attributes:
        path: a ``.skops`` file, a folder that holds ``estimator.skops``, or one that holds ``config.json``,
            safetensors and a tokenizer, or ``adapter_config.json`` and adapters; relative to the job file.
        base: of a Hugging Face model, the directory of what it was trained from; new weights without it. Of adapters,
            that of the model which they belong to; without it the one that they name.
    """

    path: str
    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The table ``[data]``: all rows that the model was fitted on.

    Attributes:
        path: a ``.parquet``, ``.csv`` or ``.jsonl`` file, relative to the job file.
        label: the column of labels, or of the numbers that a regressor predicts; of a Hugging Face model class
            numbers, or names in its ``id2label``.
        id: the column of ids; without it a row is known by its position, 0, 1, 2, ... (of the holdout
            holdout-0, holdout-1, ...).
        subject: the column that says whose data a row is.
        group: of a classifier, the column of groups between which gaps are judged; it may be a feature as well.
        features: of an estimator, the columns that it is given; by default those it was fitted with, else all others.
        text: of a Hugging Face model, the column of texts: of a language model, or with ``label`` of a classifier.
        prompt, answer: of a language model, the columns of prompts and of what is to be answered.
        messages: of a language model, the column of conversations.
        paraphrased_question, paraphrased_answer, wrong_answer, alternative: of prompts and answers, the columns of what
            else there is to ask and to answer: a text or a list of texts, or nothing where a record has none.
        template: a text with ``{prompt}`` and ``{answer}``; by default the tokenizer's own, or the two with a blank.
        date: the day, "YYYY-MM-DD", that the tokenizer's template reads where it asks for today: that of the training.
        max_length: tokens that a record may have; the tokenizer's own limit by default.
        truncate: cut longer records; else they are an error.
    """

    path: str
    label: str | None = None
    id: str | None = None
    subject: str | None = None
    group: str | None = None
    features: tuple[str, ...] | None = None
    text: str | None = None
    prompt: str | None = None
    answer: str | None = None
    messages: str | None = None
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    wrong_answer: str | None = None
    alternative: str | None = None
    template: str | None = None
    date: str | None = None
    max_length: int | None = None
    truncate: bool = False


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The table ``[holdout]``: rows of the same kind that the model was never fitted on.

    Attributes:
        path: a file with the columns of ``[data]``, relative to the job file.
    """

    path: str


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The table ``[calibration]``: of a Hugging Face model whose ``[data]`` holds nothing but what must be forgotten.

    Attributes:
        path: a file with the columns of ``[data]``, relative to the job file: a few records of the same kind, real or
            synthetic, that stand for the retained ones, which are gone.
    """

    path: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job file.

    Attributes:
        problem: ``module:function`` returning a Problem, importable from the folder of the job file.
        method: this method alone, or ``auto``, or a list of such; what the plan says where it is absent.
        model, data, holdout, calibration: in its place, a saved estimator and its rows, or a Hugging Face model and its
            texts.
        training: of a Hugging Face model, the settings of the training that made it (``epochs``, ``lora``, ...): with
            them models can be retrained without the records.
        out: run directory, relative to the job file.
        request: what must be forgotten, where the problem does not say it.
        also: files as `expunge find` writes them, with the column `id`: further records to forget; relative to the
            job file.
        methods: settings by method.
        given_references: folders of models that were retrained elsewhere, relative to the job file.
        budget: what attempts may cost, tuning included, as a share of one retraining; ``tuning`` the share of that
            which tuning may take, where the method is ``auto``; ``floor`` the lowest accuracy of what it may choose,
            e.g. ``90%``.
        lm_eval: tasks of lm-eval that language models are asked besides: ``tasks``, ``limit``, and ``include``, a
            folder with tasks of your own, relative to the job file.
        device: where networks are trained and asked (``cuda``, ``cuda:1``, ``cpu``): by default CUDA's first where
            there is one, else the processor.
        workers: processes for retraining; by default the number of cores, and one on a device.
        policy, key: files, relative to the job file; the policy may be a name of ours, and is the one for the task
            where none is given; see ``expunge erase --help`` for the rest.
    """

    problem: str = ""
    method: str | tuple[str, ...] = ""
    model: Model | None = None
    data: Data | None = None
    holdout: Holdout | None = None
    calibration: Calibration | None = None
    training: Mapping[str, Any] | None = None
    out: str = ""
    request: Request | None = None
    also: tuple[str, ...] = ()
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: str = "100%"
    tuning: str = "50%"
    floor: str = ""
    seed: int = 0
    references: int | None = None
    given_references: tuple[str, ...] = ()
    lm_eval: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""
    workers: int | None = None
    policy: str = ""
    key: str = ""


def load(path: Path) -> tuple[Problem, dict[str, Any]]:
    """Return the problem that a job file names, and its settings for :mod:`expunge.workflow`.

    Raises:
        UsageError: unreadable, not TOML, an unknown key, a wrong type, or a problem that cannot be imported.
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            "cannot read the job file",
            where=path.name or str(path),
            found=str(getattr(error, "strerror", None) or error),
            expected='a TOML file with problem = "module:function", or with [model] and [data]',
            fix="check the path and the line that is named",
        ) from error
    job = build(Job, data, where=path.name)
    _on_this_machine(job, where=path.name)
    folder, own = path.resolve().parent, job.lm_eval.get("include")

    def near(name: str) -> Path:
        return folder / name

    from expunge.audit import policy as policies

    with _console.own_stdout():
        origin = _origin(job, folder, where=path.name)
        problem = replace(origin, also=tuple(name for file in job.also for name in _listed(near(file)))).make()
    return problem, {
        "out": near(job.out) if job.out else None,
        "methods": tuple([job.method] if isinstance(job.method, str) and job.method else job.method),
        "configs": job.methods,
        "budget": share(job.budget, where=f"{path.name}.budget"),
        "tuning": share(job.tuning, where=f"{path.name}.tuning"),
        "floor": accuracy(job.floor, where=f"{path.name}.floor") if job.floor else None,
        "seed": job.seed,
        "references": job.references,
        "device": job.device,
        "workers": job.workers,
        "given_references": tuple(near(name) for name in job.given_references),
        "policy": job.policy if job.policy in ("", *policies.names()) else near(job.policy),
        "lm_eval": {**job.lm_eval, "include": str(near(own))} if own and isinstance(own, str) else job.lm_eval,
        "key": near(job.key) if job.key else None,
    }


def _on_this_machine(job: Job, *, where: str) -> None:
    """Refuse addresses in the place of files: nothing is fetched, and of an address a path would keep the end alone."""
    tables = {"model": job.model, "data": job.data, "holdout": job.holdout, "calibration": job.calibration}
    named = {f"[{name}] path": table.path for name, table in tables.items() if table is not None}
    named |= {
        "[model] base": (job.model and job.model.base) or "",
        "out": job.out,
        "policy": job.policy,
        "key": job.key,
    }
    for key, path in named.items():
        if "://" in path:
            raise UsageError(
                "an address in the place of a file",
                where=f"{where}, {key}",
                found=f"{path.partition('://')[0]}://...",
                expected="a path on this machine: expunge fetches nothing",
                fix="download it first, and name the file or directory",
            )


_TABLES, _TEXTS = "expunge.workflow.tables:problem", "expunge.workflow.texts:problem"
_OF_ESTIMATORS = {"features"}
_OF_TEXTS = {"text", "prompt", "answer", "messages", "template", "date", "max_length", "truncate"} | {
    "paraphrased_question",
    "paraphrased_answer",
    "wrong_answer",
    "alternative",
}


def _origin(job: Job, folder: Path, *, where: str) -> Origin:
    """Return where the problem is made: a function of the user's, or ours that reads files.

    Raises:
        UsageError: both, neither, or half of either; a setting of another kind of model.
    """
    from expunge.core.problem import Origin

    parts = {name: getattr(job, name) for name in ("model", "data", "holdout", "calibration", "training")}
    found = [f"[{name}]" for name, part in parts.items() if part is not None]
    if bool(job.problem) == bool(found) or (found and (job.model is None or job.data is None)):
        raise UsageError(
            "the job names no problem, or not one alone",
            where=where,
            found=" and ".join([*(["problem"] if job.problem else []), *found]) or "neither problem nor [model]",
            expected='either problem = "module:function", or [model] with its [data] (and [holdout])',
            fix="give a saved model and its rows, or the function that makes the problem",
        )
    if job.model is None or job.data is None:
        return Origin(job.problem, str(folder), request=job.request)
    if not (folder / job.model.path).exists():
        raise UsageError(
            "there is no such model",
            where=f"{where}, [model] path",
            found=f"{Path(job.model.path).name}: No such file or directory",
            expected="a .skops file, or the directory of a model, relative to the job file",
            fix="check the path",
        )
    of_texts = any((folder / job.model.path / name).is_file() for name in ("config.json", "adapter_config.json"))
    given = {name: value for name, value in vars(job.data).items() if value not in (None, False) and name != "path"}
    arguments = {
        "model": str(folder / job.model.path),
        "data": str(folder / job.data.path),
        **given,
        "holdout": None if job.holdout is None else str(folder / job.holdout.path),
    }
    strange = set(given) & (_OF_ESTIMATORS if of_texts else _OF_TEXTS)
    if not of_texts:
        strange |= {"base"} if job.model.base is not None else set()
        strange |= {f"[{name}]" for name in ("training", "calibration") if getattr(job, name) is not None}
    if strange or not (of_texts or job.data.label):
        raise UsageError(
            "settings of another kind of model" if strange else "no column of labels",
            where=where,
            found=", ".join(sorted(strange)) if strange else "no label",
            expected="those of a Hugging Face model" if of_texts else "label, and what else is of a saved estimator",
            fix="leave them out, or see whether [model] path is the directory that was meant"
            if strange
            else "name the column in [data]: label = ...; of a Hugging Face model [model] path holds config.json",
        )
    if of_texts:
        arguments["base"] = None if job.model.base is None else str(folder / job.model.base)
        arguments["training"] = None if job.training is None else dict(job.training)
        if job.calibration is not None:  # a job without it stays what it was
            arguments["calibration"] = str(folder / job.calibration.path)
    return Origin(_TEXTS if of_texts else _TABLES, "", arguments=tuple(arguments.items()), request=job.request)


def lists(path: Path) -> list[str]:
    """Return the files of further records that a job file, which was read before, names."""
    return list(tomllib.loads(path.read_text()).get("also", ()))


def _listed(file: Path) -> tuple[str, ...]:
    """Return the ids in a file of `expunge find`.

    Raises:
        UsageError: unreadable, or without the column.
    """
    wrong = ""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets put a mark before the first name
            rows = csv.DictReader(lines)
            if "id" not in (rows.fieldnames or ()):
                # Not what the first line holds: without its names that is a record.
                wrong = f"{file.name}: {len(rows.fieldnames or ())} columns, none of them called `id`"
            ids = [row.get("id") for row in rows]
            if not wrong and not all(ids):
                wrong = f"{file.name}: line {ids.index(next(each for each in ids if not each)) + 2} has no id"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        wrong = f"{file.name}: {getattr(error, 'strerror', None) or type(error).__name__}"
    if wrong:
        raise UsageError(
            "cannot read further records to forget",
            where="also",
            found=wrong,
            expected="a CSV file with commas and the column `id`, as `expunge find` writes it, in UTF-8",
            fix="check the path and the first line, `id,likely`",
        )
    return tuple(name for name in ids if name)


def share(text: str, *, where: str = "--budget") -> float:
    """Return ``20%`` as 0.2.

    Raises:
        UsageError: not a percentage.
    """
    value = _percentage(text)
    if not 0 <= value < 1e6:
        raise UsageError(
            "not a budget",
            where=where,
            found=repr(text),
            expected="a percentage of one retraining, e.g. 20%",
            fix="write a number with a percent sign",
        )
    return value


def accuracy(text: str, *, where: str = "--floor") -> float:
    """Return ``90%`` as 0.9.

    Raises:
        UsageError: not a percentage, or more than all.
    """
    value = _percentage(text)
    if not 0 <= value <= 1:
        raise UsageError(
            "not an accuracy",
            where=where,
            found=repr(text),
            expected="a percentage of the held-out records, from 0% to 100%",
            fix="write a number with a percent sign, e.g. 90%",
        )
    return value


def _percentage(text: str) -> float:
    """Return a percentage as a share, NaN where the text is none."""
    try:
        return float(text.strip().removesuffix("%")) / 100 if text.strip().endswith("%") else math.nan
    except ValueError:
        return math.nan


def words(command: str, job: Path, **flags: Any) -> list[str]:
    """Return the words of a command on this job with the flags that were given."""
    several = [(name, value if isinstance(value, list) else [value]) for name, value in flags.items()]
    given = [(f"--{name}", str(each)) for name, values in several for each in values if each is not None]
    return [command, str(job), *(word for pair in given for word in pair)]


def merge(settings: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """Return the job's settings with every flag that was given in their place."""
    return {**settings, **{name: value for name, value in flags.items() if value is not None}}
