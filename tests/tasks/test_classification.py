import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.nn import functional

from expunge.core.errors import UsageError
from expunge.core.registry import load
from expunge.data.arrays import ArrayRecords
from expunge.data.dataset import DatasetRecords
from expunge.data.table import TableRecords
from expunge.engine.batches import in_order
from expunge.engine.returning import returning
from expunge.tasks._estimators import FLOOR
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


def test_features_that_a_task_of_ones_own_finds_elsewhere_are_those_that_are_seen():
    class Inputs(Classification):
        def features(self, model, batch):
            return super().features(model, batch)[:, :1] * 0 + batch[0][:, :2]

    model, batch = toys.network().eval(), toys.records(5).read(range(5))
    for task in (Inputs(), returning(Inputs())):
        units, features = task.seen(model, batch)
        assert torch.equal(features, batch[0][:, :2])
    torch.testing.assert_close(units.loss, TASK.units(model, batch).loss)
    assert not torch.equal(TASK.seen(model, batch)[1][:, :2], features)


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


# --- beside the records, and inside the model ----------------------------------------------------------------


def test_inputs_with_names_are_moved_in_the_order_of_their_columns():
    batch = ({"b": torch.zeros(2, 3), "a": torch.ones(2, 1, 2)}, torch.tensor([1, 0]))
    by = torch.arange(10, dtype=torch.float64).reshape(2, 5)
    inputs, labels = TASK.moved(batch, by)
    assert inputs["a"].tolist() == [[[1.0, 2.0]], [[6.0, 7.0]]]
    assert inputs["b"].tolist() == [[2.0, 3.0, 4.0], [7.0, 8.0, 9.0]]
    assert labels.tolist() == [1, 0]
    assert inputs["a"].dtype is torch.float32
    torch.testing.assert_close(TASK.inputs((inputs, labels)), TASK.inputs(batch) + by)


def test_a_text_is_the_same_row_whatever_longer_one_is_read_beside_it():
    short, long = torch.tensor([[3, 4, 4]]), torch.tensor([[3, 4, 4, 0, 0], [7, 8, 9, 9, 9]])
    batches = [({"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.zeros(len(ids))) for ids in (short, long)]
    one, two = map(TASK.inputs, batches)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(two[0], two[1])
    assert one[0, 4] == pytest.approx((2 / 3) ** 0.5)
    choices = torch.stack([long, long.flip(0)], dim=1)
    several = TASK.inputs(({"input_ids": choices, "attention_mask": (choices > 0).long()}, torch.zeros(2)))
    assert torch.allclose(several[0], several[1])
    ages = [({**inputs, "age": torch.ones(len(labels), 1)}, labels) for inputs, labels in batches]
    assert torch.equal(TASK.inputs(ages[0])[0], torch.cat([one[0], torch.ones(1)]))


def test_tokens_and_whole_numbers_are_not_moved():
    by = torch.zeros(2, 3, dtype=torch.float64)
    assert TASK.moved((torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2)), by) is None
    mixed = {"input_ids": torch.zeros(2, 2, dtype=torch.long), "weight": torch.zeros(2, 1)}
    assert TASK.moved((mixed, torch.zeros(2)), by) is None


def test_a_word_is_exchanged_together_with_its_mask_and_never_one_that_is_hidden():
    ids = torch.tensor([[1, 2, 3, 4, 0, 0], [4, 5, 6, 7, 8, 0]])
    batch = ({"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.tensor([1, 0]))
    longer = torch.tensor([[1, 9, 3, 4, 9, 9, 9], [4, 5, 6, 9, 9, 9, 9]])
    other = ({"input_ids": longer, "attention_mask": torch.ones(2, 7, dtype=torch.long)}, torch.tensor([0, 0]))
    inputs, labels = TASK.exchanged(batch, other, torch.tensor([0.99, 0.5]))
    assert inputs["input_ids"].tolist() == [[1, 9, 3, 4, 0, 0], [4, 5, 6, 7, 9, 0]]
    assert torch.equal(inputs["attention_mask"], batch[0]["attention_mask"])
    assert labels.tolist() == [1, 0]
    assert ids.tolist() == [[1, 2, 3, 4, 0, 0], [4, 5, 6, 7, 8, 0]]


def test_short_texts_stay_in_whatever_batch_they_are_and_segments_are_no_words():
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    parts = {"input_ids": ids, "attention_mask": (ids > 0).long(), "token_type_ids": torch.zeros_like(ids)}
    longer = torch.tensor([[9, 9, 9, 9, 9], [4, 5, 6, 7, 9]])
    others = {"input_ids": longer, "attention_mask": (longer > 0).long(), "token_type_ids": torch.ones_like(longer)}
    batch, other = (parts, torch.tensor([1, 0])), (others, torch.tensor([0, 0]))
    inputs, _ = TASK.exchanged(batch, other, torch.zeros(2))
    assert all(torch.equal(inputs[key], part) for key, part in parts.items()), "three tokens, and nothing unlike"
    narrow = ({key: part[:1, :3] for key, part in parts.items()}, batch[1][:1])
    assert torch.equal(TASK.exchanged(narrow, other, torch.zeros(1))[0]["input_ids"], ids[:1, :3])


def test_uneven_parts_are_not_exchanged():
    where, labels = torch.zeros(2), torch.zeros(2)
    uneven = ({"input_ids": torch.zeros(2, 4, dtype=torch.long), "weight": torch.zeros(2, 1)}, labels)
    assert TASK.exchanged(uneven, uneven, where) is None


@pytest.mark.parametrize(("columns", "exchanged"), [(3, False), (4, True)])
def test_of_a_table_of_three_columns_nothing_is_exchanged(columns, exchanged):
    frame = pd.DataFrame({f"c{i}": ["a", "b"] for i in range(columns)} | {"y": [0, 1]})
    records = TableRecords(frame, label="y")
    made = TASK.exchanged(records.read([0]), records.read([1]), torch.zeros(1))
    assert (made is not None) is exchanged


def test_features_are_what_the_linear_layer_that_ran_last_was_given():
    class Twisted(nn.Module):
        """The head is made before the body, and one layer is never used."""

        def __init__(self):
            super().__init__()
            self.head, self.body, self.idle = nn.Linear(5, 3), nn.Linear(4, 5), nn.Linear(4, 2)

        def forward(self, x):
            return SimpleNamespace(logits=self.head(torch.relu(self.body(x))))

    inputs, labels = toys.points(6)
    model = Twisted().eval()
    torch.testing.assert_close(TASK.features(model, (inputs, labels)), torch.relu(model.body(inputs)))


def test_models_without_a_row_per_record_have_no_features():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(1, 3)

        def forward(self, x):
            return self.score(x[..., None]).mean(1)

    batch = toys.points(6)
    assert TASK.features(Tokens(), batch) is None
    assert TASK.features(nn.Sequential(nn.Softmax(dim=1)), batch) is None
    assert TASK.features(lambda x: x[:, :3], batch) is None, "no module at all"


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

    (obstacle,) = examine(DatasetRecords(Labelled()))
    # torch cannot make a batch of None.
    assert obstacle.what == (
        "labels are not class numbers" if label is not None else "records cannot be read as a batch"
    )


def test_a_label_that_is_missing_deep_in_the_data_is_found():
    class Holed(toys.Mixed):
        def __len__(self):
            return 700

        def __getitem__(self, index):
            return torch.zeros(4), None if index == 600 else index % 3

    (obstacle,) = examine(DatasetRecords(Holed()))
    assert (obstacle.fatal, obstacle.found) == (True, "RuntimeError")
    assert "positions 512 to 699" in obstacle.where
    assert "label" in obstacle.fix


def test_constant_outputs_are_noted_and_stop_nothing():
    model = toys.network()
    with torch.no_grad():
        model[2].weight.zero_()
    (obstacle,) = examine(toys.records(300), model)
    assert (obstacle.what, obstacle.fatal) == ("the outputs of the model are constant", False)
    with torch.no_grad():
        model[2].weight[0, 0] = 1e-2
    assert examine(toys.records(300), model) == [], "hardly a model, but no constant one"


def test_answers_that_are_not_finite_are_found_beyond_the_first_records():
    class Overflows(nn.Module):
        def forward(self, x):
            return torch.where(x[:, :1] > 2.5, torch.nan, x[:, :3])

    records = toys.records(200)
    assert records.x[:2, 0].max() < 2.5
    found = int((records.x[:, 0] > 2.5).sum())
    (obstacle,) = examine(records, Overflows())
    assert obstacle.fatal
    assert obstacle.found == f"{found} of 200 records that were asked"


# --- other labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), torch.tensor([1, 2, 0, 1], dtype=torch.int16)])
def test_labels_are_replaced_in_batches_and_examples(label):
    inputs, new = TASK.relabelled(("input", label), {1: 5, 2: 1})
    assert inputs == "input"
    assert torch.as_tensor(new).tolist() == ([5, 1, 0, 5] if torch.as_tensor(label).dim() else 5)
    assert getattr(new, "dtype", None) == getattr(label, "dtype", None) or not isinstance(label, torch.Tensor)


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


def test_answers_that_are_nan_are_no_matter_of_the_task():
    (obstacle,) = examine(toys.records(10), output(lambda x: x * math.nan))
    assert (obstacle.what, obstacle.found) == (
        "the model answers with NaN or infinite numbers",
        "10 of 10 records that were asked",
    )


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


# --- estimators on tables -------------------------------------------------------------------------------------


class Says:
    """An estimator that says what it is told to."""

    def __init__(self, classes, **answers):
        self.classes_ = np.array(list(classes))
        for name, answer in answers.items():
            setattr(self, name, lambda x, answer=answer: np.asarray(answer))


def table(count=3, classes=("a", "b", "c")):
    frame = pd.DataFrame({"x": np.arange(float(count)), "y": [classes[i % len(classes)] for i in range(count)]})
    return TableRecords(frame, label="y", classes=classes)


def said(model, records=None):
    records = records or table()
    return TASK.units(model, records.read(range(len(records)))).logits.exp().numpy()


def test_probabilities_are_floored_by_one_rule():
    sure = np.eye(3)
    floored = np.maximum(sure, FLOOR) / (1 + 2 * FLOOR)
    np.testing.assert_allclose(said(Says("abc", predict_proba=sure)), floored)
    np.testing.assert_allclose(said(Says("abc", predict=list("abc"))), floored)
    loss = TASK.units(Says("abc", predict_proba=sure[::-1]), table().read(range(3))).loss
    assert loss[0] == pytest.approx(-math.log(FLOOR / (1 + 2 * FLOOR)))


def test_classes_are_put_where_the_records_have_them():
    given = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    found = said(Says("ca", predict_proba=given))  # in its own order, and without b
    raised = np.maximum(np.stack([given[:, 1], np.zeros(3), given[:, 0]], axis=1), FLOOR)
    np.testing.assert_allclose(found, raised / raised.sum(axis=1, keepdims=True))
    with pytest.raises(UsageError, match="classes that the records do not"):
        said(Says("abz", predict_proba=np.eye(3)))


def test_decision_values_go_through_the_softmax():
    two = table(classes=("a", "b"))
    found = said(Says("ab", decision_function=[0.0, 2.0, -1.0]), two)
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp([0.0, -2.0, 1.0])))
    three = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1e5, 0.0, -1e5]])
    found = said(Says("abc", decision_function=three))
    np.testing.assert_allclose(found[:2], np.exp(three[:2]) / np.exp(three[:2]).sum(axis=1, keepdims=True))
    assert np.isfinite(np.log(found)).all()


def test_answers_that_are_no_numbers_stay_so():
    assert np.isnan(said(Says("abc", predict_proba=np.full((3, 3), np.nan)))).all()


def test_an_estimator_fits_its_records():
    records = table(40)
    model = DecisionTreeClassifier(random_state=0).fit(records._frame, [records.classes[c] for c in records.y])
    assert examine(records, model) == []
    assert TASK.features(model, records.read([0])) is None
    assert TASK.inputs(records.read([0, 1])).shape == (2, 1)
    hole = TableRecords(records._frame.assign(y="a").assign(x=np.inf), label="y", classes=records.classes)
    assert "NaN or infinite" in str(TASK.examine(None, hole, where="training records")[0])


def test_rows_are_moved_where_all_are_floats():
    records = table()
    batch = records.read(range(3))
    rows, labels = TASK.moved(batch, torch.ones(3, 1, dtype=torch.float64))
    np.testing.assert_allclose(rows.numbers, batch[0].numbers + 1)
    assert labels is batch[1]
    words = TableRecords(pd.DataFrame({"x": list("uvw"), "y": list("abc")}), label="y").read(range(3))
    assert TASK.moved(words, torch.ones(3, 16, dtype=torch.float64)) is None
