"""Time and energy in words, for every format alike."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.core.report import Report, Usage, Used
from expunge.render._numbers import SPACE, many, plain


def used(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what the run used up as (what, sentence without a full stop); empty where nothing was counted."""
    usage = report.usage
    if usage is None or not (usage.whole.seconds or usage.whole.joules):
        return ()
    rows = [("Time", f"{span(usage.whole.seconds)} of work{_lost(usage)}"), ("Energy", _energy(usage))]
    if usage.reference is not None:
        rows.append(("Retraining", _reference(usage.whole, usage.reference)))
    return tuple(rows)


def span(seconds: float) -> str:
    """Return a time: ``0.4 seconds``, ``12 seconds``, ``3 minutes 5 seconds``, ``2 hours 7 minutes``."""
    if seconds < 10:
        return f"{plain(seconds, 1)}{SPACE}seconds"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{many(hours, 'hour')} {many(minutes, 'minute')}"
    return f"{many(minutes, 'minute')} {many(rest, 'second')}" if minutes else many(rest, "second")


def energy(joules: float) -> str:
    """Return an energy: ``812 J``, ``3.4 Wh``, ``1.25 kWh``."""
    if joules < 3600:
        return f"{plain(joules, 0)}{SPACE}J"
    hours = joules / 3600
    return f"{plain(hours, 1)}{SPACE}Wh" if hours < 1000 else f"{plain(hours / 1000, 2)}{SPACE}kWh"


def _energy(usage: Usage) -> str:
    parts = _by_meter(usage.whole.joules)
    missing = "; ".join(f"{name}: {why}" for name, why in sorted(usage.unmeasured.items()))
    if not parts:
        return f"not measured ({missing})" if missing else "not measured"
    said = f"{parts}, of the whole machine while this run worked"
    return f"{said}; not measured ({missing})" if missing else said


def _reference(whole: Used, one: Used) -> str:
    said = f"one took {span(one.seconds)} of the run on average (workers train several at a time)"
    if one.seconds > 0:
        said += f", so the run took {_times(whole.seconds / one.seconds)} as long"
    both = [name for name, joules in one.joules.items() if joules > 0 and name in whole.joules]
    if both:
        share = sum(whole.joules[name] for name in both) / sum(one.joules[name] for name in both)
        said += f"; {_by_meter({name: one.joules[name] for name in both})}, so the run used {_times(share)} as much"
    return said


def _by_meter(joules: Mapping[str, float]) -> str:
    return " and ".join(f"{energy(amount)} by {name}" for name, amount in sorted(joules.items()))


def _times(share: float) -> str:
    return f"{plain(share, 1 if share < 100 else 0)}{SPACE}times"


def _lost(usage: Usage) -> str:
    if not usage.lost:
        return ""
    killed = f"{many(usage.lost, 'command')} {'was' if usage.lost == 1 else 'were'} killed"
    return f", not counting what was under way when {killed}"
