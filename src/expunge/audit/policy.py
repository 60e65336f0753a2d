"""The policy: which checks are required and how much may differ. Committed before any method runs."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, replace
from importlib import resources
from pathlib import Path

from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.config import Config, setting
from expunge.core.digest import sha256
from expunge.core.errors import UsageError
from expunge.core.serial import build, canonical, plain
from expunge.engine.benchmarks import Benchmarks
from expunge.engine.relearning import RelearningConfig


@dataclass(frozen=True, kw_only=True)
class Margin(Config):
    """How far from the references a check may be, and why so far."""

    margin: float = setting(MISSING, "half-width of the equivalence margin, in the unit of the check", above=0)
    reason: str = ""
    required: bool = True
    when: str = setting(
        "always",
        "`corrections`: only where the request gives true labels; `around`: only where inputs can be moved a little; "
        "`features`: only where the task gives features; `classes`: only where every class has 45 holdout records; "
        "`gradients`: only where the model is a network, which can be trained further; `canaries`: only where some "
        "were planted; `peers`: only where held-out records are like the forgotten ones; `shards`: only where the "
        "model is an ensemble in shards, with its ledgers; `groups`: only where the problem names groups, and the "
        "holdout has 15 records of each of them, or, where the check needs it, of each class in each of them; "
        "`trigger`: only where the problem gives that of a "
        "backdoor; `tokens`: only where the model is a language model; `rounded`: only where it is one of linear "
        "layers, whose weights can be rounded; `related`: only where the forgotten texts are of several kinds; "
        "`neighbouring`: only where the language model can be trained further; `unrelated`: only where there are "
        "held-out texts to train it on, too; "
        "`shots`: only where there is room for other texts before one; `paraphrases` and `wrong_answers`: only where "
        "the problem gives such variants of forgotten texts; `begun`: only where an answer tells something beyond its "
        "beginning; `role_play`, `conversation`, `samples` and `written`: only where there is room for such a question "
        "and its answer; `inner`: only where the language model has several blocks, which can be read",
        choices=(
            "always",
            "corrections",
            "around",
            "features",
            "classes",
            "gradients",
            "canaries",
            "peers",
            "shards",
            "groups",
            "trigger",
            "tokens",
            "rounded",
            "related",
            "neighbouring",
            "unrelated",
            "shots",
            "paraphrases",
            "wrong_answers",
            "begun",
            "role_play",
            "conversation",
            "samples",
            "written",
            "inner",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Policy(Config):
    """A suite with its margins; two equal policies have equal digests."""

    name: str = ""
    alpha: float = setting(0.05, "one-sided error over all attempts of a run", above=0, high=0.2)
    references: int = setting(20, "references for judging, where none are asked for", low=0)
    choosing_references: int = setting(2, "references that methods may look at", low=0)
    checks: Mapping[str, Margin] = field(default_factory=dict)
    rests_on: tuple[str, ...] = setting((), "checks of which one at least must apply for any verdict to be `erased`")
    relearning: RelearningConfig = RelearningConfig()
    lm_eval: Benchmarks = Benchmarks()

    @property
    def digest(self) -> str:
        """Return the identity of the policy."""
        said = plain(self)
        if not self.lm_eval.tasks:
            del said["lm_eval"]  # as it was before tasks could be named
        else:
            del said["lm_eval"]["include"]  # where a folder lies; what is in it stands in the identity of a run
        return sha256(canonical(said))

    def asking(self, tasks: Benchmarks) -> Policy:
        """Return the policy with these tasks of lm-eval, shown and not deciding where it says nothing else of them."""
        shown = Margin(
            margin=0.05, reason="five answers in a hundred; shown, since nobody set it for these", required=False
        )
        return replace(self, lm_eval=tasks, checks={"lm_eval": shown, **self.checks})

    def suite(self, have: Collection[EvidenceKind]) -> dict[str, Margin]:
        """Return the checks that apply: decided by what evidence there is on a problem, before any method runs.

        Where none applies of those that the policy rests on, the first of these is asked for all the same, and missed.
        """
        kinds = {"always", *(kind.name.lower() for kind in have)}
        applies = {name for name, margin in self.checks.items() if margin.when in kinds}
        if EvidenceKind.CELLS not in have:  # of what is asked of groups some needs more of them
            asked = {name for name in applies if self.checks[name].when == "groups"}
            applies -= {name for name in asked if EvidenceKind.CELLS in registry.load("checks", name).needs}
        bare = self.rests_on[:1] if applies.isdisjoint(self.rests_on) else ()
        return {name: margin for name, margin in self.checks.items() if name in applies or name in bare}


STANDARD = "standard"
_OF_TASK = {"causal_lm": "language"}
"""Policies that are made for one task, and mean nothing for any other."""


def names(task: str | None = None) -> tuple[str, ...]:
    """Return the names of our policies, every TOML file beside this one; of those for a ``task`` where one is given."""
    files = resources.files("expunge.audit").iterdir()
    found = sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    others = {policy for own, policy in _OF_TASK.items() if task not in (None, own)}
    return tuple(name for name in found if name not in others)


def for_task(task: str) -> str:
    """Return the name of the policy that judges a task where none is named."""
    return _OF_TASK.get(task, STANDARD)


def load(source: str | Path = STANDARD) -> Policy:
    """Return a policy of ours by name, or one from a TOML file.

    Raises:
        UsageError: unreadable, an unknown key or check, a margin without a reason.
    """
    try:
        if str(source) in names():
            text = (resources.files("expunge.audit") / f"{source}.toml").read_text()
        else:
            text = Path(source).read_text()
        policy = build(Policy, tomllib.loads(text), where=f"policy {Path(source).name}")
    except (OSError, ValueError) as error:
        near = difflib.get_close_matches(Path(source).name, names(), n=1)
        said = "no text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or str(error)
        raise UsageError(
            "cannot read the policy",
            where=Path(source).name,
            found=said,
            expected=f"one of {', '.join(names())}, or a TOML file like expunge/audit/standard.toml",
            fix=f"did you mean {near[0]!r}?" if near else "check the path and the line that is named",
        ) from error
    for name, margin in policy.checks.items():
        registry.load("checks", name)
        if not margin.reason:
            raise UsageError("a margin without a reason", where=f"policy {policy.name}, {name}", fix="say why so much")
    for name in policy.rests_on:
        if name not in policy.checks or not policy.checks[name].required:
            raise UsageError(
                "a policy that rests on a check which it does not require",
                where=f"policy {policy.name}, rests_on",
                found=name,
                expected="names of required checks of this policy",
                fix="add the check with a margin and a reason, or leave it out of rests_on",
            )
    if not any(margin.required for margin in policy.checks.values()):
        raise UsageError("a policy without a required check", where=f"policy {policy.name}", fix="require some")
    return policy
