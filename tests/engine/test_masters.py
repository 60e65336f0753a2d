"""A model of half precision goes as far as one of float32 by the same small steps, to one rounding at the end."""

import itertools

import pytest
import torch

from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig, run_loop
from expunge.methods.finetune import Finetune
from tests.engine.test_loop import Killed, steps_of
from tests.support import languages, toys

SMALL = {"epochs": 20, "batch_size": 8, "lr": 2e-5}


def start(dtype):
    """The same network in every precision: its weights are numbers of bfloat16."""
    return toys.network(toys.Mlp).bfloat16().to(dtype)


def trained(dtype, config, **more):
    model = start(dtype)
    given = steps_of(model, **more)
    given.objective = lambda batch: torch.nn.functional.cross_entropy(model(batch[0].to(dtype)).float(), batch[1])
    run_loop(model, given, config, seed=1)
    return model


def way(model):
    pairs = zip(model.parameters(), start(torch.float32).parameters(), strict=True)
    return torch.cat([(p.detach().float() - q.detach()).flatten() for p, q in pairs])


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_steps_add_up(dtype, optimiser):
    config = LoopConfig(**{**SMALL, "lr": 2e-5 if optimiser == "adamw" else 2e-4}, optimiser=optimiser)
    wide, half = (trained(each, config) for each in (torch.float32, dtype))
    assert {p.dtype for p in half.parameters()} == {dtype}
    one, other = way(wide), way(half)
    # One rounding is half a unit in the last place; gradients of halves are rounded too, and turn the way a little.
    last = torch.cat([p.detach().abs().flatten() for p in wide.parameters()]) * torch.finfo(dtype).eps
    assert ((one - other).abs() <= 0.5 * last + 0.1 * one.abs().max()).all()
    assert float(torch.dot(one, other) / one.norm() ** 2) == pytest.approx(1, abs=0.1)


def test_what_changes_a_weight_between_two_steps_changes_what_is_trained():
    model = start(torch.bfloat16)
    optimiser = LoopConfig(lr=1e-6).optimise(model)
    weight = next(model.parameters())
    weight.grad = torch.ones_like(weight)
    optimiser.step()
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] = 3
    weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert (weight[0] == 3).all()
    assert torch.equal(weight[1:], before[1:])
    assert weight.grad is None


def test_nothing_stands_between_the_optimiser_and_weights_of_float32():
    model = start(torch.float32)
    (group,) = LoopConfig().optimise(model).param_groups
    assert all(p is q for p, q in zip(group["params"], model.parameters(), strict=True))


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_loop_that_goes_on_from_a_checkpoint_gives_the_same_bits(tmp_path, optimiser):
    config = LoopConfig(epochs=6, lr=2e-5, optimiser=optimiser)

    def run(checkpoints, kill_at=0):
        model, made = start(torch.bfloat16), itertools.count(1)
        given = steps_of(model)

        def objective(batch):
            if next(made) == kill_at:
                raise Killed
            return torch.nn.functional.cross_entropy(model(batch[0].bfloat16()).float(), batch[1])

        given.objective = objective
        run_loop(model, given, config, seed=1, checkpoints=checkpoints)
        return model

    whole = run(None)
    with pytest.raises(Killed):
        run(Checkpoints(tmp_path / "c", every_s=0), kill_at=11)
    assert any((tmp_path / "c").iterdir())
    assert toys.same(run(Checkpoints(tmp_path / "c", every_s=0)), whole)


def test_an_original_in_bfloat16_is_moved_by_a_method_as_far_as_one_in_float32():
    ways = {}
    for dtype in (torch.float32, torch.bfloat16):
        original = languages.spoken().source.open().bfloat16().to(dtype)  # weights of a training, not near to 0
        problem = languages.spoken(original)
        moved = Finetune({"epochs": 2, "batch_size": 8, "lr": 5e-5}).unlearn(problem, toys.context(problem)).model
        assert {p.dtype for p in moved.parameters()} == {dtype}
        pairs = zip(moved.parameters(), original.parameters(), strict=True)
        ways[dtype] = torch.cat([(p.detach().float() - q.detach().float()).flatten() for p, q in pairs])
    assert float(ways[torch.bfloat16].norm() / ways[torch.float32].norm()) == pytest.approx(1, abs=0.2)
