"""The results directory: what may lie there, and what is made once."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from expunge.audit import policy as policies
from expunge.bench import run as running
from expunge.bench import site as home
from expunge.bench.site import Bench, Site, _others
from expunge.core.errors import ForeignRun, UsageError
from expunge.engine.runtime import Here
from tests.bench.conftest import small


@pytest.mark.parametrize(
    "wrong",
    [
        {"scenarios": ("nothing",)}, {"scenarios": ()}, {"methods": ()}, {"seeds": 0}, {"methods": ("nothing",)},
        {"configs": {"finetune": {"epoch": 1}}}, {"models": 8}, {"models": 17, "references": 16},
    ],
)  # fmt: skip
def test_what_no_cell_could_be_made_of_is_refused(wrong):
    with pytest.raises(UsageError):
        Bench(**wrong)


def test_the_same_benchmark_goes_on_and_another_is_refused(tmp_path):
    bench = small(tmp_path)
    begun = Site.begin(bench, tmp_path / "out")
    assert Site.begin(bench, tmp_path / "out").bench == Site.open(tmp_path / "out").bench == begun.bench
    with pytest.raises(ForeignRun, match="seeds"):
        Site.begin(small(tmp_path, seeds=5), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ForeignRun, match="other files"):
        Site.begin(bench, tmp_path / "mine")
    with pytest.raises(UsageError, match="no benchmark"):
        Site.open(tmp_path / "mine")


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": "nosuch"}, {"data": "nosuch:function"}, {"network": "nosuch"}, {"policy": "nosuch"},
        {"policy": "nosuch", "references": 5}, {"methods": ("noop", "finetune", "noop")},
        {"scenarios": ("class", "class")},
    ],
)  # fmt: skip
def test_data_that_cannot_be_had_leave_no_benchmark_behind(tmp_path, wrong):
    with pytest.raises(UsageError):
        Site.begin(Bench(**{"data": "digits", **wrong}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "bed" not in vars(Site.begin(small(tmp_path), tmp_path / "out")), "no data go with it to other processes"


def test_what_a_kill_leaves_of_the_first_files_is_no_other_benchmark(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".aside-0").write_text("half")
    (out / "edition.json").write_text("")
    site = Site.begin(small(tmp_path), out)
    site.current()
    (out / "edition.json").write_text("")
    with pytest.raises(ForeignRun, match="measured in another way"):
        site.current()


OWN = """
import torch
from torch import nn
import expunge
from expunge import ArrayRecords

def build():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))

def rows(count, prefix, seed):
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    return ArrayRecords(x, (x[:, 0] > 0.5).long(), ids=[f"{prefix}{i}" for i in range(count)])

def problem():
    train, held = rows(60, "r", 0), rows(60, "h", 1)
    names = [*train.ids, *held.ids]
    return expunge.Problem(
        model=build(), train=train, holdout=held, trainer=expunge.Trainer(build=build), forget=train.ids[:6],
        groups={name: "ab"[i % 2] for i, name in enumerate(names)}, counterexamples=rows(12, "m", 2),
        triggered=expunge.Triggered(records=rows(20, "t", 3), target=1),
    )
"""


@pytest.mark.parametrize("scenario", ["given", "random_10"])
def test_what_a_problem_of_the_users_names_beside_its_records_comes_with_it(tmp_path, monkeypatch, scenario):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_site.py").write_text(OWN)
    bench = Bench(data="own_site:problem", path=str(tmp_path), scenarios=(scenario,), methods=("noop",), references=3)
    problem = Site.begin(bench, tmp_path / "out").problem(scenario, 0)
    assert [each for each in problem.check() if each.fatal] == []
    assert len(problem.groups) == 120
    assert problem.more_records.ids == tuple(f"m{i}" for i in range(12))
    assert (problem.triggered is not None) == (scenario == "given")


def test_what_a_scenario_forgets_is_no_counter_example_of_it(tmp_path, monkeypatch):
    """Four of twelve are copies of training records; a random tenth may draw these."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    copied = OWN.replace('counterexamples=rows(12, "m", 2)', "counterexamples=copies(train)")
    more = """
def copies(train):
    others = rows(8, "m", 2)
    x, y = torch.cat([others.x, train.x[20:24]]), torch.cat([others.y, train.y[20:24]])
    return ArrayRecords(x, y, ids=[f"m{i}" for i in range(12)])
"""
    (tmp_path / "own_copies.py").write_text(copied + more)
    bench = Bench(data="own_copies:problem", path=str(tmp_path), scenarios=("given",), methods=("noop",), references=3)
    site = Site.begin(bench, tmp_path / "out")
    train, examples = site.bed.train, site.bed.given.more_records
    assert _others(examples, train, train.ids[:6]).ids == examples.ids
    assert _others(examples, train, train.ids[18:22]).ids == tuple(f"m{i}" for i in (*range(8), 10, 11))
    assert _others(examples.select(["m8", "m9"]), train, train.ids[18:22]) is None
    monkeypatch.setitem(site._drawn, "given", replace(site.draw("given"), requests=(train.ids[18:22],)))
    assert site.problem("given", 0).more_records.ids == tuple(f"m{i}" for i in (*range(8), 10, 11))


def test_a_floor_is_part_of_the_benchmark_and_one_without_is_written_as_before(tmp_path):
    Site.begin(small(tmp_path), tmp_path / "without")
    assert '"floor"' not in (tmp_path / "without" / "bench.json").read_text()
    site = Site.begin(small(tmp_path, floor=0.9), tmp_path / "with")
    assert site.settings("random_10", 0)["floor"] == 0.9
    assert Site.open(tmp_path / "with").bench.floor == 0.9
    for place, floor in (("with", 0.8), ("with", None), ("without", 0.9)):
        with pytest.raises(ForeignRun, match="differs in floor"):
            Site.begin(small(tmp_path, floor=floor), tmp_path / place)
    with pytest.raises(UsageError, match="floor"):
        small(tmp_path, floor=1.5)


def test_policy_says_how_many_references_judge():
    assert Bench().judges == 20
    assert Bench(references=5).judges == 5


def test_scenarios_are_judged_by_their_own_policy_unless_one_is_named():
    bench = Bench(scenarios=("random_10", "class"))
    assert bench.judged_by("random_10") == "standard"
    own, standard = policies.load(bench.judged_by("class")), policies.load("standard")
    assert own.name == "unlike"
    wider = {name for name, each in own.checks.items() if each.margin > standard.checks[name].margin}
    assert wider == {
        "output_divergence", "label_confidence", "record_distance", "perturbed_confidence", "restored_labels",
        "representation", "relearning",
    }, "what the rest of the data is worth is judged as always"  # fmt: skip
    wanted = {name for name, each in standard.checks.items() if each.required and each.when != "groups"}
    assert wanted == set(own.checks)
    assert Bench(scenarios=("class",), policy="standard").judged_by("class") == "standard"


def test_memorised_is_what_seeing_a_record_adds(tmp_path, monkeypatch):
    """Two models, each of which is sure of what it saw: every record was seen by one and not by the other."""
    site = Site.begin(small(tmp_path), tmp_path / "out")
    seen = []

    def sure(self, records, *, seed):
        seen.append(set(records.ids))
        return np.where([name in seen[-1] for name in self.bed.train.ids], 0.9, 0.2)

    monkeypatch.setattr(Site, "_sure", sure)
    np.testing.assert_allclose(site.memorised(), 0.7)
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 240
    monkeypatch.setattr(Site, "_sure", None)
    np.testing.assert_allclose(Site.open(site.folder).memorised(), 0.7)


def test_loss_is_that_of_the_label(tmp_path, monkeypatch):
    site = Site.begin(small(tmp_path), tmp_path / "out")
    monkeypatch.setattr(Site, "_sure", lambda self, records, seed: np.full(240, np.exp(-2.0)))
    np.testing.assert_allclose(site.loss(), 2.0)


def test_originals_are_trained_once_for_the_same_records(tmp_path):
    site = Site.begin(small(tmp_path, epochs=1), tmp_path / "out")
    train = site.bed.train
    first = site.original(train, 0)
    changed = (first / "model.safetensors").stat().st_mtime_ns
    assert site.original(train, 0) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == changed
    assert len({first, site.original(train, 1), site.original(site.draw("wrong_labels").train, 0)}) == 3


def test_a_reference_is_asked_once_for_all_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "Workers", Here)
    site = Site.begin(small(tmp_path, scenarios=("class",), methods=("noop",), epochs=2, seeds=3), tmp_path / "out")
    heard, asked = home.measures.listen, []
    monkeypatch.setattr(home.measures, "listen", lambda *a: asked.append(1) or heard(*a))
    running.run(site)
    assert len(asked) == 3 + 3 + 3, "three references, and with each of three seeds the original and one model"
    files = sorted((site.folder / "references" / "class" / "heard").iterdir())
    assert [file.name for file in files] == ["0.safetensors", "1.safetensors", "2.safetensors"]
    problem = site.problem("class", 2)
    models = [problem.source.reopen(folder) for folder in site.references("class")]
    anew = [home.measures.measure(problem, heard(problem, model), seed=2) for model in models]
    told = [{name: one[name] for name in anew[0]} for one in site.yardstick("class", 2).references]
    assert told == anew


def test_a_copy_of_a_run_shares_its_models_and_nothing_else(tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    (base / "artefacts").mkdir(parents=True)
    for name in ("artefacts/model.safetensors", "events.jsonl", ".lock"):
        (base / name).write_text("one")
    site = Site.begin(small(tmp_path), tmp_path / "out")
    site.fork(base, run)
    assert (run / "artefacts/model.safetensors").stat().st_ino == (base / "artefacts/model.safetensors").stat().st_ino
    (run / "events.jsonl").write_text("two")
    assert (base / "events.jsonl").read_text() == "one"
    assert not (run / ".lock").exists()


def test_a_problem_is_made_again_by_another_process(grid):
    import pickle

    problem = grid.problem("class", 1)
    again = pickle.loads(pickle.dumps(problem))
    assert again.spec == problem.spec
    assert home.problem_of(str(grid.folder), "class", 0).spec != problem.spec


def test_what_was_measured_in_another_way_is_not_gone_on_with(tmp_path):
    """Scores of two definitions would stand side by side, unsaid."""
    site = Site.begin(small(tmp_path), tmp_path / "out")
    site.current()
    (tmp_path / "out" / "bench.json").unlink()  # killed between the two
    Site.begin(small(tmp_path), tmp_path / "out").current()
    (tmp_path / "out" / "edition.json").unlink()  # as before there were editions
    with pytest.raises(ForeignRun, match="another way"):
        running.run(Site.open(tmp_path / "out"))
    assert not (tmp_path / "out" / "cells").exists()
