"""Progress bars on stderr, and the plan as a table."""

from __future__ import annotations

from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from expunge.cli import _console
from expunge.core.plan import Option, Plan
from expunge.engine.progress import Progress as Watcher


class Bars(Watcher):
    """One bar per piece of work; on a terminal they move, in a log each beginning is one line."""

    def __init__(self, *, show_plan: bool = True, quiet: bool = False) -> None:
        self._out = _console.console()
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._out,
            disable=quiet or not self._out.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._show_plan, self._quiet = show_plan and not quiet, quiet

    def __enter__(self) -> Bars:
        self._stdout = _console.own_stdout()
        self._stdout.__enter__()
        self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()
        self._stdout.__exit__(kind, error, trace)

    def start(self, label: str, total: int, done: int = 0) -> None:
        self._tasks[label] = self._bars.add_task(label, total=total, completed=done)
        if not self._quiet and not self._out.is_terminal:
            self._out.print(f"· {label} ...", markup=False)

    def advance(self, label: str, steps: int = 1) -> None:
        self._bars.advance(self._tasks[label], steps)

    def finish(self, label: str) -> None:
        task = self._bars.tasks[self._tasks[label]]
        self._bars.update(task.id, completed=task.total)

    def say(self, text: str) -> None:
        if not self._quiet:
            _console.say(text)

    def plan(self, plan: Plan) -> None:
        if self._show_plan:
            self._bars.stop()
            show_plan(plan)
            self._bars.start()


def show_plan(plan: Plan) -> None:
    """Print the plan: a line per method and per policy, then what it adds up to, then advice."""
    rows = [
        (
            option.method,
            option.guarantee.value,
            _cost(option),
            "yes" if option.planned else "no",
            option.why,
        )
        for option in plan.options
        if option not in plan.on_request and option not in plan.of_networks
    ]
    _console.say("\nPlan", style="bold")
    _console.table(("method", "guarantee", "cost", "try it", "why"), rows)
    _console.say("cost: passes over records, as a share of one retraining", style="dim")
    if plan.on_request:
        named = ", ".join(
            option.method if option.share is None else f"{option.method} ({option.share:.0%})"
            for option in plan.on_request
        )
        _console.say(f"also possible, where named with --method NAME: {named}")
    if plan.of_networks:
        named = ", ".join(option.method for option in plan.of_networks)
        _console.say(f"{len(plan.of_networks)} methods work on networks alone, and this model is none: {named}")
    if plan.policies:
        _console.say("\nPolicies", style="bold")
        _console.table(("policy", "references", "cost", "judges", "what it can show here"), _policies(plan))
        _console.say("cost: references and audits of one attempt, methods apart", style="dim")
    if plan.tuning:
        _console.say(f"tuning takes {plan.tuning:.0%} of one retraining at the most, before the first attempt")
        if plan.floor is not None:
            _console.say(f"tuning chooses nothing with an accuracy below {plan.floor:.1%}")
    if plan.whole is not None:
        _console.say(
            f"whole course at the most: {plan.whole:.1f} retrainings "
            f"({plan.references} references for judging, {plan.choosing_references} for choosing)"
        )
    for sentence in plan.advice:
        _console.say(sentence, first="note: ", indent=6)
    _console.say("")


def _cost(option: Option) -> str:
    if option.share is None:
        return "?"
    return f"up to {option.share:.0%}" if option.tuned else f"{option.share:.0%}"


def _policies(plan: Plan) -> list[tuple[str, ...]]:
    rows = []
    for seen in plan.policies:
        missing = sorted({kind for kinds in seen.missing.values() for kind in kinds.split(", ")})
        dear = seen.share is not None and seen.share >= 1 and plan.retraining is not None
        stuck = f"{len(seen.missing)} of {seen.checks} required checks cannot run"
        said = [
            f"cannot be used: without {', '.join(missing)} {stuck}" if missing else "",
            *seen.shows,
            "one retraining is cheaper, and exact" if dear else "",
        ]
        rows.append(
            (
                seen.policy,
                str(seen.references),
                "?" if seen.share is None else f"{seen.share:.1%}" if seen.share < 0.1 else f"{seen.share:.0%}",
                "yes" if seen.chosen else "no",
                "; ".join(part for part in said if part),
            )
        )
    return rows
