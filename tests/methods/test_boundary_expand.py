import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.errors import InvalidProblem
from expunge.methods.boundary_expand import BoundaryExpand
from tests.support import toys

LOOP = {"epochs": 3, "batch_size": 64, "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}


class Noting(BoundaryExpand):
    """Keeps the parameters that the training starts and ends with."""

    def prepare(self, model, problem, run):
        work = super().prepare(model, problem, run)
        KEPT.append([p.detach().clone().numpy() for p in model.parameters()])
        return work

    def finish(self, model, problem, run):
        KEPT.append([p.detach().clone().numpy() for p in model.parameters()])
        super().finish(model, problem, run)


KEPT: list[list[np.ndarray]] = []


def test_three_epochs_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, trainer=None, holdout=0)
    outcome = Noting(LOOP).unlearn(problem, toys.context(problem))
    (start, ended), original = (KEPT.pop(0), KEPT.pop(0)), problem.source.open()
    for widened, p in zip(start, original.parameters(), strict=True):
        assert len(widened) == 4
        assert np.array_equal(widened[:3], p.detach().numpy()), "rows of the classes are the original's bit for bit"
    inputs = problem.forget_view.read(range(12))[0].numpy()

    def by_hand(target, rows):
        weight, bias = (part[:rows] for part in start)
        for _ in range(3):
            share = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(rows)[target]) / 12
            weight, bias = weight - 0.5 * share.T @ inputs, bias - 0.5 * share.sum(0)
        return weight, bias

    def distance(values, found):
        return max(float(np.abs(one - other).max()) for one, other in zip(values, found, strict=True))

    final = [p.detach().numpy() for p in outcome.model.parameters()]
    assert distance(by_hand(3, 4), ended) < 1e-12, "the new row was trained, too"
    assert distance([part[:3] for part in by_hand(3, 4)], final) < 1e-12
    assert distance([part[:3] for part in by_hand(0, 4)], final) > 1e-2, "another class in the place of the new one"
    assert distance(by_hand(2, 3), final) > 1e-2, "no new row"


@pytest.mark.parametrize("build", [toys.Noisy, toys.Mlp])
def test_the_model_that_comes_back_has_the_classes_it_had(build):
    problem = toys.problem(build=build, trainer=None, holdout=0)
    model = BoundaryExpand(LOOP).unlearn(problem, toys.context(problem)).model
    before = problem.source.open()
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in before.state_dict().items()}
    assert model(torch.randn(2, 4)).shape == (2, 3)
    assert [repr(part) for part in model.modules()] == [repr(part) for part in before.modules()]


def test_a_class_is_forgotten_by_training_on_it_alone():
    train = toys.records(120)
    problem = toys.problem(train=train, model=toys.TRAINER(train, seed=1), trainer=None, holdout=0)
    problem.forget = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    run = toys.context(problem)
    model = BoundaryExpand({"epochs": 5, "lr": 0.02, "batch_size": 16}).unlearn(problem, run).model
    original = problem.source.open()
    rise = [run.mean_loss(model, v) - run.mean_loss(original, v) for v in (problem.forget_view, problem.retain_view)]
    assert rise[0] > 0.3
    assert rise[1] < 0.1


def test_a_network_with_a_fixed_number_of_classes_is_refused():
    class Fixed(toys.Mlp):
        def forward(self, x):
            return super().forward(x)[:, :3]

    class Breaking(toys.Mlp):
        def forward(self, x):
            return super().forward(x) + torch.zeros(3)

    for build in (Fixed, Breaking):
        (told,) = BoundaryExpand().obstacles(toys.problem(build=build))
        assert told.what == "the number of classes does not follow from the head"
    problem = toys.problem(build=Fixed)
    with pytest.raises(InvalidProblem, match="does not follow from the head"):
        BoundaryExpand().unlearn(problem, toys.context(problem))


def test_a_network_without_a_head_whose_rows_are_the_classes_is_an_obstacle():
    (told,) = BoundaryExpand().obstacles(toys.problem(build=toys.Prototypes))
    assert told.what == "the network has no head whose rows are the classes"
    problem = toys.problem()
    before = toys.state(problem.source.open())
    assert not BoundaryExpand().obstacles(problem)
    assert len(set(problem.records.seen)) <= 2
    assert all(torch.equal(before[0][name], tensor) for name, tensor in toys.state(problem.source.open())[0].items())
