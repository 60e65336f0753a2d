"""Draw what a deletion costs by kind of training and of request, from the results of ``benchmarks/replay.py``.

    python scripts/cost_curves.py            writes docs/images/replay-costs.svg

Same results, same bytes. Lines are simulated from timetables, rings are measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from _results import ROOT, results
from _svg import BLACK, BLUE, GREEN, GREY, PINK, RED, picture, ring, rule, stroke, text

IMAGE = ROOT / "docs" / "images" / "replay-costs.svg"
KINDS = {"uniform": "every record equally likely", "recent": "recent records likelier"}
LINES = {
    "36 epochs": (BLACK, ""),
    "36 epochs, records enter as they arrive": (BLUE, ""),
    "one pass": (RED, "7 3"),
    "one pass, records enter as they arrive": (GREEN, "7 3"),
    "36 epochs, 10 shards": (PINK, "2 3"),
}
WIDE, HIGH, LEFT, TOP, GAP = 300, 240, 60, 56, 70
"""Of one of the two plots, and the room around, in pixels."""


def draw(measured: Mapping[str, Any]) -> str:
    """Return the picture as SVG."""
    width, height = LEFT + 2 * WIDE + GAP + 20, TOP + HIGH + 66 + 18 * len(LINES)
    parts = [text(LEFT, 20, "Share of a whole training that a deletion costs", size=14)]
    for place, (kind, name) in enumerate(KINDS.items()):
        parts += _plot(measured, kind, name, LEFT + place * (WIDE + GAP))
    for place, (name, (colour, dash)) in enumerate(LINES.items()):
        y = TOP + HIGH + 62 + 18 * place
        parts += [
            f'<line x1="{LEFT}" x2="{LEFT + 34}" y1="{y}" y2="{y}" {stroke(colour, dash)}/>',
            text(LEFT + 42, y + 4, name),
        ]
    y = TOP + HIGH + 62
    parts += [ring(LEFT + WIDE + GAP + 8, y, "#222222"), text(LEFT + WIDE + GAP + 20, y + 4, "measured, in CPU time")]
    return picture(width, height, "Cost of a deletion, by kind of training and of request", parts)


def _plot(measured: Mapping[str, Any], kind: str, name: str, left: int) -> Iterator[str]:
    curves = {line: measured["workload"][f"{line}; {kind}"] for line in LINES}
    counts = [point["records"] for point in curves["36 epochs"]]

    def x(count: float) -> float:
        return left + WIDE * math.log(count) / math.log(counts[-1])

    yield text(left, TOP - 12, name)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield rule(left, _y(share), left + WIDE, _y(share), GREY)
        yield text(left - 8, _y(share) + 4, f"{share:.0%}", anchor="end")
    for count in counts:
        yield rule(x(count), _y(0), x(count), _y(0) + 5, "#888888")
        yield text(x(count), _y(0) + 19, str(count), anchor="middle")
    yield text(left + WIDE / 2, _y(0) + 36, "records in one request", anchor="middle")
    for line, (colour, dash) in LINES.items():
        points = " ".join(f"{x(point['records']):.1f},{_y(point['share']):.1f}" for point in curves[line])
        title = f"<title>{escape(_said(line, curves[line]))}</title>"
        yield f'<polyline points="{points}" fill="none" {stroke(colour, dash)}>{title}</polyline>'
    for point in measured["measured"]:
        if point["kind"] == kind:
            said = f"measured: {_said(point['plan'], [point])}"
            yield ring(x(point["records"]), _y(point["share"]), LINES[point["plan"]][0], said)


def _y(share: float) -> float:
    """Return the height of a share; replays that took longer than the training lie above the plot."""
    return TOP + HIGH * (1 - min(share, 1.1))


def _said(name: str, points: Sequence[Mapping[str, float]]) -> str:
    return f"{name}: " + ", ".join(f"{point['records']} records {point['share']:.1%}" for point in points)


def main() -> None:
    """Write the picture."""
    IMAGE.write_text(draw(results("replay")))


if __name__ == "__main__":
    main()
