import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from expunge.core.errors import UsageError
from expunge.core.registry import adopt
from expunge.data.arrays import ArrayRecords
from tests.support import toys

X, Y = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2], dtype=np.int32)


def test_records_are_pairs_with_ids():
    records = ArrayRecords(X, Y, subjects=["anna", None, "ben", None, None, "anna"])
    assert records.ids == ("0", "1", "2", "3", "4", "5")
    assert records.subjects[2] == "ben"
    inputs, label = records[1]
    assert (inputs.tolist(), label.item()) == ([2.0, 3.0], 1)
    batch = records.read([4, 0])
    assert (batch[0].tolist(), batch[1].tolist()) == ([[8.0, 9.0], [0.0, 1.0]], [1, 0])
    assert batch[1].dtype is torch.int64


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_what_is_handed_in_is_copied(make):
    x, y = make(X), make(Y)
    records = ArrayRecords(x, y)
    x[0] += 100
    y[0] = 2
    assert records.x[0].tolist() == [0.0, 1.0]
    records.x[1] += 100
    assert x[1].tolist() == [2.0, 3.0]
    assert records.y[0] == 0


def test_real_labels_stay_real():
    assert ArrayRecords(X, np.linspace(0, 1, 6)).y.dtype is torch.float64
    assert ArrayRecords(X, Y.astype(bool)).y.dtype is torch.int64


def test_arrays_that_torch_does_not_take_by_itself():
    locked = X.copy()
    locked.flags.writeable = False
    assert torch.equal(ArrayRecords(locked, Y).x, torch.tensor(X))
    assert torch.equal(ArrayRecords(X[::-1], Y[::-1]).x, torch.tensor(X[::-1].copy()))
    assert ArrayRecords([[1.0], [2.0]], [0, 1]).x.dtype is torch.float32


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ids": ["a"]}, "ids and records differ"),
        ({"ids": [0, 1, 2, 3, 4, 5]}, "must be strings"),
        ({"subjects": ["a"]}, "subjects and records differ"),
    ],
)
def test_wrong_names_are_refused(more, message):
    with pytest.raises(UsageError, match=message):
        ArrayRecords(X, Y, **more)


def test_labels_and_inputs_must_agree_in_number():
    with pytest.raises(UsageError, match="inputs and labels differ"):
        ArrayRecords(X, Y[:5])


def test_duplicate_ids_are_an_obstacle():
    (obstacle,) = ArrayRecords(X, Y, ids=["a", "b", "a", "c", "d", "e"]).examine()
    assert obstacle.what == "duplicate record ids"


def test_a_pair_of_arrays_is_adopted():
    assert adopt("data", (X, Y)).ids == ArrayRecords(X, Y).ids
    assert adopt("data", (torch.tensor(X), Y)).y.tolist() == Y.tolist()
    assert not ArrayRecords.accepts((X, Y, Y))
    assert not ArrayRecords.accepts([X, Y])


def test_a_loader_over_a_view_gives_what_read_gives():
    records = toys.records(23)
    view = records.without(["r3", "r7"])
    batches = list(DataLoader(view, batch_size=8))
    torch.testing.assert_close(torch.cat([x for x, _ in batches]), view.read(range(21))[0])
    torch.testing.assert_close(torch.cat([y for _, y in batches]), view.read(range(21))[1])
    assert not {"r3", "r7"} & set(records.seen)


# --- contents -------------------------------------------------------------------------------------------------


def digest(x, y=0):
    return ArrayRecords(torch.as_tensor(x)[None], torch.tensor([y])).content(0)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 30))
def test_any_flipped_bit_changes_the_digest(values, label, bit):
    x = torch.tensor(values)
    other = x.clone()
    other.view(torch.int32)[0] ^= 1 << bit
    assert digest(x, label) == digest(x.clone(), label)
    assert digest(x, label) != digest(other, label)
    assert digest(x, label) != digest(x, label + 1)


def test_types_and_shapes_change_the_digest():
    x = torch.zeros(4)
    variants = [x, x.double(), x.half(), x.bfloat16(), x.int(), x.view(2, 2), x.view(1, 4), torch.zeros(3), x.bool()]
    assert len({digest(v) for v in variants}) == len(variants)
    with_label = ArrayRecords(x[None], torch.zeros(1, dtype=torch.float64)).content(0)
    assert with_label != digest(x)


def test_layout_in_memory_does_not_change_the_digest():
    x = torch.arange(6.0).reshape(2, 3)
    assert digest(x) == digest(x.T.contiguous().T)
    assert digest(x) == digest(np.asfortranarray(x.numpy()))


def test_digests_are_the_same_in_every_process():
    code = (
        "from tests.support import toys; from expunge.data.dataset import DatasetRecords\n"
        "print(toys.records(3).manifest.digest)\n"
        "print(DatasetRecords.adopt(toys.Mixed()).manifest.digest)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(toys.ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1",)
    }
    here = f"{toys.records(3).manifest.digest}\n{adopt('data', toys.Mixed()).manifest.digest}\n"
    assert found == {here}
