from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.conformance import problems as own
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.relearner import Relearner
from expunge.methods.grad_diff import GradDiff
from expunge.methods.simnpo import Simnpo
from tests.support import toys
from tests.support.pushing import STEP, regression

RATE, LR = 0.05, 0.3


def sets(problem):
    """Return the forgotten and the retained records in NumPy, features and labels as rows of 0 and 1."""
    found = []
    for view in (problem.forget_view, problem.retain_view):
        inputs, labels = (part.numpy() for part in view.read(range(len(view))))
        found.append((inputs, np.eye(toys.CLASSES)[labels]))
    return found


def slope(weights, inputs, hot):
    """Return the slopes of the mean cross-entropy in weight and bias."""
    rows = (softmax(inputs @ weights[0].T + weights[1], 1) - hot) / len(inputs)
    return rows.T @ inputs, rows.sum(0)


def norm(arrays):
    """Return the norm of all numbers."""
    return np.sqrt(sum((a**2).sum() for a in arrays))


def by_hand(steps, pushes, *, slip=""):
    """Return weight and bias after so many steps of ascent on forgotten records and descent on retained ones."""
    problem = regression()
    weights = [p.detach().numpy().copy() for p in problem.source.open().parameters()]
    (gone, gone_hot), (kept, kept_hot) = sets(problem)
    back = steps
    for _ in range(pushes):
        if back == steps:
            back, other = 0, [w.copy() for w in weights]
        else:
            back += 1
        down = slope(other, gone, gone_hot)
        held = slope(other if slip == "held there" else weights, kept, kept_hot)
        sign = 1 if slip == "with the push" else -1
        share = RATE * norm(other) / norm(down)
        for w, d in zip(other, down, strict=True):
            w += sign * d * share
        weights = [w - LR * (h - d) for w, d, h in zip(weights, down, held, strict=True)]
    return weights


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_records_are_pushed_away_where_relearning_leads_as_by_hand(steps):
    problem = regression()
    model, relearner = problem.source.open(), Relearner(steps=steps, rate=RATE)
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    sides = [view.read(range(len(view))) for view in (problem.forget_view, problem.retain_view)]
    for _ in range(6):
        optimiser.zero_grad(set_to_none=True)
        with relearner.instead(model):
            (-problem.meaning.units(model, sides[0]).loss.mean()).backward()
        problem.meaning.units(model, sides[1]).loss.mean().backward()
        optimiser.step()

    def apart(values):
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))

    assert apart(by_hand(steps, 6)) < 1e-12
    for slip in ("held there", "with the push"):
        assert apart(by_hand(steps, 6, slip=slip)) > 1e-4, slip


def test_the_model_keeps_its_weights_to_the_bit_and_what_is_frozen_stands_still():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    model[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    relearner = Relearner(steps=3, rate=0.1)
    seen = []
    for _ in range(5):
        model.zero_grad(set_to_none=True)
        with relearner.instead(model):
            seen.append(model[1].weight.detach().clone())
            assert torch.equal(model[0].weight, before["0.weight"])
            model(torch.ones(1, 3)).sum().backward()
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(seen[0], before["1.weight"])
    assert torch.equal(seen[4], seen[0]), "begun anew after three steps"
    assert not any(torch.equal(a, b) for a, b in pairwise(seen))


def test_what_has_no_gradient_stays_and_where_all_is_nothing_it_stands_still():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    before = [p.detach().clone() for p in model.parameters()]
    relearner = Relearner(steps=9, rate=0.1)
    for push in (0.0, 1e-15, 0.0):
        model.zero_grad(set_to_none=True)
        with relearner.instead(model):
            seen = [p.detach().clone() for p in model.parameters()]
            (push * model[0](torch.ones(1, 2)).sum()).backward()
    assert all(torch.equal(a, b) for a, b in zip(seen[2:], before[2:], strict=True))
    moved = torch.stack([(a - b).norm() for a, b in zip(seen[:2], before[:2], strict=True)]).norm()
    length = torch.stack([b.norm() for b in before]).norm()
    assert float(moved / length) == pytest.approx(0.1, rel=1e-4), "however small a slope is"


@pytest.mark.parametrize("retain", ["nll", "none"])
def test_it_costs_no_pass_and_resumes_to_the_same_bits(tmp_path, retain):
    settings = {"epochs": 4, "batch_size": 3, "lr": 0.01, "until": "guess", "retain": retain}
    for cls in (GradDiff, Simnpo):
        problem = toys.problem()
        plain, method = cls(settings), cls({**settings, "relearner": 2})
        run = toys.context(problem)
        outcome = method.unlearn(problem, run)
        assert method.cost(problem) == plain.cost(problem)
        assert outcome.cost == plain.unlearn(problem, toys.context(problem)).cost
        assert not own.same(outcome.model, plain.unlearn(problem, toys.context(problem)).model)
        places = Checkpoints(tmp_path / cls.__name__, every_s=0)
        cls({**settings, "relearner": 2, "epochs": 2}).unlearn(problem, toys.context(problem, checkpoints=places))
        again = method.unlearn(problem, toys.context(problem, checkpoints=places))
        assert own.same(outcome.model, again.model)


def test_adapters_have_a_relearner_as_well_from_their_first_step():
    pytest.importorskip("peft", reason="peft is not installed")
    problem = own.problem(language=True)
    settings = {"epochs": 1, "batch_size": 2, "lr": 1e-2, "lora": 2, "until": "guess"}
    plain, found = (
        GradDiff({**settings, "relearner": steps}).unlearn(problem, own.context(problem)) for steps in (0, 3)
    )
    assert found.touched == plain.touched > 0
    assert not own.same(found.model, plain.model)


def test_a_rate_without_a_relearner_is_an_obstacle_before_any_work():
    problem = toys.problem()
    (found,) = GradDiff({"relearner_rate": 0.01}).obstacles(problem)
    assert "relearner_rate" in found.where
    assert found.found == "0.01, and relearner = 0"
    assert not problem.records.seen
    assert not GradDiff({"relearner_rate": 0.01, "relearner": 1}).obstacles(problem)
    assert not GradDiff({"relearner_rate": GradDiff().config.relearner_rate}).obstacles(problem)


def test_step_by_step_is_where_the_model_stands():
    """A pass of a single step never leaves the model's own weights."""
    problem = regression()
    settings = {**STEP, "until": "guess"}
    one, other = (
        GradDiff({**settings, "relearner": steps}).unlearn(problem, toys.context(problem)) for steps in (0, 4)
    )
    assert own.same(one.model, other.model)


def test_an_error_on_the_way_leaves_the_model_its_own_weights():
    model, relearner = torch.nn.Linear(2, 2), Relearner(steps=3, rate=0.5)
    before = model.weight.detach().clone()
    with relearner.instead(model):
        model(torch.ones(1, 2)).sum().backward()

    def interrupted():
        with relearner.instead(model):
            assert not torch.equal(model.weight, before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.equal(model.weight, before)


def test_weights_of_half_precision_stay_and_steps_back_smaller_than_their_digits_add_up():
    model = toys.network(toys.Mlp).bfloat16()
    before = [p.detach().clone() for p in model.parameters()]
    relearner, inputs = Relearner(steps=20, rate=1e-4), toys.records(8).read(range(8))[0].bfloat16()
    for _ in range(20):
        model.zero_grad()
        with relearner.instead(model):
            model(inputs).float().logsumexp(1).mean().backward()
    assert all(map(torch.equal, model.parameters(), before))
    gone = norm([(w - b.float()).numpy() for w, b in zip(relearner._weights, before, strict=True)])
    assert gone / norm([b.float().numpy() for b in before]) == pytest.approx(19e-4, rel=0.1)
