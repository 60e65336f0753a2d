"""One small drawing per check: where the difference lies against the margin. Same finding, same bytes.

Places are percentages and heights pixels, so that the drawing follows the width of its box while text and
strokes keep their size.
"""

from __future__ import annotations

from expunge.core.check import Measurement
from expunge.core.report import Finding
from expunge.render._markup import Markup, join, tag
from expunge.render._numbers import Scale

_LANE = 22  # height of a lane in pixels, the same as in the stylesheet
_REACH = 1.08  # free space beyond the outermost mark
_LEAST = 1.8  # the margin never fills the drawing
_LABELS_APART = 0.24  # share of the half width below which three labels would touch on a phone


def strip(finding: Finding, *, subject: str) -> Markup | None:
    """Return the drawing of a measured finding with its lane names, or None."""
    result, narrow = finding.result, finding.narrow
    if not isinstance(result, Measurement) or narrow is None or not result.compared:
        return None
    drawing = _Drawing(finding, result)
    lanes = [subject, "Retrained models", "Original model"]
    kept = [
        lanes[0],
        *(lanes[1:2] if finding.null else []),
        *(lanes[2:] if result.original is not None else []),
    ]
    names = tag("div", *(tag("span", name) for name in kept), class_="lanes", aria_hidden="true")
    unit = f", in {drawing.scale.step_unit}" if drawing.scale.step_unit else ""
    return tag(
        "figure",
        names,
        drawing.draw(subject),
        tag("figcaption", f"Difference from {_from(result)}{unit}; shaded: the margin"),
        class_="strip",
    )


def _from(result: Measurement) -> str:
    return "retrained models" if result.yardstick is None else result.yardstick.what


class _Drawing:
    def __init__(self, finding: Finding, result: Measurement) -> None:
        self.finding, self.result, self.scale = finding, result, Scale.of(finding)
        assert finding.narrow is not None
        self.narrow, self.margin = finding.narrow, finding.margin
        self.mean = result.expected
        marks = [self.narrow.low, self.narrow.high, *(finding.null or ())]
        self.half = max(_LEAST * self.margin, _REACH * max(abs(mark) for mark in marks)) or 1.0

    def draw(self, subject: str) -> Markup:
        parts = [self._model(_LANE // 2)]
        if self.finding.null:
            parts.append(self._references(_LANE // 2 + _LANE * len(parts), *self.finding.null))
        if self.result.original is not None:
            parts.append(self._original(_LANE // 2 + _LANE * len(parts), self.result.original - self.mean))
        bottom = _LANE * len(parts)
        return tag(
            "svg",
            self._frame(bottom),
            *parts,
            self._axis(bottom),
            class_="drawing",
            role="img",
            aria_label=self._words(subject),
            height=str(bottom + 20),
            width="100%",
        )

    def _x(self, value: float) -> float:
        return min(99.0, max(1.0, 50.0 + 48.0 * value / self.half))

    def _at(self, value: float) -> str:
        return f"{self._x(value):.2f}%"

    def _line(self, low: float, high: float, y: int, class_: str) -> Markup:
        return tag("line", x1=self._at(low), x2=self._at(high), y1=str(y), y2=str(y), class_=class_)

    def _frame(self, bottom: int) -> Markup:
        low, high = self._x(-self.margin), self._x(self.margin)
        zone = tag("rect", x=f"{low:.2f}%", width=f"{high - low:.2f}%", y="0", height=str(bottom), class_="zone")
        edges = [
            tag("line", x1=self._at(v), x2=self._at(v), y1="0", y2=str(bottom + 4), class_=kind)
            for v, kind in ((-self.margin, "edge"), (0.0, "zero"), (self.margin, "edge"))
        ]
        return join(zone, *edges)

    def _model(self, y: int) -> Markup:
        wide, centre = self.finding.wide, (self.narrow.low + self.narrow.high) / 2
        thin = self._line(wide.low, wide.high, y, "wide") if wide is not None else None
        dot = tag("circle", cx=self._at(centre), cy=str(y), r="5", class_="point")
        return join(thin, self._line(self.narrow.low, self.narrow.high, y, "interval"), dot)

    def _references(self, y: int, low: float, high: float) -> Markup:
        width = max(self._x(high) - self._x(low), 0.6)
        return tag("rect", x=self._at(low), width=f"{width:.2f}%", y=str(y - 4), height="8", rx="2", class_="null")

    def _original(self, y: int, value: float) -> Markup:
        if abs(value) <= self.half:
            return tag("circle", cx=self._at(value), cy=str(y), r="4.5", class_="original")
        right = value > 0
        arrow = tag("path", d="M0 -5 L8 0 L0 5 Z" if right else "M0 -5 L-8 0 L0 5 Z", class_="arrow")
        place = tag("svg", arrow, x="96%" if right else "4%", y=str(y), overflow="visible")
        label = tag(
            "text",
            self.scale.bare_step(value),
            x="94%" if right else "6%",
            y=str(y + 4),
            text_anchor="end" if right else "start",
        )
        return join(place, label)

    def _axis(self, bottom: int) -> Markup:
        y = str(bottom + 17)
        size = self.scale.bare_margin(self.margin)[1:]
        if self.margin < _LABELS_APART * self.half:
            return tag("text", f"±{size}", x="50%", y=y, text_anchor="middle")
        return join(
            tag("text", f"\u2212{size}", x=self._at(-self.margin), y=y, text_anchor="middle"),
            tag("text", "0", x="50%", y=y, text_anchor="middle"),
            tag("text", f"+{size}", x=self._at(self.margin), y=y, text_anchor="middle"),
        )

    def _words(self, subject: str) -> str:
        scale, null, original = self.scale, self.finding.null, self.result.original
        said = [
            f"{subject}: interval {scale.steps(self.narrow.low, self.narrow.high)}",
            f"margin {scale.margin(self.margin)}",
            f"one retrained model against the others: {scale.steps(*null)}" if null else "",
            f"original model: {scale.step(original - self.mean)}" if original is not None else "",
        ]
        return "; ".join(part for part in said if part)
