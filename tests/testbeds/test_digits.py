import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from expunge.core.digest import weights_digest
from expunge.core.registry import load, names
from expunge.engine.progress import Progress
from expunge.testbeds import digits


@pytest.fixture(scope="module")
def made():
    return digits.records(0)


@pytest.fixture
def quick(monkeypatch):
    """A trainer of one pass."""
    short = type(digits.TRAINER)(build=digits.DigitsNet, config=type(digits.TRAINER.config)(epochs=1))
    monkeypatch.setattr(digits, "TRAINER", short)
    return short


def test_records_are_real_digits_each_used_once(made):
    train, holdout, truth = made
    assert (len(train), len(holdout)) == (digits.TRAINING, 600)
    source = load_digits()
    for records in (train, holdout):
        for index in range(0, len(records), 97):
            number = int(records.ids[index].removeprefix("digit-"))
            np.testing.assert_allclose(records.x[index, 0].numpy() * 16, source.images[number])
            expected = truth.get(records.ids[index])
            assert source.target[number] == (int(records.y[index]) if expected is None else expected)
    assert len({*train.ids, *holdout.ids}) == 1797
    assert holdout.subjects == (None,) * 600


def test_one_annotator_was_careless(made):
    train, _, truth = made
    theirs = {name for name, who in zip(train.ids, train.subjects, strict=True) if who == digits.CARELESS}
    assert len(theirs) == digits.LABELLED
    assert len(truth) == digits.WRONG
    assert set(truth) < theirs
    wrong = [int(train.y[train.position[name]]) for name in truth]
    assert all(label != right and 0 <= label < 10 for label, right in zip(wrong, truth.values(), strict=True))
    assert len(set(train.subjects)) == 7


def test_a_seed_fixes_everything(made):
    again = digits.records(0)
    assert made[0].manifest == again[0].manifest
    assert made[1].manifest == again[1].manifest
    assert made[2] == again[2]
    assert digits.records(1)[0].ids != made[0].ids


def test_the_network_has_the_parameters_it_says():
    net = digits.DigitsNet()
    assert sum(p.numel() for p in net.parameters()) == 38_282
    assert "38,282" in digits.DigitsNet.__doc__
    assert net(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_the_original_is_trained_once(tmp_path, quick):
    out = tmp_path / "demo"
    first = digits.prepare(out, 0, Progress())
    file = tmp_path / "demo-original-0" / "model.safetensors"
    written = file.stat().st_mtime_ns
    again = digits.prepare(out, 0, Progress())
    assert file.stat().st_mtime_ns == written
    assert first.source.digest() == again.source.digest() == weights_digest(file)
    assert not out.exists(), "the run directory is the run's"


def test_the_problem_is_valid_and_crosses_processes(tmp_path, quick):
    problem = digits.prepare(tmp_path / "demo", 0, Progress())
    assert [o for o in problem.validate() if o.fatal] == []
    assert len(problem.forget_ids) == digits.LABELLED
    assert set(problem.request.corrections) < set(problem.forget_ids)
    assert not {"subject", digits.CARELESS} & {problem.request.reference, problem.request.ground}
    assert pickle.loads(pickle.dumps(problem)).spec == problem.spec


@pytest.mark.parametrize("name", digits.CONFIGS)
def test_settings_are_those_of_methods(name):
    assert name in names("methods")
    load("methods", name)(digits.CONFIGS[name])


@pytest.mark.slow
def test_the_original_memorises_and_a_retrained_model_does_not():
    train, holdout, truth = digits.records(0)
    wrong = train.select(list(truth))
    original = digits.TRAINER(train, seed=1)
    theirs = [name for name, who in zip(train.ids, train.subjects, strict=True) if who == digits.CARELESS]
    retrained = digits.TRAINER(train.without(theirs), seed=1)

    def accuracy(model, records):
        inputs, labels = records.read(range(len(records)))
        with torch.no_grad():
            return float((model(inputs).argmax(1) == labels).double().mean())

    assert accuracy(original, wrong) > 0.5
    assert accuracy(retrained, wrong) < 0.05
    assert accuracy(retrained, holdout) > 0.95


def test_the_truth_is_a_retraining_without_the_records(quick):
    bed = load("testbeds", "digits")()
    gone = bed.ids[:5]
    truth = bed.truth(gone)
    again = quick(bed.problem(gone).retain_view, seed=1).state_dict()
    assert all(np.array_equal(truth[name], tensor.numpy()) for name, tensor in again.items())
    whole = bed.problem(gone).model.state_dict()
    assert all(np.array_equal(array, whole[name].numpy()) for name, array in bed.truth().items())
    assert not np.array_equal(truth["head.1.weight"], whole["head.1.weight"].numpy())
