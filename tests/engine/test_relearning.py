import numpy as np
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.engine.batches import shuffled
from expunge.engine.loop import LoopConfig
from expunge.engine.relearning import RelearningConfig, relearn, relearn_beside
from expunge.engine.training import Trainer
from tests.support import toys

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


def test_both_sides_are_taught_half_a_batch_each_as_by_hand():
    problem = toys.problem()
    mine, others = (problem.records.select(problem.forget_ids[at]) for at in (slice(6), slice(6, 12)))
    found = relearn_beside(problem, problem.source.open(), mine, others, CONFIG, seed=1)
    assert found.shape == (2, 3)
    model, rows = problem.source.open().train(), []
    adam = torch.optim.AdamW(model.parameters(), lr=CONFIG.lr, weight_decay=0.0)
    for epoch in range(3):
        sides = [shuffled(side, 4, seed=1, epoch=epoch) for side in (mine, others)]
        for pair in zip(*sides, strict=True):
            adam.zero_grad()
            sum(torch.nn.functional.cross_entropy(model(x), y) / 2 for x, y in pair).backward()
            adam.step()
        with torch.no_grad():
            read = [side.read(range(6)) for side in (mine, others)]
            rows.append([(model(x).argmax(1) == y).double().mean().item() for x, y in read])
    np.testing.assert_allclose(found, np.array(rows).T)


def test_what_was_memorised_comes_back_before_what_was_never_read():
    inputs, _ = toys.points(60)
    labels = torch.randint(0, toys.CLASSES, (60,), generator=torch.Generator().manual_seed(1))
    train = toys.Witness(inputs, labels, ids=[f"r{i}" for i in range(60)])
    problem = toys.problem(train=train, forget=40)
    mine, others = (problem.records.select(problem.forget_ids[at]) for at in (slice(20), slice(20, 40)))
    fit = Trainer(build=Wide, config=LoopConfig(epochs=60, batch_size=16, lr=0.02))
    for seed in range(2):
        knows = fit(train.without(others.ids), seed=seed)
        ahead = np.subtract(*relearn_beside(problem, knows, mine, others, CONFIG, seed=1))
        assert (ahead > 0.15).all()
        neither = fit(problem.retain_view, seed=seed)
        assert (
            abs(np.subtract(*relearn_beside(problem, neither, mine, others, CONFIG, seed=1)).mean()) < ahead.mean() / 2
        )


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
