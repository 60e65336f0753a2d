import itertools
from typing import ClassVar

import pytest
import torch

from expunge.methods.rni import NoiseInTurn
from tests.support import regressions, toys

STILL = {"lr": 1e-300, "last_lr": 1e-300, "noise": 0.5, "shaken": 1.0, "weight_decay": 0.0, "epochs": 6, "fine": 2}


class Deep(toys.Noisy):
    """Eight tensors beside those of batch normalisation; the frozen one is not among them."""

    def __init__(self):
        super().__init__()
        self.insert(3, torch.nn.Linear(8, 8))
        self.insert(4, torch.nn.Linear(8, 8))
        self[0].bias.requires_grad_(False)


class Watched(NoiseInTurn):
    """Keeps what the model was after every epoch, and which of its tensors might move."""

    name = "rni"
    seen: ClassVar[list] = []

    def observe(self, model, epoch, run):
        self.seen.append({name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()})
        return {}


def epochs(**settings):
    problem = toys.problem(build=Deep, holdout=0)
    Watched.seen = []
    outcome = Watched({"tensors": 2, **settings}).unlearn(problem, toys.context(problem))
    return problem.source.open(), Watched.seen, outcome.model


def moved(before, after):
    return {name for name in after if not torch.equal(before[name][0], after[name][0])}


def test_a_few_tensors_and_normalisation_move_in_turn_and_all_at_the_end():
    start, seen, model = epochs(epochs=6, fine=2, lr=0.01, last_lr=0.01, noise=0.0)
    normal = {name for name in seen[0] if name.startswith("1.")}
    everything = {name for name, p in start.named_parameters() if p.requires_grad}
    for before, after in itertools.pairwise(seen[:4]):
        may = {name for name, (_, free) in after.items() if free}
        assert normal < may
        assert len(may - normal) == 2
        assert moved(before, after) == may
    for before, after in itertools.pairwise(seen[3:]):
        assert moved(before, after) == {name for name, (_, free) in after.items() if free} == everything
    assert len({frozenset(name for name, (_, free) in row.items() if free) for row in seen[:4]}) > 1
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in start.parameters()]


def test_noise_meets_what_is_picked_for_the_first_time_and_never_in_the_first_epoch():
    start, seen, _ = epochs(**STILL, tensors=3)
    first = {name: (p.detach(), True) for name, p in start.named_parameters()}
    head = {"6.0.weight", "6.0.bias"}
    assert moved(first, seen[0]) == head  # it is new, and nothing is shaken
    picked = [{name for name, (_, free) in row.items() if free and not name.startswith("1.")} for row in seen[:4]]
    before = picked[0]
    assert before - head, "something else was picked, which would show"
    assert any(picked[epoch] & before for epoch in (1, 2, 3))
    for epoch in (1, 2, 3):
        assert moved(seen[epoch - 1], seen[epoch]) == picked[epoch] - before
        before = before | picked[epoch]
    assert moved(seen[3], seen[4]) == moved(seen[4], seen[5]) == set()
    assert len(before) > 4


def test_noise_has_its_size_and_meets_its_share():
    _, seen, _ = epochs(**{**STILL, "tensors": 8, "epochs": 4, "fine": 2})
    assert moved(seen[0], seen[1]) == set()  # all were picked before
    problem = toys.problem(build=Deep, holdout=0)
    method = NoiseInTurn({"tensors": 6, "shaken": 0.7, "noise": 0.5})
    method.prepare(problem.source.open(), problem, toys.context(problem))
    assert all(len(shaken) <= 4 for shaken in method._shaken)
    _, seen, _ = epochs(**{**STILL, "tensors": 1, "epochs": 8, "fine": 1})
    pairs = itertools.pairwise(seen[:7])
    noise = torch.cat([(b[n][0] - a[n][0]).flatten() for a, b in pairs for n in moved(a, b)])
    assert float(noise.std()) == pytest.approx(0.5, rel=0.2)


def test_every_epoch_has_a_new_optimiser_and_the_last_one_its_own_rate():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    config = {"batch_size": 64, "noise": 0.0, "weight_decay": 0.1, "epochs": 3, "fine": 1}
    still = {**config, "lr": 1e-300, "last_lr": 1e-300}
    values = regressions.parameters(NoiseInTurn(still).unlearn(problem, toys.context(problem)).model)
    config |= {"lr": 0.2, "last_lr": 0.5}
    mine = NoiseInTurn(config).unlearn(problem, toys.context(problem)).model
    for rate in (0.2, 0.2, 0.5):  # without momentum: a step an epoch
        slopes = regressions.slope(values, problem.retain_view)
        values = [v - rate * (g + 0.1 * v) for v, g in zip(values, slopes, strict=True)]
    assert regressions.distance(mine, values) < 1e-13


def test_a_network_without_a_layer_to_reset_is_an_obstacle():
    (told,) = NoiseInTurn().obstacles(toys.problem(build=toys.Alone))
    assert told.what == "rni resets the head"
    assert not NoiseInTurn().obstacles(toys.problem(build=toys.Prototypes))
