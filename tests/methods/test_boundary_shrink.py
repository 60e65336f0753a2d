import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.errors import InvalidProblem
from expunge.core.method import Cost
from expunge.methods.boundary_shrink import BoundaryShrink
from tests.support import toys

LOOP = {"epochs": 3, "batch_size": 64, "lr": 2.0, "momentum": 0.0, "weight_decay": 0.0, "pixels": False, "step": 1.5}


class Noting(BoundaryShrink):
    """Keeps the classes that were found."""

    def prepare(self, model, problem, run):
        work = super().prepare(model, problem, run)
        FOUND.append([self._class[name] for name in problem.forget_ids])
        return work


FOUND: list[list[int]] = []


def found(problem, **settings):
    Noting({**LOOP, "epochs": 1, "lr": 1e-3, **settings}).unlearn(problem, toys.context(problem))
    return FOUND.pop()


def regression(**more):
    return toys.problem(build=toys.Softmax, dtype=torch.float64, trainer=None, holdout=0, **more)


def pixels(**more):
    """Records whose inputs lie in [0, 1], at levels of no eight-bit image."""
    train = toys.records(60, dtype=torch.float64)
    train.x = torch.sigmoid(train.x)
    return toys.problem(train=train, build=toys.Softmax, dtype=torch.float64, trainer=None, holdout=0, **more)


def parts(problem):
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(12)))
    return weight, bias, inputs, labels


def across(weight, bias, inputs, labels, *, step, after=lambda x: x):
    """The class after one step of the sign of the loss's slope in the inputs, which is W'(p - 1[y])."""
    slope = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) @ weight
    return (after(inputs + step * np.sign(slope)) @ weight.T + bias).argmax(1)


def test_three_epochs_equal_arithmetic_in_float64():
    """The classes are those of the original for all epochs; each step descends on their cross entropy."""
    problem = regression()
    outcome = BoundaryShrink(LOOP).unlearn(problem, toys.context(problem))
    start_weight, start_bias, inputs, labels = parts(problem)

    def by_hand(*, step=1.5, anew=False, sign=1.0, own=False):
        weight, bias = start_weight, start_bias
        for _ in range(3):
            source = (weight, bias) if anew else (start_weight, start_bias)
            target = labels if own else across(*source, inputs, labels, step=step)
            share = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[target]) / 12
            weight, bias = weight - sign * 2.0 * share.T @ inputs, bias - sign * 2.0 * share.sum(0)
        return weight, bias

    def distance(values):
        pairs = zip(outcome.model.parameters(), values, strict=True)
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in pairs)

    assert distance(by_hand()) < 1e-12
    slips = {
        "downhill": {"step": -1.5},
        "not the original's": {"anew": True},
        "ascent": {"sign": -1},
        "own": {"own": 1},
    }
    for name, slip in slips.items():
        assert distance(by_hand(**slip)) > 1e-3, name


def test_pixels_are_clamped_and_rounded():
    problem = pixels()
    weight, bias, inputs, labels = parts(problem)

    def eight_bits(x):
        return np.round(np.clip(x, 0, 1) * 255) / 255

    wanted = across(weight, bias, inputs, labels, step=0.9, after=eight_bits)
    assert found(problem, pixels=True, step=0.9) == wanted.tolist()
    assert wanted.tolist() != across(weight, bias, inputs, labels, step=0.9).tolist(), "neither clamped nor rounded"


def test_a_value_between_two_levels_goes_to_the_nearer():
    """Class 1 begins at 0.4 of the first level: 0.45 of it lies beyond, and is rounded to nothing."""
    problem = pixels()
    problem.records.x[:] = 0.45 / 255
    with torch.no_grad():
        problem.model.weight.zero_()
        problem.model.weight[1, 0] = 1e4
        problem.model.bias.copy_(torch.tensor([0.0, -1e4 * 0.4 / 255, -100.0]))
    assert found(problem, pixels=True, step=0.0) == [0] * 12
    assert found(problem, pixels=False, step=0.0) == [1] * 12


def test_without_a_step_the_classes_are_the_original_s_own_answers():
    problem = regression()
    weight, bias, inputs, labels = parts(problem)
    answers = inputs @ weight.T + bias
    assert found(problem, step=0.0) == answers.argmax(1).tolist()
    answers[np.arange(12), labels] = -np.inf
    assert found(problem, step=0.0, exclude_true_class=True) == answers.argmax(1).tolist()


def test_the_step_is_made_in_evaluation_mode_and_moves_no_statistics():
    problem = toys.problem(build=toys.Noisy, trainer=None, holdout=0)
    model = problem.source.open().eval()
    inputs = problem.forget_view.read(range(12))[0]
    assert found(problem, step=0.0) == model(inputs).argmax(1).tolist()
    kept = BoundaryShrink({**LOOP, "batch_statistics": "keep", "lr": 1e-3}).unlearn(problem, toys.context(problem))
    assert all(torch.equal(one, two) for one, two in zip(kept.model.buffers(), model.buffers(), strict=True))


def test_how_many_keep_their_label_is_said():
    problem = regression()
    weight, bias, inputs, labels = parts(problem)
    share = (across(weight, bias, inputs, labels, step=0.1) == labels).mean()
    run = toys.context(problem)
    warnings = BoundaryShrink({**LOOP, "step": 0.1, "lr": 1e-3}).unlearn(problem, run).warnings
    assert warnings[0].startswith(f"{share:.0%} of the forgotten records kept their label")
    config = {**LOOP, "lr": 1e-3, "exclude_true_class": True}
    assert not BoundaryShrink(config).unlearn(problem, toys.context(problem)).warnings


def test_inputs_that_are_no_pixels_are_refused():
    problem = toys.problem()
    assert [each.what for each in BoundaryShrink().obstacles(problem)] == ["inputs are no pixels in [0, 1]"]
    assert not set(problem.retain_view.ids) & set(problem.records.seen)
    with pytest.raises(InvalidProblem, match="no pixels"):
        BoundaryShrink().unlearn(problem, toys.context(problem))
    assert not BoundaryShrink({"pixels": False}).obstacles(problem)
    assert not BoundaryShrink().obstacles(pixels())
    one = pixels()
    one.records.x[11, 0] = 1.01  # the last of the forgotten ones
    assert BoundaryShrink().obstacles(one)


def test_tokens_are_refused():
    class Tokens(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Embedding(9, 5), torch.nn.Flatten(), torch.nn.Linear(20, 3))

    given = toys.records(30)
    train = toys.Witness(given.x.abs().long().clamp(max=8), given.y, ids=given.ids)
    problem = toys.problem(train=train, build=Tokens, trainer=None, holdout=0)
    for settings in ({}, {"pixels": False}):
        assert [each.found for each in BoundaryShrink(settings).obstacles(problem)] == [
            "tokens, categories or whole numbers"
        ]
    with pytest.raises(InvalidProblem, match="no continuous numbers"):
        BoundaryShrink().unlearn(problem, toys.context(problem))


def test_the_work_is_a_step_and_an_answer_beside_the_passes():
    problem = regression()
    outcome = BoundaryShrink(LOOP).unlearn(problem, toys.context(problem))
    assert outcome.cost == BoundaryShrink(LOOP).cost(problem) == Cost(trained=4 * 12, read=12)
    assert not set(problem.retain_view.ids) & set(problem.records.seen), "no retained record is read"
