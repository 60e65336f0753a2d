import numpy as np
import pytest
import torch
from torch import nn

from expunge.engine import parts as module
from expunge.engine.parts import NEIGHBOURS, Parts, neighbours
from expunge.engine.split import split
from tests.support import toys


def parts_of(problem, seed=1):
    return Parts.of(problem, split(problem, seed)[1], seed)


def test_the_parts_are_the_judging_records_and_a_sample_of_the_rest(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 20)
    problem = toys.problem()
    parts, judging = parts_of(problem), split(problem, 1)[1]
    assert parts.forget.ids == judging.forget.ids
    assert parts.holdout.ids == judging.holdout.ids
    assert len(parts.retain) == 20
    assert set(parts.retain.ids) < set(problem.retain_view.ids)
    assert parts.retain.ids == parts_of(problem).retain.ids
    assert parts.retain.ids != Parts.of(problem, judging, 2).retain.ids
    assert [name for name, _ in parts.items()] == ["forget", "retain", "neighbours", "holdout"]


def test_parts_without_records_are_left_out():
    problem = toys.problem(holdout=0)
    assert [name for name, _ in parts_of(problem).items()] == ["forget", "retain", "neighbours"]


@pytest.mark.parametrize("count", [40, 700])
def test_neighbours_by_brute_force(count):
    problem = toys.problem(count=count, forget=9)
    forget, retain = problem.forget_view, problem.retain_view
    rows, others = (view.read(range(len(view)))[0].double().numpy() for view in (forget, retain))
    nearest = np.argsort(((rows[:, None] - others[None]) ** 2).sum(-1), axis=1)[:, :NEIGHBOURS]
    assert set(neighbours(problem, forget).ids) == {retain.ids[i] for i in nearest.ravel()}


def test_neighbours_of_images_mappings_and_nothing():
    images = torch.rand(30, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    train = toys.Witness(images, torch.arange(30) % 3, ids=[f"r{i}" for i in range(30)])
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    problem = toys.problem(train=train, model=model, holdout=0, forget=4)
    assert len(neighbours(problem, problem.forget_view)) >= NEIGHBOURS
    assert len(neighbours(problem, problem.records.select([]))) == 0


def test_few_retained_records_are_all_neighbours():
    problem = toys.problem(count=6, forget=4)
    assert set(neighbours(problem, problem.forget_view).ids) == {"r4", "r5"}
