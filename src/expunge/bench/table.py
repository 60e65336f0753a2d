"""The results as a table: means over seeds with intervals, in every form a paper or a program wants."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from expunge.bench.cell import Cell, Quality, State, Yardstick
from expunge.bench.entries import NONE
from expunge.bench.run import cells, qualities
from expunge.bench.site import Site
from expunge.core.serial import plain
from expunge.numerics.forgetting import MIN_MODELS

LEVEL = 0.95
FEWEST = 3
"""Seeds below which nothing is said of differences: two that agree by chance would make any difference certain."""
RETRAINED = "retrained"
ORIGINAL = "original"
"""Rows that are no method's: the yardstick, and where it started."""


@dataclass(frozen=True)
class Spread:
    """A mean over ``n`` seeds; ``half`` is half the width of its 95% interval (Student's t), None for one seed."""

    mean: float
    half: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the mean of the values with its interval; None of none."""
        if not values:
            return None
        n = len(values)
        half = None
        if n > 1:
            half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
        return cls(float(np.mean(values)), half, n)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one scenario.

    Attributes:
        scenario, method: which; ``retrained`` and ``original`` are the two anchors.
        verdicts: how often each was given.
        scores: as :attr:`~expunge.bench.cell.Cell.scores`, over seeds; of the anchor ``retrained`` over its models.
        share: its work with everything that was done to choose, tuning included; ``alone`` is one run of it.
        seconds: of the method alone.
        chosen: how often ``auto`` chose which method.
        quality: F of the competition, where it was asked for.
        without: why there is no model, and for how many seeds.
        passing: of the anchor ``retrained``: how many pass all required checks against the others, over seeds.
        hardest: the check that fewest of these pass, and how many do.
        unasked: required checks that said nothing of them, so that ``passing`` leaves these out.
    """

    scenario: str
    method: str
    verdicts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Spread] = field(default_factory=dict)
    share: Spread | None = None
    alone: Spread | None = None
    seconds: Spread | None = None
    chosen: Mapping[str, int] = field(default_factory=dict)
    quality: Quality | None = None
    without: Mapping[str, int] = field(default_factory=dict)
    passing: Spread | None = None
    hardest: tuple[str, float] | None = None
    unasked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two methods of one scenario whose average gaps differ by more than seeds explain; ``p_value`` is Holm's."""

    scenario: str
    better: str
    worse: str
    difference: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """The whole result: rows by scenario, and what can be said of their differences."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]


def table(site: Site) -> Table:
    """Return the results of a directory, finished or not; an entry with a recipe has no row where none is shipped."""
    done, rated = cells(site), {(q.scenario, q.method): q for q in qualities(site)}
    rows: list[Row] = []
    sentences: list[str] = []
    found: list[Difference] = []
    for scenario in site.bench.scenarios:
        mine = [cell for cell in done if cell.scenario == scenario]
        judged = sorted({cell.seed for cell in mine if cell.state is State.DONE})
        rows += anchors(scenario, [site.yardstick(scenario, seed) for seed in judged])
        for method in site.bench.methods:
            own = [cell for cell in mine if cell.method == method and not cell.because.startswith(NONE)]
            rows += [row_of(scenario, method, own, rated.get((scenario, method)))] if own else []
        apart = differences(mine)
        found += apart
        if judged:
            sentences.append(sentence(scenario, mine, apart))
    return Table(rows=tuple(rows), differences=tuple(found), sentences=tuple(sentences))


def anchors(scenario: str, yardsticks: Sequence[Yardstick]) -> list[Row]:
    """Return the rows of the references and of the original; none without a yardstick.

    The references are the same for every seed: of each, the mean over the seeds is taken first.
    """
    if not yardsticks:
        return []
    models = list(zip(*(one.references for one in yardsticks), strict=True))
    by_model = [{name: float(np.mean([seen[name] for seen in model])) for name in model[0]} for model in models]
    counted: dict[str, list[int]] = {}  # a check that was not measured for a seed says nothing of it
    for name, passing in (each for one in yardsticks for each in one.passes.items()):
        counted.setdefault(name, []).append(passing)
    checks = {name: float(np.mean(counts)) for name, counts in counted.items()}
    return [
        Row(
            scenario=scenario,
            method=RETRAINED,
            scores=_spreads(by_model),
            passing=Spread.of([one.passing for one in yardsticks if one.passing is not None]),
            hardest=min(checks.items(), key=lambda each: each[1]) if checks else None,
            unasked=tuple(dict.fromkeys(name for one in yardsticks for name in one.unasked)),
        ),
        Row(
            scenario=scenario,
            method=ORIGINAL,
            scores=_spreads([one.original for one in yardsticks]),
            verdicts=dict(Counter(one.verdict for one in yardsticks if one.verdict)),
        ),
    ]


def row_of(scenario: str, method: str, own: Sequence[Cell], quality: Quality | None = None) -> Row:
    """Return the row of a method from its cells."""
    done = [cell for cell in own if cell.state is State.DONE]
    return Row(
        scenario=scenario,
        method=method,
        verdicts=dict(Counter(cell.verdict for cell in done)),
        scores=_spreads([cell.scores for cell in done]),
        share=Spread.of([cell.share for cell in done if cell.share is not None]),
        alone=Spread.of([cell.alone for cell in done if cell.alone is not None]),
        seconds=Spread.of([cell.seconds for cell in done if cell.seconds is not None]),
        chosen=dict(Counter(cell.chosen for cell in done if cell.chosen)),
        quality=quality,
        without=dict(Counter(f"{cell.state.value}: {cell.because}" for cell in own if cell.state is not State.DONE)),
    )


def differences(mine: Sequence[Cell], *, score: str = "avg_gap", alpha: float = 0.05) -> list[Difference]:
    """Return the pairs of methods of one scenario whose ``score`` (lower is better) differs by more than seed noise.

    Paired t tests over the seeds that both methods have, corrected by Holm's method over all pairs of the scenario
    (Holm 1979), tested or not: the chance to name any pair that does not differ is at most ``alpha``. No pair is named
    by fewer than three seeds, nor one whose difference is the same with all of them: scores move in steps of one
    record, and where no seed moves a difference nothing is known of its noise.
    """
    by_method: dict[str, dict[int, float]] = {}
    for cell in mine:
        if score in cell.scores:
            by_method.setdefault(cell.method, {})[cell.seed] = cell.scores[score]
    names = sorted(by_method)
    tests: list[tuple[float, str, str, float]] = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            seeds = sorted(by_method[one].keys() & by_method[other].keys())
            gap = np.array([by_method[one][s] - by_method[other][s] for s in seeds])
            tests.append((_paired(gap), one, other, float(gap.mean()) if seeds else 0.0))
    found, largest = [], 0.0
    for rank, (p, one, other, gap) in enumerate(sorted(tests)):
        largest = max(largest, min(1.0, p * (len(tests) - rank)))
        if largest > alpha:
            break
        better, worse = (one, other) if gap < 0 else (other, one)
        found.append(
            Difference(scenario=mine[0].scenario, better=better, worse=worse, difference=abs(gap), p_value=largest)
        )
    return found


def sentence(scenario: str, mine: Sequence[Cell], apart: Sequence[Difference]) -> str:
    """Return in words which methods of a scenario differ by more than seeds explain."""
    seeds = len({cell.seed for cell in mine if cell.state is State.DONE})
    methods = {cell.method for cell in mine if "avg_gap" in cell.scores}
    pairs = len(methods) * (len(methods) - 1) // 2
    how = f"paired t tests over {seeds} seeds, Holm's correction for {pairs} pairs, 5%"
    if seeds < FEWEST or not pairs:
        there = " and ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in ((seeds, "seed"), (len(methods), "method")))
        return f"{scenario}: with {there} nothing can be said of differences."
    if not apart:
        return f"{scenario}: no difference in the average gap is larger than seed noise ({how})."
    worse: dict[str, list[str]] = {}
    for each in apart:
        worse.setdefault(each.better, []).append(each.worse)
    said = "; ".join(f"{name} is nearer to retrained models than {', '.join(sorted(worse[name]))}" for name in worse)
    rest = pairs - len(apart)
    return (
        f"{scenario}: {said}; the other {rest} of {pairs} differences in the average gap are within seed noise ({how})."
    )


@dataclass(frozen=True)
class Column:
    """One column: its head, and what it shows of a row; ``plain`` of that is a number or nothing."""

    head: str
    read: Callable[[Row], Spread | None]
    decimals: int = 1


def _score(name: str, scale: float = 1.0, offset: float = 0.0) -> Callable[[Row], Spread | None]:
    def read(row: Row) -> Spread | None:
        found = row.scores.get(name)
        if found is None:
            return None
        half = None if found.half is None else abs(scale) * found.half
        return Spread(offset + scale * found.mean, half, found.n)

    return read


def _percent(read: Callable[[Row], Spread | None]) -> Callable[[Row], Spread | None]:
    def scaled(row: Row) -> Spread | None:
        found = read(row)
        return (
            None
            if found is None
            else Spread(100 * found.mean, None if found.half is None else 100 * found.half, found.n)
        )

    return scaled


COLUMNS: Mapping[str, Column] = {
    "ua": Column("UA", _score("forget", -100, 100)),
    "ra": Column("RA", _score("retain", 100)),
    "ta": Column("TA", _score("test", 100)),
    "mia": Column("MIA", _score("mia", 100)),
    "avg_gap": Column("AvgGap", _score("avg_gap"), 2),
    "tow": Column("ToW", _score("tow"), 3),
    "tow_mia": Column("ToW-MIA", _score("tow_mia"), 3),
    "attack_success": Column("attack", _score("attack_success", 100)),
    "cost": Column("cost %", _percent(lambda row: row.share)),
}
"""By their name in CSV; UA, RA, TA, MIA, attack and cost in percent, AvgGap in percentage points."""
HEADS = ("scenario", "method", "verdict", *(column.head for column in COLUMNS.values()), "F (null)")


def shown(row: Row) -> tuple[str, ...]:
    """Return a row as people read it; in the place of what is not there a dash."""
    return (
        row.scenario,
        row.method,
        verdict(row),
        *(_written(column.read(row), column.decimals) for column in COLUMNS.values()),
        _rating(row.quality),
    )


def verdict(row: Row) -> str:
    """Return how the audits of a row ended, in words; of an anchor, that it is one."""
    if row.method == RETRAINED:
        return "yardstick"
    said = [f"{word} {count}" if sum(row.verdicts.values()) > 1 else word for word, count in row.verdicts.items()]
    lost = Counter[str]()
    for reason, count in row.without.items():
        lost[reason.partition(":")[0]] += count
    return ", ".join([*(["before"] if row.method == ORIGINAL else []), *said, *(f"{s} {n}" for s, n in lost.items())])


def reasons(found: Table) -> list[str]:
    """Return how many retrained models pass, what ``auto`` chose at what cost, and why runs gave no model."""
    told = []
    for row in found.rows:
        if row.passing is not None:
            count = row.scores["forget"].n
            least = f"; fewest pass {row.hardest[0]}, {row.hardest[1]:.1f} of them" if row.hardest else ""
            told.append(
                f"{row.scenario}: of {count} retrained models, each judged against the others, {row.passing.mean:.1f} "
                f"pass all required checks{but(row.unasked)} (mean of {row.passing.n} seeds){least}"
            )
        if row.chosen:
            names = ", ".join(f"{name} ({count} of the seeds)" for name, count in row.chosen.items())
            cost = f"; a run of it costs {100 * row.alone.mean:.1f}%, the rest is tuning" if row.alone else ""
            told.append(f"{row.scenario}, {row.method}: chose {names}{cost}")
        told += [f"{row.scenario}, {row.method}: {reason}" for reason in _alike(row.without)]
        if row.quality is not None and row.quality.failed:
            told.append(f"{row.scenario}, {row.method}: {_lost(row.quality)}")
    return told


def _alike(reasons: Mapping[str, int]) -> list[str]:
    """Return reasons with their number of seeds, once where they differ only in what was seen, as their end says."""
    seen: dict[str, list[str]] = {}
    counts = Counter[str]()
    for reason, count in reasons.items():
        what, _, when = reason.removesuffix(")").rpartition(" (") if reason.endswith(")") else (reason, "", "")
        seen.setdefault(what, []).extend([when] if when else [])
        counts[what] += count
    return [f"{what} ({'; '.join([f'{counts[what]} of the seeds', *whens])})" for what, whens in seen.items()]


def _rating(found: Quality | None) -> str:
    """Return F with its null, and how many of the runs for it failed."""
    if found is None:
        return "-"
    rated = "-" if found.quality is None else f"{found.quality:.2f} ({found.null:.2f})"
    lost = sum(found.failed.values())
    return f"{rated}, {lost} of {found.models + lost} failed" if lost else rated


def _lost(found: Quality) -> str:
    """Return in words why runs for F failed, and what it is of."""
    lost = sum(found.failed.values())
    why = "; ".join(f"{reason} ({count})" for reason, count in found.failed.items())
    few = f"and it takes {MIN_MODELS} models, so that there is none"
    then = few if found.quality is None else f"it is of the other {found.models}"
    return f"of {found.models + lost} runs for F {lost} failed, {then}: {why}"


def but(unasked: Sequence[str]) -> str:
    """Return in words which required checks were not asked of retrained models; nothing where all were."""
    return f" but {', '.join(unasked)}, not asked of them" if unasked else ""


def as_text(found: Table) -> str:
    """Return aligned columns."""
    lines = [HEADS, *map(shown, found.rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADS))]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*body, "", *found.sentences, *reasons(found)]) + "\n"


def as_markdown(found: Table) -> str:
    """Return a table of Markdown, the sentences below it."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + " --- |" * len(HEADS)]
    lines += [f"| {' | '.join(shown(row))} |" for row in found.rows]
    return "\n".join([*lines, "", *(f"- {said}" for said in (*found.sentences, *reasons(found)))]) + "\n"


_LATEX = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#"})


def as_latex(found: Table) -> str:
    """Return a tabular of LaTeX with rules between scenarios; the sentences are comments."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_LATEX).replace("±", r"$\pm$") for cell in cells) + r" \\"

    body: list[str] = []
    last = None
    for row in found.rows:
        body += [r"\hline"] if row.scenario != last else []
        body.append(line(shown(row)))
        last = row.scenario
    head = [rf"\begin{{tabular}}{{lll{'r' * (len(HEADS) - 3)}}}", line(HEADS)]
    said = [f"% {each}" for each in (*found.sentences, *reasons(found))]
    return "\n".join([*head, *body, r"\end{tabular}", *said]) + "\n"


def as_csv(found: Table) -> str:
    """Return one line per row with mean, half-width and number of seeds of each column, empty where not measured.

    F stands with its null, the number of models it is of, and that of runs that gave none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{name}{part}" for name in COLUMNS for part in ("", "_half", "_n")]
    writer.writerow(["scenario", "method", "verdict", *parts, "f", "f_null", "f_n", "f_failed"])
    for row in found.rows:
        spreads = [column.read(row) for column in COLUMNS.values()]
        values = [
            v for s in spreads for v in (("", "", 0) if s is None else (s.mean, "" if s.half is None else s.half, s.n))
        ]
        f = row.quality
        rated = ("", "", 0, 0) if f is None else (f.quality, f.null, f.models, sum(f.failed.values()))
        writer.writerow([row.scenario, row.method, verdict(row), *values, *rated])
    return text.getvalue()


def as_json(found: Table) -> str:
    """Return one object: rows with every number in full, differences, sentences."""
    return json.dumps(plain(found), allow_nan=False, indent=1) + "\n"


FORMS: Mapping[str, Callable[[Table], str]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "markdown": as_markdown,
    "text": as_text,
}


def _paired(gap: np.ndarray) -> float:
    """Return the two-sided p-value of a paired t test of differences [n]; 1 of too few, and where all are equal."""
    if len(gap) < FEWEST:
        return 1.0
    deviation = float(gap.std(ddof=1))
    if deviation < 1e-12 * max(1.0, abs(float(gap.mean()))):
        return 1.0
    return float(2 * stats.t.sf(abs(gap.mean()) / (deviation / math.sqrt(len(gap))), len(gap) - 1))


def _spreads(scores: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for one in scores for name in one)
    found = {name: Spread.of([one[name] for one in scores if name in one]) for name in names}
    return {name: spread for name, spread in found.items() if spread is not None}


def _written(spread: Spread | None, decimals: int) -> str:
    if spread is None:
        return "-"
    half = "" if spread.half is None else f" ±{spread.half:.{decimals}f}"
    return f"{spread.mean:.{decimals}f}{half}"
