"""Every table of figures in the documentation is that of the committed results, and was written by the script."""

import re

import pytest

from tests.docs.blocks import ROOT
from tests.docs.scripts import script

figures = script("figures")
PAGES = {str(page.relative_to(ROOT / "docs")): page.read_text() for page in figures.pages()}
SHOWN = {page: text for page, text in PAGES.items() if list(figures.shown(text))}
INSTEAD = {"alarms", "audit_time", "canaries", "demo_verdicts", "interrupted", "intervals", "language_verdicts"}
"""Results that stand in running text, or in tables of a test of their own; a page names their benchmark."""


@pytest.mark.parametrize("page", SHOWN)
def test_tables_are_those_of_the_committed_results(page):
    new = figures.refreshed(PAGES[page]).splitlines()
    differing = [line for line in new if line not in PAGES[page].splitlines()]
    assert PAGES[page].splitlines() == new, f"run `python scripts/figures.py`; for example {differing[:1]}"


@pytest.mark.parametrize("page", SHOWN)
def test_no_figure_stands_in_a_table_that_is_not_written_anew(page):
    rows = [line for line in figures.apart(PAGES[page]).splitlines() if line.startswith("|")]
    assert [row for row in rows if re.search(r"\d\.\d", row)] == []


def test_all_results_are_shown_or_named():
    files = {file.stem for file in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert files - {name for text in SHOWN.values() for name in figures.shown(text)} == INSTEAD
    said = "\n".join(PAGES.values())
    assert [name for name in INSTEAD if not re.search(rf"benchmarks/(results/)?{name}\.(py|json)", said)] == []


def test_what_is_not_between_marks_is_left_alone():
    text = "before\n<!-- figures: rows tuning -->\nold\n<!-- end of figures -->\nafter | 1.5 |\n"
    new = figures.refreshed(text)
    assert new.startswith("before\n<!-- figures: rows tuning -->\n\n| what | value | target | unit |\n")
    assert new.endswith("\n<!-- end of figures -->\nafter | 1.5 |\n")
    assert "old" not in new
    assert figures.refreshed(new) == new


@pytest.mark.parametrize(
    "mark", ["<!-- end of figures -->", "<!-- figures: rows tuning -->", "<!-- figures: rows a-b -->"]
)
def test_a_mark_without_its_other_is_an_error_and_deletes_nothing(mark):
    whole = "<!-- figures: rows tuning -->\n<!-- end of figures -->\n"
    with pytest.raises(ValueError, match="two marks"):
        figures.refreshed(f"{whole}between\n{mark}\nafter\n{whole}")


def test_an_unknown_kind_is_an_error():
    with pytest.raises(KeyError, match="colours"):
        figures.refreshed("<!-- figures: colours tuning -->\n<!-- end of figures -->\n")


def test_the_short_table_of_a_grid_takes_the_nearest_that_is_cheap(monkeypatch):
    from expunge.bench.table import ORIGINAL, RETRAINED, Row, Spread, Table

    def row(method, gap, share=None, **more):
        scores = {"avg_gap": Spread.of([gap]), "forget": Spread.of([0.1] * 7)}
        return Row(scenario="class", method=method, scores=scores, share=share and Spread.of([share]), **more)

    rows = (
        row(RETRAINED, 0.5, passing=Spread.of([3.0])),
        row(ORIGINAL, 50.0),
        row("auto", 2.0, 3.0, verdicts={"erased": 1, "inconclusive": 2}),
        row("noop", 0.0, 0.0),
        row("near", 1.0, 0.21, verdicts={"erased": 3}),
        row("cheap", 4.0, 0.04, verdicts={"not erased": 3}),
        row("cheaper", 5.0, 0.01, verdicts={"not erased": 3}),
    )
    monkeypatch.setattr(figures, "grid", lambda name: Table(rows=rows, differences=(), sentences=()))
    line = figures.scenarios("any").splitlines()[2]
    assert line == (
        "| `class` | 3.0 of 7 | 0.5 | 50.0 | 2.0 | erased 1, inconclusive 2 | `cheap` | 4.0 | not erased 3 | 4 |"
    )


def test_a_method_that_lost_a_seed_is_not_the_nearest():
    from expunge.bench.table import Row, Spread

    def row(gap, **more):
        return Row(scenario="class", method="any", scores={"avg_gap": Spread.of([gap])}, share=Spread.of([0.1]), **more)

    own = {"lost": row(1.0, without={"failed": 1}), "whole": row(2.0)}
    assert script("_results").nearest(own) is own["whole"]


def test_what_retrained_models_say_when_taught_again_is_what_the_check_says_of_them(monkeypatch):
    check = {"relearning": {"value": 0.9, "references": 0.4}}
    table = [{"forget": "forget05", "method": name, "verdict": "any", "share": None} for name in ("references", "noop")]
    table[1]["checks"] = check
    monkeypatch.setattr(figures, "results", lambda name: {"table": table})
    assert [line.split(" | ")[-2] for line in figures.tofu("any").splitlines()] == [
        "taught again",
        "---",
        "0.40",
        "0.90",
    ]


def test_what_comes_nearest_on_tofu_is_what_fails_at_most_one_check_in_the_mean(monkeypatch):
    def entry(method, failed):
        return {"forget": "forget05", "method": method, "verdict": "not erased", "failed": failed, "share": 0.1}

    table = [entry("noop", ["a", "b", "c"]), entry("one", ["a"]), entry("one", []), entry("two", ["a", "b"])]
    table.append({"forget": "forget05", "method": "lost", "verdict": "no model", "share": None})
    monkeypatch.setattr(figures, "results", lambda name: {"table": table})
    lines = figures.tofu("any", near=True).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["noop", "one"]
    assert lines[1].split(" | ")[2:5] == ["2", "not erased", "0-1"]


def test_verdicts_of_several_worlds_are_added_up(monkeypatch):
    worlds = {
        "one": {
            "verdicts": {
                "true retrain": {"erased": 2},
                "noop": {"not erased": 2},
                "WGA": {"erased": 1, "inconclusive": 1},
            },
            "by_model": {
                "true retrain": [{"erased": 2}],
                "noop": [{"not erased": 2}],
                "WGA": [{"erased": 1, "inconclusive": 1}],
            },
            "not_passed": {"noop": {f"check {i}": 2 for i in range(7)}, "WGA": {"quantised": 1}},
            "cost": {"WGA": 0.1},
        },
        "other": {
            "verdicts": {"true retrain": {"inconclusive": 2}, "noop": {"not erased": 2}, "WGA": {"erased": 2}},
            "by_model": {"true retrain": [{"inconclusive": 2}], "noop": [{"not erased": 2}], "WGA": [{"erased": 2}]},
            "not_passed": {"true retrain": {"relearning": 2}, "WGA": {}},
            "cost": {"WGA": 0.2},
        },
    }
    monkeypatch.setattr(figures, "results", worlds.get)
    assert figures.verdicts("one", "other").splitlines()[2:] == [
        "| retrained adapters | 2 | 4 | 2 | 2 | 0 | 1 | relearning 50% | 100 |",
        "| the original | 2 | 4 | 0 | 0 | 4 | 0 | 7 checks | 0 |",
        "| WGA | 2 | 4 | 3 | 1 | 0 | 1 | quantised 25% | 15.0 |",
    ]


def test_what_adapters_keep_and_what_classifiers_do_stand_apart(monkeypatch):
    def row(name, value):
        return {"name": name, "value": value, "target": None, "better": "higher", "unit": "%", "interval": None}

    kept, digits = row("2 shards: right of what was learnt", 95.04), row("digits, 5 shards: accuracy", 96.0)
    monkeypatch.setattr(figures, "results", lambda name: {"results": [kept, digits]})
    assert figures.adapters("any").splitlines()[2:] == ["| 2 shards | 95.0 |  |  |  |  |"]
    assert figures.KINDS["votes"]("any").splitlines()[2:] == ["| digits, 5 shards: accuracy | 96 |  | % |"]


def test_what_filters_stop_has_a_column_for_what_is_forgotten_and_no_interval_where_worlds_agree(monkeypatch):
    def row(name, value, low, high):
        return {"name": name, "value": value, "target": None, "better": "", "unit": "%", "interval": [low, high]}

    made = [
        row("prompts, a person: what stays, wrongly", 0.0, 0.0, 0.0),
        row("prompts, a person: what goes", 100.0, 100.0, 100.0),
        row("prompts, records: what goes", 92.6, 90.8, 94.4),
        row("answers, a person: what goes", 75.0, 70.0, 80.0),
    ]
    monkeypatch.setattr(figures, "results", lambda name: {"results": made})
    assert figures.filters("any").splitlines()[0] == "| % stopped | a person | records |"
    assert figures.filters("any").splitlines()[2:] == [
        "| what goes | 100.0 | 92.6 (90.8 to 94.4) |",
        "| what stays, wrongly | 0.0 |  |",
    ]
    assert figures.KINDS["answers"]("any").splitlines()[2:] == [
        "| answers, a person: what goes | 75 (70 to 80) |  | % |"
    ]
