"""Rows of tables in the documentation, rebuilt from the committed results of benchmarks."""

import json

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
    """Return one row per figure of a benchmark: what, value, target, unit."""
    for row in results(name)["results"]:
        sign = "≥" if row["better"] == "higher" else "≤"
        target = "" if row["target"] is None else f"{sign} {row['target']:g}"
        yield f"| {row['name'].strip()} | {row['value']:.4g} | {target} | {row['unit']} |"


def classifiers(name):
    """Return the lines of a table of methods for classifiers, and what is said below it."""
    from expunge.bench.table import Table, as_markdown
    from expunge.core.serial import build

    found = build(Table, results(name)["table"], where=name)
    return [line for line in as_markdown(found).splitlines() if line]


def tofu():
    """Return one row per model of the benchmark on TOFU: what it is, the verdict, and what was measured of it."""
    for found in results("tofu")["table"]:
        name = found["method"] if found["seed"] == 0 else f"{found['method']}, seed {found['seed']}"
        cost = "" if found["share"] is None else f"{100 * found['share']:.1f}"
        cells = [found["forget"], name, found["verdict"]]
        cells += [str(len(found[kind])) if kind in found else "" for kind in ("failed", "open")]
        if "figures" not in found:
            cells += [""] * 11
        else:
            said = found["figures"]
            cells += [f"{said[key]:.2f}" for key in ("extraction strength", "exact memorisation")]
            cells += [f"{said['distance']:.2f} ({said['distance, low']:.2f}-{said['distance, high']:.2f})"]
            cells += [f"{said['p']:.2g}", f"{said['forget truth ratio']:.2f}"]
            cells += [
                f"{said[f'retain {part}']:.2f}" for part in ("probability", "rouge", "truth ratio", "memorisation")
            ]
            cells += [f"{said['utility']:.2f}", f"{said['membership']:.2f}"]
        yield f"| {' | '.join([*cells, cost])} |"
