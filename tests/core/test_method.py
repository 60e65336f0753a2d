import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.config import setting
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need

counts = st.floats(0, 1e6)
costs = st.builds(Cost, counts, counts)


@given(costs, costs)
def test_costs_add_up(one, two):
    assert one + two == Cost(one.trained + two.trained, one.read + two.read)
    assert one + Cost() == one


def test_a_trained_visit_weighs_three_reads():
    whole = Cost(trained=100)
    assert Cost(trained=20).share_of(whole) == 0.2
    assert Cost(read=60).share_of(whole) == 0.2
    assert whole.share_of(Cost(read=300)) == 1.0


class Toy(Method):
    title, source, guarantee = "Toy", "none", Level.AUDITED
    needs = frozenset({Need.TRAINER, Need.RETAIN})

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        rate: float = setting(0.1, "rate", above=0)

    def cost(self, problem):
        return Cost()

    def unlearn(self, problem, run):
        raise AssertionError("never run here")


def problem(*, trainer=print, forget=1):
    return SimpleNamespace(trainer=trainer, retain_view=["x"] * (3 - forget))


def test_the_config_is_that_of_the_method():
    assert Toy().config == Toy.Config()
    assert Toy({"rate": 0.5}).config.rate == 0.5
    assert Toy(Toy.Config(rate=0.5)).config.rate == 0.5
    with pytest.raises(UsageError, match="unknown key 'raet'"):
        Toy({"raet": 1})


def test_unmet_needs_are_all_told_at_once():
    assert Toy().obstacles(problem()) == []
    told = Toy().obstacles(problem(trainer=None, forget=3))
    assert len(told) == 2
    assert all(obstacle.fatal for obstacle in told)


def test_a_method_is_no_control_unless_it_says_so():
    assert not Toy.control
