"""Shards: the expected work by the formula and by simulation, and assignment by keyed hash."""

import numpy as np
import pytest

from expunge.core.errors import UsageError
from expunge.engine.shards import Shards, expected_share, whose


@pytest.mark.parametrize(
    ("shards", "requests", "share"),
    [(10, 1, 0.10), (10, 5, 0.41), (10, 10, 0.65), (20, 10, 0.40), (20, 50, 0.92), (50, 10, 0.18), (100, 50, 0.40)],
)
def test_touched_shards(shards, requests, share):
    """The table of the reference (§2.3)."""
    assert expected_share(shards, 1, requests) == pytest.approx(share, abs=0.006)
    assert expected_share(shards, 1, requests) == pytest.approx(1 - (1 - 1 / shards) ** requests)


def test_one_request_costs_two_thirds_of_its_shard():
    for slices in (1, 2, 5, 50):
        assert expected_share(1, slices, 1) == pytest.approx(2 / 3 + 1 / (3 * slices))
    assert expected_share(20, 10, 50) == pytest.approx(0.79, abs=0.005)


@pytest.mark.parametrize(("shards", "slices", "requests"), [(5, 4, 3), (3, 6, 8), (8, 1, 4)])
def test_by_simulation(shards, slices, requests):
    draw, whole, found = np.random.default_rng(0), shards * slices * (slices + 1) / 2, []
    for _ in range(3000):
        first = np.full(shards, slices)
        np.minimum.at(first, draw.integers(0, shards, requests), draw.integers(0, slices, requests))
        found.append(sum(sum(range(f + 1, slices + 1)) for f in first) / whole)
    error = np.std(found) / np.sqrt(len(found))
    assert expected_share(shards, slices, requests) == pytest.approx(np.mean(found), abs=4 * error)


def test_shards_are_about_equal_and_everybody_has_one():
    shards = Shards(3, 8, 4)
    names = [f"p{i}" for i in range(4000)]
    sizes = [len(part) for part in shards.assigned(names)]
    assert sum(sizes) == 4000
    assert max(abs(size - 500) for size in sizes) < 4.5 * np.sqrt(4000 * (1 / 8) * (7 / 8))
    assert {shards.slice(name) for name in names} == {0, 1, 2, 3}
    assert [Shards(4, 8, 4).shard(n) for n in names] != [shards.shard(n) for n in names]


def test_a_subject_is_no_id():
    assert whose(["a", "b"], [None, "a"]) == ["id a", "subject a"]


def test_nothing_is_no_ensemble():
    with pytest.raises(UsageError, match="no such ensemble"):
        Shards(0, 0)
