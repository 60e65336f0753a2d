import numpy as np
import pytest
import torch

from expunge.core.errors import Diverged, UsageError
from expunge.engine.split import split
from expunge.methods.finetune import Finetune
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.neg_grad_plus import NegGradPlus
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.05, "optimiser": "sgd", "momentum": 0.0}


def slope(model, records):
    """The gradient of the mean cross entropy of softmax regression, by hand in float64."""
    weight, bias = (p.detach().numpy() for p in model.parameters())
    inputs, labels = (part.numpy() for part in records.read(range(len(records))))
    logits = inputs @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share.T @ inputs / len(labels), share.mean(0)


def regression():
    return toys.problem(build=toys.Softmax, dtype=torch.float64)


class Normalised(torch.nn.Sequential):
    """Batch statistics, and no dropout: its draws would differ."""

    def __init__(self):
        super().__init__(
            torch.nn.Linear(toys.DIMS, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, toys.CLASSES)
        )


def distance(model, weights):
    return max(
        float(np.abs(p.detach().numpy() - value).max()) for p, value in zip(model.parameters(), weights, strict=True)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.95, 1.0])
def test_one_step_equals_arithmetic_in_float64(alpha):
    problem = regression()
    outcome = NegGradPlus({**STEP, "alpha": alpha}).unlearn(problem, toys.context(problem))
    model = problem.source.open()
    start = [p.detach().numpy() for p in model.parameters()]
    retain, forget = slope(model, problem.retain_view), slope(model, problem.forget_view)

    def step(by_retain, by_forget):
        return [p - 0.05 * (by_retain * r + by_forget * f) for p, r, f in zip(start, retain, forget, strict=True)]

    assert distance(outcome.model, step(alpha, -(1 - alpha))) < 1e-14
    # Each of these is a bug that public code has had; the step must be far from all of them.
    wrong = {
        "descends on the forgotten": step(alpha, 1 - alpha),
        "ascends on the retained": step(-alpha, -(1 - alpha)),
        "alpha swapped": step(1 - alpha, -alpha),
        "records swapped": step(-(1 - alpha), alpha),
        "forget term not weighted": step(alpha, -1.0),
        "no forget term": step(alpha, 0.0),
    }
    same = {
        1.0: {"descends on the forgotten", "no forget term"},
        0.0: {"ascends on the retained", "forget term not weighted"},
    }
    for name, weights in wrong.items():
        if name not in same.get(alpha, set()):
            assert distance(outcome.model, weights) > 1e-4, name


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_alpha_one_is_fine_tuning_to_the_bit(epochs, optimiser):
    problem = toys.problem(trainer=None, holdout=0)  # so that nothing stops it early
    config = {"epochs": epochs, "batch_size": 16, "lr": 0.01, "optimiser": optimiser}
    both = [
        NegGradPlus({**config, "alpha": 1.0}).unlearn(problem, toys.context(problem)),
        Finetune(config).unlearn(problem, toys.context(problem)),
    ]
    assert toys.same(both[0].model, both[1].model)
    assert both[0].history[-1]["objective"] == both[1].history[-1]["objective"]


def test_with_batch_statistics_only_those_differ_from_fine_tuning_and_nothing_where_they_are_kept():
    """NG-1 and NG-3: the forget batch moves running means, which no weight depends on in training."""
    problem = toys.problem(build=Normalised, trainer=None, holdout=0)
    config = {"epochs": 2, "batch_size": 16, "lr": 0.01}
    differ = {}
    for wanted in ("move", "keep"):
        both = [
            method({**config, **more, "batch_statistics": wanted}).unlearn(problem, toys.context(problem)).model
            for method, more in ((NegGradPlus, {"alpha": 1.0}), (Finetune, {}))
        ]
        pairs = zip(both[0].state_dict().items(), both[1].state_dict().values(), strict=True)
        differ[wanted] = [name for (name, one), other in pairs if not torch.equal(one, other)]
    assert differ == {"move": ["1.running_mean", "1.running_var", "1.num_batches_tracked"], "keep": []}


def test_alpha_zero_is_gradient_ascent_with_as_many_steps_as_retained_batches():
    """NG-2."""
    problem = toys.problem(trainer=None, holdout=0, dtype=torch.float64)
    loop = {"optimiser": "sgd", "momentum": 0.9, "lr": 0.001, "weight_decay": 0.0}
    # The whole forget set in every step: 48 retained records in batches of 12 are 4 steps of ascent.
    one = NegGradPlus({**loop, "epochs": 1, "batch_size": 12, "alpha": 0.0}).unlearn(problem, toys.context(problem))
    other = GradientAscent({**loop, "epochs": 4, "batch_size": 12}).unlearn(problem, toys.context(problem))
    assert len(other.history) == 4
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_alpha_zero_ascends():
    problem = regression()
    run = toys.context(problem)
    outcome = NegGradPlus({**STEP, "alpha": 0.0}).unlearn(problem, run)
    original = problem.source.open()
    assert run.mean_loss(outcome.model, problem.forget_view) > run.mean_loss(original, problem.forget_view)


def test_it_stops_at_the_loss_of_retrained_models():
    problem = toys.problem()
    strangers = [toys.network(seed=7)]
    with torch.no_grad():
        strangers[0][2].bias.add_(torch.tensor([0.0, 1.0, 2.0]))
    config = {"epochs": 60, "lr": 0.02, "alpha": 0.5, "optimiser": "sgd", "batch_size": 16}
    run = toys.context(problem, models=strangers)
    outcome = NegGradPlus(config).unlearn(problem, run)
    target = run.mean_loss(strangers[0], run.choosing.forget)
    assert run.target_loss == pytest.approx(target)
    assert 1 <= len(outcome.history) < 60
    assert run.mean_loss(outcome.model, run.choosing.forget) >= target
    assert outcome.stopped.startswith("forget loss ")
    assert f"reached that of a retrained model, {target:.3g}" in outcome.stopped
    before = NegGradPlus({**config, "epochs": len(outcome.history) - 1}).unlearn(
        problem, toys.context(problem, models=strangers)
    )
    assert run.mean_loss(before.model, run.choosing.forget) < target, "it stopped at the first epoch that reached it"


def test_without_a_target_it_goes_to_the_end():
    problem = toys.problem(trainer=None, holdout=0)
    outcome = NegGradPlus({"epochs": 3}).unlearn(problem, toys.context(problem))
    assert outcome.stopped == "after 3 epochs"


def test_stopping_looks_at_choosing_records_alone():
    problem = toys.problem(trainer=None)
    choosing, judging = split(problem, 1)
    NegGradPlus({"epochs": 2}).unlearn(problem, toys.context(problem, choosing=choosing))
    assert not set(judging.holdout.ids) & set(problem.held_out.seen)
    reads = {name: problem.records.seen[name] for name in problem.forget_ids}
    beside = min(reads[name] for name in judging.forget.ids)
    # Forgotten records are trained on, all alike; the choosing ones are looked at after each epoch besides.
    assert all(reads[name] >= beside for name in choosing.forget.ids)
    problem.records.seen.clear()
    toys.context(problem, choosing=choosing).mean_loss(problem.source.open(), choosing.forget)
    assert set(problem.records.seen) == set(choosing.forget.ids)


def test_the_cost_counts_both_sets_and_the_looking():
    problem = toys.problem(trainer=None)
    outcome = NegGradPlus({"epochs": 2, "batch_size": 16}).unlearn(problem, toys.context(problem))
    # Three steps: 48 retained records, forget batches of 12; after each epoch 4 choosing records, and once the
    # 8 choosing holdout records that give the target.
    epochs = len(outcome.history)
    assert outcome.cost.trained == epochs * (48 + 36)
    assert (
        outcome.cost.read == epochs * 4 + 8 + (epochs + 1) * 8 + 4
    )  # the guard: 8 held-out records a look, 4 forgotten


def test_ascent_without_bound_raises_and_never_returns_a_model():
    problem = toys.problem(trainer=None, holdout=0)
    with pytest.raises(Diverged):
        NegGradPlus({"epochs": 60, "alpha": 0.0, "lr": 1e6, "optimiser": "sgd"}).unlearn(problem, toys.context(problem))


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_a_weight_outside_zero_and_one_is_refused(alpha):
    with pytest.raises(UsageError):
        NegGradPlus({"alpha": alpha})
