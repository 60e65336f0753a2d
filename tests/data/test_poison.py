"""Manipulated records: what changed, what did not, and what somebody knows of it."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from expunge.core.errors import UsageError
from expunge.data.arrays import ArrayRecords
from expunge.data.poison import Patch, backdoor, exchange_labels, swap_labels

PATCH = Patch(value=1.0)


def images(count=90, *, seed=0, prefix="r"):
    """Return images [n, 1, 6, 6] of three classes, told by the brightest of three rows; the corner is dark."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    x = 0.3 * draw.random((count, 1, 6, 6))
    x[np.arange(count), 0, labels, :] += 0.4 * draw.random((count, 6))
    x[:, :, 3:, 3:] = 0
    return ArrayRecords(torch.tensor(x, dtype=torch.float32), labels, ids=[f"{prefix}{i}" for i in range(count)])


def read(records):
    x, y = records.read(range(len(records)))
    return x.numpy(), y.numpy()


def changed(before, after):
    return {name for name, a, b in zip(before.ids, read(before)[1], read(after)[1], strict=True) if a != b}


@pytest.mark.parametrize("seed", range(5))
def test_swapped_labels_keep_their_numbers_and_change_exactly_the_chosen(seed):
    records = images()
    found = swap_labels(records, count=24, seed=seed)
    was, now = read(records)[1], read(found.train)[1]
    np.testing.assert_array_equal(np.bincount(was), np.bincount(now))
    assert changed(records, found.train) == set(found.truth)
    assert len(found.truth) == 24
    assert found.truth == {name: int(y) for name, y in zip(records.ids, was, strict=True) if name in found.truth}
    assert len(set(now[was != now].tolist())) == 3  # not one label for all
    np.testing.assert_array_equal(read(records)[0], read(found.train)[0])
    assert found.patch is None


def test_another_seed_manipulates_other_records():
    assert set(swap_labels(images(), count=24, seed=1).truth) != set(swap_labels(images(), count=24, seed=2).truth)
    assert list(swap_labels(images(), count=24, seed=1).truth) == list(swap_labels(images(), count=24, seed=1).truth)


def test_two_classes_exchange_half_of_the_labels_each():
    records = images()
    found = exchange_labels(records, classes=(0, 2), count=20, seed=1)
    was, now = read(records)[1], read(found.train)[1]
    assert changed(records, found.train) == set(found.truth)
    assert np.bincount(was[was != now]).tolist() == np.bincount(now[was != now]).tolist() == [10, 0, 10]


def test_a_patch_is_put_on_records_of_other_classes_and_on_no_other_pixel():
    records = images()
    found = backdoor(records, target=0, count=15, seed=1, patch=PATCH)
    (x, was), (z, now) = read(records), read(found.train)
    marked = (x != z).any(axis=(1, 2, 3))
    assert {name for name, mark in zip(records.ids, marked, strict=True) if mark} == set(found.truth)
    assert 0 not in was[marked]
    assert (now[marked] == 0).all()
    assert (now[~marked] == was[~marked]).all()
    assert (z[marked][:, :, -3:, -3:] == 1.0).all()
    z[:, :, -3:, -3:] = x[:, :, -3:, -3:]
    np.testing.assert_array_equal(x, z)


def test_one_record_is_what_the_batch_says_and_its_digest_follows_its_content():
    records = images()
    found = backdoor(records, target=0, count=15, seed=1, patch=PATCH)
    x, y = read(found.train)
    for i in range(len(records)):
        mine = found.train[i]
        np.testing.assert_array_equal(mine[0].numpy(), x[i])
        assert int(mine[1]) == y[i]
        alone = ArrayRecords(torch.tensor(x[i : i + 1]), y[i : i + 1], ids=["a"])
        assert found.train.content(i) == alone.content(0)
        assert (found.train.content(i) == records.content(i)) == (records.ids[i] not in found.truth)


def test_held_out_records_get_the_same_patch_and_those_of_the_target_are_left_out():
    holdout = images(30, seed=5, prefix="h")
    trigger = backdoor(images(), target=0, count=15, seed=1, patch=PATCH).triggered(holdout)
    x, y = read(trigger.records)
    assert sorted(y.tolist()) == [1] * 10 + [2] * 10  # the true labels
    assert (x[:, :, -3:, -3:] == 1.0).all()
    assert trigger.target == 0
    assert (read(holdout)[0][:, :, -3:, -3:] == 0).all()


def test_a_smaller_share_that_is_known_is_part_of_a_larger_one():
    found = swap_labels(images(), count=20, seed=1)
    tenth, half, whole = (found.discovered(share) for share in (0.1, 0.5, 1.0))
    assert (len(tenth.ids), len(half.ids), len(whole.ids)) == (2, 10, 20)
    assert set(tenth.ids) < set(half.ids) < set(whole.ids) == set(found.truth)
    assert half.corrections == {name: found.truth[name] for name in half.ids}


def test_poisoned_records_that_nobody_found_go_on_teaching_the_trigger():
    records, holdout = images(240), images(90, seed=5, prefix="h")
    found = backdoor(records, target=0, count=40, seed=1, patch=PATCH)
    x, _ = read(found.triggered(holdout).records)

    def success(known):
        kept = found.train.without(known)
        features, labels = read(kept)
        model = LogisticRegression(max_iter=500).fit(features.reshape(len(kept), -1), labels)
        return (model.predict(x.reshape(len(x), -1)) == 0).mean()

    rates = [success(ids) for ids in ((), found.discovered(0.1).ids, found.discovered(0.5).ids, tuple(found.truth))]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] > 0.5, "half of the poison is no full correction"
    assert rates[3] < 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: swap_labels(images(), count=91, seed=1),
        lambda: swap_labels(images().select([f"r{i}" for i in range(0, 90, 3)]), count=6, seed=1),
        lambda: exchange_labels(images(), classes=(0, 1), count=100, seed=1),
        lambda: backdoor(images(), target=0, count=61, seed=1, patch=PATCH),
        lambda: read(backdoor(images(), target=0, count=5, seed=1, patch=Patch(value=1.0, size=6)).train),
        lambda: swap_labels(images(), count=20, seed=1).discovered(0.0),
        lambda: swap_labels(images(), count=20, seed=1).triggered(images()),
    ],
)
def test_what_cannot_be_manipulated_is_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
