import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from expunge.data.arrays import ArrayRecords
from expunge.engine import _layers, stacked
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig
from expunge.engine.stacked import Mapped, Stack, balanced, form_of, groups, train
from expunge.engine.training import Trainer
from expunge.testbeds.digits import DigitsNet
from tests.support import toys

SGD = LoopConfig(epochs=2, batch_size=8, lr=0.1, optimiser="sgd")
ADAM = LoopConfig(epochs=2, batch_size=8, lr=0.01, weight_decay=0.1, schedule="one_cycle")


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def images():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 9, (3, 2), stride=(2, 1), bias=False),
        nn.GroupNorm(3, 9),
        nn.MaxPool2d(2),
        nn.Conv2d(9, 4, 1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


class Residual(nn.Module):
    """Normalisation, a branch that is added, and a forward of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.batch, self.last = (
            nn.Linear(6, 6),
            nn.LayerNorm(6),
            nn.BatchNorm1d(6),
            nn.Linear(6, 3, bias=False),
        )

    def forward(self, x):
        return self.last(self.batch(x + F.gelu(self.norm(self.first(x)))))


class Words(nn.Module):
    """Embedding and attention: a layer without a rule, mapped by vmap."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        rows = self.table(x)
        return self.head(self.attend(rows, rows, rows, need_weights=False)[0].mean(dim=1))


class Bag(nn.Module):
    """An embedding with rules alone."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(11, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.table(x).mean(dim=1))


class Scale(nn.Module):
    """A parameter of the user's own."""

    def __init__(self):
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.randn(6)), nn.Linear(6, 3)

    def forward(self, x):
        return self.inner(x * self.scale)


class Mixing(nn.Module):
    """Records of a batch see each other: stacked, they would see other models' records."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x):
        return self.inner(x - x.mean(dim=0))


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x)))


def dropping():
    return nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 3))


def data(shape=(6,), *, words=False, n=21):
    draw = torch.Generator().manual_seed(3)
    x = torch.randint(0, 11, (n, *shape), generator=draw) if words else torch.randn(n, *shape, generator=draw)
    return ArrayRecords(x, torch.randint(0, 3, (n,), generator=draw))


CASES = {
    "mlp, sgd": (mlp, SGD, data(), Stack),
    "mlp, adamw": (mlp, ADAM, data(), Stack),
    "convolutions": (images, SGD, data((1, 8, 8)), Stack),
    "digits": (DigitsNet, ADAM, data((1, 8, 8)), Stack),
    "residual": (Residual, SGD, data(), Stack),
    "embedding": (Bag, SGD, data((4,), words=True), Stack),
    "one layer": (lambda: nn.Linear(6, 3), SGD, data(), Stack),
    "attention": (Words, SGD, data((4,), words=True), Mapped),
    "own parameter": (Scale, SGD, data(), Mapped),
    "mixing": (Mixing, SGD, data(), Mapped),
    "tied": (Tied, SGD, data(), None),
}


def state(model):
    return {name: value.detach().double() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_each_model_is_what_its_seed_alone_would_give(case):
    build, config, records, form = CASES[case]
    trainer = Trainer(build=build, config=config)
    assert form_of(trainer, records)[0] is form
    parts = [list(range(0, 18)), list(range(3, 21)), [20 - i for i in range(18)]]
    together = train(trainer, records, parts, seeds=[5, 6, 7])
    for part, seed, model in zip(parts, (5, 6, 7), together, strict=True):
        alone = trainer(records.select([records.ids[i] for i in part]), seed=seed)
        assert type(model) is type(alone)
        assert not model.training
        for name, value in state(alone).items():
            assert torch.allclose(state(model)[name], value, rtol=1e-3, atol=1e-5), name


def test_the_stack_does_not_touch_what_it_is_made_of():
    models = [mlp() for _ in range(3)]
    before = copy.deepcopy([model.state_dict() for model in models])
    stack = Stack(models)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(1.0)
    for model, kept in zip(models, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def row():
    return nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.ReLU(),
        nn.Conv2d(3, 17, 2, padding=(0, 2)),
        nn.Conv2d(17, 2, 1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(28, 5),
        nn.ReLU(),
        nn.Linear(5, 20),
    )


def test_convolutions_in_a_row_are_one_and_give_each_models_own_outputs_and_gradients():
    torch.manual_seed(0)
    models = [row().double() for _ in range(3)]
    stack = Stack(models)
    assert [layer.within for layer in stack.body if isinstance(layer, _layers.Convolution)] == [False, True, True]
    x = torch.randn(12, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(12, 20, dtype=torch.float64)
    (stack(x) * weights).sum().backward()
    mine, x.grad = x.grad, None
    alone = torch.cat([model(part) for model, part in zip(models, x.split(4), strict=True)])
    (alone * weights).sum().backward()
    assert torch.allclose(stack(x), alone)
    assert torch.allclose(mine, x.grad)
    for name, parameter in stack.body.named_parameters():
        theirs = torch.stack([model.get_parameter(name).grad for model in models])
        assert torch.allclose(parameter.grad, theirs), name


def test_convolutions_may_be_called_again_before_the_gradients_of_the_first_call():
    # They work in memory that they keep from call to call: what one call left there must not matter to another.
    torch.manual_seed(0)
    models = [row().double() for _ in range(2)]
    stack = Stack(models)
    first, second = (torch.randn(6, 2, 5, 5, dtype=torch.float64) for _ in range(2))
    with torch.inference_mode():
        seen = stack(first)
    early, late = stack(first).sin().sum(), stack(second).cos().sum()
    stack(first[:4])
    early.backward()
    late.backward()
    for k, model in enumerate(models):
        mine = slice(3 * k, 3 * k + 3)
        assert torch.allclose(seen[mine], model(first[mine]))
        (model(first[mine]).sin().sum() + model(second[mine]).cos().sum()).backward()
    for name, parameter in stack.body.named_parameters():
        theirs = torch.stack([model.get_parameter(name).grad for model in models])
        assert torch.allclose(parameter.grad, theirs), name


def test_windows_that_would_take_too_much_memory_are_not_made(monkeypatch):
    trainer, records = Trainer(build=DigitsNet, config=SGD), data((1, 8, 8))
    monkeypatch.setattr(_layers, "ROOM_BYTES", 4 * 16 * 9 * 16 * SGD.batch_size)  # of the second convolution, exactly
    assert form_of(trainer, records)[0] is Stack
    monkeypatch.setattr(_layers, "ROOM_BYTES", _layers.ROOM_BYTES - 1)
    assert form_of(trainer, records)[0] is not Stack


@pytest.mark.parametrize("form", [Stack, Mapped])
def test_unstacking_gives_the_models_back(form):
    torch.manual_seed(0)
    models = [images() for _ in range(3)]
    shells = [images() for _ in range(3)]
    form(models).unstack(shells)
    for model, shell in zip(models, shells, strict=True):
        assert all(torch.equal(value, shell.state_dict()[name]) for name, value in model.state_dict().items())


def test_no_model_sees_anothers_records():
    # Model 1 gets other records in the second call; model 0 must not notice, beyond rounding.
    trainer, records = Trainer(build=images, config=SGD), data((1, 8, 8))
    first = train(trainer, records, [range(0, 12), range(9, 21)], seeds=[1, 2])
    second = train(trainer, records, [range(0, 12), range(5, 17)], seeds=[1, 2])
    assert all(torch.allclose(state(second[0])[k], v, rtol=1e-4, atol=1e-6) for k, v in state(first[0]).items())
    assert not all(torch.allclose(state(second[1])[k], v, rtol=1e-2) for k, v in state(first[1]).items())


def test_dropout_draws_for_every_model_and_bits_repeat():
    trainer, records = Trainer(build=dropping, config=SGD), data()
    assert form_of(trainer, records)[0] is Stack
    first, second, third = (train(trainer, records, seeds=[1, 2, seed]) for seed in (3, 3, 4))
    assert all(
        torch.equal(a, b)
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
    assert not torch.equal(first[2][0].weight, third[2][0].weight)
    stack = Stack([mlp_like(dropping) for _ in range(2)]).train()
    rows = torch.ones(12, 6)
    halves = stack(rows).detach().split(6)
    assert not torch.equal(*halves)


def mlp_like(build):
    torch.manual_seed(0)
    return build()


@pytest.mark.parametrize("build", [mlp, Tied])
def test_models_can_be_trained_on_and_stay_as_they_are(build):
    trainer, records = Trainer(build=build, config=SGD), data()
    start = [trainer.begin(seed) for seed in (8, 9)]
    before = copy.deepcopy(start)
    found = train(trainer, records, seeds=[1, 2], start=start)
    for origin, kept, seed, model in zip(start, before, (1, 2), found, strict=True):
        alone = trainer(records, seed=seed, start=kept)
        assert all(torch.equal(a, b) for a, b in zip(origin.parameters(), kept.parameters(), strict=True))
        assert all(torch.allclose(state(model)[k], v, rtol=1e-3, atol=1e-5) for k, v in state(alone).items())
        assert not torch.equal(next(model.parameters()), next(origin.parameters()))


def test_groups_bound_the_memory_and_change_nothing(monkeypatch):
    trainer, records = Trainer(build=mlp, config=SGD), data()
    size = form_of(trainer, records)[1]
    whole = train(trainer, records, seeds=range(9))
    monkeypatch.setattr(stacked, "GROUP_BYTES", stacked.GROUP_BYTES / size * 4.5)
    assert form_of(trainer, records)[1] == 4
    parted = train(trainer, records, seeds=range(9))
    for one, other in zip(whole, parted, strict=True):
        assert all(torch.allclose(state(one)[k], v, rtol=1e-4, atol=1e-6) for k, v in state(other).items())


def test_a_model_that_keeps_a_core_busy_is_trained_alone(monkeypatch):
    trainer, records = Trainer(build=mlp, config=SGD), data()
    each = stacked.GROUP_BYTES / form_of(trainer, records)[1]
    monkeypatch.setattr(stacked, "MODEL_BYTES", 1.01 * each)
    assert form_of(trainer, records)[0] is Stack
    monkeypatch.setattr(stacked, "MODEL_BYTES", 0.99 * each)
    assert form_of(trainer, records) == (None, 1)


@pytest.mark.parametrize(
    "more", [{"config": LoopConfig(epochs=2, batch_size=8, clip=0.1)}, {"micro_batch": 3}, {"lora": 2}]
)
def test_what_is_of_one_model_is_trained_one_by_one(more):
    trainer = replace(Trainer(build=mlp, config=LoopConfig(epochs=2, batch_size=8)), **more)
    assert form_of(trainer, data()) == (None, 1)
    for seed, model in zip((3, 4), train(trainer, data(), seeds=(3, 4)), strict=True):
        assert toys.same(model, trainer(data(), seed=seed))


def test_groups_are_as_equal_as_can_be():
    assert [part.stop - part.start for part in groups(20, 8)] == [7, 6, 7]
    assert groups(3, 8) == [slice(0, 3)]


def test_what_is_not_tensors_is_trained_alone():
    class Named(ArrayRecords):
        def read(self, indices):
            return super().read(indices)[0], [str(i) for i in indices]

    records = data()
    assert form_of(Trainer(build=mlp), Named(records.x, records.y)) == (None, 1)


def test_layers_that_the_first_batch_shapes_are_trained_alone():
    trainer = Trainer(build=lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3)), config=SGD)
    assert form_of(trainer, data()) == (None, 1)
    assert [len(model[0].weight) for model in train(trainer, data(), seeds=[1, 2])] == [4, 4]


def test_parts_must_fit_the_seeds():
    trainer, records = Trainer(build=mlp), data()
    with pytest.raises(ValueError, match="for 2 seeds"):
        train(trainer, records, [range(4)], seeds=[1, 2])
    with pytest.raises(ValueError, match=r"2 parts of \[4, 5\] records"):
        train(trainer, records, [range(4), range(5)], seeds=[1, 2])


def test_a_stack_resumes_where_it_was_killed(tmp_path, monkeypatch):
    trainer, records = Trainer(build=mlp, config=ADAM), data()
    whole = train(trainer, records, seeds=[1, 2])
    kept = Checkpoints(tmp_path, every_s=0)
    half = Trainer(build=mlp, config=LoopConfig(**{**vars(ADAM), "epochs": 2}))
    offered = kept.offer

    def killed(model, optimiser, place):
        offered(model, optimiser, place)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "offer", killed)
    with pytest.raises(KeyboardInterrupt):
        train(half, records, seeds=[1, 2], checkpoints=kept)
    again = train(trainer, records, seeds=[1, 2], checkpoints=Checkpoints(tmp_path))
    for one, other in zip(whole, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_balanced_designs_put_every_record_in_half_of_the_models():
    keep = balanced(30, 8, seed=1)
    assert (keep.sum(axis=0) == 4).all()
    assert (keep.sum(axis=1) == 15).all()
    assert not np.array_equal(keep, balanced(30, 8, seed=2))
    with pytest.raises(ValueError, match="even"):
        balanced(31, 8, seed=1)


def test_what_follows_a_convolution_may_change_it_in_place():
    def build():
        body = (nn.Conv2d(1, 3, 3), nn.Dropout(0.5, inplace=True), nn.Flatten(), nn.Linear(3 * 36, 2))
        return nn.Sequential(*body)

    draw = np.random.default_rng(0)
    records = ArrayRecords(draw.normal(size=(12, 1, 8, 8)).astype(np.float32), draw.integers(0, 2, 12))
    trainer = Trainer(build=build, config=LoopConfig(epochs=1, batch_size=4, lr=0.1))
    models = stacked.train(trainer, records, seeds=range(5))
    assert all(torch.isfinite(p).all() for model in models for p in model.parameters())
    assert not torch.equal(models[0][0].weight, models[1][0].weight)
