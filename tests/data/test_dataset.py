import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from expunge.core.errors import UsageError
from expunge.core.registry import adopt
from expunge.data.arrays import ArrayRecords
from expunge.data.dataset import DatasetRecords
from tests.support import toys


class Named(Dataset):
    """A user's dataset that knows its ids and subjects."""

    def __init__(self, rows=4):
        self.rows = rows
        self.ids = [f"row-{i}" for i in range(rows)]
        self.subjects = ["anna"] * rows

    def __len__(self):
        return self.rows

    def __getitem__(self, index):
        return {"text": torch.full((2,), float(index))}, index % 2


def test_names_come_from_arguments_then_from_the_dataset_then_from_positions():
    assert DatasetRecords(Named()).ids == ("row-0", "row-1", "row-2", "row-3")
    assert DatasetRecords(Named()).subjects == ("anna",) * 4
    assert DatasetRecords(Named(), ids=list("abcd"), subjects=[None] * 4).ids == tuple("abcd")
    assert DatasetRecords(TensorDataset(torch.zeros(2, 1), torch.zeros(2))).ids == ("0", "1")


def test_a_batch_is_collated():
    inputs, labels = DatasetRecords(Named()).read([3, 0])
    assert inputs["text"].tolist() == [[3.0, 3.0], [0.0, 0.0]]
    assert labels.tolist() == [1, 0]


def test_it_says_the_same_as_arrays_do():
    inputs, labels = toys.points(10)
    dataset, arrays = DatasetRecords(TensorDataset(inputs, labels)), ArrayRecords(inputs, labels)
    assert dataset.manifest == arrays.manifest
    for one, other in zip(dataset.read([2, 5]), arrays.read([2, 5]), strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(dataset[3][0], arrays[3][0])


@pytest.mark.parametrize(
    "thing",
    [[1, 2], ("a", "b", "c"), "text", b"bytes", {"a": 1}, np.zeros((3, 2)), torch.zeros(3, 2), iter([1]), 5, None],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_dataset_is_refused(thing):
    assert not DatasetRecords.accepts(thing)
    with pytest.raises(UsageError, match="cannot use a"):
        adopt("data", thing)


def test_a_dataset_is_adopted():
    assert isinstance(adopt("data", Named()), DatasetRecords)
    records = toys.records(3)
    assert adopt("data", records) is records


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ids": ["a"]}, "ids and records differ"),
        ({"ids": [0, 1, 2, 3]}, "must be strings"),
        ({"subjects": ["a"]}, "subjects and records differ"),
    ],
)
def test_wrong_names_are_refused(more, message):
    with pytest.raises(UsageError, match=message):
        DatasetRecords(Named(), **more)


class Single:
    """A dataset of one example."""

    def __init__(self, example):
        self.example = example

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.example


def content(example):
    return DatasetRecords(Single(example)).content(0)


def test_different_examples_have_different_digests():
    examples = [
        (1, 2),
        (1, 2.0),
        (1, True),
        (1, "2"),
        (1, b"2"),
        (1, None),
        (1,),
        (1, (2,)),
        ((1, 2),),
        (12,),
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {"a": 1, "b": None},
        ("ab", "c"),
        ("a", "bc"),
        ("array <f4 (1,) 4\n\x00",),
        (np.float32(0),),
        (np.float64(0),),
        (np.array(["a"]),),
        (np.array(["b"]),),
    ]
    assert len({content(example) for example in examples}) == len(examples)


def test_equal_examples_have_equal_digests():
    assert content({"a": 1, "b": 2}) == content({"b": 2, "a": 1})
    assert content([1, 2]) == content((1, 2))
    assert content((torch.ones(2), 1)) == content((np.ones(2, dtype=np.float32), 1))
    assert content(torch.ones(2, requires_grad=True)) == content(torch.ones(2))


def test_images_count_by_mode_size_and_pixels():
    class Image:
        def __init__(self, mode, size, data):
            self.mode, self.size, self.data = mode, size, data

        def tobytes(self):
            return self.data

    images = [
        Image("L", (2, 1), b"ab"),
        Image("L", (1, 2), b"ab"),
        Image("P", (2, 1), b"ab"),
        Image("L", (2, 1), b"ac"),
    ]
    assert len({content(image) for image in images}) == 4


@pytest.mark.parametrize("thing", [object(), {1, 2}, np.array([object()]), len])
def test_content_without_a_definition_is_refused(thing):
    with pytest.raises(UsageError, match="no defined digest"):
        content((thing, 1))
