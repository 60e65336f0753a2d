"""Planting: wrong labels, a fair coin, and training records that hold the included canaries alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.data import _content
from expunge.data.canaries import DEFAULT, plant, replant
from tests.support import toys

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def records():
    return toys.records(600)


@pytest.fixture(scope="module")
def drawn(records):
    return plant(records, count=300, secret=SECRET)


def test_what_is_trained_on(records, drawn):
    made, planted = drawn
    included = {canary.source: canary for canary in made.canaries if canary.included}
    absent = {canary.source for canary in made.canaries if not canary.included}
    assert len(included) + len(absent) == 300
    expected = [included[name].id if name in included else name for name in records.ids if name not in absent]
    assert list(planted.train.ids) == expected
    assert planted.included == tuple(canary.id for canary in included.values())
    x, y = planted.train.read(range(len(planted.train)))
    for place, name in enumerate(planted.train.ids):
        source = next((c for c in included.values() if c.id == name), None)
        base = records.position[source.source if source else name]
        assert torch.equal(x[place], records.x[base])
        assert int(y[place]) == (source.label if source else int(records.y[base]))


def test_no_label_is_right_and_every_wrong_one_is_as_likely(records):
    made, _ = plant(toys.records(3000), count=3000, secret=SECRET)
    base = toys.records(3000)
    shift = [(c.label - int(base.y[base.position[c.source]])) % toys.CLASSES for c in made.canaries]
    counts = np.bincount(shift, minlength=toys.CLASSES)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-4


def test_the_coin_is_fair_and_knows_nothing_of_the_label(records):
    made, _ = plant(toys.records(4000), count=4000, secret=SECRET)
    coin = np.array([canary.included for canary in made.canaries])
    assert stats.binomtest(int(coin.sum()), len(coin), 0.5).pvalue > 1e-4
    labels = np.array([canary.label for canary in made.canaries])
    table = [[int((coin & (labels == k)).sum()), int((~coin & (labels == k)).sum())] for k in range(toys.CLASSES)]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_those_kept_out_are_beside_with_their_wrong_label(records, drawn):
    made, planted = drawn
    absent = [canary for canary in made.canaries if not canary.included]
    assert planted.aside.ids == tuple(canary.id for canary in absent)
    assert not set(planted.aside.ids) & set(planted.train.ids)
    _, y = planted.aside.read(range(len(absent)))
    assert y.tolist() == [canary.label for canary in absent]
    x, label = planted.aside[0]
    assert torch.equal(x, records.x[records.position[absent[0].source]])
    assert int(label) == absent[0].label


def test_contents_are_those_of_what_is_read(records, drawn):
    _, planted = drawn
    places = [planted.train.position[planted.included[0]], 0, 5]
    for place in places:
        assert planted.train.content(place) == _content.digest(planted.train[place])
    kept = next(i for i, name in enumerate(planted.train.ids) if name in records.position)
    assert planted.train.content(kept) == records.content(records.position[planted.train.ids[kept]])


def test_a_canary_stays_its_subjects(records):
    named = toys.Witness(records.x, records.y, ids=records.ids, subjects=[f"s{i % 7}" for i in range(600)])
    made, planted = plant(named, count=100, secret=SECRET)
    canary = next(canary for canary in made.canaries if canary.included)
    assert planted.train.subjects[planted.train.position[canary.id]] == named.subjects[named.position[canary.source]]


@pytest.mark.parametrize("request_of", ["all", "a portion that it is not in"])
def test_who_asks_for_the_record_of_a_canary_means_the_canary(records, drawn, request_of):
    canaries, planted = drawn
    one = next(canary for canary in canaries.canaries if canary.included)
    parts = [planted] if request_of == "all" else [planted.portion(i, of=2, secret=canaries.secret) for i in (0, 1)]
    part = next(part for part in parts if request_of == "all" or one.id not in part.included)
    problem = Problem(model=toys.network(), train=planted.train, canaries=part, forget=[one.source])
    assert set(problem.forget_ids) == {one.id, *part.included}
    assert not any("not in the training data" in obstacle.what for obstacle in problem.validate())
    kept_out = next(canary for canary in canaries.canaries if not canary.included)
    never = Problem(model=toys.network(), train=planted.train, canaries=part, forget=[kept_out.source])
    assert any("not in the training data" in obstacle.what for obstacle in never.validate()), "no model has seen it"


def test_a_problem_takes_what_was_planted_not_its_record(records, drawn):
    with pytest.raises(UsageError, match=r"(?s)not what was planted.*found: Canaries.*replant"):
        Problem(model=toys.network(), train=drawn[1].train, canaries=drawn[0])


def test_nothing_is_planted_in_what_was_planted(drawn):
    with pytest.raises(UsageError, match="planted already"):
        plant(drawn[1].train, count=100)


def test_the_same_secret_gives_the_same_canaries_and_another_does_not(records, drawn):
    made, _ = drawn
    assert plant(records, count=300, secret=SECRET)[0] == made
    other = plant(records, count=300, secret=bytes(32))[0]
    assert {c.source for c in other.canaries} != {c.source for c in made.canaries}
    assert plant(records, count=300)[0].secret != plant(records, count=300)[0].secret


def test_they_are_planted_again_from_their_record(records, drawn):
    made, planted = drawn
    again = replant(records, made)
    assert again.train.manifest == planted.train.manifest
    assert again.aside.manifest == planted.aside.manifest
    assert (again.included, again.commitment) == (planted.included, made.commitment)
    with pytest.raises(UsageError, match="missing"):
        replant(toys.records(50), made)


def test_how_many(records):
    assert len(plant(records)[0].canaries) == DEFAULT
    assert len(plant(toys.records(20_000))[0].canaries) == 312
    for count in (99, 601):
        with pytest.raises(UsageError, match="number of canaries"):
            plant(records, count=count)
    with pytest.raises(UsageError, match="secret"):
        plant(records, secret=b"short")


def test_only_classes_can_be_wrong():
    x, y = toys.points(200)
    with pytest.raises(UsageError, match="no classes"):
        plant(toys.Witness(x, y.float(), ids=[str(i) for i in range(200)]), count=100)
    alike = toys.Witness(x, torch.zeros(200, dtype=torch.long), ids=[str(i) for i in range(200)])
    with pytest.raises(UsageError, match="no wrong label"):
        plant(alike, count=100)
