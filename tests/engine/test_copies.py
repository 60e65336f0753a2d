import pytest
import torch

from expunge.core.errors import Obstacle
from expunge.engine.copies import NEAR, PATH, Pair, find, note, write
from tests.support import toys


def problem_of(change):
    """60 records, r0 to r11 to forget; ``change`` puts copies among the others."""
    x, y = toys.points(60)
    change(x, y)
    return toys.problem(train=toys.Witness(x, y, ids=[f"r{i}" for i in range(60)]), trainer=None)


def exact(x, y):
    x[20], y[20] = x[3], y[3]


def other_label(x, y):
    x[20], y[20] = x[3], (y[3] + 1) % 3


def rounded(x, y):
    x[20], y[20] = (x[3] * 256).round() / 256, y[3]


def test_nothing_is_a_copy_of_nothing():
    problem = problem_of(lambda x, y: None)
    assert find(problem) == []
    assert note(problem, []) is None


def test_exact_copies_are_the_problems_own_note():
    problem = problem_of(exact)
    pairs = find(problem)
    assert pairs == [Pair("r3", "r20", 0.0, True)]
    assert note(problem, pairs) is None
    assert any("exact copies" in obstacle.what for obstacle in problem.check())


@pytest.mark.parametrize("change", [other_label, rounded])
def test_near_copies_are_counted(change):
    problem = problem_of(change)
    (pair,) = find(problem)
    assert (pair.forgotten, pair.retained, pair.exact) == ("r3", "r20", False)
    told = note(problem, [pair])
    assert isinstance(told, Obstacle)
    assert not told.fatal
    assert told.found.startswith("1 of 12 forgotten ones")
    assert "r3" not in str(told), "no ids"


def test_far_from_zero_small_distances_are_still_small():
    x, y = toys.points(60, dtype=torch.float64)
    x += 1e7
    x[20] = x[3] + 1e-4
    problem = toys.problem(train=toys.Witness(x, y, ids=[f"r{i}" for i in range(60)]), trainer=None)
    (pair,) = find(problem)
    assert pair.distance == pytest.approx(2e-4, rel=1e-2)  # four columns


def test_distances_are_those_between_inputs():
    problem = problem_of(rounded)
    (pair,) = find(problem)
    assert pair.distance == pytest.approx(
        float((problem.records.x[3] - problem.records.x[20]).double().norm()), rel=1e-6
    )


def test_what_is_near_is_a_share_of_what_is_typical():
    """The typical distance, by hand: the median over retained records of that to the next retained one."""
    x = problem_of(lambda x, y: None).records.x[12:].double()
    apart = torch.cdist(x, x).fill_diagonal_(torch.inf).min(dim=1).values.median()

    def beside(factor):
        def change(x, y):
            x[20] = x[3]
            x[20, 0] += factor * NEAR * float(apart)

        return change

    assert len(find(problem_of(beside(0.8)))) == 1
    assert find(problem_of(beside(1.25))) == []


def test_where_most_records_have_copies_nothing_is_far_below():
    def doubled(x, y):
        x[36:], y[36:] = x[12:36], y[12:36]
        x[3] = x[13] + 1e-6

    assert find(problem_of(doubled)) == []


def test_the_list_is_private(tmp_path):
    (tmp_path / "private").mkdir()
    write(tmp_path, [Pair("r3", "r20", 0.0, True), Pair("r4", "r21", 0.00125, False)])
    path = tmp_path / PATH
    assert path.read_text() == "forgotten,retained,distance,exact\nr3,r20,0,1\nr4,r21,0.00125,0\n"
    assert path.stat().st_mode & 0o077 == 0
