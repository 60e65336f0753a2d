"""Draw how far the entries of a grid lie from retrained models, one line per scenario.

    python scripts/gaps.py            writes docs/images/gaps-digits.svg and gaps-mnist.svg

Same results, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from _results import ROOT, by_scenario, gap, grid, nearest
from _svg import BLACK, BLUE, GREY, RED, diamond, dot, picture, ring, rule, text

from expunge.bench.table import ORIGINAL, RETRAINED, Row, Table
from expunge.plan.auto import AUTO

IMAGES = {name: ROOT / "docs" / "images" / f"gaps-{bed}.svg"
          for name, bed in (("classifiers", "digits"), ("classifiers_mnist", "mnist"))}  # fmt: skip
LEFT, TOP, WIDE, STEP = 150, 56, 560, 24
"""Room for names and title, width of the plot, and height of a line, in pixels."""
TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50)
MOST = 60.0


def draw(found: Table) -> str:
    """Return the picture as SVG."""
    scenarios = by_scenario(found)
    foot = TOP + STEP * len(scenarios)
    parts = [
        text(LEFT, 20, "How far from retrained models: mean gap in points, on a scale of square roots", size=14),
        *_rules(foot),
    ]
    for place, (name, own) in enumerate(scenarios.items()):
        parts += _line(name, own, TOP + STEP * (place + 0.5))
    marks = (
        (0, lambda x, y: _band(x - 8, x + 8, y, ""), "a retrained model from the others"),
        (240, lambda x, y: ring(x, y, BLACK), "the original"),
        (360, lambda x, y: dot(x, y, BLUE), "auto"),
        (430, lambda x, y: diamond(x, y, RED), "nearest that costs a fifth of a retraining at most"),
    )
    for place, mark, said in marks:
        parts += [mark(place + 16, foot + 48), text(place + 30, foot + 52, said)]
    return picture(LEFT + WIDE + 30, foot + 66, "Average gap from retrained models by scenario", parts)


def _rules(foot: float) -> Iterator[str]:
    for tick in TICKS:
        yield rule(_x(tick), TOP, _x(tick), foot, GREY)
        yield text(_x(tick), foot + 18, f"{tick:g}", anchor="middle")


def _line(name: str, own: Mapping[str, Row], y: float) -> Iterator[str]:
    yield text(LEFT - 10, y + 4, name, anchor="end")
    yield rule(LEFT, y, LEFT + WIDE, y, GREY)
    retrained = gap(own[RETRAINED])
    if retrained is not None:
        yield _band(LEFT, _x(retrained), y, f"a retrained model: {retrained:.1f}")
    cheap = nearest(own)
    for row, mark, colour in ((own[ORIGINAL], ring, BLACK), (own.get(AUTO), dot, BLUE), (cheap, diamond, RED)):
        distance = gap(row)
        if row is not None and distance is not None:
            yield mark(_x(distance), y, colour, f"{row.method}: {distance:.1f}")


def _band(x1: float, x2: float, y: float, said: str) -> str:
    title = f"<title>{said}</title>" if said else ""
    return (
        f'<rect x="{x1:.1f}" y="{y - 7:.1f}" width="{x2 - x1:.1f}" height="14" fill="#999999" fill-opacity="0.5">'
        f"{title}</rect>"
    )


def _x(points: float) -> float:
    """Return where a distance lies: near ones are drawn apart, so that the scale is that of square roots."""
    return LEFT + WIDE * math.sqrt(min(points, MOST) / MOST)


def main() -> None:
    """Write the pictures."""
    for name, image in IMAGES.items():
        image.write_text(draw(grid(name)))


if __name__ == "__main__":
    main()
