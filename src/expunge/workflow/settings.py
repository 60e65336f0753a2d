"""What a request is worked on with, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from expunge.core import registry
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.core.report import Report
from expunge.core.verdict import Verdict
from expunge.plan.auto import AUTO
from expunge.render import formats


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a request is worked on.

    Attributes:
        out: run directory; ``runs/<problem>`` where none is given.
        methods: names of methods to try, in this order, and no others; empty: what the plan says. ``auto`` stands for
            methods that are chosen for the problem, and tuned (``plan/auto``).
        configs: settings by method; ``auto`` does not search these.
        budget: what attempts may cost, tuning included, as a share of one retraining.
        tuning: the share of ``budget`` that tuning may take, where ``auto`` is named.
        floor: the lowest accuracy of what tuning may choose, on held-out records (of texts the share of the tokens of
            retained ones); by default a few points below the original's (``plan/objective``).
        escalate: go on to the next planned method when one fails its audit.
        seed: of everything random in this run.
        references: retrained models to judge against; the policy's number by default, 0 without a trainer.
        given_references: folders of models that were retrained elsewhere, each with its manifest
            (``engine/manifests``); they count among ``references``, and the trainer makes what is missing.
        policy: the name of a policy of ours, or a TOML file; by default the one for the task (``audit/policy``).
        lm_eval: tasks of lm-eval that language models are asked besides (``engine/benchmarks``): ``tasks``, ``limit``
            and ``include``; shown, and deciding only where the policy has the check ``lm_eval`` and requires it.
        key: private signing key; a development key is made in the run directory where none is given.
        keep: keep state that holds forgotten data.
        device: where networks are trained and asked (``cuda``, ``cuda:1``, ``cpu``): by default the first device of
            CUDA where there is one, else the processor (``engine/device``).
        workers: processes for retraining; the number of cores by default, one on a device.
        also: further forms of the report (``render/formats``), written beside the page.
    """

    out: str | Path | None = None
    methods: tuple[str, ...] = ()
    configs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    budget: float = 1.0
    tuning: float = 0.5
    floor: float | None = None
    escalate: bool = True
    seed: int = 0
    references: int | None = None
    given_references: tuple[str | Path, ...] = ()
    policy: str | Path = ""
    lm_eval: Mapping[str, object] = field(default_factory=dict)
    key: str | Path | None = None
    keep: bool = False
    device: str = ""
    workers: int | None = None
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Return settings from keyword arguments.

        Raises:
            UsageError: an unknown name, or a value that means nothing.
        """
        known = [field.name for field in fields(cls)]
        strange = sorted(set(given) - set(known))
        if strange:
            near = get_close_matches(strange[0], known, n=1)
            raise UsageError(
                f"no setting called {strange[0]!r}",
                where="settings",
                found=", ".join(strange),
                expected=f"some of {', '.join(known)}",
                fix=f"write {near[0]}=" if near else "see expunge.workflow.Settings",
            )
        return cls(**given)

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        for name, (kinds, words) in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise _wrong(name, value, words)
        for name in ("methods", "given_references", "also"):
            value = getattr(self, name)
            if isinstance(value, (str, Path)):
                raise UsageError(
                    "one name in the place of several",
                    where=name,
                    found=type(value).__name__,
                    expected="a tuple or list of names",
                    fix=f"{name}=[...], with brackets around a single name, too",
                )
            if not isinstance(value, (tuple, list)):
                raise _wrong(name, value, "a tuple or list of names")
            for one in value:
                if not isinstance(one, (str, Path) if name == "given_references" else str):
                    raise _wrong(name, one, "folders" if name == "given_references" else "names")
        for name in self.configs:
            if not isinstance(self.configs[name], Mapping):
                raise _wrong(f"configs, {name}", self.configs[name], "a mapping of settings to values")
        if self.seed < 0:
            raise _wrong("seed", self.seed, "0 or more")
        if self.workers is not None and self.workers < 1:
            raise _wrong("workers", self.workers, "1 or more")
        if not self.budget >= 0:
            raise UsageError(
                "the budget is negative",
                where="budget",
                found=f"{self.budget:.0%}",
                expected="0% or more",
                fix="give what attempts may cost, as a share of one retraining",
            )
        if self.references is not None and self.references < 0:
            raise UsageError(
                "the number of references is negative",
                where="references",
                found=str(self.references),
                expected="0 or more",
                fix="say how many retrained models to judge against, or leave it to the policy",
            )
        if not 0 <= self.tuning <= 1:
            raise _wrong("tuning", self.tuning, "a share of the budget, from 0 to 1")
        if self.floor is not None and not 0 <= self.floor <= 1:
            raise _wrong("floor", self.floor, "an accuracy, from 0 to 1")
        for name in (*self.methods, *self.configs):
            if name != AUTO or name in self.configs:
                registry.load("methods", name)(self.configs.get(name))
        for name in self.also:
            formats.named(name, where="also")


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "out": ((str, Path, NoneType), "a folder"),
    "configs": ((Mapping,), "a mapping of methods to their settings"),
    "lm_eval": ((Mapping,), "a mapping with tasks = [...]"),
    "budget": ((int, float), "a share of one retraining, e.g. 0.5"),
    "tuning": ((int, float), "a share of the budget, e.g. 0.5"),
    "floor": ((int, float, NoneType), "the lowest accuracy of what is chosen, e.g. 0.9"),
    "escalate": ((bool,), "True or False"),
    "seed": ((int,), "a whole number, 0 or more"),
    "references": ((int, NoneType), "how many models to retrain, a whole number (folders go into given_references)"),
    "policy": ((str, Path), "the name of a policy, or a TOML file"),
    "key": ((str, Path, NoneType), "a file with a private key"),
    "keep": ((bool,), "True or False"),
    "device": ((str,), "the name of a device, e.g. 'cuda' or 'cpu'"),
    "workers": ((int, NoneType), "a whole number of processes, 1 or more"),
}
"""What each setting must be; lists of names are looked at one by one."""


def _wrong(name: str, value: object, expected: str) -> UsageError:
    found = type(value).__name__ if not isinstance(value, (bool, int, float)) else str(value)
    return UsageError(
        "a setting that means nothing",
        where=name,
        found=found,
        expected=expected,
        fix=f"correct {name}, or leave it out",
    )


@dataclass(frozen=True)
class Result:
    """What came of a request.

    ``report`` is None only where there was nothing to do or nothing was found; ``certificate`` only where nothing was
    claimed. ``not_found`` is the file beside ``out`` that says what was searched in vain. ``judged`` says whether this
    command judged a model, and not an earlier one in its run directory alone.
    """

    out: Path
    report: Report | None
    certificate: Path | None
    nothing_to_do: bool = False
    not_found: Path | None = None
    problem: Problem | None = field(default=None, repr=False)
    judged: bool = True

    @property
    def claim(self) -> Level | None:
        """What may be claimed."""
        return self.report.claim if self.report else None

    @property
    def verdict(self) -> Verdict | None:
        """What the audit says; None where no model was judged."""
        return self.report.verdict if self.report else None

    @property
    def page(self) -> Path:
        """The report as a page."""
        return self.out / "report.html"

    @property
    def folder(self) -> Path | None:
        """Where the model lies; None where none ships."""
        folder = self.out / "model"
        return folder if folder.is_dir() else None

    @cached_property
    def model(self) -> Any:
        """The model that ships, of the class that went in; None where none ships."""
        return self.problem.source.reopen(self.folder) if self.problem and self.folder else None
