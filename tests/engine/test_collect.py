import numpy as np
import pytest
import torch

from expunge.core.errors import Tampered
from expunge.core.method import Cost
from expunge.engine import collect as module
from expunge.engine.collect import collect
from expunge.engine.parts import Parts
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.engine.split import split
from tests.support import toys

CONFIG = RelearningConfig(epochs=2, batch_size=8)


def parts_of(problem, seed=1):
    return Parts.of(problem, split(problem, seed)[1], seed)


def collected(problem, cache, model=None, digest="11"):
    opened = []

    def open_model():
        opened.append(1)
        return model or problem.source.open()

    arrays, cost = collect(problem, open_model, parts_of(problem), CONFIG, digest=digest, seed=1, cache=cache)
    return arrays, cost, len(opened)


def test_outputs_are_those_of_the_model_in_evaluation_mode(tmp_path):
    problem = toys.problem(build=toys.Noisy)
    parts = parts_of(problem)
    arrays, cost, _ = collected(problem, tmp_path, model=problem.source.open().train())
    for name, view in parts.items():
        with torch.no_grad():
            expected = problem.source.open()(view.read(range(len(view)))[0])
        assert arrays[name].dtype == np.float64
        np.testing.assert_allclose(arrays[name], expected.numpy(), rtol=1e-6, atol=1e-6)
    expected = relearn(problem, problem.source.open(), parts.forget, CONFIG, seed=1)
    np.testing.assert_array_equal(arrays["relearned"], expected)
    read = sum(len(view) for _, view in parts.items())
    assert cost == Cost(trained=2 * 8, read=read + 2 * 8)


def test_outputs_are_taken_before_relearning(tmp_path):
    problem = toys.problem()
    first = collected(problem, tmp_path / "a")[0]
    model = problem.source.open()
    arrays = collected(problem, tmp_path / "b", model=model)[0]
    assert not toys.same(model, problem.source.open()), "relearning used it up"
    np.testing.assert_array_equal(arrays["forget"], first["forget"])


def test_a_model_is_asked_once(tmp_path):
    problem = toys.problem()
    first, cost, opened = collected(problem, tmp_path)
    again, nothing, reopened = collected(problem, tmp_path)
    assert (opened, reopened, nothing) == (1, 0, Cost())
    assert cost != nothing
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert first.keys() == again.keys()
    assert collected(problem, tmp_path, digest="12")[2] == 1, "another model"
    (file,) = [path for path in tmp_path.iterdir() if path.stat().st_mode & 0o777 != 0o600] or [None]
    assert file is None, "what models say about single records is private"


def test_what_was_cached_in_an_earlier_form_is_made_anew(tmp_path, monkeypatch):
    problem = toys.problem()
    monkeypatch.setattr(module, "_FORM", 1)
    collected(problem, tmp_path)
    monkeypatch.undo()
    assert collected(problem, tmp_path)[2] == 1


def test_a_truncated_cache_is_refused(tmp_path):
    problem = toys.problem()
    collected(problem, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Tampered):
        collected(problem, tmp_path)


def test_collecting_does_not_change_the_original(tmp_path):
    mine = toys.network(toys.Noisy).train()
    before = toys.state(mine)
    problem = toys.problem(model=mine)
    collected(problem, tmp_path)
    after = toys.state(mine)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:]


def test_only_judging_records_are_read(tmp_path):
    problem = toys.problem()
    choosing, _ = split(problem, 1)
    parts = parts_of(problem)
    problem.records.seen.clear()
    problem.held_out.seen.clear()
    collect(problem, problem.source.open, parts, CONFIG, digest="1", seed=1, cache=tmp_path)
    assert not set(choosing.forget.ids) & set(problem.records.seen)
    assert not set(choosing.holdout.ids) & set(problem.held_out.seen)
