import torch

from expunge.engine.same_classes import of_same_classes
from expunge.engine.split import split
from tests.support import toys


def test_held_out_records_of_the_classes_of_forgotten_ones():
    problem = toys.problem(count=60, forget=12, holdout=60)
    problem.records.y[:12] = torch.tensor([0, 2] * 6)
    part = split(problem, 1)[0]
    found = of_same_classes(problem, part)
    mine = {int(problem.records.y[problem.records.position[name]]) for name in part.forget.ids}
    labels = {name: int(problem.held_out.y[problem.held_out.position[name]]) for name in part.holdout.ids}
    assert list(found.ids) == [name for name in part.holdout.ids if labels[name] in mine]
    assert len(found) < len(part.holdout)


def test_none_where_there_are_none():
    problem = toys.problem(count=60, forget=12, holdout=60)
    problem.held_out.y[:] = 0
    problem.records.y[:12] = 1
    assert of_same_classes(problem, split(problem, 1)[0]) is None
    alone = toys.problem(holdout=0)
    assert of_same_classes(alone, split(alone, 1)[0]) is None
    few = toys.problem(forget=2)
    assert of_same_classes(few, split(few, 1)[0]) is None
