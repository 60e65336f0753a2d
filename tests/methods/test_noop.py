from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.methods.noop import Noop
from tests.support import toys


def test_it_is_the_original_and_says_so():
    problem = toys.problem(build=toys.Noisy)
    outcome = Noop().unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert (outcome.cost, outcome.touched) == (Cost(), 0.0)
    assert outcome.warnings == ("no parameter changed: nothing was done",)
    assert not problem.records.seen


def test_it_is_a_control():
    assert Noop.control
    assert Noop.guarantee is Level.AUDITED
    assert Noop().cost(toys.problem()) == Cost()
