"""Places of holders: the law of the deal, by enumeration and simulation."""

import itertools

import numpy as np
import pytest

from expunge.numerics import dealt


def test_places_are_ranks_and_average_a_half():
    said = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, 2.0], [2.0, 9.0, 2.0]])
    assert dealt.places(said).tolist() == [[0.0, 0.25, 0.5], [1.0, 0.25, 0.5], [0.5, 1.0, 0.5]]
    many = np.random.default_rng(0).normal(size=(7, 50)).round(1)
    assert np.allclose(dealt.places(many).mean(axis=0), 0.5)


def test_the_place_of_the_holder_is_looked_up_by_record():
    places = dealt.places(np.array([[1.0, 5.0], [3.0, 4.0], [2.0, 9.0]]))
    assert dealt.holders_places(places, np.array([1, 1])).tolist() == [1.0, 0.0]


def test_the_chance_is_that_of_every_deal_there_is():
    """Four records of three subjects, three members: all 27 deals, written out."""
    places = dealt.places(np.random.default_rng(1).normal(size=(3, 4)).round(0))
    units = np.array([0, 1, 1, 2])
    means = [
        np.mean(dealt.holders_places(places, np.array(deal)[units])) for deal in itertools.product(range(3), repeat=3)
    ]
    assert np.mean(means) == pytest.approx(0.5)
    assert dealt.chance(places, units) == pytest.approx(np.std(means))


def test_before_anything_is_said_it_is_that_of_ranks():
    said = np.random.default_rng(2).normal(size=(5, 400))
    found = dealt.chance(dealt.places(said), np.arange(400))
    assert found == pytest.approx(dealt.chance_before(5, 400), rel=1e-9)
    assert dealt.chance_before(2, 100) == pytest.approx(0.05), "a coin: sqrt(1/4 / 100)"


def test_one_subject_with_many_records_is_one_draw():
    said = np.repeat(np.random.default_rng(3).normal(size=(5, 1)), 100, axis=1)
    assert dealt.chance(dealt.places(said), np.zeros(100, int)) == pytest.approx(dealt.chance_before(5, 1))
