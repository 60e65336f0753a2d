import dataclasses

import numpy as np
import pytest
import torch

import expunge
from expunge.engine.loop import LoopConfig
from expunge.engine.strangers import said
from expunge.engine.training import Trainer
from expunge.methods.eu_k import EuK
from expunge.numerics.sureness import sureness
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 16, "lr": 0.05}


def sure(problem, model, of):
    """Return the mean sureness about the held-out records of ``of``."""
    return float(sureness(said(problem, model, of).logits).mean())


def test_as_sure_as_the_original_of_held_out_records_with_the_same_answers():
    problem = toys.problem()
    run = toys.context(problem, seed=3)
    plain, scaled = (EuK({**LOOP, "k": 9, "as_sure": on}).unlearn(problem, run).model for on in (False, True))
    held, original = run.choosing.holdout, problem.source.open()
    assert abs(sure(problem, plain, held) - sure(problem, original, held)) > 0.05
    assert sure(problem, scaled, held) == pytest.approx(sure(problem, original, held), rel=1e-4)
    one, other = (said(problem, model, problem.retain_view).logits for model in (plain, scaled))
    assert (one.argmax(1) == other.argmax(1)).all()
    factor = np.linalg.lstsq(one.reshape(-1, 1), other.reshape(-1), rcond=None)[0]
    assert other == pytest.approx(one * factor, abs=1e-4), "all logits by one factor"


def test_how_sure_the_original_is_of_a_class_that_goes_says_nothing():
    """The held-out records of that class are answered at random by either: with them the factor is another."""
    train = toys.records(60)
    gone = [name for name, (_, y) in zip(train.ids, train, strict=True) if int(y) == 0]
    problem = expunge.Problem(
        model=toys.network(),
        train=train,
        forget=gone,
        holdout=toys.records(24, prefix="h", seed=1),
        trainer=toys.TRAINER,
    )
    run = toys.context(problem, seed=3)
    model = EuK({**LOOP, "k": 9, "as_sure": True}).unlearn(problem, run).model
    held = run.choosing.holdout
    staying = held.select([name for name, (_, y) in zip(held.ids, held, strict=True) if int(y)])
    assert 0 < len(staying) < len(held)
    assert sure(problem, model, staying) == pytest.approx(sure(problem, problem.source.open(), staying), rel=1e-4)
    assert sure(problem, model, held) != pytest.approx(sure(problem, problem.source.open(), held), rel=1e-3)


def test_the_looks_at_held_out_records_are_counted():
    problem = toys.problem()
    run = toys.context(problem)
    for config in ({**LOOP, "k": 9}, {**LOOP, "k": 9, "as_sure": True}):
        cost = EuK(config).unlearn(problem, run).cost
        assert cost == EuK(config).cost(problem)
    looks = EuK({**LOOP, "as_sure": True}).cost(problem).read - EuK(LOOP).cost(problem).read
    assert looks == 2 * len(run.choosing.holdout)


def test_what_cannot_be_scaled_is_an_obstacle():
    found = EuK({"as_sure": True}).obstacles(toys.problem(holdout=0))
    assert [(each.where, each.found) for each in found] == [("[methods.eu_k] as_sure", "no holdout")]
    assert not EuK().obstacles(toys.problem(holdout=0))


def test_a_search_begins_with_the_training_itself_all_blocks_in_smaller_batches():
    config = LoopConfig(epochs=12, batch_size=32, lr=0.02, optimiser="adamw", schedule="one_cycle", weight_decay=0.1)
    problem = toys.problem(trainer=Trainer(build=toys.network, config=config))
    start = EuK.start(problem)
    method = EuK(start)
    same = ("epochs", "lr", "optimiser", "schedule", "weight_decay", "momentum", "decay")
    assert all(getattr(method.config, name) == getattr(config, name) for name in same)
    assert method.config.batch_size == 8
    assert method.config.as_sure
    assert method.anew(problem)
    assert not EuK({**start, "k": 0}).anew(problem)
    assert not EuK({**start, "epochs": 0}).anew(problem), "the original comes back"
    assert EuK.start(toys.problem(trainer=lambda records, *, seed: toys.network())) == {}, (
        "a trainer that does not say how it trains"
    )


class Odd(torch.nn.Sequential):
    """A hidden layer and a head, and what a test does to either."""

    def __init__(self):
        super().__init__(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


class Normalised(Odd):
    """However large the head, answers are as sure."""

    def forward(self, x):
        return 8 * torch.nn.functional.normalize(super().forward(x), dim=1)


class Skipping(Odd):
    """Half of the answer goes around the head."""

    def forward(self, x):
        return super().forward(x) + x[:, :3]


class Beside(Odd):
    """A head for something else runs last."""

    def __init__(self):
        super().__init__()
        self.beside = torch.nn.Linear(4, 3)

    def forward(self, x):
        out = self[2](self[1](self[0](x)))
        self.beside(x)
        return out


class Frozen(Odd):
    """The head may not move."""

    def __init__(self):
        super().__init__()
        self[2].requires_grad_(False)


class Banked(Odd):
    """Keeps a number of what it has seen that nothing draws anew."""

    def __init__(self):
        super().__init__()
        self[1] = torch.nn.ReLU()
        self[1].register_buffer("bank", torch.ones(3))


@pytest.mark.parametrize("build", [Normalised, Skipping, Beside, Frozen])
def test_answers_that_the_last_layer_does_not_scale_are_an_obstacle_and_not_scaled_unasked(build):
    problem = toys.problem(build=build, trainer=Trainer(build=build, config=LoopConfig(epochs=2)))
    assert [each.where for each in EuK({"as_sure": True}).obstacles(problem)] == ["[methods.eu_k] as_sure"]
    assert not EuK.start(problem)["as_sure"]
    assert not EuK({"as_sure": True}).obstacles(toys.problem(build=Odd))


@pytest.mark.parametrize(("build", "anew"), [(Odd, True), (Frozen, False), (Banked, False)])
def test_where_something_of_the_original_is_left_it_is_not_anew(build, anew):
    problem = toys.problem(build=build)
    assert EuK({"k": 9}).anew(problem) == anew


def test_the_smallest_steps_that_a_search_begins_with_can_be_normalised():
    sizes = {}
    for size in (1, 2, 6, 11, 96):
        trainer = Trainer(build=toys.network, config=LoopConfig(epochs=2, batch_size=size))
        sizes[size] = EuK.start(toys.problem(trainer=trainer))["batch_size"]
    assert sizes == {1: 1, 2: 2, 6: 3, 11: 3, 96: 24}


def test_adapters_may_move_unless_the_head_is_scaled():
    assert EuK().adapts
    assert not EuK({"as_sure": True}).adapts


def test_of_records_with_wrong_labels_the_original_says_not_how_sure_to_be():
    problem = toys.problem(trainer=Trainer(build=toys.network, config=LoopConfig(epochs=2)))
    name = problem.forget_ids[0]
    request = expunge.Request(ids=(name,), corrections={name: (int(problem.forget_view[0][1]) + 1) % 3})
    assert EuK.start(problem)["as_sure"]
    assert not EuK.start(dataclasses.replace(problem, request=request, forget=()))["as_sure"]
