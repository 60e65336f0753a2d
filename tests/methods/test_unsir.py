import math

import pytest
import torch

from expunge.core.errors import InvalidProblem
from expunge.methods.unsir import Noise, Unsir
from tests.support import toys

SMALL = {"epochs": 3, "noise": 16, "noise_steps": 20, "copies": 3, "batch_size": 16, "lr": 0.01}


def classes(*gone, count=90, **more):
    """A problem whose forget set is whole classes."""
    train = toys.records(count)
    problem = toys.problem(train=train, trainer=None, **{"holdout": 0, **more})
    problem.forget = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label in gone]
    return problem


class Noting(Unsir):
    """Keeps the noise, and the passes of every epoch."""

    def prepare(self, model, problem, run):
        before = toys.state(model)
        work = super().prepare(model, problem, run)
        after = toys.state(model)
        assert all(torch.equal(before[0][name], after[0][name]) for name in before[0]), "making noise changed the model"
        assert before[1:] == after[1:]
        KEPT.append((self._made, [[(p.over, p.rate, p.moments) for p in self.passes(e)] for e in (1, 2, 3)]))
        return work


KEPT: list = []


def noise_of(problem, **settings):
    outcome = Noting({**SMALL, **settings}).unlearn(problem, toys.context(problem))
    made, passes = KEPT.pop()
    return made.read(range(len(made))), passes, outcome


def test_noise_carries_the_label_of_its_own_class():
    (inputs, labels), passes, _ = noise_of(classes(1, 2))
    assert labels.tolist() == [1] * 48 + [2] * 48
    assert inputs.shape == (96, 4)
    impair, *repair = passes
    assert impair == [("all", 1.0, "impair")]
    assert repair == [[("retain", 0.5, "repair")]] * 2


def test_noise_maximises_the_loss_of_the_original_and_grows_on_it():
    problem = classes(1, build=toys.Noisy)
    model = problem.source.open().eval()

    def loss(steps):
        inputs, labels = noise_of(problem, noise_steps=steps, penalty=0.0)[0]
        return float(torch.nn.functional.cross_entropy(model(inputs), labels).detach())

    assert loss(0) + 0.1 < loss(20)


def test_noise_is_the_one_of_adam_by_hand():
    """Softmax regression: minimise penalty mean |n|^2 - CE; its slope is 2 penalty n / B - W'(p - 1[c]) / B."""
    problem = classes(1, build=toys.Softmax)
    model = problem.source.open()
    start = noise_of(problem, noise_steps=0, copies=1)[0][0].double()
    found = noise_of(problem, noise_steps=5, copies=1)[0][0].double()
    weight, bias = (p.detach().double() for p in model.parameters())
    noise, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, 6):
        share = torch.softmax(noise @ weight.T + bias, 1)
        share[:, 1] -= 1
        slope = (0.2 * noise - share @ weight) / 16
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        noise = noise - 0.1 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(found, noise, atol=1e-4, rtol=1e-4)
    assert float((noise - start).abs().mean()) > 0.2


def test_copies_are_one_batch_again_unless_each_is_made_anew():
    same, _, cheap = noise_of(classes(1))
    anew, _, dear = noise_of(classes(1), fresh=True)
    assert torch.equal(same[0][:16], same[0][16:32])
    assert not torch.equal(anew[0][:16], anew[0][16:32])
    assert dear.cost.trained - cheap.cost.trained == 2 * 16 * 20


def test_no_forgotten_record_is_read_but_those_that_choices_may_look_at():
    problem = classes(1)
    run = toys.context(problem)
    outcome = Unsir(SMALL).unlearn(problem, run)
    gone = set(problem.forget_ids)
    assert set(problem.records.seen) & gone <= set(run.choosing.forget.ids)
    assert set(problem.records.seen) - gone == set(problem.retain_view.ids)
    assert outcome.cost.trained == Unsir(SMALL).cost(problem).trained


def test_so_many_records_of_each_class_are_trained_on():
    problem = classes(1, count=300)
    outcome = Unsir({**SMALL, "per_class": 20}).unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 16 * 20 + (40 + 48) + 2 * 40
    assert Unsir({**SMALL, "per_class": 20}).cost(problem).trained == outcome.cost.trained


def test_a_class_is_forgotten_and_the_others_are_repaired():
    train = toys.records(240)
    problem = classes(0, count=240, model=toys.TRAINER(train, seed=1))
    run = toys.context(problem)
    model = Unsir({**SMALL, "epochs": 6, "noise": 64, "noise_steps": 40, "lr": 0.02}).unlearn(problem, run).model
    original = problem.source.open()
    assert run.mean_loss(model, problem.forget_view) > 1 + run.mean_loss(original, problem.forget_view)
    assert run.mean_loss(model, problem.retain_view) < math.log(2) / 2


def test_scattered_records_are_an_obstacle_and_so_are_some_beside_a_class():
    problem = toys.problem()
    assert [each.found for each in Unsir().obstacles(problem)] == ["every class has retained records"]
    assert not Unsir().obstacles(classes(1))
    mixed = classes(1, holdout=24)
    mixed.forget = [*mixed.forget, *[name for name in mixed.records.ids if name not in mixed.forget][:20]]
    assert [each.found for each in Unsir().obstacles(mixed)] == ["some of their classes have retained records"]
    with pytest.raises(InvalidProblem, match="some of their classes have retained records"):
        Unsir(SMALL).unlearn(mixed, toys.context(mixed))


def test_tokens_are_refused():
    class Tokens(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Embedding(9, 5), torch.nn.Flatten(), torch.nn.Linear(20, 3))

    given = toys.records(30)
    train = toys.Witness(given.x.abs().long().clamp(max=8), given.y, ids=given.ids)
    gone = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    problem = toys.problem(train=train, build=Tokens, trainer=None, holdout=0, forget=0)
    problem.forget = gone
    assert [each.what for each in Unsir().obstacles(problem)] == ["inputs are no continuous numbers"]
    with pytest.raises(InvalidProblem, match="no continuous numbers"):
        Unsir(SMALL).unlearn(problem, toys.context(problem))


def test_noise_is_records():
    noise = Noise((torch.arange(6.0).reshape(3, 2), torch.tensor([2, 2, 0])))
    assert (len(noise), noise.ids) == (3, ("noise-0", "noise-1", "noise-2"))
    assert noise[2][0].tolist() == [4.0, 5.0]
    assert int(noise[2][1]) == 0
    assert noise.content(0) != noise.content(1)
    words = Noise(({"a": torch.arange(4)}, torch.tensor([1, 1, 1, 0])))
    assert words.read([3, 0])[0]["a"].tolist() == [3, 0]
