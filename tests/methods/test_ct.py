import numpy as np
import pytest
import torch
from torch import nn

from expunge.methods import ct
from expunge.methods.ct import KernelTransposition
from expunge.methods.finetune import Finetune
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.05, "weight_decay": 0.1}


class Kernels(nn.Sequential):
    """Softmax regression in the guise of a convolution: 2 x 2 inputs, one kernel per class."""

    def __init__(self):
        super().__init__(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, toys.CLASSES, 2), nn.Flatten())


class Several(nn.Module):
    """Kernels of all kinds; one is frozen, one used twice."""

    def __init__(self):
        super().__init__()
        self.square, self.twice = nn.Conv2d(1, 2, 3, groups=1), nn.Conv2d(2, 2, 3)
        self.again = nn.Conv2d(2, 2, 3)
        self.again.weight = self.twice.weight
        self.oblong, self.point = nn.Conv2d(2, 2, (1, 3)), nn.Conv2d(2, 2, 1)
        self.frozen = nn.Conv2d(2, 2, 3)
        self.frozen.weight.requires_grad_(False)


def test_turned_twice_nothing_has_changed():
    model, before = Several(), Several()
    before.load_state_dict(model.state_dict())
    ct.transpose(model)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert changed == {"square.weight", "twice.weight"}
    for name in changed:
        was, now = (m.get_parameter(name).detach().numpy() for m in (before, model))
        np.testing.assert_array_equal(now, was.swapaxes(2, 3))
    ct.transpose(model)
    assert toys.same(model, before)


def expected(weight, bias, x, y, *, turn):
    """Return softmax regression after one step of gradient descent with L2, from kernels that were turned."""
    weight = turn(weight.reshape(-1, 2, 2)).reshape(-1, 4)
    share = np.exp(x @ weight.T + bias)
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    return weight - 0.05 * (share.T @ x / len(y) + 0.1 * weight), bias - 0.05 * (share.mean(0) + 0.1 * bias)


def test_one_step_equals_arithmetic_in_float64():
    problem = toys.problem(build=Kernels, dtype=torch.float64)
    model = KernelTransposition(STEP).unlearn(problem, toys.context(problem)).model
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    x, y = (part.numpy() for part in problem.retain_view.read(range(48)))
    mine = model[1].weight.detach().numpy().reshape(-1, 4), model[1].bias.detach().numpy()

    def off(turn):
        return max(np.abs(a - b).max() for a, b in zip(mine, expected(weight, bias, x, y, turn=turn), strict=True))

    assert off(lambda w: w.swapaxes(1, 2)) < 1e-14
    for wrong in (lambda w: w, lambda w: np.rot90(w, axes=(1, 2)), lambda w: w[:, ::-1], lambda w: w[:, ::-1, ::-1]):
        assert off(wrong) > 1e-3


def test_a_turned_network_is_turned_back_and_fine_tuned():
    # What follows the turn is fine-tuning, to the bit.
    problem = toys.problem(build=Kernels)
    turned = toys.problem(build=Kernels)
    ct.transpose(turned.model)
    config = {**STEP, "epochs": 3, "schedule": "cosine", "optimiser": "sgd"}
    one = KernelTransposition(config).unlearn(turned, toys.context(turned)).model
    other = Finetune(config).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, other)


@pytest.mark.parametrize(("build", "fits"), [(toys.Mlp, False), (toys.Softmax, False), (Kernels, True)])
def test_a_network_without_kernels_is_refused_before_work(build, fits):
    problem = toys.problem(build=build)
    found = KernelTransposition().obstacles(problem)
    assert [o.what.split(" and ")[-1] for o in found] == ([] if fits else ["this network has none to turn"])
    assert not problem.records.seen


def test_it_says_which_kernels_stay():
    problem = toys.problem(model=Several())
    assert KernelTransposition().advice(problem) == ("2 of 6 kernels are turned: square, larger than 1 x 1",)
    assert KernelTransposition().advice(toys.problem(build=Kernels)) == ()
