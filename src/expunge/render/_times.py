"""Recorded times in words. There is no clock here: the same report gives the same text at any time."""

from __future__ import annotations

from datetime import UTC, date, datetime

from expunge.render._numbers import many


def moment(text: str) -> str:
    """Return an ISO 8601 time as ``2026-07-14 10:22 UTC``; anything else as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    if "T" not in text and " " not in text:
        return text
    known = time.astimezone(UTC) if time.tzinfo is not None else time
    return f"{known:%Y-%m-%d %H:%M}{' UTC' if time.tzinfo is not None else ''}"


def timing(finished: str, due: str) -> str | None:
    """Return how many days before or after the due date the run finished, or None where unknown."""
    try:
        days = (date.fromisoformat(due[:10]) - date.fromisoformat(finished[:10])).days
    except ValueError:
        return None
    if days < 0:
        return f"{many(-days, 'day')} after it was due"
    return f"{many(days, 'day')} before it was due" if days else "on the day it was due"


def duration(started: str, finished: str) -> str | None:
    """Return the time between two recorded times, e.g. ``1 hour 12 minutes``, or None where unknown."""
    try:
        seconds = (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return None
    if seconds < 0:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{many(hours, 'hour')} {many(minutes, 'minute')}"
    return f"{many(minutes, 'minute')} {many(rest, 'second')}" if minutes else many(rest, "second")
