"""A chart drawn: same chart, same bytes. Each line has its own dash and mark, a name, and a table below.

Places across are percentages and heights pixels, as in ``_strip``: the drawing follows the width of its box
while text and strokes keep their size.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from expunge.core.chart import FEWEST, Chart, Role, Series
from expunge.core.check import Measurement
from expunge.core.report import Attempt, Finding
from expunge.render._axis import Figures, linear, logarithmic
from expunge.render._markup import Child, Markup, join, tag
from expunge.render._numbers import many
from expunge.render._table import table
from expunge.render._words import sentence

_HEIGHT = 200  # of the plot, in pixels
_UNIT = 1000  # lines are drawn in a square of this size, stretched over the plot
_MARKS = 8  # marks on one line at most: they tell lines apart, they are not the data
_NAME_HALF = 0.065  # half the width of a tick's name on a phone, as a share of the plot
_NAMES = {
    Role.SUBJECT: "Unlearned model",
    Role.ORIGINAL: "Original model",
    Role.REFERENCES: "Retrained models",
    Role.NULL: "By chance alone",
}
_FLOOR = "A line on the bottom edge stands for 0, which has no place on these axes."
_CLASSES = {Role.SUBJECT: "subject", Role.ORIGINAL: "before", Role.REFERENCES: "yardstick", Role.NULL: "nothing"}
_BOTTOM_UP = (Role.REFERENCES, Role.NULL, Role.ORIGINAL, Role.SUBJECT)


def charts(findings: Iterable[Finding], *, anchor: str) -> Markup | None:
    """Return the charts of all measured checks, or None where there are none."""
    drawn = [chart for f in findings if isinstance(f.result, Measurement) for chart in f.result.charts]
    return _grid([draw(chart) for chart in drawn], anchor)


def found(attempts: Iterable[Attempt]) -> Markup | None:
    """Return what methods found out of the original before they changed it, or None; equal pictures once."""
    drawn = dict.fromkeys(chart for attempt in attempts for chart in attempt.outcome.charts)
    return _grid([draw(chart) for chart in drawn], "found")


def histories(attempts: Iterable[Attempt], records: int) -> Markup | None:
    """Return the objective of every attempt that has one, by epoch, or None; trained on so many ``records``."""
    drawn = [draw(chart) for attempt in attempts if (chart := _history(attempt, records)) is not None]
    return _grid(drawn, "training")


def _grid(drawn: list[Markup], anchor: str) -> Markup | None:
    return tag("div", *drawn, class_="charts", id=anchor) if drawn else None


def draw(chart: Chart) -> Markup:
    """Return a chart with its legend, its note and its table; in words alone where it may not or cannot be drawn."""
    head = tag("figcaption", tag("strong", chart.title), tag("span", f"on {many(chart.n, 'record')}", class_="second"))
    words = f"{chart.note} {_FLOOR}" if chart.log and any(0.0 in line.y for line in chart.series) else chart.note
    note = tag("p", words.strip(), class_="note") if words else None
    if chart.n < FEWEST:
        said = f"Not drawn: fewer than {FEWEST} records, of which a curve would show single ones."
        return tag("figure", head, tag("p", said, class_="note"), class_="chart")
    if not any(line.y for line in chart.series):
        return tag(
            "figure", head, note or tag("p", "Not drawn: there is nothing to draw.", class_="note"), class_="chart"
        )
    plot = _Plot(chart)
    return tag(
        "figure",
        head,
        _legend([line.role for line in chart.series]),
        tag("p", sentence(chart.y), class_="axis"),
        tag("div", plot.left(), plot.lines(), class_="plot"),
        tag("p", sentence(chart.x), class_="axis across"),
        note,
        _figures(chart),
        class_="chart",
    )


def _history(attempt: Attempt, records: int) -> Chart | None:
    rows = [row for row in attempt.outcome.history if "epoch" in row and "objective" in row]
    if len(rows) < 2 or records < FEWEST:
        return None
    epochs, objective = (tuple(float(row[key]) for row in rows) for key in ("epoch", "objective"))
    return Chart(
        title=f"Attempt {attempt.number}: what the method minimised",
        x="epoch",
        y="objective, mean over the steps of an epoch",
        series=(Series(role=Role.SUBJECT, x=epochs, y=objective),),
        n=records,
    )


class _Plot:
    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        x = [place for line in chart.series for place in line.x]
        y = [value for line in chart.series for value in (*line.y, *line.low, *line.high)]
        self.x = logarithmic(x, chart.x) if chart.log else linear(x, chart.x, exact=True)
        self.y = logarithmic(y, chart.y) if chart.log else linear(y, chart.y)
        self.write_x, self.write_y = _writers(chart)

    def left(self) -> Markup:
        """Return the named places of the vertical axis."""
        labels = [
            tag("text", self.y.label(tick), x="100%", y=f"{self._y(tick) + 4:.1f}", text_anchor="end")
            for tick in self.y.ticks
        ]
        return tag("svg", *labels, class_="scale-left", aria_hidden="true", width="100%", height=str(_HEIGHT + 22))

    def lines(self) -> Markup:
        chart = self.chart
        known = sorted(chart.series, key=lambda line: _BOTTOM_UP.index(line.role))
        return tag(
            "svg",
            tag("title", chart.title),
            tag("desc", self._words()),
            self._unresolved(),
            self._grid(),
            self._stretched(join(*(self._band(line) for line in known if line.low), *map(self._line, known))),
            *(mark for line in known for mark in self._marks(line)),
            *self._below(),
            class_="graph",
            role="img",
            width="100%",
            height=str(_HEIGHT + 22),
        )

    def _y(self, value: float) -> float:
        return _HEIGHT * (1.0 - self.y.place(value))

    def _point(self, x: float, y: float) -> str:
        return f"{_UNIT * self.x.place(x):.1f} {_UNIT * (1.0 - self.y.place(y)):.1f}"

    def _stretched(self, inside: Markup) -> Markup:
        box = f"0 0 {_UNIT} {_UNIT}"
        return tag("svg", inside, viewBox=box, preserveAspectRatio="none", width="100%", height=str(_HEIGHT))

    def _corners(self, x: tuple[float, ...], y: tuple[float, ...]) -> list[str]:
        if not self.chart.histogram:
            return [self._point(*pair) for pair in zip(x, y, strict=True)]
        return [self._point(edge, value) for value, *edges in zip(y, x, x[1:], strict=False) for edge in edges]

    def _line(self, line: Series) -> Markup:
        return tag("path", d=f"M{' L'.join(self._corners(line.x, line.y))}", class_=f"curve {_CLASSES[line.role]}")

    def _band(self, line: Series) -> Markup:
        around = [*self._corners(line.x, line.high), *reversed(self._corners(line.x, line.low))]
        return tag("path", d=f"M{' L'.join(around)} Z", class_="band")

    def _marks(self, line: Series) -> list[Markup]:
        if line.role not in (Role.SUBJECT, Role.ORIGINAL):
            return []
        places = list(zip(line.x, line.y, strict=False))
        if self.chart.histogram:
            middles = [(low + high) / 2 for low, high in pairwise(line.x)]
            places = [place for place in zip(middles, line.y, strict=True) if place[1] > 0]
        apart = max(1, -(-len(places) // _MARKS))
        # Not the same places for both lines: where they lie on each other, both marks are seen.
        first = apart // 2 if line.role is Role.ORIGINAL else 0
        class_ = {Role.SUBJECT: "point", Role.ORIGINAL: "original"}[line.role]
        return [
            tag("circle", cx=f"{100 * self.x.place(a):.2f}%", cy=f"{self._y(b):.1f}", r="3.5", class_=class_)
            for a, b in places[first::apart]
        ]

    def _grid(self) -> Markup:
        heights = [f"{self._y(tick):.1f}" for tick in self.y.ticks]
        rules = [tag("line", x1="0%", x2="100%", y1=at, y2=at, class_="rule") for at in heights]
        ground = tag("line", x1="0%", x2="100%", y1=str(_HEIGHT), y2=str(_HEIGHT), class_="ground")
        return join(*rules, ground)

    def _below(self) -> list[Markup]:
        marks: list[Markup] = []
        free = 2.0  # from here on a name to the right has its place
        for tick in reversed(self.x.ticks):
            at = self.x.place(tick)
            anchor = "start" if at < 0.03 else "end" if at > 0.97 else "middle"
            where = f"{100 * at:.2f}%"
            marks.append(tag("line", x1=where, x2=where, y1=str(_HEIGHT), y2=str(_HEIGHT + 4), class_="ground"))
            if at + (0.0 if anchor == "end" else _NAME_HALF) <= free:
                marks.append(tag("text", self.x.label(tick), x=where, y=str(_HEIGHT + 18), text_anchor=anchor))
                free = at - (2 * _NAME_HALF if anchor == "end" else _NAME_HALF)
        return marks

    def _unresolved(self) -> Markup | None:
        """Return what marks the part of a logarithmic axis on which nothing is drawn because nothing is known."""
        start = self.x.place(min(x for line in self.chart.series for x in line.x))
        if not self.chart.log or start <= 0.0:
            return None
        box = tag("rect", x="0", y="0", width=f"{100 * start:.2f}%", height=str(_HEIGHT), class_="unknown")
        edge = tag(
            *("line",), x1=f"{100 * start:.2f}%", x2=f"{100 * start:.2f}%", y1="0", y2=str(_HEIGHT), class_="edge"
        )
        words = None
        if start > 0.15:
            words = join(
                *(
                    tag(
                        "text",
                        word,
                        x=f"{50 * start:.2f}%",
                        y=str(_HEIGHT // 2 + 16 * row),
                        text_anchor="middle",
                        class_="quiet",
                    )
                    for row, word in enumerate(("not", "resolved"))
                )
            )
        return join(box, edge, words)

    def _words(self) -> str:
        chart = self.chart
        said = []
        for line in chart.series:
            ends = [f"{self.write_y.write(line.y[i])} at {self.write_x.write(line.x[i])}" for i in (0, -1)]
            said.append(f"{_NAMES[line.role]}: from {ends[0]} to {ends[1]}.")
        return f"{sentence(chart.y)} against {chart.x}. {' '.join(said)} All figures are in the table below."


def _legend(roles: list[Role]) -> Markup | None:
    if len(roles) < 2:
        return None
    entries = []
    for role in Role:
        if role in roles:
            name = _NAMES[role] + (", mean and range" if role is Role.REFERENCES else "")
            entries.append(tag("li", _swatch(role), tag("span", name)))
    return tag("ul", *entries, class_="legend")


def _swatch(role: Role) -> Markup:
    """Return a short piece of the line of a role, with its mark."""
    band = tag("rect", x="0", y="2", width="34", height="10", class_="band") if role is Role.REFERENCES else None
    line = tag("path", d="M0 7 L34 7", class_=f"curve {_CLASSES[role]}")
    kind = {Role.SUBJECT: "point", Role.ORIGINAL: "original"}.get(role)
    mark = tag("circle", cx="17", cy="7", r="3.5", class_=kind) if kind else None
    return tag("svg", band, line, mark, class_="swatch", width="34", height="14", aria_hidden="true")


def _figures(chart: Chart) -> Markup:
    """Return the table of a chart, closed on the screen and open on paper."""
    write_x, write_y = _writers(chart)
    columns: list[tuple[str, dict[tuple[float, ...], str]]] = []
    for line in (line for role in Role for line in chart.series if line.role is role):
        sides = {"": line.y} if not line.low else {", mean": line.y, ", lowest": line.low, ", highest": line.high}
        for side, values in sides.items():
            written = dict(zip(_places(chart, line), map(write_y.write, values), strict=True))
            columns.append((_NAMES[line.role] + side, written))
    places = sorted({place for _, column in columns for place in column})
    heads = (sentence(chart.x), *(name for name, _ in columns))
    rows: list[list[Child]] = [
        [" to ".join(map(write_x.write, place)), *(column.get(place, "not drawn") for _, column in columns)]
        for place in places
    ]
    return figures(chart.title, heads, rows, caption=sentence(chart.y))


def _writers(chart: Chart) -> tuple[Figures, Figures]:
    x = [place for line in chart.series for place in line.x]
    y = [value for line in chart.series for value in (*line.y, *line.low, *line.high)]
    return Figures.of(x, chart.x, fine=chart.log), Figures.of(y, chart.y, fine=chart.log)


def figures(title: str, heads: tuple[str, ...], rows: list[list[Child]], *, caption: str) -> Markup:
    """Return the table below a drawing."""
    inner = table(f"{title}: {caption[:1].lower()}{caption[1:]}", heads, rows, class_="matrix figures")
    box = tag("div", inner, class_="scroll", role="region", tabindex="0", aria_label=f"Figures: {title}")
    return tag("details", tag("summary", "The figures as a table"), box)


def _places(chart: Chart, line: Series) -> list[tuple[float, ...]]:
    return list(pairwise(line.x)) if chart.histogram else [(place,) for place in line.x]
