"""Drawings with one lane per name: accuracies against their yardstick, costs against one retraining."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from expunge.core.check import Measurement, Question
from expunge.core.report import Audit, CostLine
from expunge.render._axis import Axis, Figures, linear
from expunge.render._chart import figures
from expunge.render._markup import Child, Markup, tag
from expunge.render._numbers import percent
from expunge.render._words import sentence

_LANE = 26  # height of a lane in pixels
_BARS = 84.0  # percent of the width that the longest bar takes; the rest is for its figure
_SHARE = "share"
_PERCENT = Figures(share=True, decimals=1)


def accuracies(audit: Audit | None) -> Markup | None:
    """Return all accuracies of an audit on one scale, with those of the original and of retrained models, or None."""
    found = [
        (finding.title, finding.result)
        for finding in (audit.findings if audit is not None else ())
        if finding.question is not Question.RECOVERABLE
        and isinstance(finding.result, Measurement)
        and finding.result.unit == _SHARE
        and finding.result.references
    ]
    if not found:
        return None
    values = [v for _, r in found for v in (r.value, *r.references, *((r.original,) if r.original is not None else ()))]
    axis = linear([min(values), max(values)], _SHARE, exact=False)
    low = max((tick for tick in axis.ticks if tick <= min(values)), default=axis.low)
    axis = linear([low, min(1.0, axis.high)], _SHARE, exact=True)
    title = "Accuracies against those of retrained models"
    heads = ("Accuracy", "Unlearned model", "Original model", *(f"Retrained models, {end}" for end in _ENDS))
    return tag(
        "figure",
        tag("figcaption", tag("strong", title)),
        tag(
            "ul",
            tag("li", _sign(tag("circle", cx="10", cy="7", r="4", class_="point")), tag("span", "Unlearned model")),
            tag("li", _sign(tag("circle", cx="10", cy="7", r="5.5", class_="original")), tag("span", "Original model")),
            tag(
                "li",
                _sign(tag("rect", x="0", y="3", width="20", height="8", rx="2", class_="null")),
                tag("span", _RANGE),
            ),
            class_="legend",
        ),
        *(_lane(name, _accuracy(axis, name, result)) for name, result in found),
        _scale(axis),
        figures(title, heads, [_row(name, result) for name, result in found], caption="share of records"),
        class_="chart lanes-chart",
    )


_ENDS = ("mean", "lowest", "highest")
_RANGE = "Retrained models, lowest to highest"


def _sign(mark: Markup) -> Markup:
    return tag("svg", mark, class_="swatch", width="20", height="14", aria_hidden="true")


def _lane(name: str, drawing: Markup) -> Markup:
    return tag("div", tag("span", name, class_="name"), drawing, class_="lane")


def _at(axis: Axis, value: float) -> str:
    return f"{1.0 + 98.0 * axis.place(value):.2f}%"


def _accuracy(axis: Axis, name: str, result: Measurement) -> Markup:
    low, high, y = min(result.references), max(result.references), str(_LANE // 2)
    width = max(98.0 * (axis.place(high) - axis.place(low)), 0.8)
    said = [
        f"{name}: unlearned model {_PERCENT.write(result.value)}",
        f"retrained models {_PERCENT.write(low)} to {_PERCENT.write(high)}",
        f"original model {_PERCENT.write(result.original)}" if result.original is not None else "",
    ]
    # Larger than the dot that is drawn on it: both are seen where they agree.
    before = (
        tag("circle", cx=_at(axis, result.original), cy=y, r="6.5", class_="original")
        if result.original is not None
        else None
    )
    return tag(
        "svg",
        *(tag("line", x1=_at(axis, t), x2=_at(axis, t), y1="0", y2=str(_LANE), class_="rule") for t in axis.ticks),
        tag("rect", x=_at(axis, low), width=f"{width:.2f}%", y=str(_LANE // 2 - 5), height="10", rx="2", class_="null"),
        before,
        tag("circle", cx=_at(axis, result.value), cy=y, r="4", class_="point"),
        class_="graph",
        role="img",
        aria_label="; ".join(part for part in said if part),
        width="100%",
        height=str(_LANE),
    )


def _scale(axis: Axis) -> Markup:
    labels = [
        tag("text", axis.label(tick), x=_at(axis, tick), y="14", text_anchor=_anchor(axis.place(tick)))
        for tick in axis.ticks
    ]
    return _lane("", tag("svg", *labels, class_="graph", aria_hidden="true", width="100%", height="20"))


def _anchor(at: float) -> str:
    return "start" if at < 0.03 else "end" if at > 0.97 else "middle"


def _row(name: str, result: Measurement) -> list[Child]:
    band = (fmean(result.references), min(result.references), max(result.references))
    before = _PERCENT.write(result.original) if result.original is not None else "not measured"
    return [name, _PERCENT.write(result.value), before, *map(_PERCENT.write, band)]


def costs(lines: Sequence[CostLine]) -> Markup | None:
    """Return every part of the cost as a bar beside one retraining; its table stands below, so it has none of its own.

    None where a cost cannot be given as a share of one retraining.
    """
    shares = [(sentence(line.what), line.share) for line in lines if line.share is not None]
    if not shares:
        return None
    most = max(1.0, *(share for _, share in shares))
    return tag(
        "figure",
        tag("figcaption", tag("strong", "Each part of the cost beside one retraining (the dashed line)")),
        *(_lane(name, _bar(share, most)) for name, share in shares),
        class_="chart lanes-chart",
    )


def _bar(share: float, most: float) -> Markup:
    one, end = f"{_BARS / most:.2f}%", f"{_BARS * share / most:.2f}%"
    words = tag("text", percent(share), x="100%", y=str(_LANE // 2 + 4), text_anchor="end")
    return tag(
        "svg",
        tag("rect", x="0", y="6", width=end, height=str(_LANE - 12), class_="null"),
        tag("line", x1=one, x2=one, y1="0", y2=str(_LANE), class_="edge"),
        words,
        class_="graph",
        role="img",
        aria_label=f"{percent(share)} of one retraining",
        width="100%",
        height=str(_LANE),
    )
