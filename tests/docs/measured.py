"""Rows of tables in the documentation, rebuilt from the committed results of benchmarks."""

import json
from collections import Counter
from statistics import fmean

from tests.docs.blocks import ROOT

BEDS = {
    "digits": "Digits, convolutions",
    "location": "Location-30, two layers",
    "language": "Next word, a language model",
}


def results(name):
    """Return the committed results of a benchmark."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def cheats():
    """Return per bed one row per kind: verdicts in percent, and the checks that failed in most runs."""
    for bed, found in results("cheats")["beds"].items():
        yield f"## {BEDS[bed]}"
        for kind, counted in found["kinds"].items():
            verdicts, runs = counted["verdicts"], sum(counted["verdicts"].values())
            shares = [f"{100 * verdicts.get(name, 0) / runs:.0f}" for name in ("erased", "inconclusive", "not erased")]
            by = [check for check, seen in counted["decisions"].items() if seen.get("fail", 0) > runs / 2]
            if set(verdicts) & {"refused", "accepted"}:
                shares = ["", "", ""]
                by = [f"{name} before training: {100 * count / runs:.0f}" for name, count in verdicts.items()]
            yield f"| {kind} | {' | '.join(shares)} | {', '.join(by)} |"


def figures(name):
    """Return one row per figure of a benchmark: what, value with its interval, target, unit."""
    for row in results(name)["results"]:
        sign = "≥" if row["better"] == "higher" else "≤"
        target = "" if row["target"] is None else f"{sign} {row['target']:g}"
        value, between = f"{row['value']:.4g}", row.get("interval")
        value += f" ({between[0]:.4g} to {between[1]:.4g})" if between else ""
        yield f"| {row['name'].strip()} | {value} | {target} | {row['unit']} |"


def classifiers(name):
    """Return the lines of a table of methods for classifiers, and what is said below it."""
    from expunge.bench.table import Table, as_markdown
    from expunge.core.serial import build

    found = build(Table, results(name)["table"], where=name)
    return [line for line in as_markdown(found).splitlines() if line]


WAYS = ("expunge.find", "logistic", "spectral signatures", "activation clustering", "cleanlab")


def find():
    """Return one row per kind of data, manipulation and share: found and wrong of each way, in percent."""
    values = {row["name"]: row["value"] for row in results("find")["results"]}
    for name in dict.fromkeys(name.split(": ")[0] for name in values if ": expunge.find, found" in name):
        cells = []
        for way in WAYS:
            pair = [values.get(f"{name}: {way}, {what}") for what in ("found", "wrong")]
            cells.append("" if pair[0] is None else f"{pair[0]:.0f} / {pair[1]:.0f}")
        bound = values[f"{name}: what expunge.find says is wrong"]
        yield f"| {name} | {cells[0]} | {bound:.0f} | {' | '.join(cells[1:])} |"


def nothing_to_find():
    """Return the rows of requests for which there is nothing to find."""
    return [row for row in figures("find") if "drawn at random" in row]


def tofu(name="tofu"):
    """Return one row per method of the benchmark on TOFU: verdicts, and the mean over seeds of what was measured."""
    groups = {}
    for found in results(name)["table"]:
        groups.setdefault((found["forget"], found["method"]), []).append(found)
    for (forget, method), rows in groups.items():
        verdicts = Counter(row["verdict"] for row in rows)
        verdict = rows[0]["verdict"] if len(verdicts) == 1 else ", ".join(f"{n} {name}" for name, n in verdicts.items())
        cells = [forget, method, str(len(rows)), verdict]
        for kind in ("failed", "open"):
            counted = [len(row[kind]) for row in rows if kind in row]
            cells.append(_ends(counted, "d") if counted else "")
        shares = [row["share"] for row in rows if row["share"] is not None]
        cost = f"{100 * fmean(shares):.1f}" if shares else ""
        said = [row["figures"] for row in rows if "figures" in row]
        if not said:
            cells += [""] * 11
        else:
            mean = {key: fmean(one[key] for one in said) for key in said[0]}
            cells += [f"{mean['extraction strength']:.2f}", _with_ends([one["exact memorisation"] for one in said])]
            cells += [f"{mean['distance']:.2f} ({mean['distance, low']:.2f}-{mean['distance, high']:.2f})"]
            cells += [_ends([one["p"] for one in said], ".2g"), f"{mean['forget truth ratio']:.2f}"]
            cells += [
                f"{mean[f'retain {part}']:.2f}" for part in ("probability", "rouge", "truth ratio", "memorisation")
            ]
            cells += [f"{mean['utility']:.2f}", _with_ends([one["membership"] for one in said])]
        yield f"| {' | '.join([*cells, cost])} |"


def _ends(values, form):
    """Return the smallest and the largest of some values, one number where they are written alike."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}-{high}"


def _with_ends(values):
    mean, ends = f"{fmean(values):.2f}", _ends(values, ".2f")
    return mean if ends == mean else f"{mean} ({ends})"
