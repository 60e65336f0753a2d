"""The grid: each cell a run like any other, resumed where it stopped, failures among its results."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from expunge.bench import run as running
from expunge.bench.cell import State
from expunge.bench.entries import Entry
from expunge.bench.run import cells, run
from expunge.bench.run import grid as keys
from expunge.bench.site import Site
from expunge.bench.table import as_text, table
from expunge.core.errors import Diverged, ExpungeError, Obstacle, StorageFailed
from expunge.core.method import Cost
from expunge.core.serial import plain
from expunge.engine.runtime import Here
from expunge.engine.split import split
from expunge.engine.training import Trainer
from expunge.methods.finetune import Finetune
from expunge.methods.retrain import Retrain
from expunge.plan import auto as choosing
from tests.bench.conftest import small


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(running, "Workers", Here)


def by_key(site):
    return {(c.scenario, c.method, c.seed): c for c in cells(site)}


def test_every_cell_is_there_in_the_order_of_the_grid(grid):
    assert [(c.scenario, c.method, c.seed) for c in cells(grid)] == keys(grid)
    assert len(keys(grid)) == 12


def test_a_cell_is_a_run_with_its_report(grid):
    found = by_key(grid)["class", "finetune", 1]
    folder = grid.folder / found.run
    report = json.loads((folder / "report.json").read_text())
    (attempt,) = report["attempts"]
    assert attempt["method"] == "finetune"
    assert attempt["config"]["epochs"] == 3
    assert attempt["audits"][0]["verdict"] == found.verdict
    assert set(found.checks) == {"forget_accuracy", "retain_accuracy"}
    assert found.share == attempt["share"], "nothing was retrained for its choices"
    assert 3 / 12 <= found.share < 1.15 * 3 / 12, "three epochs of twelve, and what it looked at"
    assert found.seconds > 0


def test_doing_nothing_is_not_called_forgetting(grid):
    found = by_key(grid)
    assert found["class", "noop", 0].verdict == "not erased"
    assert found["class", "noop", 0].share == 0
    before = grid.yardstick("class", 0).original
    assert found["class", "noop", 0].scores == pytest.approx(before)


def test_seeds_are_originals_of_their_own_and_share_the_references(grid):
    first, second = (by_key(grid)["class", "noop", seed] for seed in (0, 1))
    assert first.scores != second.scores
    models = [
        sorted(path.name for path in (grid.folder / cell.run / "artefacts").glob("given-*")) for cell in (first, second)
    ]
    assert models[0] == models[1]
    assert len(models[0]) == 3


def test_references_never_saw_what_is_forgotten(grid):
    gone = set(grid.draw("class").forget)
    for folder in grid.references("class"):
        said = json.loads((folder / "expunge-manifest.json").read_text())
        assert gone.isdisjoint(said["ids"])
        assert len(said["ids"]) == 240 - len(gone)


def test_requests_in_a_row_cost_what_each_costs(grid):
    found = by_key(grid)
    assert 3 / 12 <= found["drift", "finetune", 0].share < 1.3 * 3 / 12
    report = json.loads((grid.folder / found["drift", "finetune", 0].run / "report.json").read_text())
    assert report["attempts"][0]["method"] == "external"
    assert report["forget_count"] == 20, "judged against models that saw none of the ten requests"


def test_requests_in_a_row_leave_out_all_that_went_before(grid, monkeypatch):
    seen, chosen_by = [], []
    outcome = type("Made", (), {"model": None, "cost": Cost(trained=240 * 12)})

    def unlearn(problem, method, seed, choosing):
        seen.append((set(problem.records.ids), set(problem.forget_ids)))
        chosen_by.append(choosing)
        outcome.model = problem.source.open()
        return outcome

    monkeypatch.setattr(running, "_unlearn", unlearn)
    problem = grid.problem("drift", 0)
    choosing, judging = split(problem, 0)
    _, share, _ = running._in_a_row(grid, problem, "drift", Retrain(), 0, choosing)
    requests = grid.draw("drift").requests
    assert [forget for _, forget in seen] == [set(request) for request in requests]
    gone = set()
    for records, forget in seen:
        assert records == set(problem.records.ids) - gone
        gone |= forget
    assert share == pytest.approx(240 / 220), "per request"
    shown = {name for part in chosen_by for name in (*part.forget.ids, *part.holdout.ids)}
    assert shown == {*choosing.forget.ids, *choosing.holdout.ids}
    assert shown.isdisjoint([*judging.forget.ids, *judging.holdout.ids]), "what judges no request was shown"
    assert all(set(part.forget.ids) <= forget for part, (_, forget) in zip(chosen_by, seen, strict=True))


def test_seconds_are_those_of_the_method_alone(grid, alone, tmp_path, monkeypatch):
    """What is looked at before, and what is saved after, are none of its; a retraining is."""
    bench = replace(grid.bench, scenarios=("class",), methods=("noop", "retrain"), seeds=1)
    site, train, opened = Site.begin(bench, tmp_path / "out"), Trainer.__call__, running.workflow.attempt

    def slow(self, records, *, seed, **more):
        time.sleep(0.5)
        return train(self, records, seed=seed, **more)

    monkeypatch.setattr(Trainer, "__call__", slow)
    monkeypatch.setattr(running.workflow, "attempt", lambda *a, **b: (time.sleep(0.5), opened(*a, **b))[1])
    seconds = {cell.method: cell.seconds for cell in run(site)}
    assert seconds["retrain"] >= 0.5
    assert seconds["noop"] < 0.4


def test_a_scenario_that_the_data_do_not_carry_is_a_result(grid):
    found = by_key(grid)["given", "finetune", 0]
    assert found.state is State.IMPOSSIBLE
    assert "do not carry this scenario" in found.because


def test_what_is_done_is_left_alone(grid, alone, monkeypatch):
    monkeypatch.setattr(running, "forget", None)
    monkeypatch.setattr(running, "judge", None)
    assert run(Site.open(grid.folder)) == cells(grid)


def one_cell(tmp_path, **changes):
    made = {"scenarios": ("random_10",), "methods": ("finetune",), "seeds": 1, "records": 120, "epochs": 2, **changes}
    return Site.begin(small(tmp_path, **made), tmp_path / "o")


def test_an_interrupted_grid_goes_on_and_comes_to_the_same(tmp_path, alone, monkeypatch):
    whole = one_cell(tmp_path)
    (expected,) = run(whole)
    shutil.rmtree(whole.folder / "cells")

    def full(*a, **k):
        raise StorageFailed("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(running, "judge", full)
        with pytest.raises(StorageFailed):
            run(whole)
    assert cells(whole) == []
    monkeypatch.setattr(Finetune, "unlearn", full)  # what was forgotten before is not forgotten again
    (found,) = run(Site.open(whole.folder))
    assert found.scores == expected.scores


def test_scenarios_that_share_the_cores_come_to_the_same(grid, tmp_path):
    """Both begin with the same original, which one of them trains."""
    site = Site.begin(small(tmp_path, scenarios=("class", "drift"), methods=("finetune",)), tmp_path / "out")
    found = run(site, workers=2)
    alone = by_key(grid)
    assert [(c.scenario, c.seed) for c in found] == [("class", 0), ("class", 1), ("drift", 0), ("drift", 1)]
    for cell in found:
        assert cell.scores == alone[cell.scenario, cell.method, cell.seed].scores
    assert len(list((site.folder / "originals").iterdir())) == 2


def test_an_error_in_one_scenario_ends_those_beside_it(tmp_path):
    site = Site.begin(small(tmp_path, scenarios=("class", "drift"), methods=("finetune",)), tmp_path / "out")
    (tmp_path / "out" / "references").mkdir()
    (tmp_path / "out" / "references" / "class").write_text("in the way of what is made there")
    with pytest.raises((ExpungeError, OSError)):
        run(site, workers=2)
    assert cells(site) == []


@pytest.mark.parametrize(
    ("error", "because"),
    [
        (Diverged("the loss is NaN"), "the loss is NaN"),
        (ZeroDivisionError("secret"), "ZeroDivisionError in the method"),
    ],
)
def test_a_method_that_fails_is_a_cell_with_a_reason(tmp_path, alone, monkeypatch, error, because):
    def fail(self, problem, run):
        raise error

    monkeypatch.setattr(Finetune, "unlearn", fail)
    (found,) = run(one_cell(tmp_path))
    assert found.state is State.FAILED
    assert because in found.because
    assert "secret" not in found.because
    assert found.scores == {}


def test_a_method_with_an_obstacle_is_never_run(tmp_path, alone, monkeypatch):
    monkeypatch.setattr(Finetune, "obstacles", lambda self, problem: [Obstacle(what="no such layer")])
    monkeypatch.setattr(Finetune, "unlearn", None)
    (found,) = run(one_cell(tmp_path))
    assert (found.state, found.because) == (State.IMPOSSIBLE, "no such layer")


def test_forgetting_quality_stands_beside_its_null(tmp_path, alone, monkeypatch):
    site = one_cell(tmp_path, references=16, models=16)
    run(site)
    (found,) = running.qualities(site)
    assert (found.method, found.models) == ("finetune", 16)
    assert 0 <= found.quality <= 1
    assert 0.05 < found.null < 0.35, "a perfect unlearner scores about 0.19"
    assert 0 < found.p_value <= 1


def test_methods_that_draw_a_network_anew_have_no_obstacle_with_a_transformer(tmp_path):
    site = one_cell(tmp_path, network="vit", epochs=1)
    problem = site.problem("random_10", 0)
    for method, config in ("bad_teacher", {}), ("eu_k", {"k": 1}), ("eu_k", {"k": 100}):
        assert running._obstacles(problem, Entry.of(method), {method: config}) == []


def failing(monkeypatch, *, first, error):
    """Let the ``first`` runs after that of the cell fail."""
    honest, runs = Finetune.unlearn, iter(range(1000))

    def unlearn(self, problem, run):
        if 1 <= next(runs) <= first:
            raise error
        return honest(self, problem, run)

    monkeypatch.setattr(Finetune, "unlearn", unlearn)


@pytest.mark.parametrize(
    ("models", "error", "because"),
    [
        (18, Diverged("the model collapsed", where="epoch 8"), "the model collapsed (epoch 8)"),
        (17, ZeroDivisionError("secret"), "ZeroDivisionError in the method"),
    ],
)
def test_a_run_for_the_forgetting_quality_that_fails_is_counted_and_ends_nothing(
    tmp_path, alone, monkeypatch, models, error, because
):
    failing(monkeypatch, first=2, error=error)
    site = one_cell(tmp_path, references=models, models=models)
    (cell,) = run(site)
    assert cell.state is State.DONE
    (found,) = running.qualities(site)
    assert (found.models, found.failed) == (models - 2, {because: 2})
    rated = models - 2 >= 16
    assert rated == (found.quality is not None) == (found.null is not None) == (found.p_value is not None)
    text = as_text(table(site))
    assert f"2 of {models} failed" in text
    assert f"{because} (2)" in text
    assert "secret" not in text
    monkeypatch.setattr(running, "rate", None)
    run(Site.open(site.folder))


def test_answers_that_are_no_numbers_are_a_failed_run(tmp_path, alone, monkeypatch):
    site = one_cell(tmp_path, references=16, models=16)
    said = running.measures.said
    nan = np.full(len(site.bed.train) + len(site.bed.holdout), np.nan)

    def no_numbers(*asked):
        found = said(*asked)
        return replace(found, confidence=nan[: len(found.sure)])

    monkeypatch.setattr(running.measures, "said", no_numbers)
    run(site)
    (found,) = running.qualities(site)
    assert (found.models, found.failed) == (0, {"the answers of the model are NaN or infinite": 16})


def test_a_full_disk_is_no_fault_of_the_method_that_is_rated(tmp_path, alone, monkeypatch):
    failing(monkeypatch, first=1, error=StorageFailed("disk full"))
    site = one_cell(tmp_path, references=16, models=16)
    with pytest.raises(StorageFailed):
        run(site)
    assert running.qualities(site) == []
    run(site)
    assert running.qualities(site)[0].models == 16


def test_a_seed_without_a_model_has_no_forgetting_quality_and_ends_nothing(tmp_path, alone):
    site = one_cell(tmp_path, references=16, models=16, seeds=2)
    lost = running._without(("random_10", "finetune", 1), State.FAILED, "it diverged")
    running._write(site, lost)
    assert [cell.state for cell in run(site)] == [State.DONE, State.FAILED]
    assert running.qualities(site) == []


def test_auto_is_tuned_in_its_cell_and_the_search_is_part_of_its_cost(tmp_path, alone, monkeypatch):
    monkeypatch.setattr(choosing, "MOST", 1)
    few = {"finetune": {"epochs": 1, "batch_size": 64}}
    site = one_cell(tmp_path, methods=("auto",), scenarios=("class",), configs=few, epochs=4, budget=1.2, floor=0.3)
    (cell,) = run(site)
    report = json.loads((site.folder / cell.run / "report.json").read_text())
    assert report["plan"]["floor"] == 0.3
    assert {one["floor"] for one in report["tuned"] if one["trials"]} == {0.3}
    (attempt,) = report["attempts"]
    assert (cell.chosen, cell.config) == (attempt["method"], attempt["config"])
    assert "found without a retrained model" in attempt["tuned"]
    assert 0 < cell.tuning == pytest.approx(sum(one["share"] for one in report["tuned"]))
    assert cell.share == pytest.approx(attempt["share"] + cell.tuning)
    assert cell.alone == pytest.approx(attempt["share"])
    again = running._rated(site, site.problem("class", 0), ("class", "auto", 0))
    assert (again.name, plain(again.config)) == (cell.chosen, cell.config), "its quality is that of what it found"


def test_for_requests_in_a_row_auto_searches_once(tmp_path, alone, monkeypatch):
    monkeypatch.setattr(choosing, "MOST", 1)
    seen = []
    honest = running._unlearn

    def unlearn(problem, method, seed, choosing):
        seen.append((method.name, plain(method.config)))
        return honest(problem, method, seed, choosing)

    monkeypatch.setattr(running, "_unlearn", unlearn)
    few = {"finetune": {"epochs": 1, "batch_size": 64}}
    more = {"records": 240, "epochs": 4, "budget": 1.2}
    site = one_cell(tmp_path, methods=("auto",), scenarios=("drift",), configs=few, **more)
    (cell,) = run(site)
    requests = site.draw("drift").requests
    assert cell.because == ""
    assert seen == [(cell.chosen, cell.config)] * len(requests), "what was found carries out every request"
    report = json.loads((site.folder / cell.run / "report.json").read_text())
    assert cell.tuning == pytest.approx(sum(one["share"] for one in report["tuned"]) / len(requests))
    assert 0 < cell.tuning < 0.7 / len(requests), "shared by all of them"
    assert cell.alone < 0.7
    run(site)
    assert len(seen) == len(requests), "a finished cell is left alone"
