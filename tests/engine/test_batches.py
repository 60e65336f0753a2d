from itertools import chain, islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.engine.batches import drawn_endlessly, in_order, order, shuffled
from tests.support import toys

NAMES = st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True)
SEEDS = st.integers(0, 2**31)


def ids(records, batches):
    """Return the ids of each batch, found again by their inputs."""
    rows = {tuple(records.x[i].tolist()): name for i, name in enumerate(records.ids)}
    return [[rows[tuple(row.tolist())] for row in inputs] for inputs, _ in batches]


@given(NAMES, SEEDS, st.integers(0, 9), st.data())
def test_leaving_one_out_moves_no_other(names, seed, epoch, data):
    gone = data.draw(st.sampled_from(names))
    whole = [names[i] for i in order(names, seed=seed, epoch=epoch)]
    rest = [name for name in names if name != gone]
    assert [rest[i] for i in order(rest, seed=seed, epoch=epoch)] == [name for name in whole if name != gone]


@given(NAMES, SEEDS, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_records_are_kept(names, seed, random):
    mixed = list(names)
    random.shuffle(mixed)
    first = [names[i] for i in order(names, seed=seed, epoch=0)]
    assert [mixed[i] for i in order(mixed, seed=seed, epoch=0)] == first


def test_seeds_and_epochs_give_other_orders():
    names = [str(i) for i in range(50)]
    orders = {tuple(order(names, seed=seed, epoch=epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert all(sorted(entry) == list(range(50)) for entry in orders)


def test_every_place_is_equally_likely():
    names = [str(i) for i in range(6)]
    counts = torch.zeros(6, 6)
    for seed in range(3000):
        for place, index in enumerate(order(names, seed=seed, epoch=0)):
            counts[index, place] += 1
    expected = 500
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 54  # 99.9% quantile for 25 degrees of freedom is 52.6; fixed seeds


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_partial_batches_count(size):
    records = toys.records(20)
    found = ids(records, shuffled(records, size, seed=1, epoch=0))
    assert sorted(chain(*found)) == sorted(records.ids)
    assert [len(batch) for batch in found] == [size] * (20 // size) + ([20 % size] if 20 % size else [])


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (19, 9, [9, 8, 2]),
        (65, 64, [63, 2]),
        (4, 3, [2, 2]),
        (1, 64, [1]),
        (3, 2, [2, 1]),
        (3, 1, [1, 1, 1]),
        (0, 4, []),
    ],
)
def test_no_record_is_left_alone(count, size, expected):
    # Batch normalisation refuses to train on one record; forgetting a single one can leave such a rest.
    records = toys.records(count)
    found = ids(records, shuffled(records, size, seed=1, epoch=0))
    assert [len(batch) for batch in found] == expected
    assert list(chain(*found)) == [records.ids[i] for i in order(records.ids, seed=1, epoch=0)]


def test_evaluation_keeps_the_order_of_the_records():
    records = toys.records(20)
    assert ids(records, in_order(records, 8)) == [list(records.ids[i : i + 8]) for i in (0, 8, 16)]
    assert list(in_order(toys.records(0))) == []


def test_a_restarted_stream_is_shuffled_anew_and_replays_no_batch():
    # itertools.cycle over a loader would replay the batches of the first pass for ever.
    records = toys.records(12)
    found = ids(records, map(records.read, islice(drawn_endlessly(records, 8, seed=1, epoch=0), 10)))
    assert [len(batch) for batch in found] == [8, 4] * 5
    rounds = [tuple(a + b) for a, b in zip(found[::2], found[1::2], strict=True)]
    assert all(sorted(entry) == sorted(records.ids) for entry in rounds)
    assert len(set(rounds)) == 5
    later = ids(records, map(records.read, islice(drawn_endlessly(records, 8, seed=1, epoch=1), 10)))
    assert not set(rounds) & {tuple(a + b) for a, b in zip(later[::2], later[1::2], strict=True)}


def test_a_stream_of_nothing_ends():
    assert list(drawn_endlessly(toys.records(0), 4, seed=1, epoch=0)) == []
