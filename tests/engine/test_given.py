import json

import pytest
import torch

from expunge.core.errors import InvalidProblem, Refused, Tampered, UsageError
from expunge.core.method import Cost
from expunge.engine import manifests
from expunge.engine.given import adopt, examine
from expunge.engine.runs import RunDirectory
from tests.support import toys


def reference(folder, problem, *, seed=1, records=None, ids=True, model=None):
    """Save a model beside the manifest of what it was (said to be) trained on."""
    folder.mkdir()
    problem.source.save(model or toys.network(seed=seed), folder)
    if records is not False:
        manifests.write(folder, records or problem.retain_view, ids=ids)
    return folder


@pytest.fixture
def problem():
    return toys.problem(trainer=None)


@pytest.mark.parametrize("ids", [True, False])
def test_references_that_stand_every_test(problem, tmp_path, ids):
    folders = [reference(tmp_path / str(seed), problem, seed=seed, ids=ids) for seed in (1, 2, 3)]
    given = examine(problem, folders, candidate=problem.source.digest(toys.network(seed=9)))
    assert [one.folder for one in given] == folders
    assert [one.digest for one in given] == [problem.source.digest(toys.network(seed=seed)) for seed in (1, 2, 3)]
    assert len({one.seed for one in given}) == 3
    assert all(one.seed < 0 for one in given), "never the number of a seed of ours"


@pytest.mark.parametrize("ids", [True, False])
def test_one_that_saw_a_forgotten_record_is_refused(problem, tmp_path, ids):
    some = problem.records.select([*problem.retain_view.ids, "r3", "r5"])
    with pytest.raises(Refused, match="trained on forgotten records") as caught:
        examine(problem, [reference(tmp_path / "a", problem, records=some, ids=ids)])
    assert caught.value.obstacles[0].found == "2 of 12 by its manifest"
    assert "r3" not in str(caught.value), "no ids"


def test_a_forgotten_record_under_another_id_is_seen_by_its_content(problem, tmp_path):
    folder = reference(tmp_path / "a", problem, records=problem.records)
    said = json.loads((folder / manifests.NAME).read_text())
    said["ids"] = [f"other-{place}" for place in range(60)]
    (folder / manifests.NAME).write_text(json.dumps(said))
    with pytest.raises(Refused, match="12 of 12"):
        examine(problem, [folder])


def test_a_forgotten_id_over_other_content_is_seen_too(problem, tmp_path):
    folder = reference(tmp_path / "a", problem)
    said = json.loads((folder / manifests.NAME).read_text())
    said["ids"][0] = "r0"
    (folder / manifests.NAME).write_text(json.dumps(said))
    with pytest.raises(Refused, match="1 of 12"):
        examine(problem, [folder])


def test_a_copy_that_stays_is_no_forgotten_record(tmp_path):
    x, y = toys.points(60)
    x[20], y[20] = x[0], y[0]
    records = toys.Witness(x, y, ids=[f"r{i}" for i in range(60)])
    problem = toys.problem(train=records, trainer=None)
    assert len(examine(problem, [reference(tmp_path / "a", problem)])) == 1
    twice = records.select([*problem.retain_view.ids, "r0"])
    with pytest.raises(Refused, match="1 of 12"):
        examine(problem, [reference(tmp_path / "b", problem, records=twice, ids=False)])


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (lambda p: p.retain_view.select(p.retain_view.ids[:-3]), "3 of 48 missing, 0 that"),
        (lambda p: toys.records(48, prefix="x", seed=5), "48 of 48 missing, 48 that"),
        (lambda p: toys.records(60, dtype=torch.float64).without(p.forget_ids), "48 of 48 missing, 48 that"),
    ],
    ids=["a part", "other data", "other types"],
)
def test_one_of_other_records_than_those_that_stay_is_refused(problem, tmp_path, records, found):
    with pytest.raises(Refused, match="not trained on the records that stay") as caught:
        examine(problem, [reference(tmp_path / "a", problem, records=records(problem))])
    assert caught.value.obstacles[0].found.startswith(found)


def test_one_without_a_manifest_is_refused(problem, tmp_path):
    with pytest.raises(Refused, match="nothing says which records"):
        examine(problem, [reference(tmp_path / "a", problem, records=False)])


def test_one_model_twice_is_refused(problem, tmp_path):
    a, b = (reference(tmp_path / name, problem) for name in "ab")
    with pytest.raises(Refused, match="weights of the reference a"):
        examine(problem, [a, b])
    with pytest.raises(Refused, match="weights of the model under audit"):
        examine(problem, [a], candidate=problem.source.digest(toys.network(seed=1)))
    original = reference(tmp_path / "c", problem, model=problem.source.open())
    with pytest.raises(Refused, match="weights of the original"):
        examine(problem, [original])


def test_one_that_is_no_model_of_this_kind_is_named(problem, tmp_path):
    with pytest.raises(UsageError, match="no such reference"):
        examine(problem, [tmp_path / "nowhere"])
    other = reference(tmp_path / "other", problem, model=torch.nn.Linear(2, 2))
    with pytest.raises(Tampered, match=r"reference other, model\.safetensors"):
        examine(problem, [other])
    broken = toys.network()
    with torch.no_grad():
        broken[0].bias[0] = torch.nan
    with pytest.raises(InvalidProblem, match="reference nan"):
        examine(problem, [reference(tmp_path / "nan", problem, model=broken)])


def test_adopting_copies_it_once(problem, tmp_path):
    folder = reference(tmp_path / "a", problem)
    (given,) = examine(problem, [folder])
    run = RunDirectory(tmp_path / "run", {"job": 1})
    try:
        first = adopt(problem, run, given)
        assert (first.seed, first.cost) == (given.seed, Cost())
        assert toys.same(problem.source.reopen(run.open_artefact(first.artefact)), toys.network(seed=1))
        (folder / "model.safetensors").unlink()
        assert adopt(problem, run, given) == first
        (run.folder / first.artefact.path / "model.safetensors").write_bytes(b"")
        with pytest.raises(Tampered):
            adopt(problem, run, given)
    finally:
        run.close()
