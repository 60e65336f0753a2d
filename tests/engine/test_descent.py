import math
from typing import ClassVar

import pytest
import torch

from expunge.core.errors import Diverged
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.descent import Descent
from expunge.engine.passes import touched
from tests.support import toys


class Toy(Descent):
    """Adds the two losses and remembers the batches."""

    title, source, guarantee = "Toy", "none", Level.AUDITED
    needs: ClassVar = frozenset({Need.RETAIN, Need.FORGET})

    def __init__(self, config=None, stop_after=99):
        super().__init__(config)
        self.met, self.stop_after = [], stop_after

    def objective(self, retain, forget):
        self.met.append((retain.batch_size, forget.batch_size))
        return retain.loss.mean() + forget.loss.mean()

    def stop(self, model, epoch, run):
        if epoch > self.stop_after:
            raise KeyboardInterrupt
        run.mean_loss(model, run.choosing.forget)
        return ""


CONFIG = {"epochs": 2, "batch_size": 10}


def test_one_epoch_is_one_pass_over_the_retained_records_beside_forget_batches():
    problem, toy = toys.problem(), Toy(CONFIG)
    outcome = toy.unlearn(problem, toys.context(problem))
    # 48 retained records in tens; 12 forgotten ones in tens, from the start again whenever they are used up.
    assert toy.met == [(10, 10), (10, 2), (10, 10), (10, 2), (8, 10)] * 2
    assert outcome.cost == Cost(trained=2 * (48 + 34), read=2 * 4 + 3 * 8 + 4)  # the guard looks at 8 held-out records
    assert [row["trained"] for row in outcome.history] == [82, 164]
    assert [row["read"] for row in outcome.history] == [4 + 8, 8 + 16]
    assert outcome.stopped == "after 2 epochs"
    counts = {problem.records.seen[name] for name in problem.retain_view.ids}
    assert counts == {2}


def test_the_cost_is_known_before():
    problem = toys.problem()
    assert Toy({"epochs": 2, "batch_size": 12}).cost(problem) == Cost(trained=2 * (48 + 4 * 12), read=3 * 8 + 4)
    assert Toy({"epochs": 0}).cost(problem) == Cost()
    estimate, real = Toy(CONFIG).cost(problem), Toy(CONFIG).unlearn(problem, toys.context(problem)).cost
    assert real.trained <= estimate.trained


def test_without_the_need_the_forget_set_is_not_read():
    class Blind(Toy):
        needs: ClassVar = frozenset({Need.RETAIN})

        def objective(self, retain, forget):
            assert forget is None
            return retain.loss.mean()

        def stop(self, model, epoch, run):
            return ""

    problem = toys.problem()
    outcome = Blind(CONFIG).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.retain_view.ids)
    assert outcome.cost == Cost(trained=2 * 48, read=3 * 8)


def test_no_epochs_return_the_original_and_say_so():
    problem = toys.problem()
    outcome = Toy({"epochs": 0}).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert (outcome.touched, outcome.cost, outcome.history) == (0.0, Cost(), ())
    assert outcome.warnings == ("no parameter changed: the method had no effect",)


def test_an_empty_forget_set_returns_an_identical_copy_without_work():
    problem = toys.problem(forget=0)
    outcome = Toy(CONFIG).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert (outcome.cost, outcome.stopped) == (Cost(), "nothing to forget")
    assert not problem.records.seen


def test_touched_is_the_share_of_single_numbers():
    model = toys.network(toys.Softmax)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert touched(before, model) == 0.0
    with torch.no_grad():
        model.bias[1] += 1
        model.weight[0, 2] -= 1
    assert touched(before, model) == pytest.approx(2 / 15)


def test_touched_counts_what_moved_and_not_what_is_frozen():
    mine = toys.network()
    mine[0].weight.requires_grad_(False)
    problem = toys.problem(model=mine)
    outcome = Toy({**CONFIG, "optimiser": "sgd"}).unlearn(problem, toys.context(problem))
    total = sum(p.numel() for p in mine.parameters())
    assert 0 < outcome.touched <= 1 - mine[0].weight.numel() / total
    assert torch.equal(outcome.model[0].weight, mine[0].weight)


def test_a_resumed_descent_reports_all_its_work(tmp_path):
    problem = toys.problem(build=toys.Noisy)
    config = {"epochs": 4, "batch_size": 10}
    whole = Toy(config).unlearn(problem, toys.context(problem))

    def checkpoints():
        return Checkpoints(tmp_path / "c", every_s=0)

    with pytest.raises(KeyboardInterrupt):
        Toy(config, stop_after=2).unlearn(problem, toys.context(problem, checkpoints=checkpoints()))
    resumed = Toy(config).unlearn(problem, toys.context(problem, checkpoints=checkpoints()))
    assert toys.same(resumed.model, whole.model)
    assert resumed.history == whole.history
    assert resumed.cost == whole.cost
    assert resumed.touched == whole.touched


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_divergence_never_returns_a_model(value):
    class Broken(Toy):
        def objective(self, retain, forget):
            return retain.loss.mean() * value

    problem = toys.problem()
    with pytest.raises(Diverged):
        Broken(CONFIG).unlearn(problem, toys.context(problem))


def test_progress_counts_every_step():
    class Counting:
        def __init__(self):
            self.total = self.done = 0

        def start(self, label, total, done=0):
            self.total = total

        def advance(self, label, steps=1):
            self.done += steps

        def finish(self, label):
            assert self.done == self.total

    problem, watcher = toys.problem(), Counting()
    Toy(CONFIG).unlearn(problem, toys.context(problem, progress=watcher))
    assert watcher.done == watcher.total == 10
