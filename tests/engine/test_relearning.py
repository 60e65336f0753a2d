import numpy as np
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.engine import adapters
from expunge.engine.loop import LoopConfig
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel
from tests.support import languages, toys

CONFIG = RelearningConfig(epochs=3, batch_size=8, lr=0.01)


def test_one_row_per_pass_and_one_column_per_record():
    problem = toys.problem()
    right = relearn(problem, problem.source.open(), problem.forget_view, CONFIG, seed=1)
    assert right.shape == (3, 12)
    assert set(right.ravel()) <= {0.0, 1.0}


def test_each_row_is_what_is_right_after_so_many_passes_by_brute_force():
    problem = toys.problem(build=toys.Noisy)
    found = relearn(problem, problem.source.open(), problem.forget_view, CONFIG, seed=1)
    inputs, labels = problem.forget_view.read(range(12))
    right = []
    for epochs in (1, 2, 3):
        model = problem.source.open()
        relearn(problem, model, problem.forget_view, RelearningConfig(epochs=epochs, batch_size=8, lr=0.01), seed=1)
        with torch.no_grad():
            right.append((model(inputs).argmax(1) == labels).double().numpy())
    np.testing.assert_array_equal(found, right)


def test_one_record_is_taught_to_a_network_with_batch_statistics():
    problem = toys.problem(build=toys.Noisy)
    model = problem.source.open()
    before = model[1].running_mean.clone()
    right = relearn(problem, model, problem.forget_view.select(problem.forget_ids[:1]), CONFIG, seed=1)
    assert right.shape == (3, 1)
    assert torch.equal(model[1].running_mean, before)


def test_only_the_given_records_are_read_and_the_seed_decides():
    problem = toys.problem(build=toys.Noisy)
    part = problem.forget_view.select(problem.forget_ids[:8])
    first = relearn(problem, problem.source.open(), part, CONFIG, seed=1)
    assert set(problem.records.seen) == set(part.ids)
    np.testing.assert_array_equal(first, relearn(problem, problem.source.open(), part, CONFIG, seed=1))


def test_a_model_that_has_memorised_relearns_faster():
    # Labels that no input explains: whoever has seen them knows them, whoever has not must learn them first.
    inputs, _ = toys.points(60)
    labels = torch.randint(0, toys.CLASSES, (60,), generator=torch.Generator().manual_seed(1))
    train = toys.Witness(inputs, labels, ids=[f"r{i}" for i in range(60)])
    problem = toys.problem(train=train, forget=20)
    fit = Trainer(build=Wide, config=LoopConfig(epochs=60, batch_size=16, lr=0.02))
    memorised = [relearn(problem, fit(train, seed=s), problem.forget_view, CONFIG, seed=1).mean() for s in range(2)]
    never_saw = [
        relearn(problem, fit(problem.retain_view, seed=s), problem.forget_view, CONFIG, seed=1).mean() for s in range(2)
    ]
    assert min(memorised) > max(never_saw) + 0.1


class Wide(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(toys.DIMS, 128), torch.nn.ReLU(), torch.nn.Linear(128, toys.CLASSES))


def test_of_a_base_with_adapters_all_weights_are_trained(tmp_path):
    """Whoever has both merges them: to move the adapters alone would be the weaker attack."""
    problem = languages.spoken(AdaptedModel(languages.adapted(tmp_path)))
    apart, whole = problem.source.open(), adapters.merged(problem.source.open())
    found = [relearn(problem, model, problem.forget_view, CONFIG, seed=1) for model in (apart, whole)]
    np.testing.assert_array_equal(*found)
    before, after = languages.untrained().state_dict(), whole.state_dict()
    assert not torch.equal(before["transformer.wte.weight"], after["transformer.wte.weight"])


def test_no_pass_is_no_attack():
    with pytest.raises(UsageError):
        RelearningConfig(epochs=0)


def test_other_records_may_be_measured_by_another_value():
    problem = toys.problem()
    part, other = (problem.records.select(problem.forget_ids[at]) for at in (slice(8), slice(8, 12)))
    models = [problem.source.open() for _ in range(2)]
    found = relearn(problem, models[0], part, CONFIG, seed=1, measured=other, value=lambda units: -units.loss.double())
    relearn(problem, models[1], part, CONFIG, seed=1)
    assert toys.same(*models), "what is measured changes nothing of the training"
    inputs, labels = other.read(range(4))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(models[1](inputs), labels, reduction="none").double().numpy()
    np.testing.assert_allclose(found[-1], -expected, rtol=1e-6)
    assert found.shape == (3, 4)
