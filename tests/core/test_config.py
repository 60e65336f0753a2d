import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.config import Config, setting
from expunge.core.errors import UsageError
from expunge.core.serial import plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Config):
    rate: float = setting(0.1, "learning rate", above=0, high=1)
    epochs: int = setting(5, "passes", low=1)
    kind: str = setting("warm", "schedule", choices=("warm", "cold"))
    strict: bool = setting(False, "no mercy")
    name: str = setting("", "anything")
    shift: float = setting(0.0, "no limits")
    limit: float | None = setting(None, "none for no limit", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longer(Toy):
    more: int = setting(0, "more")


@given(st.builds(Toy, rate=st.floats(0.01, 1), epochs=st.integers(1, 9), kind=st.sampled_from(["warm", "cold"])))
def test_round_trip(config):
    assert Toy.of(plain(config)) == config


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_given_is_all_defaults(nothing):
    assert Toy.of(nothing) == Toy()


def test_a_config_is_taken_as_it_is():
    config = Longer(more=1)
    assert Toy.of(config) is config


WRONG = {
    "rate": [0, -0.1, 1.1, math.nan, math.inf],
    "epochs": [0, -3],
    "kind": ["hot", ""],
    "shift": [math.nan, math.inf, -math.inf],
    "limit": [-1, -math.inf],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_outside_its_limits_is_refused_at_construction(name, value):
    with pytest.raises(UsageError) as caught:
        Toy(**{name: value})
    (obstacle,) = caught.value.obstacles
    assert obstacle.where == f"Toy.{name}"
    assert obstacle.expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"rate": 0}, "> 0 and <= 1"), ({"epochs": 0}, ">= 1"), ({"kind": "hot"}, "one of warm, cold")],
)
def test_the_error_names_the_limits(value, expected):
    with pytest.raises(UsageError, match=f"expected: {expected}"):
        Toy.of(value)


@pytest.mark.parametrize("config", [{"rate": 1}, {"epochs": 1}, {"limit": 0}, {"limit": None}, {"kind": "cold"}])
def test_the_edges_are_inside(config):
    Toy.of(config)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"raet": 1}, "unknown key 'raet'"),
        ({"epochs": 1.5}, "wrong type"),
        ({"epochs": True}, "wrong type"),
        ({"strict": 1}, "wrong type"),
        ({"name": None}, "wrong type"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(values, what):
    with pytest.raises(UsageError, match=what):
        Toy.of(values, where="job.toml")


def test_the_error_says_where_the_value_stood():
    with pytest.raises(UsageError, match=r"job\.toml\.methods"):
        Toy.of({"raet": 1}, where="job.toml.methods")


def test_settings_of_another_thing_are_refused():
    with pytest.raises(UsageError, match=r"settings of another thing.*\n  found: Toy\n  expected: Longer"):
        Longer.of(Toy())


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Toy().rate = 0.2


def test_a_truth_value_is_no_number():
    """True is 1 in Python; a limit on numbers says nothing about it."""
    assert Toy(strict=True).strict is True
