"""The contract of a method: an algorithm that turns a problem into an unlearned model."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from expunge.core import registry
from expunge.core.config import Config
from expunge.core.errors import Obstacle
from expunge.core.level import Level

if TYPE_CHECKING:
    from expunge.core.outcome import Outcome
    from expunge.core.problem import Problem


class Need(enum.Enum):
    """What a method cannot do without."""

    RETAIN = "retained records"
    FORGET = "the content of the forget set"
    TRAINER = "a trainer"
    LEDGER = "the ledger of its training"
    SHARDS = "the ledgers of an ensemble's members"


@dataclass(frozen=True)
class Cost:
    """Work, counted in record visits, never in seconds.

    ``trained`` visits run forward and backward, ``read`` visits forward only. A backward pass costs about
    two forward passes (the two matrix products of each layer), so one trained visit weighs three reads.
    """

    trained: float = 0.0
    read: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Return the sum of two costs."""
        return Cost(self.trained + other.trained, self.read + other.read)

    def share_of(self, whole: Cost) -> float:
        """Return this cost as a share of ``whole`` (1.0 = as much); ``whole`` must not be free."""
        return (3 * self.trained + self.read) / (3 * whole.trained + whole.read)


class Method(ABC):
    """An algorithm that turns a problem into an unlearned model.

    Class attributes: ``title`` for people, ``guarantee`` it gives by construction, ``needs`` it has, and
    ``source`` (paper and equation). A ``control`` is a method that must fail its audit: it is never planned,
    only run by name. The plan tries a method ``unasked``, or else only where it is named. One that ``spreads`` runs in
    several processes that hold one model together (``engine/spread``), all of them in step. ``trial`` holds
    settings for a problem of some sixty records, under which the contract cases run; ``exempt`` names cases
    that do not apply, each with the reason (see ``expunge conformance``). What is ``settled`` a search leaves as
    :meth:`start` has it.
    """

    name = ""
    title: ClassVar[str]
    source: ClassVar[str]
    guarantee: ClassVar[Level]
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    unasked: ClassVar[bool] = True
    spreads: bool = False
    trial: ClassVar[Mapping[str, object]] = {}
    exempt: ClassVar[Mapping[str, str]] = {}
    settled: ClassVar[frozenset[str]] = frozenset()

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of the method."""

    def __init__(self, config: Mapping[str, object] | Config | None = None) -> None:
        self.config: Any = type(self).Config.of(config, where=self.at())

    def at(self, setting: str = "") -> str:
        """Return where a user writes a setting of this method, for errors: a key in a table of the job file."""
        name = self.name or type(self).__module__.rpartition(".")[2]  # of a class that no registry found, its file's
        return f"[methods.{name}] {setting}".rstrip()

    def using(self, name: str, config: Mapping[str, object], *, setting: str, named: str = "") -> Method:
        """Return another method, which a setting of this one may have ``named``, with those that a ``setting`` holds.

        Errors name their place in it.

        Raises:
            UsageError: no such method, or settings that it does not have.
        """
        kind: type[Method] = registry.load("methods", name, where=self.at(named or setting))
        return kind(kind.Config.of(config, where=self.at(setting)))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return everything that keeps the method from this problem, at once, before any work."""
        lacks = []
        if Need.TRAINER in self.needs and problem.trainer is None:
            lacks.append(
                Obstacle(
                    what=f"{self.name} needs a trainer",
                    where="trainer",
                    found="none",
                    expected="what trains a model like the original, so that one can be retrained without the records",
                    fix="pass trainer=function(records, *, seed) -> model to the Problem",
                )
            )
        if self.needs & {Need.LEDGER, Need.SHARDS} and problem.ledger is None:
            lacks.append(
                Obstacle(
                    what=f"{self.name} needs the ledger of the training",
                    where="ledger",
                    found="none",
                    expected="the folder that was written while the model was trained",
                    fix="record the next training: expunge.train(..., ledger=folder); then Problem(ledger=folder)",
                )
            )
        if Need.RETAIN in self.needs and not len(problem.retain_view):
            lacks.append(
                Obstacle(
                    what=f"{self.name} needs retained records",
                    where="training records",
                    found="none: the request names all there are",
                    expected="records that stay",
                    fix="choose a method that reads none: `expunge plan` lists them",
                )
            )
        return lacks

    def futile(self, problem: Problem) -> list[Obstacle]:
        """Return why the method, although it can run on this problem, would find nothing there to act on.

        Such a method is not planned, and refused where nothing else is named; ``auto`` may try it, and a benchmark
        measures it.
        """
        return []

    def guarantee_on(self, problem: Problem) -> Level:
        """Return the guarantee on this problem: ``guarantee``, unless it depends on the model."""
        return self.guarantee

    @abstractmethod
    def cost(self, problem: Problem) -> Cost:
        """Return the work of :meth:`unlearn`, before it is done."""

    @classmethod
    def start(cls, problem: Problem) -> Mapping[str, object]:
        """Return settings that a search begins with on this problem, in the place of the method's own."""
        return {}

    def anew(self, problem: Problem) -> bool:
        """Return whether what comes back is drawn anew, all of it, and trained on what stays alone.

        Such a model was told nothing of a forgotten record, but for what the original's answers about others say of it;
        whether it has become as good as a retrained one is another matter.
        """
        return False

    def advice(self, problem: Problem) -> tuple[str, ...]:
        """Return what a person should know before the work: what its cost comes from, what would make it cheaper."""
        return ()

    @abstractmethod
    def unlearn(self, problem: Problem, run: Any) -> Outcome:
        """Return the unlearned model; ``run`` gives seed, progress, checkpoints and the choosing part."""
