"""What a request is worked on with, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from expunge.core import registry
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.core.report import Report
from expunge.core.verdict import Verdict
from expunge.render import formats


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a request is worked on.

    Attributes:
        out: run directory; ``runs/<problem>`` where none is given.
        methods: names of methods to try, in this order, and no others; empty: what the plan says.
        configs: settings by method.
        budget: what attempts may cost, as a share of one retraining.
        escalate: go on to the next planned method when one fails its audit.
        seed: of everything random in this run.
        references: retrained models to judge against; the policy's number by default, 0 without a trainer.
        given_references: folders of models that were retrained elsewhere, each with its manifest
            (``engine/manifests``); they count among ``references``, and the trainer makes what is missing.
        policy: ``standard``, or a TOML file.
        key: private signing key; a development key is made in the run directory where none is given.
        keep: keep state that holds forgotten data.
        workers: processes for retraining; the number of cores by default.
        also: further forms of the report (``render/formats``), written beside the page.
    """

    out: str | Path | None = None
    methods: tuple[str, ...] = ()
    configs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    budget: float = 1.0
    escalate: bool = True
    seed: int = 0
    references: int | None = None
    given_references: tuple[str | Path, ...] = ()
    policy: str | Path = "standard"
    key: str | Path | None = None
    keep: bool = False
    workers: int | None = None
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.budget < 0:
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
        for field_name in ("methods", "given_references", "also"):
            if isinstance(getattr(self, field_name), (str, Path)):
                raise UsageError(
                    "one name in the place of several",
                    where=field_name,
                    found=type(getattr(self, field_name)).__name__,
                    expected="a tuple or list of names",
                    fix=f"{field_name}=[...], with brackets around a single name, too",
                )
        for name in (*self.methods, *self.configs):
            registry.load("methods", name)(self.configs.get(name))
        for name in self.also:
            formats.named(name, where="also")


@dataclass(frozen=True)
class Result:
    """What came of a request.

    ``report`` is None only where there was nothing to do; ``certificate`` only where nothing was claimed.
    """

    out: Path
    report: Report | None
    certificate: Path | None
    nothing_to_do: bool = False
    problem: Problem | None = field(default=None, repr=False)

    @property
    def claim(self) -> Level | None:
        """What may be claimed."""
        return self.report.claim if self.report else None

    @property
    def verdict(self) -> Verdict | None:
        """What the audit says."""
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
