import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from expunge.core.registry import load
from expunge.data.arrays import ArrayRecords
from expunge.data.dataset import DatasetRecords
from expunge.engine.batches import in_order
from expunge.tasks.classification import Classification
from tests.support import toys

TASK = Classification()


def examine(records, model=None):
    return TASK.examine(model or toys.network(), records, where="training records")


def broken(change, count=20):
    records = toys.records(count)
    change(records)
    return records


# --- units ----------------------------------------------------------------------------------------------------


def test_one_unit_per_record():
    model, records = toys.network(), toys.records(9)
    inputs, labels = records.read(range(9))
    units = TASK.units(model, (inputs, labels))
    torch.testing.assert_close(units.loss, functional.cross_entropy(model(inputs), labels, reduction="none"))
    assert units.record.tolist() == list(range(9))
    torch.testing.assert_close(units.by_record(units.loss), units.loss)


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_results_do_not_depend_on_the_batch(size):
    model, records = toys.network(toys.Noisy).eval(), toys.records(50)
    whole = TASK.units(model, records.read(range(50)))
    parts = [TASK.units(model, batch) for batch in in_order(records, size)]
    torch.testing.assert_close(torch.cat([p.loss for p in parts]), whole.loss)
    torch.testing.assert_close(torch.cat([p.logits for p in parts]), whole.logits)


def test_models_that_take_names_and_give_logits():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = toys.network()

        def forward(self, features, mask):
            return SimpleNamespace(logits=self.inner(features * mask))

    inputs, labels = toys.points(6)
    model = Named()
    batch = ({"features": inputs, "mask": torch.ones(6, 4)}, labels)
    torch.testing.assert_close(TASK.units(model, batch).logits, model.inner(inputs))
    rows = TASK.inputs(batch)
    assert rows.dtype is torch.float64
    torch.testing.assert_close(rows, torch.cat([inputs, torch.ones(6, 4)], 1).double())


def test_images_become_rows():
    assert TASK.inputs((torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.zeros(5))).shape == (5, 64)


# --- examination ----------------------------------------------------------------------------------------------


def test_sound_records_have_no_obstacles():
    assert examine(toys.records(300)) == []
    assert TASK.examine(None, toys.records(10), where="x") == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_not_finite_are_listed(value):
    def change(records):
        records.x[270, 1] = records.x[299, 3] = value

    (obstacle,) = examine(broken(change, 300))
    assert "NaN or infinite" in obstacle.what
    assert (obstacle.where, obstacle.found) == ("training records, first at position 270", "2 of 300 records")


@pytest.mark.parametrize("label", [3, 99, -1, -100])
def test_labels_outside_the_classes_are_listed(label):
    # -100 is what torch's cross entropy ignores in silence.
    (obstacle,) = examine(broken(lambda records: records.y.__setitem__(7, label)))
    assert "labels outside" in obstacle.what
    assert (obstacle.where, obstacle.expected) == ("training records, first at position 7", "0 to 2")


def test_without_a_model_negative_labels_are_listed_still():
    records = broken(lambda records: records.y.__setitem__(7, -1))
    (obstacle,) = TASK.examine(None, records, where="x")
    assert obstacle.expected == "0 or more"


@pytest.mark.parametrize("labels", [np.linspace(0, 1, 20), np.zeros((20, 3), dtype=np.int64), np.zeros((20, 1))])
def test_labels_that_are_no_class_numbers_are_listed(labels):
    (obstacle,) = examine(ArrayRecords(toys.points(20)[0], labels))
    assert obstacle.what == "labels are not class numbers"


@pytest.mark.parametrize("label", ["cat", None, True, 1.0], ids=str)
def test_labels_of_other_kinds_are_listed(label):
    class Labelled(toys.Mixed):
        def __getitem__(self, index):
            return torch.zeros(4), label

    if label is None:
        with pytest.raises(TypeError):  # torch cannot make a batch of it, and says so
            examine(DatasetRecords(Labelled()))
        return
    (obstacle,) = examine(DatasetRecords(Labelled()))
    assert obstacle.what == "labels are not class numbers"


@pytest.mark.parametrize("example", [torch.zeros(4), (torch.zeros(4), 1, 1), {"x": torch.zeros(4), "y": 1}])
def test_records_that_are_no_pairs_are_listed(example):
    class Odd(toys.Mixed):
        def __getitem__(self, index):
            return example

    (obstacle,) = examine(DatasetRecords(Odd()))
    assert obstacle.what == "records are not pairs"


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int8])
def test_small_integers_are_labels(dtype):
    class Small(toys.Mixed):
        def __getitem__(self, index):
            return torch.zeros(4), dtype(index)

    records = DatasetRecords(Small())
    assert examine(records) == []
    assert TASK.units(toys.network(), records.read([0, 1])).loss.shape == (2,)


def test_a_dataset_that_answers_differently_is_listed():
    class Augmented(toys.Witness):
        def __getitem__(self, index):
            inputs, label = super().__getitem__(index)
            return inputs + torch.rand(4), label

    (obstacle,) = examine(Augmented(*toys.points(600)))
    assert "differently when read twice" in obstacle.what
    assert obstacle.found == "300 of 300 records read again"


def raising(error):
    class Raising(nn.Module):
        def forward(self, x):
            raise error

    return Raising()


def output(value):
    class Giving(nn.Module):
        def forward(self, x):
            return value(x)

    return Giving()


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (output(lambda x: x[:, 0]), "output of shape (2,) for 2 records"),
        (output(lambda x: x[:, :1]), "output of shape (2, 1) for 2 records"),
        (output(lambda x: x[:1]), "output of shape (1, 4) for 2 records"),
        (output(lambda x: x[:, None]), "output of shape (2, 1, 4) for 2 records"),
        (output(lambda x: (x, x)), "output of type tuple"),
        (output(lambda x: x * math.nan), "an output that is NaN or infinite"),
        (nn.Linear(5, 3), "RuntimeError on a batch of 2"),
        (raising(KeyError("secret")), "KeyError on a batch of 2"),
        (raising(AssertionError("secret")), "AssertionError on a batch of 2"),
        (raising(AttributeError("secret")), "AttributeError on a batch of 2"),
        (raising(ZeroDivisionError("secret")), "ZeroDivisionError on a batch of 2"),
        (raising(NotImplementedError("secret")), "NotImplementedError on a batch of 2"),
    ],
)
def test_models_that_do_not_fit_are_listed(model, found):
    (obstacle,) = examine(toys.records(10), model)
    assert obstacle.what == "the model does not fit the task"
    assert obstacle.found == found
    assert "secret" not in str(obstacle), "the text of a user's error could hold data"


def test_all_obstacles_at_once():
    def change(records):
        records.x[3] = math.nan
        records.y[4] = 9

    assert len(examine(broken(change))) == 2


def test_every_record_is_read():
    records = toys.records(600)
    examine(records)
    assert set(records.seen) == set(records.ids)


def test_it_is_found_by_name():
    assert load("tasks", "classification")().name == "classification"
