import numpy as np
import pytest
import torch
from torch import nn

from expunge.core.method import Cost
from expunge.methods.msg import SmallGradients
from tests.support import regressions, toys

STILL = {"epochs": 1, "batch_size": 64, "lr": 1e-300}
"""Nothing moves after the weights were drawn anew."""


class Kernels(nn.Sequential):
    """A convolution whose weights make half of the network, batch statistics, and a head."""

    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 64, 2), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64, 3)
        )


def half():
    """Return a problem that forgets one half: the retained records that are drawn are all of them."""
    return toys.problem(build=toys.Softmax, dtype=torch.float64, forget=30)


def run(problem, **settings):
    return SmallGradients(settings).unlearn(problem, toys.context(problem)).model


def test_the_weights_of_the_smallest_gradients_are_drawn_anew():
    problem = half()
    start = regressions.parameters(problem.source.open())
    model = run(problem, **STILL)
    up, down = (regressions.slope(start, part)[0] for part in (problem.retain_view, problem.forget_view))
    changed = model.weight.detach().numpy() != start[0]

    def smallest(size):
        return size <= np.sort(size, axis=None)[3]

    assert changed.sum() == round(0.3 * 12) == 4
    np.testing.assert_array_equal(changed, smallest(np.abs(up - down)))
    np.testing.assert_array_equal(model.bias.detach().numpy(), start[1])  # biases are kept
    for wrong in (up + down, up, down, 1 / np.abs(up - down)):  # another sign, one set alone, the largest
        assert (changed != smallest(np.abs(wrong))).any()


def test_kept_weights_move_slowly_but_decay_at_full_strength():
    problem = half()
    start = regressions.parameters(problem.source.open())
    drawn = regressions.parameters(run(problem, **STILL))
    mine = run(problem, **{**STILL, "lr": 0.2}, weight_decay=0.3)
    slopes = regressions.slope(drawn, problem.retain_view)
    factor = np.where(drawn[0] != start[0], 1.0, 0.1)

    def step(factor, decay=1.0):
        weight = drawn[0] - 0.2 * (factor * slopes[0] + 0.3 * decay * drawn[0])
        return weight, drawn[1] - 0.2 * (slopes[1] + 0.3 * drawn[1])

    assert regressions.distance(mine, step(factor)) < 1e-14
    for wrong in (step(1.0), step(1.1 - factor), step(factor, decay=factor), step(0.1)):
        assert regressions.distance(mine, wrong) > 1e-3


def test_of_every_convolution_the_same_share_is_drawn_anew_by_the_law_of_kaiming():
    problem = toys.problem(build=Kernels)
    start = problem.source.open()
    model = run(problem, **STILL)
    assert int((model[1].weight != start[1].weight).sum()) == round(0.3 * 256)
    for name in ("1.bias", "2.weight", "2.bias", "4.weight", "4.bias"):
        assert torch.equal(model.get_parameter(name), start.get_parameter(name)), name
    drawn = run(problem, **STILL, share=1.0)[1].weight
    assert float(drawn.detach().std()) == pytest.approx((2 / (64 * 4)) ** 0.5, rel=0.15)


def test_reading_gradients_moves_no_batch_statistics():
    problem = toys.problem(build=Kernels)
    model, method = problem.source.open().train(), SmallGradients()
    method.prepare(model, problem, toys.context(problem))
    for name, buffer in problem.source.open().named_buffers():
        assert torch.equal(buffer, model.get_buffer(name))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("epochs", "rates"), [(5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]), (4, [1 / 2, 1, 2 / 3, 1 / 3]), (1, [1])]
)
def test_the_rate_rises_and_falls_by_epochs(epochs, rates):
    method = SmallGradients({"epochs": epochs})
    assert [method.passes(epoch + 1)[0].rate for epoch in range(epochs)] == pytest.approx(rates)


def test_both_gradients_are_counted():
    problem = toys.problem()
    outcome = SmallGradients({"epochs": 2}).unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 12 + 12 + 2 * 48
    assert SmallGradients({"epochs": 2}).preparation(problem) == Cost(trained=24)
    assert SmallGradients().preparation(toys.problem(forget=40)) == Cost(trained=40 + 20)


def test_a_network_that_stands_still_is_refused_before_work():
    model = toys.network()
    for p in model.parameters():
        p.requires_grad_(p.dim() == 1)
    problem = toys.problem(model=model)
    assert [o.what for o in SmallGradients().obstacles(problem)] == ["msg finds no weights to draw anew"]
    assert not problem.records.seen
