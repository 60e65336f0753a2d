"""Draw what a deletion costs by kind of training and of request, from the results of ``benchmarks/replay.py``.

    python scripts/cost_curves.py            writes docs/images/replay-costs.svg

Same results, same bytes. Lines are simulated from timetables, rings are measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, IMAGE = ROOT / "benchmarks" / "results" / "replay.json", ROOT / "docs" / "images" / "replay-costs.svg"
KINDS = {"uniform": "every record equally likely", "recent": "recent records likelier"}
LINES = {  # colours that people tell apart who see few (Okabe and Ito 2008); dashes for those who see none
    "36 epochs": ("#000000", ""),
    "36 epochs, records enter as they arrive": ("#0072b2", ""),
    "one pass": ("#d55e00", "7 3"),
    "one pass, records enter as they arrive": ("#009e73", "7 3"),
    "36 epochs, 10 shards": ("#cc79a7", "2 3"),
}
WIDE, HIGH, LEFT, TOP, GAP = 300, 240, 60, 56, 70
"""Of one of the two plots, and the room around, in pixels."""


def draw(results: Mapping[str, Any]) -> str:
    """Return the picture as SVG."""
    width, height = LEFT + 2 * WIDE + GAP + 20, TOP + HIGH + 66 + 18 * len(LINES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222222">',
        "<title>Cost of a deletion, by kind of training and of request</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 20, "Share of a whole training that a deletion costs", size=14),
    ]
    for place, (kind, name) in enumerate(KINDS.items()):
        parts += _plot(results, kind, name, LEFT + place * (WIDE + GAP))
    for place, (name, (colour, dash)) in enumerate(LINES.items()):
        y = TOP + HIGH + 62 + 18 * place
        parts += [
            f'<line x1="{LEFT}" x2="{LEFT + 34}" y1="{y}" y2="{y}" {_stroke(colour, dash)}/>',
            _text(LEFT + 42, y + 4, name),
        ]
    y = TOP + HIGH + 62
    parts += [_ring(LEFT + WIDE + GAP + 8, y, "#222222"), _text(LEFT + WIDE + GAP + 20, y + 4, "measured, in CPU time")]
    return "\n".join([*parts, "</svg>\n"])


def _plot(results: Mapping[str, Any], kind: str, name: str, left: int) -> Iterator[str]:
    curves = {line: results["workload"][f"{line}; {kind}"] for line in LINES}
    counts = [point["records"] for point in curves["36 epochs"]]

    def x(count: float) -> float:
        return left + WIDE * math.log(count) / math.log(counts[-1])

    yield _text(left, TOP - 12, name)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield f'<line x1="{left}" x2="{left + WIDE}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="#dddddd"/>'
        yield _text(left - 8, _y(share) + 4, f"{share:.0%}", anchor="end")
    for count in counts:
        yield f'<line x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{_y(0)}" y2="{_y(0) + 5}" stroke="#888888"/>'
        yield _text(x(count), _y(0) + 19, str(count), anchor="middle")
    yield _text(left + WIDE / 2, _y(0) + 36, "records in one request", anchor="middle")
    for line, (colour, dash) in LINES.items():
        points = " ".join(f"{x(point['records']):.1f},{_y(point['share']):.1f}" for point in curves[line])
        title = f"<title>{_said(line, curves[line])}</title>"
        yield f'<polyline points="{points}" fill="none" {_stroke(colour, dash)}>{title}</polyline>'
    for point in results["measured"]:
        if point["kind"] == kind:
            said = f"measured: {_said(point['plan'], [point])}"
            yield _ring(x(point["records"]), _y(point["share"]), LINES[point["plan"]][0], said)


def _y(share: float) -> float:
    """Return the height of a share; replays that took longer than the training lie above the plot."""
    return TOP + HIGH * (1 - min(share, 1.1))


def _said(name: str, points: Sequence[Mapping[str, float]]) -> str:
    return escape(f"{name}: " + ", ".join(f"{point['records']} records {point['share']:.1%}" for point in points))


def _stroke(colour: str, dash: str) -> str:
    return f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _ring(x: float, y: float, colour: str, said: str = "") -> str:
    title, style = f"<title>{said}</title>" if said else "", f'fill="#ffffff" fill-opacity="0.6" {_stroke(colour, "")}'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {style}>{title}</circle>'


def _text(x: float, y: float, said: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(said)}</text>'


def main() -> None:
    """Write the picture."""
    IMAGE.write_text(draw(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
