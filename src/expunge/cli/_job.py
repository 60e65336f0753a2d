"""The job file: TOML that names the problem, the request and how to work on it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.cli import _console
from expunge.core.errors import UsageError
from expunge.core.request import Request
from expunge.core.serial import build

if TYPE_CHECKING:
    from expunge.core.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job file.

    Attributes:
        problem: ``module:function`` returning a Problem, importable from the folder of the job file.
        out: run directory, relative to the job file.
        request: what must be forgotten, where the problem does not say it.
        methods: settings by method.
        given_references: folders of models that were retrained elsewhere, relative to the job file.
        policy, key: files, relative to the job file; see ``expunge erase --help`` for the rest.
    """

    problem: str
    out: str = ""
    request: Request | None = None
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: str = "100%"
    seed: int = 0
    references: int | None = None
    given_references: tuple[str, ...] = ()
    policy: str = "standard"
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
            where=path.name,
            found=str(getattr(error, "strerror", None) or error),
            expected='a TOML file with problem = "module:function"',
            fix="check the path and the line that is named",
        ) from error
    job = build(Job, data, where=path.name)
    folder = path.resolve().parent

    def near(name: str) -> Path:
        return folder / name

    from expunge.audit import policy as policies
    from expunge.core.problem import Origin

    with _console.own_stdout():
        problem = Origin(job.problem, str(folder), request=job.request).make()
    return problem, {
        "out": near(job.out) if job.out else None,
        "configs": job.methods,
        "budget": share(job.budget, where=f"{path.name}.budget"),
        "seed": job.seed,
        "references": job.references,
        "given_references": tuple(near(name) for name in job.given_references),
        "policy": job.policy if job.policy in policies.names() else near(job.policy),
        "key": near(job.key) if job.key else None,
    }


def share(text: str, *, where: str = "--budget") -> float:
    """Return ``20%`` as 0.2.

    Raises:
        UsageError: not a percentage.
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = -1.0
    if not text.strip().endswith("%") or not 0 <= value < 1e6:
        raise UsageError(
            "not a budget",
            where=where,
            found=repr(text),
            expected="a percentage of one retraining, e.g. 20%",
            fix="write a number with a percent sign",
        )
    return value


def words(command: str, job: Path, **flags: Any) -> list[str]:
    """Return the words of a command on this job with the flags that were given."""
    several = [(name, value if isinstance(value, list) else [value]) for name, value in flags.items()]
    given = [(f"--{name}", str(each)) for name, values in several for each in values if each is not None]
    return [command, str(job), *(word for pair in given for word in pair)]


def merge(settings: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """Return the job's settings with every flag that was given in their place."""
    return {**settings, **{name: value for name, value in flags.items() if value is not None}}
