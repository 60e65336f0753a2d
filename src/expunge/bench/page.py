"""The results as one self-contained page: a picture and a table per scenario; nothing is loaded and nothing runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from expunge.audit import policy as policies
from expunge.bench.cell import Cell, State, Yardstick
from expunge.bench.run import cells
from expunge.bench.scenarios import SCENARIOS
from expunge.bench.site import Site
from expunge.bench.table import HEADS, ORIGINAL, RETRAINED, Table, reasons, shown
from expunge.render._document import document
from expunge.render._markup import Child, Markup, bullets, join, tag
from expunge.render._numbers import many, percent, plain, signed
from expunge.render._table import table

_HEIGHT = 300  # of the plot, in pixels
_WIDTH = 720  # of the plot on a desktop; labels are kept apart for it
_TICKS = (-100, -50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
_LEAST, _MOST = 4.0, 16.0  # radius of a mark that costs nothing, and of one that costs a retraining


@dataclass(frozen=True)
class Point:
    """Where a model stands: ``utility`` and ``distance`` in percentage points, ``share`` of a retraining."""

    name: str
    utility: float
    distance: float
    share: float | None = None


def page(site: Site, found: Table) -> str:
    """Return the page of a results directory, finished or not."""
    bench = site.bench
    done = cells(site)
    parts = [_scenario(site, found, name, [c for c in done if c.scenario == name]) for name in bench.scenarios]
    network = bench.network or "its usual network"
    rules = dict.fromkeys(policies.load(bench.judged_by(scenario)).name for scenario in bench.scenarios)
    main = tag(
        "main",
        tag("p", "Benchmark", class_="eyebrow"),
        tag("h1", f"{bench.data}, {network}"),
        tag(
            "p",
            f"{many(len(done), 'cell')} of {len(bench.scenarios) * len(bench.methods) * bench.seeds} done: "
            f"{many(len(bench.scenarios), 'scenario')}, {many(len(bench.methods), 'method')}, "
            f"{many(bench.seeds, 'seed')}. Judged against {bench.judges} models retrained without the records, "
            f"policy {', '.join(rules)}.",
        ),
        _guide(),
        *parts,
    )
    return document(f"Benchmark – {bench.data}", tag("body", main))


def _guide() -> Markup:
    said = (
        "Each mark is a method, in the middle of its seeds. Lower is better: it is how far forget accuracy and the "
        "rate of the membership attack are from those of retrained models, on average. Right is better: it is how much "
        "held-out accuracy is above or below theirs. The larger the mark, the dearer the method.",
        "The shaded box is where single retrained models stand among the others: nothing inside it is better or worse "
        "than retraining. The open mark is the original, before anything was forgotten.",
        "The verdict is that of our audit, which looks at more than the two axes. An average over seeds has its 95 % "
        "interval beside it (Student's t); F is the competition's forgetting quality, with its null "
        "(models exchanged between both sides) in brackets.",
    )
    return tag("div", *(tag("p", text) for text in said))


def _scenario(site: Site, found: Table, name: str, mine: Sequence[Cell]) -> Markup:
    seeds = sorted({cell.seed for cell in mine if cell.state is State.DONE})
    rows = [row for row in found.rows if row.scenario == name]
    parts: list[Child] = [tag("h2", SCENARIOS[name].title)]
    if seeds:
        yardsticks = {seed: site.yardstick(name, seed) for seed in seeds}
        points = points_of(mine, yardsticks)
        parts.append(picture(name, points, around(yardsticks), before(yardsticks)))
        numbers = {point.name: f"{i} " for i, point in enumerate(points, 1)}
    else:
        numbers = {}
    if rows:
        heads, cells_ = HEADS[1:], [[f"{numbers.get(row.method, '')}{row.method}", *shown(row)[2:]] for row in rows]
        inner = table(
            "Means over seeds with 95 % intervals; percent and points", heads, cells_, class_="matrix figures"
        )
        parts.append(tag("div", inner, class_="scroll", role="region", tabindex="0", aria_label=f"Table: {name}"))
    said = [each for each in (*found.sentences, *reasons(found)) if each.startswith((f"{name}:", f"{name},"))]
    parts.append(bullets(tuple(said), otherwise="Nothing is done yet."))
    return tag("section", *parts, id=name)


def points_of(mine: Sequence[Cell], yardsticks: Mapping[int, Yardstick]) -> list[Point]:
    """Return one point per method: means over its seeds, of distances that were taken seed by seed."""
    found: dict[str, list[tuple[float, float, float | None]]] = {}
    for cell in mine:
        if cell.state is State.DONE and "forget" in cell.scores and yardsticks[cell.seed].references:
            where = _place(cell.scores, yardsticks[cell.seed].references)
            found.setdefault(cell.method, []).append((*where, cell.share))
    points = []
    for name, places in found.items():
        shares = [share for _, _, share in places if share is not None]
        points.append(
            Point(
                name,
                float(np.mean([x for x, _, _ in places])),
                float(np.mean([y for _, y, _ in places])),
                float(np.mean(shares)) if shares else None,
            )
        )
    return points


def around(yardsticks: Mapping[int, Yardstick]) -> list[Point]:
    """Return where each retrained model stands among the others."""
    found = []
    for yardstick in yardsticks.values():
        for i, one in enumerate(yardstick.references):
            others = [each for k, each in enumerate(yardstick.references) if k != i]
            if others:
                found.append(Point(RETRAINED, *_place(one, others)))
    return found


def before(yardsticks: Mapping[int, Yardstick]) -> Point:
    """Return where the originals stand, on average."""
    places = [_place(one.original, one.references) for one in yardsticks.values()]
    return Point(ORIGINAL, float(np.mean([x for x, _ in places])), float(np.mean([y for _, y in places])))


def _place(scores: Mapping[str, float], retrained: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    gap = {n: 100 * (scores[n] - float(np.mean([one[n] for one in retrained]))) for n in ("forget", "mia", "test")}
    return gap["test"], (abs(gap["forget"]) + abs(gap["mia"])) / 2


def picture(name: str, points: Sequence[Point], retrained: Sequence[Point], original: Point) -> Markup:
    """Return the drawing of a scenario with its axes and legend."""
    everything = [*points, *retrained, original]
    x = _Scale.of([p.utility for p in everything])
    y = _Scale.of([0.0, *(p.distance for p in everything)])

    def at(point: Point) -> tuple[float, float]:
        return x.place(point.utility), _HEIGHT * (1 - y.place(point.distance))

    drawn: list[Child] = [_words(points, original), _rules(x, y), _band(x, y, retrained)]
    drawn += [_mark(*at(original), _LEAST + 1, "original")]
    taken = [(_WIDTH * at(original)[0], at(original)[1], _LEAST + 1)]
    marks = [(*at(point), _radius(point.share)) for point in points]
    taken += [(_WIDTH * a, b, r) for a, b, r in marks]
    for number, (a, b, r) in sorted(enumerate(marks, 1), key=lambda each: -each[1][2]):  # small ones on top
        drawn += [_mark(a, b, r, "point")]
        place, anchor, spot = _label(_WIDTH * a, b, r, taken)
        taken.append(spot)
        drawn.append(
            tag("text", str(number), x=f"{100 * a:.2f}%", dx=f"{place[0]:.1f}", y=f"{place[1]:.1f}", text_anchor=anchor)
        )
    left = [
        tag("text", plain(tick, 0), x="100%", y=f"{_HEIGHT * (1 - y.place(tick)) + 4:.1f}", text_anchor="end")
        for tick in _apart(y, 14 / _HEIGHT)
    ]
    size = {"width": "100%", "height": str(_HEIGHT + 24)}
    return tag(
        "figure",
        _legend(points),
        tag(
            "p",
            "Distance from retrained models in what is forgotten, points (0 is best; square-root scale)",
            class_="axis",
        ),
        tag(
            "div",
            tag("svg", *left, class_="scale-left", aria_hidden="true", **size),
            tag(
                "svg",
                *drawn,
                *_below(x),
                class_="graph",
                role="img",
                aria_label=f"{name}: where each method stands",
                **size,
            ),
            class_="plot",
        ),
        tag("p", "Held-out accuracy above or below retrained models, points (square-root scale)", class_="axis across"),
        class_="chart",
    )


@dataclass(frozen=True)
class _Scale:
    """A square-root scale on both sides of 0: shows single points near 0 and tens of them far from it."""

    low: float
    high: float
    ticks: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        low, high = min(0.0, *values), max(1.0, *values)
        first = max([tick for tick in _TICKS if tick <= low] or [_TICKS[0]])
        last = min([tick for tick in _TICKS if tick >= high] or [_TICKS[-1]])
        return cls(_root(first), _root(last), tuple(tick for tick in _TICKS if first <= tick <= last))

    def place(self, value: float) -> float:
        """Return where ``value`` lies, from 0 at the low end to 1."""
        return (_root(value) - self.low) / (self.high - self.low)


def _root(value: float) -> float:
    return math.copysign(math.sqrt(abs(value)), value)


def _radius(share: float | None) -> float:
    """Return the radius of a mark: its area beyond the least grows with the cost, up to a whole retraining."""
    return _LEAST + (_MOST - _LEAST) * math.sqrt(min(1.0, share or 0.0))


def _mark(x: float, y: float, radius: float, class_: str) -> Markup:
    more = {"fill_opacity": "0.45"} if class_ == "point" else {}
    return tag("circle", cx=f"{100 * x:.2f}%", cy=f"{y:.1f}", r=f"{radius:.1f}", class_=class_, **more)


def _label(
    x: float, y: float, radius: float, taken: Sequence[tuple[float, float, float]]
) -> tuple[tuple[float, float], str, tuple[float, float, float]]:
    """Return where the number of a mark is written (offset across, height), its anchor, and the place it takes."""
    spots = [
        ((radius + 3, y + 4), "start", (x + radius + 9, y, 7.0)),
        ((-radius - 3, y + 4), "end", (x - radius - 9, y, 7.0)),
        ((0.0, y - radius - 4), "middle", (x, y - radius - 8, 7.0)),
        ((0.0, y + radius + 13), "middle", (x, y + radius + 8, 7.0)),
    ]

    def crowd(spot: tuple[float, float, float]) -> float:
        apart = [math.hypot(spot[0] - a, spot[1] - b) - spot[2] - r for a, b, r in taken]
        outside = 100.0 if not 8 <= spot[0] <= _WIDTH - 8 or not 8 <= spot[1] <= _HEIGHT - 8 else 0.0
        return outside + sum(-gap for gap in apart if gap < 0)

    return min(spots, key=lambda each: crowd(each[2]))


def _rules(x: _Scale, y: _Scale) -> Markup:
    across = [f"{_HEIGHT * (1 - y.place(tick)):.1f}" for tick in y.ticks]
    zero = f"{100 * x.place(0):.2f}%"
    lines = [tag("line", x1="0%", x2="100%", y1=at, y2=at, class_="rule") for at in across]
    return join(
        *lines,
        tag("line", x1=zero, x2=zero, y1="0", y2=str(_HEIGHT), class_="zero"),
        tag("line", x1="0%", x2="100%", y1=str(_HEIGHT), y2=str(_HEIGHT), class_="ground"),
    )


def _band(x: _Scale, y: _Scale, retrained: Sequence[Point]) -> Markup | None:
    """Return the box in which single retrained models stand among the others."""
    if not retrained:
        return None
    left, right = (x.place(edge(p.utility for p in retrained)) for edge in (min, max))
    low, high = (y.place(edge(p.distance for p in retrained)) for edge in (min, max))
    return tag(
        "rect",
        x=f"{100 * left:.2f}%",
        width=f"{100 * max(0.004, right - left):.2f}%",
        y=f"{_HEIGHT * (1 - high):.1f}",
        height=f"{_HEIGHT * max(0.01, high - low):.1f}",
        class_="band",
    )


def _apart(scale: _Scale, least: float) -> list[int]:
    """Return those ticks whose names do not touch, from 0 outwards: ``least`` is a share of the scale."""
    kept = [0]
    for side in (1, -1):
        last = scale.place(0)
        for tick in sorted((t for t in scale.ticks if t * side > 0), key=abs):
            if abs(scale.place(tick) - last) >= least:
                kept.append(tick)
                last = scale.place(tick)
    return sorted(kept)


def _below(x: _Scale) -> list[Markup]:
    marks = []
    for tick in _apart(x, 0.06):  # closer, names would touch on a phone
        at = x.place(tick)
        anchor = "start" if at < 0.03 else "end" if at > 0.97 else "middle"
        where = f"{100 * at:.2f}%"
        marks.append(tag("line", x1=where, x2=where, y1=str(_HEIGHT), y2=str(_HEIGHT + 4), class_="ground"))
        marks.append(tag("text", signed(tick, 0), x=where, y=str(_HEIGHT + 19), text_anchor=anchor))
    return marks


def _legend(points: Sequence[Point]) -> Markup:
    entries = [tag("li", tag("strong", str(i)), tag("span", p.name)) for i, p in enumerate(points, 1)]
    box = tag(
        "svg",
        tag("rect", x="0", y="2", width="22", height="10", class_="band"),
        class_="swatch",
        width="22",
        height="14",
        aria_hidden="true",
    )
    entries += [
        tag("li", box, tag("span", "retrained models")),
        tag("li", _sample(_LEAST + 1, "original"), tag("span", ORIGINAL)),
    ]
    for share in (0.05, 0.2, 1.0):
        entries.append(tag("li", _sample(_radius(share), "point"), tag("span", f"costs {percent(share)}")))
    return tag("ul", *entries, class_="legend")


def _sample(radius: float, class_: str) -> Markup:
    side = f"{2 * radius + 2:.0f}"
    more = {"fill_opacity": "0.45"} if class_ == "point" else {}
    circle = tag("circle", cx=f"{radius + 1:.1f}", cy=f"{radius + 1:.1f}", r=f"{radius:.1f}", class_=class_, **more)
    return tag("svg", circle, class_="swatch", width=side, height=side, aria_hidden="true")


def _words(points: Sequence[Point], original: Point) -> Markup:
    said = [
        f"{p.name}: held-out accuracy {signed(p.utility, 1)} points, {plain(p.distance, 1)} from retrained models."
        for p in (*points, original)
    ]
    return tag("desc", " ".join(said))
