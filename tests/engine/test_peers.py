"""When held-out records can stand for forgotten ones, and what speaks against it."""

import numpy as np
import pytest
import torch

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.data.arrays import ArrayRecords
from expunge.engine.peers import peers
from tests.support import toys

FORGET, TRAIN, HELD = 114, 300, 240


def rows(count, *, prefix, seed, subjects=None, classes=3):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    inputs = 3 * np.eye(3, 4)[labels] + draw.normal(size=(count, 4))
    ids = [f"{prefix}{i}" for i in range(count)]
    return ArrayRecords(torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels), ids=ids, subjects=subjects)


def problem(*, train=None, held=None, forget=FORGET, seed=0, request=None):
    """Return a problem; ``forget`` is a number of records, or their ids."""
    train = train or rows(TRAIN, prefix="r", seed=2 * seed)
    held = held or rows(HELD, prefix="h", seed=2 * seed + 1)
    ids = train.ids[:forget] if isinstance(forget, int) else forget
    asked = {"request": request} if request else {"forget": ids}
    return Problem(model=toys.network(), train=train, holdout=held, **asked)


def test_an_ordinary_sample_is_like_the_held_out_records():
    found = peers(problem())
    assert found.because == ""
    assert found.forgotten.total() == pytest.approx(2 / 3 * FORGET, abs=2)
    assert set(found.forgotten) == set(found.heldout) == {0, 1, 2}


def test_it_is_asked_once(monkeypatch):
    given = problem()
    first = peers(given)
    monkeypatch.setattr("expunge.engine.peers._peers", None)
    assert peers(given) is first


def test_ordinary_samples_are_taken_for_such_at_the_rate_it_states():
    """12 problems: a false alarm in twenty leaves the check out; 4 or more have a chance of 0.2 %."""
    assert sum(bool(peers(problem(seed=seed)).because) for seed in range(1, 13)) < 4


def test_wrong_labels_that_the_request_names():
    train = rows(TRAIN, prefix="r", seed=0)
    request = Request(ids=train.ids[:FORGET], corrections={train.ids[0]: 1})
    assert "wrong" in peers(problem(train=train, request=request)).because


def test_wrong_labels_that_nobody_names_are_seen_by_their_inputs():
    train = rows(TRAIN, prefix="r", seed=0)
    train.y[: FORGET // 2] = (train.y[: FORGET // 2] + 1) % 3
    assert "told from held-out ones" in peers(problem(train=train)).because


def test_few_records_or_subjects_are_too_few():
    assert "60 forgotten" in peers(problem(forget=90)).because
    crowd = rows(TRAIN, prefix="r", seed=0, subjects=[f"p{i // 10}" if i < 110 else f"q{i}" for i in range(TRAIN)])
    own = [f"p{i}" for i in range(11)]
    assert "8 forgotten subjects" in peers(problem(train=crowd, request=Request(subjects=own))).because
    assert "held-out" in peers(problem(held=rows(100, prefix="h", seed=1))).because


def test_a_class_that_is_not_held_out():
    assert "of one forgotten class 0" in peers(problem(held=rows(HELD, prefix="h", seed=1, classes=2))).because


def test_records_that_stay_and_tell_of_forgotten_ones():
    half = rows(TRAIN, prefix="r", seed=0, subjects=[f"p{i % 150}" for i in range(TRAIN)])
    said = peers(problem(train=half, forget=FORGET)).because
    assert said.startswith(f"{FORGET} forgotten records have")
    train = rows(TRAIN, prefix="r", seed=0)
    train.x[-1], train.y[-1] = train.x[0], train.y[0]
    assert peers(problem(train=train)).because.startswith("1 forgotten records have a copy")


def test_a_holdout_of_another_kind():
    held = rows(HELD, prefix="h", seed=1)
    held.x += 2.0
    assert "another distribution" in peers(problem(held=held)).because


def test_without_labels_or_holdout_there_is_nothing_to_compare_with():
    train = rows(TRAIN, prefix="r", seed=0)
    bare = Problem(model=toys.network(), train=train, forget=train.ids[:FORGET])
    assert "no held-out records" in peers(bare).because


def test_half_a_class_more_or_less_is_no_reason():
    """All of class 0 is asked for, and a third of the others: the mix differs, the records do not."""
    train = rows(TRAIN, prefix="r", seed=4)
    zero = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    others = [name for name in train.ids if name not in set(zero)][:60]
    assert len(zero) > 80
    assert peers(problem(train=train, forget=[*zero, *others])).because == ""
