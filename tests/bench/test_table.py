"""The table: intervals and tests against SciPy and statistics by hand, and every form read back."""

import csv
import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from expunge.bench import table
from expunge.bench.cell import Cell, Quality, State, Yardstick
from expunge.bench.entries import Entry
from expunge.bench.table import Difference, Row, Spread, Table
from expunge.core.errors import InvalidProblem
from expunge.core.serial import build

SCORES = {"forget": 0.9, "retain": 1.0, "test": 0.95, "mia": 0.1, "tow": 0.9, "tow_mia": 0.8}


def cell(method, seed, gap, **changes):
    made = {
        "scenario": "random_10",
        "method": method,
        "seed": seed,
        "state": State.DONE,
        "verdict": "erased",
        "scores": {**SCORES, "avg_gap": gap},
        "share": 0.1 + 0.01 * seed,
    }
    return Cell(**{**made, **changes})


def cells(**gaps):
    return [cell(method, seed, gap) for method, values in gaps.items() for seed, gap in enumerate(values)]


def test_spread_is_students_interval():
    values = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = Spread.of(values)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert Spread.of([3.0]) == Spread(3.0, None, 1)
    assert Spread.of([]) is None


def holm(p_values):
    """Return adjusted p-values as in Holm 1979: the textbook loop."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(order)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p_values[place] * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def test_differences_are_paired_tests_with_holms_correction():
    gaps = {"a": [1.0, 1.1, 1.2, 1.15], "b": [3.0, 3.2, 3.1, 3.2], "c": [1.2, 0.9, 1.4, 1.1], "d": [3.3, 2.9, 3.0, 3.6]}
    pairs = list(itertools.combinations(gaps, 2))
    p = holm([stats.ttest_rel(gaps[one], gaps[other]).pvalue for one, other in pairs])
    expected = {pair: value for pair, value in zip(pairs, p, strict=True) if value <= 0.05}
    found = table.differences(cells(**gaps))
    assert {tuple(sorted((d.better, d.worse))): d.p_value for d in found} == pytest.approx(expected)
    assert 0 < len(expected) < len(pairs), "the example shows nothing"
    assert ("a", "b") in {(d.better, d.worse) for d in found}


def test_one_pair_that_is_significant_alone_is_not_among_many():
    gaps = {"a": [1.0, 1.0, 1.3], "b": [1.6, 1.9, 2.1]}
    alone = table.differences(cells(**gaps))
    assert len(alone) == 1
    noise = {f"n{k}": list(np.random.default_rng(k).normal(1.5, 1.0, 3)) for k in range(8)}
    assert table.differences(cells(**gaps, **noise)) == []


@pytest.mark.parametrize(
    "gaps",
    [
        {"a": [1.0], "b": [9.0]},
        {"a": [1.0, 1.1], "b": [9.0, 9.10001]},
        {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.4, 0.5]},
        {"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]},
    ],
    ids=["one seed", "two seeds", "one record's worth with each", "the same"],
)
def test_what_no_seed_moves_and_what_few_seeds_show_is_no_difference(gaps):
    assert table.differences(cells(**gaps)) == []


def test_holms_correction_is_for_all_pairs_that_the_sentence_counts():
    gaps = {"a": [1.0, 1.1, 1.2], "b": [30.0, 30.2, 30.1]}
    (alone,) = table.differences(cells(**gaps))
    mine = cells(**gaps, c=[2.0, 3.0])
    (found,) = table.differences(mine)
    assert found.p_value == pytest.approx(3 * alone.p_value), "two pairs with two seeds are pairs as well"
    assert "Holm's correction for 3 pairs" in table.sentence("x", mine, [found])


def test_the_sentence_says_what_is_noise():
    mine = cells(a=[1.0, 1.1, 1.2], b=[30.0, 30.2, 30.1], c=[1.2, 0.9, 1.3])
    said = table.sentence("random_10", mine, table.differences(mine))
    assert "a is nearer to retrained models than b" in said
    assert "the other 1 of 3 differences" in said
    assert "3 seeds" in said
    level = cells(a=[1.0, 2.0, 3.0], b=[2.0, 1.0, 3.0])
    assert "no difference" in table.sentence("x", level, table.differences(level))
    for few, said in ({"a": [1.0], "b": [2.0]}, "1 seed and 2 methods"), ({"a": [1, 2, 3]}, "3 seeds and 1 method"):
        assert table.sentence("x", cells(**few), []) == f"x: with {said} nothing can be said of differences."
    two = cells(a=[1.0, 1.1], b=[2.0, 2.1])
    assert "with 2 seeds and 2 methods nothing can be said" in table.sentence("x", two, table.differences(two))


def test_anchors_are_the_references_and_the_original():
    seen = [{**SCORES, "avg_gap": gap} for gap in (0.5, 0.7, 0.9)]
    again = [{**one, "avg_gap": one["avg_gap"] + 0.2} for one in seen]
    stick = [Yardstick(original={**SCORES, "avg_gap": 7.0}, references=tuple(part)) for part in (seen, again)]
    retrained, original = table.anchors("class", stick)
    assert retrained.scores["avg_gap"].mean == pytest.approx(0.8)
    assert retrained.scores["avg_gap"].n == 3, "a model that judged twice is one model"
    assert original.scores["avg_gap"].mean == 7.0
    assert table.anchors("class", []) == []


def test_anchors_say_how_many_retrained_models_pass_and_how_the_original_was_judged():
    seen = ({**SCORES, "avg_gap": 0.5},) * 4
    stick = [
        Yardstick(original=SCORES, references=seen, verdict=verdict, passes={"a": 4, "b": few}, passing=few)
        for verdict, few in (("not erased", 3), ("inconclusive", 2))
    ]
    rows = table.anchors("class", stick)
    (said,) = table.reasons(Table(rows=tuple(rows), differences=(), sentences=()))
    assert "of 4 retrained models, each judged against the others, 2.5 pass all required checks" in said
    assert said.endswith("fewest pass b, 2.5 of them")
    silent = [replace(one, unasked=("c", "d")) for one in stick]
    (said,) = table.reasons(Table(rows=tuple(table.anchors("class", silent)), differences=(), sentences=()))
    assert "2.5 pass all required checks but c, d, not asked of them (mean of 2 seeds)" in said
    assert table.verdict(rows[1]) == "before, not erased 1, inconclusive 1"
    unknown = Yardstick(original=SCORES, references=seen)
    assert table.anchors("class", [unknown, *stick])[0].hardest == ("b", 2.5), "who was not counted is not none of them"


def example():
    mine = [*cells(a=[1.0, 1.5]), cell("b", 0, 2.0, verdict="not erased"), cell("b", 1, 2.0)]
    lost = [Cell(scenario="random_10", method="c_d", seed=s, state=State.FAILED, because="diverged") for s in (0, 1)]
    rated = Quality(scenario="random_10", method="a", models=16, quality=0.12, null=0.19, deviation=0.01, p_value=0.05)
    rows = (
        table.row_of("random_10", "a", mine[:2], rated),
        table.row_of("random_10", "b", mine[2:]),
        table.row_of("random_10", "c_d", lost),
    )
    found = (Difference(scenario="random_10", better="a", worse="b", difference=1.0, p_value=0.01),)
    return Table(rows=rows, differences=found, sentences=("random_10: said.",))


def test_rows_say_how_audits_ended_and_why_there_is_none():
    first, second, third = example().rows
    assert table.verdict(first) == "erased 2"
    assert table.verdict(second) == "not erased 1, erased 1"
    assert table.verdict(third) == "failed 2"
    assert table.reasons(example()) == ["random_10, c_d: failed: diverged (2 of the seeds)"]
    assert table.verdict(Row(scenario="x", method="original")) == "before"


def test_runs_that_failed_alike_are_told_once_with_what_was_seen_of_each():
    whys = ("diverged (epoch 2, 8% right)", "out of (bounds)", "diverged (epoch 4, 9% right)", "diverged")
    lost = [Cell(scenario="x", method="c", seed=s, state=State.FAILED, because=why) for s, why in enumerate(whys)]
    said = table.reasons(Table(rows=(table.row_of("x", "c", lost),), differences=(), sentences=()))
    assert said == [
        "x, c: failed: diverged (3 of the seeds; epoch 2, 8% right; epoch 4, 9% right)",
        "x, c: failed: out of (1 of the seeds; bounds)",
    ]


def test_an_entry_without_a_recipe_for_the_case_has_no_row(grid, monkeypatch):
    with pytest.raises(InvalidProblem) as raised:
        Entry.of("ssd@recipe").configs(grid.problem("class", 0), {})
    for because, rows in ((raised.value.obstacles[0].what, []), ("diverged", ["noop"])):
        lost = [Cell(scenario="class", method="noop", seed=0, state=State.IMPOSSIBLE, because=because)]
        monkeypatch.setattr(table, "cells", lambda site, lost=lost: lost)
        assert [row.method for row in table.table(grid).rows] == rows


def test_what_auto_chose_is_told_with_the_cost_of_one_run():
    tuned = [cell("auto", s, 1.0, chosen=name, share=0.9, tuning=0.8) for s, name in enumerate(("ct", "scrub", "ct"))]
    row = table.row_of("random_10", "auto", tuned)
    assert row.share.mean == pytest.approx(0.9)
    assert row.alone.mean == pytest.approx(0.1)
    (said,) = table.reasons(Table(rows=(row,), differences=(), sentences=()))
    assert "chose ct (2 of the seeds), scrub (1 of the seeds)" in said
    assert "a run of it costs 10.0%" in said


def test_figures_are_percent_and_points():
    shown = dict(zip(table.HEADS, table.shown(example().rows[0]), strict=True))
    assert shown["UA"] == "10.0 ±0.0"
    assert shown["TA"] == "95.0 ±0.0"
    assert shown["AvgGap"].startswith("1.25 ±")
    assert shown["cost %"].startswith("10.5 ±")
    assert shown["F (null)"] == "0.12 (0.19)"
    assert shown["attack"] == "-"


def test_runs_that_failed_stand_beside_the_quality_of_the_others():
    left = Quality(
        scenario="random_10",
        method="a",
        models=16,
        quality=0.12,
        null=0.19,
        deviation=0.01,
        p_value=0.05,
        failed={"diverged": 2, "collapsed": 1},
    )
    few = Quality(scenario="random_10", method="b", models=15, failed={"diverged": 1})
    rows = tuple(table.row_of("random_10", each.method, cells(**{each.method: [1.0]}), each) for each in (left, few))
    found = Table(rows=rows, differences=(), sentences=())
    assert [table.shown(row)[-1] for row in rows] == ["0.12 (0.19), 3 of 19 failed", "-, 1 of 16 failed"]
    assert table.reasons(found) == [
        "random_10, a: of 19 runs for F 3 failed, it is of the other 16: diverged (2); collapsed (1)",
        "random_10, b: of 16 runs for F 1 failed, and it takes 16 models, so that there is none: diverged (1)",
    ]
    first, second = csv.DictReader(io.StringIO(table.as_csv(found)))
    assert [first[name] for name in ("f", "f_null", "f_n", "f_failed")] == ["0.12", "0.19", "16", "3"]
    assert [second[name] for name in ("f", "f_null", "f_n", "f_failed")] == ["", "", "15", "1"]
    assert build(Table, json.loads(table.as_json(found))) == found


def test_every_form_holds_every_row():
    found = example()
    for name, write in table.FORMS.items():
        text = write(found)
        assert "said." in text or name == "csv", name
        assert text.replace("\\_", "_").count("random_10") >= 3, name
    rows = list(csv.DictReader(io.StringIO(table.as_csv(found))))
    assert float(rows[0]["ua"]) == pytest.approx(10.0)
    assert rows[2]["ua"] == ""
    assert rows[0]["avg_gap_n"] == "2"
    assert json.loads(table.as_json(found))["rows"][0]["scores"]["avg_gap"]["mean"] == 1.25
    lines = table.as_markdown(found).splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_latex_escapes_what_it_would_read_as_its_own():
    text = table.as_latex(example())
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in body}) == 1
    assert r"c\_d" in text
    assert r"cost \%" in text
    assert "±" not in text
    assert text.splitlines()[0] == r"\begin{tabular}{lll" + "r" * (len(table.HEADS) - 3) + "}"
