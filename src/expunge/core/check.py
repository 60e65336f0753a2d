"""The contract of a check: one metric or attack, and what it may return."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from expunge.core.chart import Chart
from expunge.core.method import Cost


class Question(enum.Enum):
    """What a check asks about the forgotten records."""

    GONE = "Is it gone?"
    INTACT = "Is the rest intact?"
    RECOVERABLE = "Can someone get it back?"


class EvidenceKind(enum.Enum):
    """What a check cannot do without; a suite leaves a check out when the problem has none of it."""

    FORGET = "forget records"
    RETAIN = "retained records"
    HOLDOUT = "holdout records"
    REFERENCES = "retrained references"
    CORRECTIONS = "true labels of wrongly labelled records"
    CANARIES = "planted canaries"
    AROUND = "inputs that can be moved a little"
    FEATURES = "features of the model"
    CLASSES = "holdout records enough of every class"
    GRADIENTS = "a model that can be trained further"
    PEERS = "held-out records that are like the forgotten ones"
    SHARDS = "an ensemble in shards, with its ledgers"
    GROUPS = "holdout records enough of every group"
    CELLS = "holdout records enough of every class in every group"
    TRIGGER = "records with the trigger of a backdoor on them"
    TOKENS = "records of several tokens"
    ROUNDED = "a language model with weights that can be rounded"
    RELATED = "forgotten texts that have nothing in common"
    NEIGHBOURING = "retained texts near the forgotten ones to train on"
    UNRELATED = "held-out texts to train on"
    SHOTS = "room before a text for others"
    PARAPHRASES = "paraphrased questions of forgotten records"
    WRONG_ANSWERS = "paraphrased and wrong answers of forgotten records"
    BEGUN = "answers of which a telling part can be begun"
    ROLE_PLAY = "questions with room for a role to play"
    CONVERSATION = "questions with room for two turns of a conversation"
    SAMPLES = "questions that answers can be drawn to"
    WRITTEN = "questions with room for an answer of the model's own"
    INNER = "a language model of several blocks"
    BENCHMARKS = "tasks of lm-eval that are named"


class Direction(enum.Enum):
    """Which way is more forgotten, or better; equivalence is two-sided all the same."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Interval:
    """A two-sided interval at confidence ``level``."""

    low: float
    high: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What a quantity is compared with where no reference is needed: a value that is known, not estimated.

    Attributes:
        value: the value, in the unit of the check.
        error: standard error of the quantity on a model that has this value: the chance of the coin, or of the records.
        what: what has this value, in words: ``chance``, ``the original``.
        retrained: whether retrained models have it by design; else it is another model's.
    """

    value: float
    error: float
    what: str
    retrained: bool


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One quantity on the model under audit, and the same quantity on the references and the original.

    It is compared with the references, or with a ``yardstick``: a check has the one or the other.

    Attributes:
        check: name of the check.
        value: the quantity on the model under audit.
        references: the same on every reference, one per seed.
        original: the same on the original.
        interval: of :attr:`difference`; with references, seeds and records both counted.
        n: number of records measured.
        record_error: standard error over records of ``value - mean(references)``, paired by record; without
            references, of the difference from the yardstick.
        null_errors: the same for every reference against the others: what a true retrain has.
        seed_scale: factor that turns the spread of ``references`` into the seed error of a new model
            (1 for a plain per-model quantity; see ``numerics/equivalence``).
        better: direction.
        unit: of the value.
        details: further figures, by name (e.g. the TPR at resolvable FPRs), with their words.
        cannot_see: what this check could not have seen.
        charts: what to draw beside the number; aggregates, and none over fewer than ``chart.FEWEST`` records.
        yardstick: what is known without references; None where references are the yardstick.
    """

    check: str
    value: float
    references: tuple[float, ...]
    original: float | None
    interval: Interval
    n: int
    record_error: float
    null_errors: tuple[float, ...]
    seed_scale: float = 1.0
    better: Direction
    unit: str
    details: Mapping[str, str] = field(default_factory=dict)
    cannot_see: str = ""
    charts: tuple[Chart, ...] = ()
    yardstick: Yardstick | None = None

    @property
    def compared(self) -> bool:
        """Return whether there is anything to compare the value with."""
        return self.yardstick is not None or bool(self.references)

    @property
    def expected(self) -> float:
        """Return what the value is compared with: the mean of the references, or the yardstick."""
        return self.yardstick.value if self.yardstick is not None else fmean(self.references)

    @property
    def difference(self) -> float:
        """Return how far the value lies from what is expected."""
        return self.value - self.expected


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """A check that has no value here; never a default, never 0."""

    check: str
    because: str


@dataclass(frozen=True)
class Power:
    """The smallest difference from the references that a check could show, in its unit, and at which power."""

    smallest: float
    power: float


class Check(ABC):
    """One metric or attack.

    Class attributes: ``title``, ``question``, ``needs``, ``better``, ``unit``, ``source`` and
    ``cannot_see`` (what the check is blind to). ``exempt`` names contract cases that do not apply, each
    with the reason (see ``expunge conformance``). ``damage_only`` says that only the worse side is a failure:
    a check of what is intact may say so, one of what is gone never, since over-forgetting is a trace as well.
    """

    name = ""
    title: ClassVar[str]
    source: ClassVar[str]
    question: ClassVar[Question]
    needs: ClassVar[frozenset[EvidenceKind]] = frozenset({EvidenceKind.REFERENCES})
    better: ClassVar[Direction]
    unit: ClassVar[str]
    cannot_see: ClassVar[str] = ""
    exempt: ClassVar[Mapping[str, str]] = {}
    damage_only: ClassVar[bool] = False

    def cost(self, n: int, references: int) -> Cost:
        """Return the work of measuring ``n`` records on one model and ``references`` references.

        By default one forward pass over the records on each model. A check that needs models which can be trained
        further states the work at the default number of passes (``engine/relearning``); a policy's own is reckoned in.
        """
        return Cost(read=n * (references + 1))

    @abstractmethod
    def measure(self, evidence: Any) -> Measurement | NotMeasured:
        """Measure; ``evidence`` hands out outputs of the models on the judging part of the records."""
