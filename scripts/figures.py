"""Write the committed results of benchmarks into the documentation: tables of figures between two marks, and pictures.

    make figures            after new results in benchmarks/results/

A page says which table goes where, and nothing between the marks is written by hand:

    <!-- figures: rows tuning -->
    <!-- end of figures -->

Kinds, each followed by the name of a result file:

    rows        every figure: value with its interval, target, unit
    table       every row of a grid of `expunge bench`, and what is said below it
    scenarios   a grid in short: one row per scenario
    auto        CIFAR-10 in short: `auto` on each scenario
    tofu        every row on TOFU; `tofu-short`: the yardsticks, `auto`, and what comes nearest
    agreement   studies of tuning in short (several names): one row per case
    find        what the search finds, and others; `nothing`: requests for which there is nothing to find
    cheats      one bed (its key in the file): verdicts on each kind of model
    verdicts    how often models of each kind are called what, over several worlds (several names)
    adapters    one row per way to divide the records: what an ensemble says right, and what deleting costs;
                `votes`: of classifiers
    filters     which prompts filters stop: one row per kind of question, one column per what is forgotten; `answers`
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import cost_curves
import gaps
from _results import ROOT, by_scenario, gap, grid, nearest, results

from expunge.bench.table import ORIGINAL, RETRAINED, Row, as_markdown, verdict
from expunge.plan.auto import AUTO

NEAR = 1
"""Checks that an entry on TOFU may fail, in the mean of its seeds, to stand among those that come nearest."""
OFTEN, FEW = 20, 6
"""A check is named that was not passed in one of so many audits or more, and as many as that at the most."""
NAMED = {"true retrain": "retrained adapters", "noop": "the original"}
WAYS = ("expunge.find", "logistic", "spectral signatures", "activation clustering", "cleanlab")
_BLOCK = re.compile(
    r"(<!-- figures: ([a-z-]+) ([\w ]+) -->\n)((?:(?!<!-- figures:).)*?)(<!-- end of figures -->)", re.DOTALL
)
_MARK = re.compile(r"<!-- (?:figures:|end of figures)")


def pages() -> Iterator[Path]:
    """Yield every page of the documentation."""
    yield from sorted((ROOT / "docs").rglob("*.md"))


def refreshed(text: str) -> str:
    """Return a page's text with every table written anew.

    Raises:
        ValueError: a mark that is not one of a pair.
    """
    if len(_MARK.findall(text)) != 2 * len(_BLOCK.findall(text)):
        raise ValueError("every table needs two marks: <!-- figures: KIND NAME --> and <!-- end of figures -->")
    return _BLOCK.sub(lambda found: f"{found[1]}\n{KINDS[found[2]](*found[3].split())}\n{found[5]}", text)


def shown(text: str) -> Iterator[str]:
    """Yield the names of the result files that a page shows."""
    for found in _BLOCK.finditer(text):
        yield from found[3].split() if found[2] != "cheats" else ["cheats"]


def apart(text: str) -> str:
    """Return a page's text without the tables that are written here."""
    return _BLOCK.sub("", text)


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *lines))


def rows(name: str) -> str:
    """Return one row per figure."""
    lines = []
    for row in results(name)["results"]:
        sign = "≥" if row["better"] == "higher" else "≤"
        target = "" if row["target"] is None else f"{sign} {row['target']:g}"
        value, between = f"{row['value']:.4g}", row.get("interval")
        value += f" ({between[0]:.4g} to {between[1]:.4g})" if between else ""
        lines.append((row["name"].strip(), value, target, row["unit"]))
    return markdown(("what", "value", "target", "unit"), lines)


def table(name: str) -> str:
    """Return a whole grid, and what is said below it."""
    return as_markdown(grid(name))


def scenarios(name: str) -> str:
    """Return one row per scenario: how far models are from retrained ones, and what the audit says of them."""
    heads = (
        "scenario", "retrained models that pass", "a retrained model", "the original",
        "`auto`", "verdicts on `auto`", "nearest of 20% at most", "its gap", "verdicts on it", "its cost %",
    )  # fmt: skip
    return markdown(heads, [_scenario(scenario, own) for scenario, own in by_scenario(grid(name)).items()])


def _scenario(scenario: str, own: Mapping[str, Row]) -> tuple[str, ...]:
    retrained, auto = own[RETRAINED], own.get(AUTO)
    passing = f"{retrained.passing.mean:.1f} of {retrained.scores['forget'].n}" if retrained.passing else ""
    cells = [f"`{scenario}`", passing, *(f"{gap(own[anchor]):.1f}" for anchor in (RETRAINED, ORIGINAL))]
    cells += ["" if gap(auto) is None else f"{gap(auto):.1f}", "" if auto is None else verdict(auto)]
    entry = nearest(own)
    if entry is None or entry.share is None:
        return (*cells, "none", "", "", "")
    return (*cells, f"`{entry.method}`", f"{gap(entry):.1f}", verdict(entry), f"{100 * entry.share.mean:.0f}")


def auto(name: str) -> str:
    """Return one row per scenario of CIFAR-10: what `auto` reaches, beside what it may be held against."""
    found = {row["name"]: row for row in results(name)["results"]}
    lines = []
    for scenario in dict.fromkeys(key.split(": ")[0] for key in found):
        own = {key.split(": ")[1]: row for key, row in found.items() if key.startswith(f"{scenario}: ")}
        chosen = next(key for key in own if key.startswith("auto ("))
        cells = [own.get(key) for key in (
            "average gap of a retrained model from the others", "of the original", chosen,
            "auto against the same method tuned on retrained models", "auto, UA",
            "auto, distance of TA from retraining", "auto, success of the backdoor", "auto, accuracy lost",
        )]  # fmt: skip
        took = chosen.removeprefix("auto (").removesuffix(")")
        lines.append((f"`{scenario}`", took, *("" if row is None else _value(row) for row in cells)))
    heads = (
        "scenario", "`auto` took", "a retrained model", "the original", "`auto`",
        "times the same tuned on references (≤ 1.3)", "UA (≥ 99.5)", "TA away (≤ 1)", "backdoor left % (≤ 10)",
        "accuracy lost (≤ 1)",
    )  # fmt: skip
    return markdown(heads, lines)


def _value(row: Mapping[str, Any]) -> str:
    between = row.get("interval")
    return f"{row['value']:.1f}" + (f" ({between[0]:.1f} to {between[1]:.1f})" if between else "")


def tofu(name: str, *, near: bool = False) -> str:
    """Return one row per method on TOFU: verdicts, and the mean over seeds of what was measured."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found in results(name)["table"]:
        groups.setdefault((found["forget"], found["method"]), []).append(found)
    heads = (
        "what is forgotten", "method", "seeds", "verdict", "fails", "open", "ES", "EM", "KS", "p", "TR",
        "P kept", "ROUGE-L kept", "TR kept", "EM kept", "utility", "AUC", "taught again", "cost",
    )  # fmt: skip
    for forget, own in groups.items():
        if forget[1] == "references":  # each check says what they were measured at; it is the same in all entries
            theirs = groups[forget[0], "noop"]
            own[:] = [{**row, "taught": _taught(other, "references")} for row, other in zip(own, theirs, strict=True)]
    lines = [_entry(*key, own) for key, own in groups.items() if not near or _near(key[1], own)]
    if near:
        keep = [heads.index(head) for head in ("what is forgotten", "method", "seeds", "verdict", "fails", "open",
                                               "EM", "taught again", "EM kept", "AUC", "cost")]  # fmt: skip
        heads, lines = tuple(heads[k] for k in keep), [tuple(line[k] for k in keep) for line in lines]
    return markdown(heads, lines)


def _near(method: str, own: Sequence[Mapping[str, Any]]) -> bool:
    failed = [len(row["failed"]) if "failed" in row else None for row in own]
    nearly = None not in failed and fmean(each for each in failed if each is not None) <= NEAR
    return method in ("references", "noop", "retrain", AUTO) or nearly


def _taught(row: Mapping[str, Any], what: str = "value") -> float | None:
    """Return which share of the forgotten tokens is said right after learning them again."""
    check = row.get("checks", {}).get("relearning")
    return row.get("taught") if check is None else check[what]


def _entry(forget: str, method: str, own: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    verdicts = Counter(row["verdict"] for row in own)
    said = own[0]["verdict"] if len(verdicts) == 1 else ", ".join(f"{n} {word}" for word, n in verdicts.items())
    cells = [forget, method, str(len(own)), said]
    for kind in ("failed", "open"):
        counted = [len(row[kind]) for row in own if kind in row]
        cells.append(_ends(counted, "d") if counted else "")
    measured = [row["figures"] for row in own if "figures" in row]
    if measured:
        mean = {key: fmean(one[key] for one in measured) for key in measured[0]}
        cells += [f"{mean['extraction strength']:.2f}", _with_ends([one["exact memorisation"] for one in measured])]
        cells += [f"{mean['distance']:.2f} ({mean['distance, low']:.2f}-{mean['distance, high']:.2f})"]
        cells += [_ends([one["p"] for one in measured], ".2g"), f"{mean['forget truth ratio']:.2f}"]
        cells += [f"{mean[f'retain {part}']:.2f}" for part in ("probability", "rouge", "truth ratio", "memorisation")]
        cells += [f"{mean['utility']:.2f}", _with_ends([one["membership"] for one in measured])]
    else:
        cells += [""] * 11
    taught = [value for row in own if (value := _taught(row)) is not None]
    cells.append(_with_ends(taught) if taught else "")
    shares = [row["share"] for row in own if row["share"] is not None]
    return (*cells, f"{100 * fmean(shares):.1f}" if shares else "")


def _ends(values: Sequence[float], form: str) -> str:
    """Return the smallest and the largest of some values, one number where they are written alike."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}-{high}"


def _with_ends(values: Sequence[float]) -> str:
    mean, ends = f"{fmean(values):.2f}", _ends(values, ".2f")
    return mean if ends == mean else f"{mean} ({ends})"


def agreement(*names: str) -> str:
    """Return one row per study and case: whether the objective orders trials as the distance from references does."""
    lines = []
    for name in names:
        values = {row["name"]: row["value"] for row in results(name)["results"]}
        for case in dict.fromkeys(key.split(": ")[0] for key in values):
            own = [values[f"{case}: {what}"] for what in (
                "the objective", "lower 95% bound", "upper 95% bound", "gap of what tuning chose, mean of methods",
                "of the best, were references known", "of all trials, the median", "of the original",
                "of a retrained model",
            )]  # fmt: skip
            order = f"{own[0]:.2f} ({own[1]:.2f} to {own[2]:.2f})"
            lines.append((f"`{name}`", case, order, *(f"{gap:.1f}" for gap in own[3:])))
    heads = ("study", "case", "rank correlation", "what tuning chose", "the best, were references known",
             "the median trial", "the original", "a retrained model")  # fmt: skip
    return markdown(heads, lines)


def find(name: str) -> str:
    """Return one row per kind of data, manipulation and share: found and wrong of each way, in percent."""
    values = {row["name"]: row["value"] for row in results(name)["results"]}
    lines = []
    for what in dict.fromkeys(key.split(": ")[0] for key in values if ": expunge.find, found" in key):
        cells = []
        for way in WAYS:
            pair = [values.get(f"{what}: {way}, {said}") for said in ("found", "wrong")]
            cells.append("" if pair[0] is None else f"{pair[0]:.0f} / {pair[1]:.0f}")
        lines.append((what, cells[0], f"{values[f'{what}: what expunge.find says is wrong']:.0f}", *cells[1:]))
    return markdown(("what", "expunge.find", "told", *WAYS[1:]), lines)


def nothing(name: str) -> str:
    """Return the figures of requests for which there is nothing to find."""
    return _only(name, "drawn at random")


def _only(name: str, part: str) -> str:
    heads, rule, *lines = rows(name).splitlines(keepends=True)
    return "".join([heads, rule, *(line for line in lines if part in line)])


def cheats(bed: str) -> str:
    """Return one row per kind of model: verdicts in percent, and the checks that failed in most runs."""
    lines = []
    for kind, counted in results("cheats")["beds"][bed]["kinds"].items():
        verdicts, runs = counted["verdicts"], sum(counted["verdicts"].values())
        shares = [f"{100 * verdicts.get(word, 0) / runs:.0f}" for word in ("erased", "inconclusive", "not erased")]
        by = [check for check, seen in counted["decisions"].items() if seen.get("fail", 0) > runs / 2]
        if set(verdicts) & {"refused", "accepted"}:
            shares = ["", "", ""]
            by = [f"{word} before training: {100 * count / runs:.0f}" for word, count in verdicts.items()]
        lines.append((kind, *shares, ", ".join(by)))
    return markdown(("kind", "erased", "inconclusive", "not erased", "failed in most runs"), lines)


def verdicts(*names: str) -> str:
    """Return one row per kind of model: verdicts of all audits, which checks most often stopped it, and the work."""
    heads = (
        "model under audit", "models", "audits", "erased", "inconclusive", "not erased", "models erased in most",
        "not passed, of audits", "cost %",
    )  # fmt: skip
    worlds, lines = [results(name) for name in names], []
    for kind in ("true retrain", "noop", *worlds[0]["cost"]):
        said = sum((Counter(world["verdicts"][kind]) for world in worlds), Counter[str]())
        missed = sum((Counter(world["not_passed"].get(kind, {})) for world in worlds), Counter[str]())
        models = [model for world in worlds for model in world["by_model"][kind]]
        audits = said.total()
        often = [f"{check} {100 * n / audits:.0f}%" for check, n in missed.most_common() if n >= audits / OFTEN]
        shown = often if len(often) <= FEW else [f"{len(often)} checks"]
        cells = [said[word] for word in ("erased", "inconclusive", "not erased")]
        cells = [len(models), audits, *cells, sum(2 * model.get("erased", 0) > sum(model.values()) for model in models)]
        shares = [world["cost"][kind] for world in worlds if kind in world["cost"]]
        cost = f"{100 * fmean(shares):.1f}" if shares else "100" if kind == "true retrain" else "0"
        lines.append((NAMED.get(kind, kind), *map(str, cells), ", ".join(shown), cost))
    return markdown(heads, lines)


def adapters(name: str) -> str:
    """Return one row per way in which adapters divide the records; percent, with what the seeds say of it."""
    found = {row["name"]: row for row in results(name)["results"]}
    heads = {
        "records learnt": "right of what was learnt",
        "asked in other words": "right asked in other words",
        "people never met": "right of people it never met",
        "the others, one person switched off": "right of the others once a person is switched off",
        "work of deleting one person": "work of deleting a person",
    }
    plans = dict.fromkeys(key.split(": ")[0] for key in found if not key.startswith("digits"))
    cells = [[found.get(f"{plan}: {what}") for what in heads.values()] for plan in plans]
    lines = [
        (plan, *("" if row is None else _value(row) for row in own)) for plan, own in zip(plans, cells, strict=True)
    ]
    return markdown(("adapters", *heads), lines)


def filters(name: str) -> str:
    """Return one row per kind of question, one column per what is forgotten; percent, over worlds."""
    found = {tuple(row["name"].removeprefix("prompts, ").split(": ")): row for row in results(name)["results"]}
    asked = [key for key in found if not key[0].startswith("answers")]
    cases, kinds = (list(dict.fromkeys(part)) for part in zip(*asked, strict=True))
    kinds.sort(key=lambda kind: kind.endswith("wrongly"))
    cells = {kind: [found.get((case, kind)) for case in cases] for kind in kinds}
    lines = [(kind, *("" if row is None else _brief(row) for row in own)) for kind, own in cells.items()]
    return markdown(("% stopped", *cases), lines)


def _brief(row: Mapping[str, Any]) -> str:
    """Return a figure, with its interval where that says something."""
    low, high = row["interval"]
    return _value(row) if low < high else f"{row['value']:.1f}"


KINDS: dict[str, Callable[..., str]] = {
    "rows": rows,
    "table": table,
    "scenarios": scenarios,
    "auto": auto,
    "tofu": tofu,
    "tofu-short": lambda name: tofu(name, near=True),
    "agreement": agreement,
    "find": find,
    "nothing": nothing,
    "cheats": cheats,
    "verdicts": verdicts,
    "adapters": adapters,
    "filters": filters,
    "answers": lambda name: _only(name, "answers"),
    "votes": lambda name: _only(name, "digits"),
}


def main() -> int:
    """Refresh every page and picture; say which pages changed."""
    cost_curves.main()
    gaps.main()
    for page in pages():
        text = page.read_text()
        new = refreshed(text)
        if new != text:
            page.write_text(new)
            print(page.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
