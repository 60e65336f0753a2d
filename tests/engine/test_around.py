import numpy as np
import pytest
import torch
from torch import nn

from expunge.core.check import EvidenceKind
from expunge.data.arrays import ArrayRecords
from expunge.engine import around
from expunge.engine.available import available
from expunge.engine.collect import collect
from expunge.engine.parts import Parts
from expunge.engine.split import split
from expunge.numerics.membership import confidence
from tests.support import toys


@pytest.fixture
def problem():
    return toys.problem()


def test_columns_move_by_a_share_of_their_deviation(problem, monkeypatch):
    monkeypatch.setattr(around, "_SIZE", 7)
    records = problem.retain_view
    inputs = records.read(range(len(records)))[0].double()
    expected = around.SHARE * inputs.std(dim=0)
    torch.testing.assert_close(around.reach(problem, records), expected)
    assert (expected > 0).all()


def test_a_column_that_does_not_vary_is_not_moved():
    train = toys.Witness(torch.full((20, 4), 0.1), torch.arange(20) % 3, ids=[f"r{i}" for i in range(20)])
    problem = toys.problem(train=train)
    torch.testing.assert_close(around.reach(problem, problem.retain_view), torch.zeros(4, dtype=torch.float64))
    assert around.reach(problem, problem.records.select(["r0"])).tolist() == [0.0] * 4, "one record has no deviation"


def test_what_is_said_of_moved_records(problem):
    records, model = problem.forget_view, problem.source.open()
    reach = torch.tensor([1.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = around.confidences(problem, model, records, around.Noise(reach), seed=3)
    inputs, labels = records.read(range(len(records)))
    assert found.shape == (around.DRAWS, len(records)) == (len(seen), 12)
    step = torch.stack(seen) - inputs
    assert not step[..., 1].any()
    assert not step[..., 3].any()
    assert step[..., 2].std() / step[..., 0].std() == pytest.approx(2.0, rel=0.4)
    assert step[..., 0].std(dim=1).min() > 0.4, "every record is moved otherwise"
    assert step[..., 0].mean() == pytest.approx(0.0, abs=0.45)
    with torch.no_grad():
        rows = [confidence(model(moved).double().numpy(), labels.numpy()) for moved in list(seen)]
    np.testing.assert_allclose(found, rows[:4], rtol=1e-6)
    assert np.std(found, axis=0).min() > 0, "every draw moves a record otherwise"


def test_noise_belongs_to_seed_and_record(problem, monkeypatch):
    records, model = problem.forget_view, problem.source.open()
    noise = around.beside(problem, problem.retain_view)
    whole = around.confidences(problem, model, records, noise, seed=3)
    monkeypatch.setattr(around, "_SIZE", 5)
    again = around.confidences(problem, model.train(), records.select(records.ids[::-1]), noise, seed=3)
    np.testing.assert_allclose(again[:, ::-1], whole, rtol=1e-6)
    assert not np.allclose(around.confidences(problem, model, records, noise, seed=4), whole)


def numbers(width):
    """Return a problem whose inputs are whole numbers, no two alike in any place."""
    inputs = torch.arange(20)[:, None] * 10 + torch.arange(width)
    train = ArrayRecords(inputs, torch.arange(20) % 3)
    words = nn.Sequential(nn.Embedding(200, 3), nn.Flatten(), nn.Linear(3 * width, 3))
    return toys.problem(train=train, forget=4, holdout=0, model=words)


def test_of_whole_numbers_one_is_exchanged_for_that_of_a_retained_record():
    problem = numbers(5)
    assert EvidenceKind.AROUND in available(problem)
    records, model, seen = problem.forget_view, problem.source.open(), []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = around.confidences(problem, model, records, around.beside(problem, problem.retain_view), seed=3)
    inputs, labels = records.read(range(4))
    kept = problem.retain_view.read(range(16))[0]
    for given, said in zip(list(seen), found, strict=True):
        changed = given != inputs
        assert (changed.sum(dim=1) == 1).all()
        rows, places = changed.nonzero(as_tuple=True)
        assert all(given[row, place] in kept[:, place] for row, place in zip(rows, places, strict=True))
        with torch.no_grad():
            np.testing.assert_allclose(said, confidence(model(given).double().numpy(), labels.numpy()), rtol=1e-6)
    places = torch.stack([(given != inputs).int().argmax(dim=1) for given in seen[: len(found)]])
    assert all(len(set(own)) == 5 for own in places.T.tolist()), "eight copies, and every one of five places"


def test_a_short_text_among_others_has_itself_beside_it():
    """Whatever comes first, and however wide a batch is: neither the check nor the run depends on it."""

    class Texts(ArrayRecords):
        def read(self, indices):
            ids, labels = super().read(indices)
            ids = ids[:, : int((ids > 0).sum(dim=1).max())]
            return {"input_ids": ids, "attention_mask": (ids > 0).long()}, labels

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(200, 3)

        def forward(self, input_ids, attention_mask):
            return (self.table(input_ids) * attention_mask[..., None]).sum(dim=1)

    ids = 1 + torch.arange(20)[:, None] * 8 + torch.arange(8)
    ids[[0, 1, 4], 3:] = 0  # two of those to forget, and the first that stays
    problem = toys.problem(train=Texts(ids, torch.arange(20) % 3), forget=4, holdout=0, model=Words())
    assert around.possible(problem)
    beside = around.beside(problem, problem.retain_view)
    made = [beside.batch(problem, problem.forget_view, range(i, i + 1), seed=1, draw=0)[0] for i in range(4)]
    changed = [int((each["input_ids"] != ids[i, : each["input_ids"].shape[1]]).sum()) for i, each in enumerate(made)]
    assert changed == [0, 0, 1, 1]
    assert around.confidences(problem, Words(), problem.forget_view, beside, seed=1).shape == (around.EXCHANGES, 4)


def test_records_of_three_numbers_have_nothing_beside_them():
    problem = numbers(3)
    assert not around.possible(problem)
    assert EvidenceKind.AROUND not in available(problem)
    parts = Parts.of(problem, split(problem, 1)[1], 1, asked=[EvidenceKind.AROUND])
    assert parts.beside is None


# --- as evidence ----------------------------------------------------------------------------------------------


def gathered(problem, cache, *asked):
    parts = Parts.of(problem, split(problem, 1)[1], 1, asked=asked)
    return parts, *collect(problem, problem.source.open, parts, None, digest="1", seed=1, cache=cache)


def test_evidence_that_nobody_asks_for_is_not_gathered(problem, tmp_path):
    _, bare, cost = gathered(problem, tmp_path)
    assert not {"around", "features forget", "features retain"} & set(bare)
    parts, moved, more = gathered(problem, tmp_path, EvidenceKind.AROUND)
    assert more.read == cost.read + around.DRAWS * len(parts.forget)
    expected = around.confidences(problem, problem.source.open(), parts.forget, parts.beside, seed=1)
    np.testing.assert_array_equal(moved["around"], expected)
    parts, deep, more = gathered(problem, tmp_path, EvidenceKind.FEATURES)
    assert more.read == cost.read, "features come of the pass that gives the outputs"
    assert deep["features forget"].shape == (len(parts.forget), 16)
    assert "around" not in deep
    assert gathered(problem, tmp_path, EvidenceKind.FEATURES)[2].read == 0, "asked before"


def test_a_model_without_a_linear_layer_has_no_features(tmp_path):
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, x):
            return x @ self.weight

    problem = toys.problem(model=Sums())
    assert not {"features forget", "features retain"} & set(gathered(problem, tmp_path, EvidenceKind.FEATURES)[1])
    assert EvidenceKind.FEATURES not in available(problem)
