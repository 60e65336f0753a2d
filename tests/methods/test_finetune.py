import math

import pytest
import torch

from expunge.core.errors import Diverged, UsageError
from expunge.core.method import Cost, Need
from expunge.core.registry import load
from expunge.engine.split import split
from expunge.methods.finetune import Finetune
from tests.support import toys

CONFIG = {"epochs": 2, "batch_size": 16, "lr": 0.05, "optimiser": "sgd", "momentum": 0.0}


def test_the_forget_set_is_never_read():
    problem = toys.problem()
    Finetune(CONFIG).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.retain_view.ids)
    assert set(problem.held_out.seen) == set(split(problem, 1)[0].holdout.ids)
    assert Finetune.needs == {Need.RETAIN}


def test_the_labels_of_forgotten_records_change_nothing():
    problem, permuted = toys.problem(), toys.problem()
    permuted.records.y[:12] = (permuted.records.y[:12] + 1) % toys.CLASSES
    first, second = (Finetune(CONFIG).unlearn(p, toys.context(p)).model for p in (problem, permuted))
    assert toys.same(first, second)


def test_one_step_descends_on_the_retained_records():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, count=30)
    model = problem.source.open()
    inputs, labels = problem.retain_view.read(range(18))
    torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    outcome = Finetune({**CONFIG, "epochs": 1, "batch_size": 64}).unlearn(problem, toys.context(problem))
    for after, before in zip(outcome.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.05 * before.grad, rtol=1e-12, atol=1e-14)
    assert outcome.cost == Cost(trained=18, read=2 * 8)


def test_it_learns_what_remains():
    problem = toys.problem()
    outcome = Finetune({**CONFIG, "epochs": 10}).unlearn(problem, toys.context(problem))
    run = toys.context(problem)
    assert run.mean_loss(outcome.model, problem.retain_view) < run.mean_loss(problem.source.open(), problem.retain_view)
    assert 0.9 < outcome.touched <= 1.0
    assert outcome.stopped == "after 10 epochs"
    assert outcome.history[-1]["objective"] < outcome.history[0]["objective"]


def test_a_rate_that_is_too_high_raises():
    problem = toys.problem()
    with pytest.raises(Diverged):
        Finetune({**CONFIG, "lr": 1e12, "epochs": 20}).unlearn(problem, toys.context(problem))


@pytest.mark.parametrize("wrong", [{"epoch": 3}, {"lr": -1.0}, {"lr": math.nan}, {"epochs": "3"}, {"batch_size": 0}])
def test_wrong_settings_are_refused_at_construction(wrong):
    with pytest.raises(UsageError):
        load("methods", "finetune")(wrong)


def test_everything_forgotten_leaves_nothing_to_train_on():
    problem = toys.problem(count=12, forget=12)
    assert [o.what for o in load("methods", "finetune")().obstacles(problem)] == ["finetune needs retained records"]
