import math

import numpy as np
import pytest
import torch
from torch import nn

from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.engine.checkpoint import Checkpoints
from expunge.methods import noisy_finetune
from expunge.methods.noisy_finetune import NoisyFinetune
from expunge.numerics.privacy import gaussian_epsilon, noisy_finetuning_mu
from tests.support import toys

PUBLIC = {"backbone_is_public": True, "batch_size": 16}


def run(problem, seed=3, **settings):
    return NoisyFinetune({**PUBLIC, **settings}).unlearn(problem, toys.context(problem, seed=seed))


def head(model):
    return torch.cat([p.detach().double().flatten() for p in list(model.modules())[-1].parameters()])


def test_one_step_is_the_one_of_the_paper(monkeypatch):
    # Derived here in NumPy, the noise taken from the run itself and checked against its law elsewhere.
    settings = {"steps": 1, "polish": 0, "clip_model": 0.5, "clip_gradient": 0.2, "lr": 0.1, "weight_decay": 2.0}
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, count=30)
    monkeypatch.setattr(noisy_finetune, "noisy_finetuning_sigma", lambda **_: 1e-300)
    outcome = run(problem, batch_size=64, **settings)
    x, y = problem.retain_view.read(range(18))
    weights = head(problem.source.open()).numpy()
    weights = weights * min(1, 0.5 / np.linalg.norm(weights))
    W, b = weights[:12].reshape(3, 4), weights[12:]
    scores = np.exp(x.numpy() @ W.T + b)
    errors = scores / scores.sum(1, keepdims=True) - np.eye(3)[y.numpy()]
    gradient = np.concatenate([(errors.T @ x.numpy()).ravel(), errors.sum(0)]) / 18
    assert np.linalg.norm(gradient) > 0.2
    gradient *= 0.2 / np.linalg.norm(gradient)
    expected = weights - 0.1 * (gradient + 2.0 * weights)
    np.testing.assert_allclose(head(outcome.model).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("steps", "decay"), [(1, 50.0), (4, 25.0)])
def test_noise_has_the_size_that_the_accountant_asks_for(steps, decay, monkeypatch):
    monkeypatch.setattr(noisy_finetune, "_SECRET", b"one that is known here")
    settings = {"steps": steps, "polish": 0, "lr": 0.02, "weight_decay": decay, "clip_gradient": 1e-9}
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    # Next to no gradient, and hardly anything left of the start: the last point is noise, fresh in every step.
    noise = np.concatenate([head(run(problem, seed=seed, **settings).model).numpy() for seed in range(40)])
    left = NoisyFinetune({**PUBLIC, **settings}).config.left
    assert noise.std() / left == pytest.approx(1, abs=0.1)
    assert abs(noise.mean() / left) < 0.15
    assert len(np.unique(noise)) == len(noise)


@pytest.mark.parametrize("more", [{}, {"weight_decay": 0.0, "steps": 100}, {"epsilon": 8.0, "delta": 1e-7}], ids=str)
def test_the_settings_keep_what_is_promised(more):
    c = NoisyFinetune(more).config
    mu = noisy_finetuning_mu(
        clip_model=c.clip_model,
        clip_gradient=c.clip_gradient,
        lr=c.lr,
        decay=c.weight_decay,
        steps=c.steps,
        sigma=c.sigma,
    )
    assert gaussian_epsilon(mu, c.delta) == pytest.approx(c.epsilon, rel=1e-6)
    rho = 1 - c.lr * c.weight_decay
    assert c.left == pytest.approx(c.sigma * math.sqrt(sum(rho ** (2 * j) for j in range(c.steps))))


def test_the_noise_does_not_follow_from_what_a_certificate_shows(monkeypatch):
    problem = toys.problem()
    first, again = (run(problem).model for _ in range(2))
    assert toys.same(first, again)
    monkeypatch.setattr(noisy_finetune, "_SECRET", b"of another process")
    assert not toys.same(first, run(problem).model)


def test_another_request_has_other_noise():
    settings = {"steps": 1, "polish": 0, "lr": 0.02, "clip_gradient": 1e-12}
    points = [head(run(toys.problem(forget=forget), **settings).model) for forget in (11, 12)]
    assert (points[0] - points[1]).abs().min() > 1e-7 * points[0].norm()


def test_only_the_head_moves_and_forgotten_records_are_not_read():
    problem = toys.problem()
    outcome = run(problem)
    before = problem.source.open()
    moved = [n for n, p in outcome.model.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert moved == ["2.weight", "2.bias"]
    assert all(p.requires_grad for p in outcome.model.parameters())
    assert set(problem.records.seen) == set(problem.retain_view.ids)
    assert outcome.touched == pytest.approx(51 / sum(p.numel() for p in before.parameters()))


def test_named_parameters_move_instead():
    outcome = run(problem := toys.problem(), parameters=["0.*"])
    before = problem.source.open()
    moved = [n for n, p in outcome.model.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert moved == ["0.weight", "0.bias"]


def test_what_was_learnt_comes_back_after_the_noise():
    problem = toys.problem(count=200, model=toys.TRAINER(toys.records(200), seed=1))
    drowned, polished = run(problem, polish=0), run(problem, polish=20)
    loss = [toys.context(problem).mean_loss(one.model, problem.retain_view) for one in (drowned, polished)]
    assert loss[1] < 0.6 * loss[0]
    assert polished.cost == Cost(trained=20 * 188 + 188 + 8 * 16)  # 12 steps are a pass
    assert NoisyFinetune({**PUBLIC, "polish": 20}).cost(problem) == polished.cost


def test_it_says_what_the_claim_rests_on():
    outcome = run(toys.problem(), epsilon=2.0)
    text = " ".join(outcome.evidence)
    assert NoisyFinetune.guarantee is Level.CERTIFIED
    for part in (
        "epsilon = 2 at delta = 1e-05",
        "never saw the forgotten",
        "declared by the user",
        "beside 1 to which",
    ):
        assert part in text
    assert not outcome.warnings
    drowned = run(toys.problem(), polish=0, weight_decay=0.0)
    assert "drowns" in " ".join(drowned.warnings)
    method, problem = NoisyFinetune(PUBLIC), toys.problem()
    norm = method.config.sigma * math.sqrt(51)
    assert f"norm {norm:.3g}" in method.advice(problem)[0]


class Wide(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(toys.DIMS, 3500), nn.BatchNorm1d(3500), nn.Linear(3500, toys.CLASSES))


@pytest.mark.parametrize(
    ("settings", "build", "what"),
    [
        ({}, toys.Mlp, "nobody declared"),
        (PUBLIC, toys.Mlp, None),
        ({}, toys.Softmax, None),
        (PUBLIC, Wide, "moves too much"),
        ({**PUBLIC, "parameters": ["nothing*"]}, toys.Mlp, "nothing to move"),
        ({**PUBLIC, "parameters": ["1.*"]}, toys.Noisy, "batch statistics"),
    ],
    ids=str,
)
def test_what_would_break_the_promise_is_refused_before_work(settings, build, what):
    problem = toys.problem(build=build)
    found = [obstacle.what for obstacle in NoisyFinetune(settings).obstacles(problem)]
    assert len(found) == (what is not None)
    assert what is None or what in found[0]
    assert not problem.records.seen


def test_a_step_that_expands_is_refused():
    with pytest.raises(UsageError, match="expand"):
        NoisyFinetune({"lr": 0.1, "weight_decay": 11.0})


def test_interrupted_in_another_process_it_ends_with_the_same_noise(tmp_path, monkeypatch):
    problem = toys.problem()
    whole = run(problem)

    class Dying(Checkpoints):
        def offer(self, *parts):
            super().offer(*parts)
            raise KeyboardInterrupt

    method = NoisyFinetune(PUBLIC)
    with pytest.raises(KeyboardInterrupt):
        method.unlearn(problem, toys.context(problem, checkpoints=Dying(tmp_path, every_s=0)))
    monkeypatch.setattr(noisy_finetune, "_SECRET", b"of another process")
    resumed = method.unlearn(problem, toys.context(problem, checkpoints=Checkpoints(tmp_path, every_s=0)))
    assert toys.same(whole.model, resumed.model)
