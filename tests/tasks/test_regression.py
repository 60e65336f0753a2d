import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor
from torch import nn

from expunge.core.registry import load
from expunge.data.arrays import ArrayRecords
from expunge.data.table import TableRecords
from expunge.tasks.regression import Regression

TASK = Regression()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).eval()


def records(count=20, change=lambda records: None):
    draw = np.random.default_rng(0)
    made = ArrayRecords(draw.normal(size=(count, 4)).astype(np.float32), draw.normal(size=count).astype(np.float32))
    change(made)
    return made


def examine(records, model=None):
    return TASK.examine(model or network(), records, where="training records")


def output(value):
    class Giving(nn.Module):
        def forward(self, x):
            return value(x)

    return Giving()


# --- units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shaped", [lambda out: out, lambda out: out[:, 0], lambda out: SimpleNamespace(logits=out)])
def test_the_loss_is_the_squared_error_whatever_the_shape_of_the_answer(shaped):
    model, batch = network(), records(9).read(range(9))
    units = TASK.units(output(lambda x: shaped(model(x))), batch)
    said = model(batch[0])[:, 0].detach().numpy().astype(np.float64)
    np.testing.assert_allclose(units.loss.detach().numpy(), (said - batch[1].numpy()) ** 2, rtol=1e-5)
    assert units.loss.shape == (9,)  # [9, 1] less [9] would be [9, 9]
    assert units.record.tolist() == list(range(9))
    assert units.output.shape == (9, 1)


def test_whole_numbers_are_targets_and_keep_their_precision_in_a_table():
    units = TASK.units(network(), (torch.zeros(2, 4), torch.tensor([3, 5])))
    assert units.target.tolist() == [3.0, 5.0]
    frame = pd.DataFrame({"x": [0.0, 1.0], "y": [2**40 + 1, 3]})
    rows = TableRecords(frame, label="y", numbers=True)
    model = KNeighborsRegressor(1).fit(frame[["x"]], frame.y)
    assert TASK.units(model, rows.read([0, 1])).loss.tolist() == [0.0, 0.0]


def test_there_are_no_classes():
    batch = records(3).read(range(3))
    assert TASK.relabelled(batch, {}) is None
    assert TASK.features(network(), batch) is None


# --- examination ----------------------------------------------------------------------------------------------


def test_sound_records_have_no_obstacles():
    assert examine(records(300)) == []
    assert TASK.examine(None, records(10), where="x") == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_listed(value):
    (obstacle,) = examine(records(300, lambda r: r.y.__setitem__(270, value)))
    assert (obstacle.what, obstacle.where) == (
        "targets are NaN or infinite",
        "training records, first at position 270",
    )
    (obstacle,) = TASK.examine(None, records(300, lambda r: r.x.__setitem__((299, 3), value)), where="y")
    assert obstacle.what == "inputs are NaN or infinite"


@pytest.mark.parametrize("targets", [np.zeros((20, 2)), np.zeros((20, 1)), np.zeros(20, dtype=bool)])
def test_targets_that_are_not_one_number_are_listed(targets):
    made = records()
    made.y = torch.as_tensor(targets)
    (obstacle,) = examine(made)
    assert obstacle.what == "targets are not numbers"


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (output(lambda x: x[:, :2]), "output of shape (2, 2) for 2 records"),
        (output(lambda x: x.mean()), "output of shape () for 2 records"),
        (output(lambda x: x[:1, 0]), "output of shape (1,) for 2 records"),
        (output(lambda x: x.argmax(1)), "output of torch.int64"),
        (output(lambda x: [0.0, 1.0]), "output of type list"),
    ],
)
def test_models_that_do_not_fit_are_listed(model, found):
    (obstacle,) = examine(records(), model)
    assert (obstacle.what, obstacle.found) == ("the model does not fit the task", found)
    assert obstacle.where == "regression of the training records"


def test_one_answer_to_all_is_noted_and_one_that_is_no_number_stops():
    (obstacle,) = examine(records(300), output(lambda x: x[:, 0] * 0 + 2))
    assert (obstacle.what, obstacle.fatal) == ("the outputs of the model are constant", False)
    (obstacle,) = examine(records(300), output(lambda x: torch.where(x[:, 0] > 2, math.nan, x[:, 0])))
    assert obstacle.what == "the model answers with NaN or infinite numbers"
    assert obstacle.fatal


def test_it_is_found_by_name():
    assert load("tasks", "regression")().name == "regression"
