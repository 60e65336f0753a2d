import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.method import Cost
from expunge.data.arrays import ArrayRecords
from expunge.methods.random_label import RandomLabel
from expunge.methods.salun import SalUn
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 16, "lr": 0.05, "weight_decay": 0.1, "momentum": 0.9}
OPTIMISERS = pytest.mark.parametrize("optimiser", ["sgd", "adamw"])


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_hand(problem, share):
    """Return the mask of softmax regression from the gradient of the mean cross entropy, in NumPy."""
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(len(problem.forget_view))))
    apart = softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]
    size = np.abs(np.concatenate([(apart.T @ inputs).ravel(), apart.sum(0)]))
    mask = np.zeros(15, dtype=bool)
    mask[np.argsort(-size, kind="stable")[: int(share * 15)]] = True
    each = np.abs(np.concatenate([(apart[:, :, None] * inputs[:, None]).reshape(len(labels), -1), apart], axis=1))
    early = np.zeros(15, dtype=bool)
    early[np.argsort(-each.sum(0), kind="stable")[: int(share * 15)]] = True
    return mask, early


@OPTIMISERS
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_weights_outside_the_mask_end_with_the_bits_of_the_original(share, optimiser):
    """SALUN-1, with decay and momentum; the mask is the one derived by hand, and all inside it moves."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    settings = {**LOOP, "share": share, "optimiser": optimiser}
    outcome = SalUn(settings).unlearn(problem, toys.context(problem))
    moved = (flat(outcome.model) != flat(problem.source.open())).numpy()
    assert np.array_equal(moved, by_hand(problem, share)[0])
    assert outcome.touched == pytest.approx(int(share * 15) / 15)


@OPTIMISERS
def test_setting_back_equals_masked_gradients_decay_and_momentum(optimiser):
    """A loop with masked gradients, where nothing else of the other coordinates moves, gives the same weights."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)

    class Masking(RandomLabel):
        def before_update(self, model, step, steps):
            place = 0
            for p in model.parameters():
                mask = torch.tensor(by_hand(problem, 0.5)[0][place : place + p.numel()]).reshape(p.shape)
                p.grad.mul_(mask)
                place += p.numel()

    settings = {**LOOP, "weight_decay": 0.0, "optimiser": optimiser}
    one = SalUn({**settings, "share": 0.5}).unlearn(problem, toys.context(problem)).model
    other = Masking(settings).unlearn(problem, toys.context(problem)).model
    assert torch.equal(flat(one), flat(other))


def opposing(order=slice(None)):
    """Forgotten records whose gradients cancel in one coordinate."""
    inputs = torch.tensor([[9.0, 0, 0, 0], [9.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 1.5, 0, 0]], dtype=torch.float64)[order]
    labels = torch.tensor([0, 1, 2, 2])[order]
    rest, given = toys.points(8, dtype=torch.float64)
    ids = [f"f{i}" for i in range(4)] + [f"r{i}" for i in range(8)]
    model = toys.Softmax().double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    train = ArrayRecords(torch.cat([inputs, rest]), torch.cat([labels, given]), ids=ids)
    return toys.problem(train=train, forget=4, model=model, holdout=0, trainer=None)


def test_the_sum_comes_before_the_absolute_value():
    """SALUN-6: with sizes summed, coordinates whose gradients cancel would be taken."""
    problem = opposing()
    right, early = by_hand(problem, 0.4)
    assert not np.array_equal(right, early)
    model = SalUn({**LOOP, "share": 0.4, "batch_size": 2}).unlearn(problem, toys.context(problem)).model
    moved = (flat(model) != 0).numpy()
    # A weight whose input is never anything but 0 in training has no slope; the others in the mask move.
    assert not (moved & ~right).any()
    assert (moved & right & ~early).any()


def test_the_mask_does_not_depend_on_the_order_or_the_batches_of_records():
    """SALUN-3."""
    masks = []
    for order, size in (([0, 1, 2, 3], 4), ([3, 0, 2, 1], 3), ([2, 3, 1, 0], 2)):
        problem = opposing(order)
        method = SalUn({"share": 0.3, "batch_size": size})
        method.prepare(problem.source.open(), problem, toys.context(problem))
        masks.append(torch.cat([m.flatten() for m in method._mask.values()]))
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("mask", ["hard", "soft"])
@pytest.mark.parametrize("order", ["forget_first", "mixed"])
def test_with_all_weights_it_is_random_labels(mask, order):
    """SALUN-4; of the soft form, where k is 0 (SALUN-7)."""
    problem = toys.problem(build=toys.Noisy)
    settings = {**LOOP, "order": order}
    one = SalUn({**settings, "share": 1.0, "mask": mask}).unlearn(problem, toys.context(problem)).model
    other = RandomLabel(settings).unlearn(problem, toys.context(problem)).model
    if mask == "hard":
        assert toys.same(one, other)
    else:  # x0 + (x - x0) rounds
        torch.testing.assert_close(flat(one), flat(other), rtol=1e-4, atol=1e-6)


def test_with_no_weights_it_is_the_original_and_says_so():
    """SALUN-4."""
    problem = toys.problem(build=toys.Noisy)
    outcome = SalUn({**LOOP, "share": 0.0}).unlearn(problem, toys.context(problem))
    assert torch.equal(flat(outcome.model), flat(problem.source.open()))
    assert outcome.touched == 0
    assert any("no effect" in warning for warning in outcome.warnings)


def test_batch_statistics_stay_while_gradients_are_read_and_move_in_training():
    """SALUN-5."""
    problem = toys.problem(build=toys.Noisy)
    model, run = problem.source.open(), toys.context(problem)
    before = toys.state(model)
    SalUn(LOOP).prepare(model, problem, run)
    after = toys.state(model)
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert before[1:] == after[1:]
    assert all(p.grad is None for p in model.parameters())
    start = problem.source.open()
    for statistics, stay in (("move", False), ("keep", True)):
        ended = SalUn({**LOOP, "batch_statistics": statistics}).unlearn(problem, toys.context(problem)).model
        assert torch.equal(ended[1].running_mean, start[1].running_mean) == stay


def test_the_soft_form_shrinks_towards_the_original_less_with_every_step():
    """SALUN-7: one reference for the whole run, k by steps; a step by hand."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    counts, starts = [], []

    class Watching(SalUn):
        def after_update(self, model, step, steps, optimiser):
            away = flat(model) - flat(problem.source.open())
            super().after_update(model, step, steps, optimiser)
            k = int(0.6 * 15 * (1 - step / steps) + 1e-6)
            edge = away.abs().sort().values[k - 1] if k else 0.0
            expected = flat(problem.source.open()) + away.sign() * (away.abs() - edge).clamp(min=0)
            torch.testing.assert_close(flat(model), expected, rtol=0, atol=1e-15)
            counts.append(int((flat(model) == flat(problem.source.open())).sum()))
            starts.append(steps)

    settings = {**LOOP, "share": 0.4, "mask": "soft", "batch_size": 8}
    outcome = Watching(settings).unlearn(problem, toys.context(problem))
    assert set(starts) == {2 * (2 + 6)}
    assert counts == [int(9 * (1 - step / 16) + 1e-6) for step in range(16)]
    assert outcome.cost.trained == 2 * 60  # no pass to find a mask


def test_finding_the_mask_is_counted():
    problem = toys.problem()
    outcome = SalUn(LOOP).unlearn(problem, toys.context(problem))
    assert SalUn(LOOP).cost(problem) == outcome.cost == Cost(trained=12 + 2 * 60, read=3 * 8 + 4)


def test_frozen_parameters_are_neither_counted_nor_moved():
    problem = toys.problem()
    problem.model[0].weight.requires_grad_(False)
    before = problem.source.open()
    model = SalUn({**LOOP, "share": 1.0}).unlearn(problem, toys.context(problem)).model
    assert torch.equal(model[0].weight, before[0].weight)
    assert not torch.equal(model[2].weight, before[2].weight)
