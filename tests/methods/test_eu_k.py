import pytest
import torch

from expunge.conformance.problems import Headless
from expunge.core.digest import keyed_int
from expunge.engine.anatomy import reset
from expunge.engine.runtime import seed_everything
from expunge.methods.eu_k import EuK
from expunge.methods.finetune import Finetune
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 16, "lr": 0.05}


class Deep(torch.nn.Sequential):
    """A block inside a stage inside a stage, and a normalisation after it; all numbers unlike those of a new layer."""

    def __init__(self):
        inner = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6)))
        super().__init__(torch.nn.Linear(4, 8), torch.nn.ReLU(), inner, torch.nn.ReLU(), torch.nn.Linear(6, 3))
        with torch.no_grad():
            for p in self.parameters():
                p.uniform_(0.5, 1.5)
            inner[0][1].running_mean.fill_(3.0)
            inner[0][1].running_var.fill_(7.0)


class Noting(EuK):
    """Keeps the state in which the training starts."""

    def prepare(self, model, problem, run):
        work = super().prepare(model, problem, run)
        STARTS.append({name: value.clone() for name, value in model.state_dict().items()})
        return work


STARTS: list[dict[str, torch.Tensor]] = []


def test_everything_drawn_anew_differs_at_any_depth_and_the_rest_keeps_its_bits():
    problem = toys.problem(build=Deep, trainer=None, holdout=0)
    model = Noting({**LOOP, "k": 1}).unlearn(problem, toys.context(problem)).model
    before, start, after = problem.source.open().state_dict(), STARTS.pop(), model.state_dict()
    fresh = {name for name in before if not name.startswith("0.") and "num_batches" not in name}
    assert {name for name in before if not torch.equal(before[name], start[name])} == fresh
    assert not bool(start["2.0.1.running_mean"].any())
    assert all(torch.equal(before[name], after[name]) for name in ("0.weight", "0.bias"))
    # A bias before a normalisation that takes the mean off has no slope.
    moves = fresh - {"2.0.0.bias"}
    assert all(not torch.equal(start[name], after[name]) for name in moves), "the head and what is before it trains"


def test_with_all_blocks_it_is_training_from_the_same_start():
    problem = toys.problem()
    run = toys.context(problem, seed=5)
    model = EuK({**LOOP, "k": 9}).unlearn(problem, run).model
    start = problem.source.open()
    seed_everything(keyed_int(b"expunge prepare", 5) % 2**31)
    reset(start)
    scratch = toys.problem(model=start, trainer=None, holdout=0)
    config = {**LOOP, "optimiser": "sgd"}
    assert toys.same(model, Finetune(config).unlearn(scratch, toys.context(scratch, seed=5)).model)
    assert not toys.same(start, problem.source.open())


def test_it_trains_as_long_as_it_is_told():
    problem = toys.problem(holdout=0, trainer=None)
    outcome = EuK({**LOOP, "epochs": 7}).unlearn(problem, toys.context(problem))
    assert len(outcome.history) == 7
    assert outcome.cost.trained == EuK({**LOOP, "epochs": 7}).cost(problem).trained == 7 * 48


def test_layers_that_cannot_be_drawn_anew_are_an_obstacle_where_they_would_be():
    """The scale of this network stands beside its layers: it is drawn anew only with the whole model."""
    problem = toys.problem(build=Headless)
    assert not EuK({"k": 0}).obstacles(problem)
    found = EuK({"k": 2}).obstacles(problem)
    assert [each.found for each in found] == ["Headless without reset_parameters()"]
    assert not problem.records.seen


@pytest.mark.parametrize("k", [0, 1])
def test_a_seed_draws_a_start_of_its_own(k):
    problem = toys.problem(trainer=None, holdout=0)
    one, again, other = (EuK({**LOOP, "k": k}).unlearn(problem, toys.context(problem, seed=s)).model for s in (1, 1, 2))
    assert toys.same(one, again)
    assert not toys.same(one, other)
