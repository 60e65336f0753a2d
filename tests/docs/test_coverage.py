"""Every figure of docs/concepts/coverage.md is that of the committed results: rows are rebuilt and looked for."""

import json
import re

import pytest

from expunge.audit.policy import load
from tests.docs.blocks import ROOT

MEASURED = json.loads((ROOT / "benchmarks" / "results" / "intervals.json").read_text())
PAGE = (ROOT / "docs" / "concepts" / "coverage.md").read_text()
REFERENCES = (3, 5, 8, 12, 20, 32, 50)
LAWS = {
    "normal": "normal",
    "uniform": "uniform",
    "two modes": "two modes",
    "heavy tails": "heavy tails (Student, 3 degrees)",
    "skewed": "skewed (lognormal, 0.5)",
    "very skewed": "very skewed (lognormal, 1)",
}


def rates(**wanted):
    """Return the rates of the cells whose fields are as wanted."""
    found = []
    for key, value in MEASURED["cells"].items():
        table, law, k, n, size, what = key.split(" | ")
        fields = {"table": table, "law": law, "k": int(k[2:]), "n": int(n[2:]), "size": int(size[3:]), "what": what}
        if all(fields[name] == one for name, one in wanted.items()):
            found.append(float(value.split(" ± ")[0]))
    assert found, wanted
    return found


def row(label, figures):
    return f"| {label} | {' | '.join(figures)} |"


def by_law(pick, what, table):
    """Return one row per law: per number of references the least or largest rate over numbers of records."""
    for law, label in LAWS.items():
        cells = (pick(rates(table=table, law=law, k=k, what=what)) for k in REFERENCES)
        yield row(label, [f"{rate:.3f}" for rate in cells])


def held_out():
    for n, size in ((200, 1), (1000, 1), (200, 10), (1000, 10), (4000, 10), (1000, 50), (4000, 50), (200, 200)):
        figures = []
        for law in ("in part", "whole") if size > 1 else ("single records",) * 2:
            given = {"table": "holdout", "law": law, "k": 20, "n": n, "size": size}
            passed = [rates(**given, what=f"on the margin passes, errors over {r}")[0] for r in ("records", "subjects")]
            figures += [f"{rate:.3f}" for rate in passed]
        yield row(f"{n} | {n // size}", figures)


def few():
    for n in (1, 5, 20):
        figures = []
        for k in (5, 20, 50):
            given = {"table": "few", "k": k, "n": n}
            kinds = ("on the margin passes, seeds alone", "on the margin passes", "retrain passes")
            figures += [f"{rates(**given, what=kind)[0]:.3f}" for kind in kinds]
        yield row(str(n), figures)


def differing():
    for k in (5, 8, 20, 50):
        for n in (200, 600, 1000):
            kinds = (f"{what}, seeds counted {rule}" for what in ("covered", "retrain passes", "damage passes")
                     for rule in ("twice", "once"))  # fmt: skip
            figures = [f"{rates(table='differing', k=k, n=n, what=kind)[0]:.3f}" for kind in kinds]
            yield row(f"{k} | {n}", figures)


def one_class():
    for k in (5, 8, 20):
        for n in (20, 40, 100, 400):
            pairs = ((what, rule) for what in ("retrain", "worst", "any") for rule in ("one", "three"))
            kinds = (f"{what} passes, {rule} unseen" for what, rule in pairs)
            figures = [f"{rates(table='class', k=k, n=n, what=kind)[0]:.3f}" for kind in kinds]
            yield row(f"{k} | {n}", figures)


def retained():
    for k in (8, 20):
        for n in (100, 300, 1000):
            for times in (1, 2, 10):
                pairs = ((what, rule) for what in ("retrain", "damage") for rule in ("any number", "all there are"))
                kinds = (f"{what} passes, standing for {rule}" for what, rule in pairs)
                cells = (rates(table="retained", k=k, n=n, size=times, what=kind)[0] for kind in kinds)
                yield row(f"{k} | {n} | {n * times}", [f"{rate:.3f}" for rate in cells])


def chances():
    for width in (3, 4, 5, 7):
        cells = [rates(law="normal", n=200, size=1, k=k, what=f"retrain passes at {width}")[0] for k in REFERENCES]
        yield row(f"{width} seed deviations", [f"{rate:.2f}" for rate in cells])


TABLES = {
    "covered": lambda: by_law(min, "covered", "forgotten"),
    "models": lambda: by_law(max, "model on the margin passes", "forgotten"),
    "methods": lambda: by_law(max, "method on the margin passes", "forgotten"),
    "fifty models": lambda: by_law(max, "models, references shared", "fifty"),
    "fifty methods": lambda: by_law(max, "methods, references shared", "fifty"),
    "holdout": held_out,
    "few": few,
    "differing": differing,
    "one class": one_class,
    "retained": retained,
    "chances": chances,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_results(name):
    missing = [line for line in TABLES[name]() if line not in PAGE]
    assert missing == [], "the page must hold these lines"


def test_figures_in_running_text():
    outside = max(rates(table="fifty", what="methods, the model itself outside", k=5))
    many = max(max(rates(table="fifty", what="methods, the model itself outside", k=k)) for k in REFERENCES[2:])
    fails = max(rates(what="retrain fails at 3"))
    assert f"with 5 references in {outside:.3f} of runs at most, with 8 and more in {many:.3f}" in PAGE
    assert f"in {fails:.3f} of audits at most" in PAGE
    assert f"{MEASURED['runs']:,} audits" in PAGE
    errors = {False: 0.0, True: 0.0}
    for key, value in MEASURED["cells"].items():
        drawn = key.startswith(("differing", "class", "retained"))
        errors[drawn] = max(errors[drawn], float(value.split(" ± ")[1]))
    assert f"at most {errors[False]:.4f}, of those {errors[True]:.3f}" in PAGE
    assert f"{MEASURED['runs'] // 4:,} for those" in PAGE
    assert f"α = {MEASURED['alpha']}" in PAGE
    assert MEASURED["alpha"] == load().alpha


def test_no_target_was_missed():
    wrong = [r["name"] for r in MEASURED["results"] if r["target"] is not None and r["value"] > r["target"]]
    assert wrong == []


def test_every_row_of_figures_is_one_that_is_looked_for():
    known = {line for lines in TABLES.values() for line in lines()}
    shown = [line for line in PAGE.splitlines() if re.match(r"\|.*\d\.\d\d", line)]
    assert [line for line in shown if line not in known] == []
