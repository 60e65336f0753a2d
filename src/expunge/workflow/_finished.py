"""A run that is finished: asked again it is shown, and never with other settings."""

from __future__ import annotations

from expunge.core import registry
from expunge.core.errors import ForeignRun
from expunge.core.serial import plain
from expunge.engine.runs import RunDirectory
from expunge.plan.auto import AUTO
from expunge.workflow.ending import FINAL, Shipped, ship
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import Stages


def shown_again(stages: Stages, settings: Settings) -> Result:
    """Return what a finished run came to, written anew where it was interrupted.

    Raises:
        ForeignRun: another method is asked for, or other settings.
    """
    shipped = stages.read(FINAL, Shipped)
    attempt = shipped.report.shipped
    assert attempt is not None
    if (
        settings.methods
        and attempt.method not in settings.methods
        and not (_searched(shipped) and AUTO in settings.methods)
    ):
        raise finished(stages.run, shipped)
    other = other_settings(shipped, settings)
    if other:
        raise ForeignRun(
            "this run is finished, with other settings",
            where=stages.run.folder.name,
            found=", ".join(f"{name} = {was}" for name, (was, _) in other.items()),
            expected=", ".join(f"{name} = {asked}" for name, (_, asked) in other.items()),
            fix="choose another --out to start anew, or ask with the settings that it was made with",
        )
    return ship(stages, settings, shipped)


def other_settings(shipped: Shipped, settings: Settings) -> dict[str, tuple[object, object]]:
    """Return what a finished run was made with and what is asked for now, where these differ, by setting."""
    attempt = shipped.report.shipped
    assert attempt is not None
    given = dict(settings.configs.get(attempt.method, {}))
    asked = dict(plain(registry.load("methods", attempt.method)(given).config) or {})
    # Of a method that was tuned only what was given was not searched; what it gained since was not asked then.
    names = [name for name in asked if name in given or (name in attempt.config and not attempt.tuned)]
    pairs = {name: (attempt.config.get(name), asked[name]) for name in names}
    pairs = {f"methods.{attempt.method}.{name}": pair for name, pair in pairs.items()}
    pairs["budget"] = (shipped.report.plan.budget, settings.budget)
    pairs["floor"] = (shipped.report.plan.floor, settings.floor)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _searched(shipped: Shipped) -> bool:
    """Return whether ``auto`` chose what a finished run ships."""
    return any(one.method == getattr(shipped.report.shipped, "method", "") for one in shipped.report.tuned)


def finished(run: RunDirectory, shipped: Shipped) -> ForeignRun:
    """Return the error that a finished run takes no other work."""
    attempt = shipped.report.shipped
    return ForeignRun(
        "this run is finished, and what it was made with is destroyed",
        where=run.folder.name,
        found=f"done by {attempt.method}" if attempt else "done",
        expected="a run that is not finished",
        fix="choose another --out",
    )
