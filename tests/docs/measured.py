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


def classifiers():
    """Return the lines of the table of methods for classifiers, and what is said below it."""
    from expunge.bench.table import Table, as_markdown
    from expunge.core.serial import build

    found = build(Table, results("classifiers")["table"], where="classifiers")
    return [line for line in as_markdown(found).splitlines() if line]
