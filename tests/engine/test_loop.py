import functools
import itertools
import math

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from expunge.core.digest import sha256
from expunge.core.errors import Diverged, InvalidProblem, UsageError
from expunge.core.serial import canonical
from expunge.engine.batches import shuffled
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig, Steps, evaluating, forget_moments, run_loop, train_mode
from tests.support import toys

RECORDS = toys.records(40)


class Killed(BaseException):
    """What a signal does to a loop."""


def steps_of(model, *, size=16, seed=5, **more):
    return Steps(
        count=lambda epoch: math.ceil(len(RECORDS) / size),
        batches=lambda epoch: shuffled(RECORDS, size, seed=seed, epoch=epoch),
        objective=lambda batch: functional.cross_entropy(model(batch[0]), batch[1]),
        **more,
    )


def train(config, *, build=toys.Noisy, seed=5, checkpoints=None, **more):
    model = toys.network(build)
    history, reason = run_loop(model, steps_of(model, **more), config, seed=seed, checkpoints=checkpoints)
    return model, history, reason


# --- one step against arithmetic written out ------------------------------------------------------------------


def gradient(weight, bias, inputs, labels):
    """Mean cross entropy of softmax regression, differentiated by hand."""
    logits = inputs @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share.T @ inputs / len(labels), share.mean(0)


def adamw(parameters, gradients, moments, step, *, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    """Loshchilov and Hutter 2019, algorithm 2."""
    for name, value in parameters.items():
        first, second = moments.setdefault(name, [0.0, 0.0])
        value = value - lr * decay * value
        moments[name] = [
            beta1 * first + (1 - beta1) * gradients[name],
            beta2 * second + (1 - beta2) * gradients[name] ** 2,
        ]
        first, second = moments[name]
        scaled = (first / (1 - beta1**step)) / (np.sqrt(second / (1 - beta2**step)) + eps)
        parameters[name] = value - lr * scaled


def sgd(parameters, gradients, moments, step, *, lr, decay, momentum=0.9):
    for name, value in parameters.items():
        slope = gradients[name] + decay * value
        moments[name] = momentum * moments[name] + slope if name in moments else slope
        parameters[name] = value - lr * moments[name]


@pytest.mark.parametrize(("name", "update"), [("adamw", adamw), ("sgd", sgd)])
def test_a_weight_may_have_its_first_gradient_late(name, update):
    model = torch.nn.ParameterDict({key: torch.nn.Parameter(torch.ones(2).double()) for key in "ab"})
    steps = Steps(
        count=lambda epoch: 3,
        batches=lambda epoch: iter(["a", "ab", "b"]),
        objective=lambda used: sum((model[key] ** 2).sum() for key in used),
    )
    run_loop(model, steps, LoopConfig(epochs=1, lr=0.1, optimiser=name, weight_decay=0.0), seed=1)
    late, moments = {"b": np.ones(2)}, {}
    for step in (1, 2):
        update(late, {"b": 2 * late["b"]}, moments, step, lr=0.1, decay=0.0)
    np.testing.assert_allclose(model["b"].detach().numpy(), late["b"], rtol=1e-12)


@pytest.mark.parametrize(("name", "update"), [("adamw", adamw), ("sgd", sgd)])
def test_steps_equal_arithmetic_in_float64(name, update):
    model = toys.network(toys.Softmax, dtype=torch.float64)
    inputs, labels = toys.points(30, dtype=torch.float64)
    parameters = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    steps = Steps(
        count=lambda epoch: 3,
        batches=lambda epoch: iter([(inputs, labels)] * 3),
        objective=lambda batch: functional.cross_entropy(model(batch[0]), batch[1]),
    )
    config = LoopConfig(epochs=2, lr=0.05, optimiser=name, weight_decay=0.1, schedule="one_cycle")
    run_loop(model, steps, config, seed=1)
    moments = {}
    for step in range(6):
        by_weight, by_bias = gradient(parameters["weight"], parameters["bias"], inputs.numpy(), labels.numpy())
        update(
            parameters,
            {"weight": by_weight, "bias": by_bias},
            moments,
            step + 1,
            lr=config.rate(step, 6),
            decay=0.1,
        )
    for key, value in model.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), parameters[key], rtol=1e-10, atol=1e-12)


# --- the rate -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7, 100, 684])
def test_one_cycle_is_torchs(steps):
    # torch ends each phase on a step of its own: its cycle over one step more, with the peak at the same place.
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], 1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=0.3,
        total_steps=steps + 1,
        pct_start=(0.3 * steps + 1) / (steps + 1),
        div_factor=25,
        final_div_factor=1e30,
        cycle_momentum=False,
    )
    config = LoopConfig(lr=0.3, schedule="one_cycle")
    for step in range(steps):
        assert config.rate(step, steps) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        schedule.step()


def test_the_cosine_schedule_is_torch_s():
    config, steps = LoopConfig(lr=0.3, schedule="cosine"), 7
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    for step in range(steps):
        assert config.rate(step, steps) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize("steps", [1, 7, 30, 684])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("schedule", "theirs"), [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]
)
def test_a_warm_up_and_what_follows_are_transformers(schedule, theirs, warmup, steps):
    args = transformers.TrainingArguments(lr_scheduler_type=theirs, warmup_steps=warmup, report_to=[])
    warm = math.ceil(warmup * steps) if warmup == 1 else args.get_warmup_steps(steps)  # to them 1 is a step
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    wanted = transformers.get_scheduler(theirs, optimizer=optimiser, num_warmup_steps=warm, num_training_steps=steps)
    config = LoopConfig(lr=0.3, schedule=schedule, warmup=warmup)
    for step in range(steps):
        assert config.rate(step, steps) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        optimiser.step()
        wanted.step()


@pytest.mark.parametrize("schedule", ["one_cycle", "step"])
def test_a_schedule_that_would_ignore_a_warm_up_refuses_it(schedule):
    with pytest.raises(UsageError, match="warm-up") as told:
        LoopConfig(schedule=schedule, warmup=0.1)
    assert told.value.obstacles[0].where == "LoopConfig.warmup"


def test_the_constant_rate_is_constant():
    assert {LoopConfig(lr=0.3).rate(step, 10) for step in range(10)} == {0.3}


def test_the_step_schedule_falls_tenfold_after_each_decay_epoch():
    config = LoopConfig(lr=0.3, schedule="step", decay=(2, 4))
    assert [config.rate(0, 10, epoch=epoch) for epoch in (1, 2, 3, 4, 5)] == pytest.approx(
        [0.3, 0.3, 0.03, 0.03, 0.003]
    )
    assert LoopConfig.of({"decay": [2]}).decay == LoopConfig.of({"decay": (2,)}).decay == (2,)


def test_epochs_may_have_different_numbers_of_steps():
    model, met = toys.network(toys.Softmax), []
    steps = Steps(
        count=lambda epoch: epoch + 1,
        batches=lambda epoch: iter(range(5)),
        objective=lambda item: met.append(item) or (model.weight.sum() * (1 + item)),
        name=lambda item: "even" if item % 2 == 0 else "odd",
    )
    history, _ = run_loop(model, steps, LoopConfig(epochs=3, lr=1e-9), seed=1)
    assert met == [0, 0, 1, 0, 1, 2]
    assert [sorted(row) for row in history] == [["epoch", "even"], ["epoch", "even", "odd"], ["epoch", "even", "odd"]]
    assert history[1]["odd"] == pytest.approx(2 * history[1]["even"], rel=1e-6)


def test_every_step_gets_its_rate():
    seen = []
    model = toys.network(toys.Softmax)
    steps = steps_of(model, size=20)
    config = LoopConfig(epochs=3, lr=0.1, schedule="one_cycle", optimiser="sgd")
    original = LoopConfig.optimise

    def spy(self, of):
        optimiser = original(self, of)
        optimiser.register_step_pre_hook(lambda opt, *_: seen.append(opt.param_groups[0]["lr"]))
        return optimiser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoopConfig, "optimise", spy)
        run_loop(model, steps, config, seed=1)
    assert seen == [config.rate(step, 6) for step in range(6)]


@pytest.mark.parametrize(
    "wrong", [{"lr": 0}, {"lr": math.inf}, {"epochs": -1}, {"batch_size": 0}, {"schedule": "sine"}, {"momentum": 2}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        LoopConfig(**wrong)


# --- the length of a gradient ---------------------------------------------------------------------------------


def cut_by_torch(build, clip, kind, steps):
    """Return a model trained by torch's own optimiser and clip_grad_norm_, and the norms that were cut."""
    model, norms = toys.network(build), []
    optimiser = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind](model.parameters(), lr=0.1, weight_decay=0)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(model(RECORDS.read(range(40))[0]), RECORDS.read(range(40))[1]).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimiser.step()
    return model, norms


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_gradients_are_cut_as_torch_cuts_them(kind):
    wanted, norms = cut_by_torch(toys.Mlp, 0.52, kind, 8)
    assert min(norms) < 0.52 < max(norms), "some steps are cut, and some are not"
    model = toys.network(toys.Mlp)
    config = LoopConfig(epochs=8, lr=0.1, optimiser=kind, momentum=0.0, clip=0.52)
    run_loop(model, steps_of(model, size=40), config, seed=5)
    for mine, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_length_of_gradients_of_halves_is_reckoned_in_single():
    model = torch.nn.Linear(300, 300, bias=False).to(torch.float16)
    model.weight.grad = torch.full((300, 300), 300.0, dtype=torch.float16)  # 90000, which no half can say
    LoopConfig(clip=30.0).cut(model)
    torch.testing.assert_close(model.weight.grad, torch.full((300, 300), 0.1, dtype=torch.float16))


def test_gradients_of_rows_alone_are_cut():
    layer = torch.nn.Embedding(5, 2, sparse=True)
    (layer(torch.tensor([1, 1, 3])).sum() * 3).backward()  # 6 in two places, 3 in two
    LoopConfig(clip=1.0).cut(layer)
    wanted = torch.tensor([[0.0, 0], [6, 6], [0, 0], [3, 3], [0, 0]]) / 90**0.5
    torch.testing.assert_close(layer.weight.grad.to_dense(), wanted, rtol=1e-5, atol=0)


def test_what_is_not_a_number_stays_so_when_it_is_cut():
    for value in (math.nan, math.inf):
        layer = torch.nn.Linear(2, 1, bias=False)
        layer.weight.grad = torch.tensor([[value, 1.0]])
        LoopConfig(clip=1.0).cut(layer)
        assert not bool(torch.isfinite(layer.weight.grad).all())


# --- what was written before ----------------------------------------------------------------------------------


def test_settings_that_came_later_change_no_digest_of_earlier_ones():
    assert sha256(canonical(LoopConfig()))[:16] == "49565aabe7b8802c", "as of version 0.1.0: ledgers and runs hold it"
    assert canonical(LoopConfig(clip=1.0)) != canonical(LoopConfig()) != canonical(LoopConfig(warmup=0.1))


# --- seeds, interruption --------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits():
    config = LoopConfig(epochs=3)
    first, history, reason = train(config)
    again, _, _ = train(config)
    assert toys.same(first, again)
    assert not toys.same(first, train(config, seed=6)[0]), "dropout draws from the seed"
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert reason == "after 3 epochs"


def test_randomness_outside_changes_nothing():
    config = LoopConfig(epochs=3)
    first = train(config)[0]
    model = toys.network(toys.Noisy)
    steps = steps_of(model, advance=lambda: None, after_epoch=lambda epoch, history: torch.rand(epoch) is None and "x")
    run_loop(model, steps, config, seed=5)
    assert toys.same(first, model), "every epoch seeds its own"


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
@pytest.mark.parametrize("killed_after", [1, 3])
@pytest.mark.parametrize("where", ["between epochs", "inside an epoch"])
def test_an_interrupted_loop_ends_with_the_same_bits(tmp_path, optimiser, schedule, killed_after, where):
    config = LoopConfig(epochs=5, lr=0.02, optimiser=optimiser, schedule=schedule, weight_decay=0.01)
    whole, history, _ = train(config)
    done = []

    def after(epoch, rows):
        if where == "between epochs" and epoch > killed_after:
            raise Killed
        return ""

    def advance():
        done.append(1)
        if where == "inside an epoch" and len(done) == 3 * killed_after + 2:
            raise Killed

    with pytest.raises(Killed):
        train(config, checkpoints=Checkpoints(tmp_path, every_s=0), after_epoch=after, advance=advance)
    trained = []
    resumed, rows, reason = train(
        config, checkpoints=Checkpoints(tmp_path, every_s=0), advance=lambda: trained.append(1)
    )
    assert toys.same(resumed, whole)
    assert rows == history
    assert reason == "after 5 epochs"
    assert len(trained) == 3 * (5 - killed_after), "finished epochs are not trained again"


def test_a_loop_that_stopped_stays_stopped_when_it_is_resumed(tmp_path):
    config = LoopConfig(epochs=5)
    stop = {"after_epoch": lambda epoch, history: "reached" if epoch == 2 else ""}
    first, history, reason = train(config, checkpoints=Checkpoints(tmp_path, every_s=0), **stop)
    assert (len(history), reason) == (2, "reached")
    again, rows, reason = train(config, checkpoints=Checkpoints(tmp_path, every_s=0), **stop)
    assert toys.same(first, again)
    assert (rows, reason) == (history, "reached")


# --- ends -----------------------------------------------------------------------------------------------------


def test_no_epochs_change_nothing():
    model, history, reason = train(LoopConfig(epochs=0))
    assert toys.same(model, toys.network(toys.Noisy))
    assert (history, reason) == ([], "after 0 epochs")
    assert not any(module.training for module in model.modules())


def test_the_model_comes_back_in_evaluation_mode_and_trains_in_training_mode():
    modes = []
    model = toys.network(toys.Noisy)
    model.eval()
    steps = steps_of(model, advance=lambda: modes.append([m.training for m in model.modules()]))
    run_loop(model, steps, LoopConfig(epochs=1), seed=1)
    assert all(all(row) for row in modes)
    assert not any(module.training for module in model.modules())


def test_evaluation_after_an_epoch_does_not_leave_the_next_one_in_evaluation_mode():
    model = toys.network(toys.Noisy)
    modes = []
    steps = steps_of(
        model, after_epoch=lambda epoch, history: model.eval() and "", advance=lambda: modes.append(model.training)
    )
    run_loop(model, steps, LoopConfig(epochs=2), seed=1)
    assert all(modes)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_stops_the_loop(value):
    model = toys.network()
    steps = Steps(
        count=lambda epoch: 2, batches=lambda epoch: iter([1.0, value]), objective=lambda f: model[0].weight.sum() * f
    )
    with pytest.raises(Diverged, match="epoch 1"):
        run_loop(model, steps, LoopConfig(epochs=3), seed=1)


def test_a_weight_that_is_not_finite_stops_the_loop():
    # The loss is taken before the step, so the last step of an epoch can break what no loss shows.
    model = toys.network()
    steps = Steps(
        count=lambda epoch: 1, batches=lambda epoch: iter([0]), objective=lambda _: (model[0].weight * 1e20).sum()
    )
    with pytest.raises(Diverged):
        run_loop(model, steps, LoopConfig(epochs=1, lr=1e20, optimiser="sgd", momentum=0.0), seed=1)


def test_a_high_rate_diverges():
    with pytest.raises(Diverged) as caught:
        train(LoopConfig(epochs=40, lr=1e12, optimiser="sgd"), build=toys.Mlp)
    assert caught.value.obstacles[0].fix.startswith("lower the learning rate")


def test_frozen_parameters_do_not_move():
    model = toys.network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    run_loop(model, steps_of(model), LoopConfig(epochs=2, weight_decay=0.5), seed=1)
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(model[2].weight, toys.network()[2].weight)


def test_a_frozen_block_keeps_its_batch_statistics():
    model = toys.network(toys.Noisy)
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    before = {name: buffer.clone() for name, buffer in model[1].named_buffers()}
    run_loop(model, steps_of(model), LoopConfig(epochs=2, lr=0.1), seed=5)
    assert all(torch.equal(before[name], buffer) for name, buffer in model[1].named_buffers())
    free, _, _ = train(LoopConfig(epochs=2, lr=0.1))
    assert not torch.equal(before["running_mean"], free[1].running_mean)


@pytest.mark.parametrize(("frozen", "resting"), [((1, 3), (0, 2)), ((3,), ()), ((1,), (0, 2)), ((), ())])
def test_statistics_without_parameters_rest_with_the_layer_before_them_and_the_first_with_the_first(frozen, resting):
    layers = [nn.BatchNorm1d(4, affine=False), nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False), nn.Linear(6, 3)]
    model = nn.Sequential(*layers)
    for place in frozen:
        model[place].requires_grad_(False)
    train_mode(model)
    assert [place for place in (0, 2) if not model[place].training] == list(resting)


def test_a_network_of_which_nothing_may_move_is_told():
    model = toys.network().requires_grad_(False)
    with pytest.raises(InvalidProblem, match="nothing of the network may move"):
        LoopConfig().optimise(model)


def test_batch_statistics_are_kept_where_that_is_asked_for():
    """The layer normalises by what it has, its weights move, and dropout stays on."""
    model, untrained = toys.network(toys.Noisy), toys.network(toys.Noisy)
    modes = []
    hooked = toys.network(toys.Noisy)
    hooked.register_forward_hook(lambda m, *_: modes.append([layer.training for layer in (m[1], m[3])]))
    for each, keep in ((model, True), (hooked, True)):
        run_loop(each, steps_of(each, keep_statistics=keep), LoopConfig(epochs=1, lr=0.1), seed=5)
    buffers = dict(untrained[1].named_buffers())
    assert all(torch.equal(buffers[name], buffer) for name, buffer in model[1].named_buffers())
    assert not torch.equal(model[1].weight, untrained[1].weight)
    assert modes == [[False, True]] * 3


def test_no_gradient_is_left_on_the_model():
    model, _, _ = train(LoopConfig(epochs=1))
    assert all(p.grad is None for p in model.parameters())


def test_evaluating_gives_every_layer_its_own_mode_back():
    model = toys.network(toys.Noisy).train()
    model[1].eval()
    with evaluating(model):
        assert not any(layer.training for layer in model.modules())
    with pytest.raises(Killed), evaluating(model):
        raise Killed
    assert [layer.training for layer in model.modules()] == [True, True, False, True, True, True, True]


def test_the_history_is_a_copy():
    rows = []
    _, history, _ = train(LoopConfig(epochs=1), after_epoch=lambda epoch, h: rows.append(h) or "")
    rows[0][0]["objective"] = -1
    assert history[0]["objective"] > 0


# --- several optimisers in one --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_moments_with_a_name_of_their_own_are_those_of_several_optimisers(kind, interrupted, tmp_path):
    inputs, labels = toys.points(30, dtype=torch.float64)
    plan = [["a", "a", "b"], ["b", "c", "a"], ["c", "b"]]
    decay = {"a": 0.0, "b": 0.3, "c": None}
    size = {"a": 30, "b": 20, "c": 10}
    config = LoopConfig(epochs=3, lr=0.05, optimiser=kind, weight_decay=0.1)

    def loss(model, item):
        return functional.cross_entropy(model(inputs[: size[item]]), labels[: size[item]])

    def looped(**more):
        model = toys.network(toys.Softmax, dtype=torch.float64)
        steps = Steps(
            count=lambda epoch: len(plan[epoch]),
            batches=lambda epoch: iter(plan[epoch]),
            objective=lambda item: loss(model, item),
            moments=lambda item: item,
            weight_decay=lambda item: decay[item],
            rate=lambda item: 0.5 if item == "b" else 1.0,
            after_epoch=more.pop("after_epoch", lambda epoch, rows: ""),
        )
        run_loop(model, steps, config, seed=1, **more)
        return model

    def killed(epoch, rows):
        if epoch == 2:
            raise Killed
        return ""

    if interrupted:
        with pytest.raises(Killed):
            looped(checkpoints=Checkpoints(tmp_path, every_s=0), after_epoch=killed)
        mine = looped(checkpoints=Checkpoints(tmp_path, every_s=0))
    else:
        mine = looped()
    theirs = toys.network(toys.Softmax, dtype=torch.float64)
    torch_s = {"adamw": torch.optim.AdamW, "sgd": functools.partial(torch.optim.SGD, momentum=0.9)}[kind]
    optimisers = {
        name: torch_s(theirs.parameters(), lr=0.025 if name == "b" else 0.05, weight_decay=0.1 if d is None else d)
        for name, d in decay.items()
    }
    for item in itertools.chain(*plan):
        theirs.zero_grad()
        loss(theirs, item).backward()
        optimisers[item].step()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_forgotten_moments_are_those_of_a_new_optimiser(kind):
    config = LoopConfig(lr=0.05, optimiser=kind, weight_decay=0.1)
    models = [toys.network(toys.Softmax) for _ in range(2)]
    one, other = (config.optimise(model) for model in models)

    def step(model, optimiser):
        optimiser.zero_grad()
        (model.weight**2).sum().backward()
        optimiser.step()

    step(models[0], one)
    models[1].load_state_dict(models[0].state_dict())
    forget_moments(one)
    for _ in range(2):
        step(models[0], one)
        step(models[1], other)
    assert toys.same(*models)


def test_a_frozen_number_beside_layers_that_move_leaves_these_in_training_mode():
    class Scaled(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
            self.scale = torch.nn.Parameter(torch.ones(()), requires_grad=False)

    model = Scaled()
    model[2].requires_grad_(False)
    train_mode(model)
    assert [layer.training for layer in model.modules()] == [True, True, True, False]
