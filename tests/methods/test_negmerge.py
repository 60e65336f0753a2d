"""What is particular to it; the rest is tested with ``engine/task_vectors`` and ``numerics/masks``."""

import pytest
import torch

from expunge.core.errors import UsageError
from expunge.methods.negmerge import NegMerge
from expunge.methods.task_arithmetic import TaskArithmetic
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 5, "lr": 0.05, "optimiser": "sgd", "scale": 0.7}


def test_one_fine_tuning_is_plain_negation_to_the_bit():
    """NM-1."""
    problem = toys.problem(build=toys.Noisy)
    one = NegMerge({**LOOP, "factors": [1.0]}).unlearn(problem, toys.context(problem)).model
    other = TaskArithmetic(LOOP).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, other)


def test_two_opposite_ways_are_no_way():
    """NM-2: the second fine-tuning goes exactly against the first, so nothing changes, and it is said."""

    class Opposed(NegMerge):
        def _tuned(self, model, problem, run, place, rate):
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(0.5 if place else -0.5)
            return [{"epoch": 1, "objective": 1.0}], list(model.parameters()), []

    problem = toys.problem()
    outcome = Opposed({**LOOP, "factors": [1.0, 1.0]}).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert any("no effect" in text for text in outcome.warnings)
    assert outcome.stopped.endswith("2 fine-tunings agree on 0% of the weights")


def test_weights_on_which_fine_tunings_differ_in_sign_stay():
    problem = toys.problem()
    ways = []

    class Keeping(NegMerge):
        def _tuned(self, model, problem, run, place, rate):
            before = [p.detach().clone() for p in model.parameters()]
            history = super()._tuned(model, problem, run, place, rate)
            ways.append([p.detach() - old for p, old in zip(model.parameters(), before, strict=True)])
            return history

    outcome = Keeping({**LOOP, "epochs": 4, "factors": [0.2, 1.0, 4.0]}).unlearn(problem, toys.context(problem))
    differ = 0
    for after, start, *each in zip(outcome.model.parameters(), problem.source.open().parameters(), *ways, strict=True):
        same = torch.stack(each).sign().sum(dim=0).abs() == len(ways)
        assert torch.equal(after != start, same)
        differ += int((~same).sum())
    assert 0 < differ < 130


@pytest.mark.parametrize("factors", [[], [1.0, 0.0], [-1.0]])
def test_factors_that_are_none_are_refused(factors):
    with pytest.raises(UsageError):
        NegMerge({"factors": factors})
