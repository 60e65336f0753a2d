"""Task vectors: fine-tuning by NumPy, several of them, what is put back, and an interruption."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.task_vectors import Negated
from expunge.engine.visits import Pass
from expunge.numerics.losses import distillation
from tests.support import toys
from tests.support.languages import spoken, untrained

STEP = {"epochs": 2, "batch_size": 64, "lr": 0.1, "optimiser": "sgd", "momentum": 0.0}


class Toy(Negated):
    """Three fine-tunings."""

    title, source, guarantee = "Toy", "none", Level.AUDITED

    def rates(self):
        return (0.5, 1.0, 2.0)


class Single(Toy):
    """One fine-tuning."""

    def rates(self):
        return (1.0,)


def vectors(problem, rates):
    """Where two full-batch steps on the forgotten records lead, in NumPy."""
    start = [p.detach().numpy() for p in problem.source.open().parameters()]
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(12)))
    found = []
    for rate in rates:
        weight, bias = start
        for _ in range(2):
            apart = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) / 12
            weight, bias = weight - 0.1 * rate * apart.T @ inputs, bias - 0.1 * rate * apart.sum(0)
        found.append([weight - start[0], bias - start[1]])
    return start, found


def test_several_fine_tunings_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    outcome = Toy({**STEP, "scale": 0.7}).unlearn(problem, toys.context(problem))
    start, ways = vectors(problem, (0.5, 1.0, 2.0))

    def by_hand(scale=0.7, *, rule="agreed"):
        values = []
        for place, first in enumerate(start):
            each = np.stack([way[place] for way in ways])
            same = np.abs(np.sign(each).sum(0)) == 3
            mean = {"agreed": np.where(same, each.mean(0), 0), "sum": each.sum(0), "last": each[2]}[rule]
            values.append(first - scale * mean)
        return values

    def distance(values):
        pairs = zip(outcome.model.parameters(), values, strict=True)
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in pairs)

    assert distance(by_hand()) < 1e-14
    for slip in (by_hand(-0.7), by_hand(1.0), by_hand(rule="sum"), by_hand(rule="last")):
        assert distance(slip) > 1e-3


def test_retained_records_are_not_read_and_work_is_counted():
    problem = toys.problem()
    outcome = Toy(STEP).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.forget_ids)
    assert Toy(STEP).cost(problem) == outcome.cost == Cost(trained=3 * 2 * 12, read=2 * 8 + 4)
    assert [row["epoch"] for row in outcome.history] == [1, 2]
    assert outcome.history[1]["objective"] < outcome.history[0]["objective"]
    assert outcome.stopped.startswith("after 2 epochs, taken away 1 times; 3 fine-tunings agree on ")


def test_buffers_are_those_of_the_original():
    problem = toys.problem(build=toys.Noisy)
    outcome = Toy({**STEP, "lr": 0.01}).unlearn(problem, toys.context(problem))
    before = dict(problem.source.open().named_buffers())
    assert all(torch.equal(buffer, before[name]) for name, buffer in outcome.model.named_buffers())
    assert outcome.touched > 0.3


def test_fine_tunings_see_the_records_in_other_orders():
    class Twice(Toy):
        def rates(self):
            return (1.0, 1.0)

    class Once(Toy):
        def rates(self):
            return (1.0,)

    problem = toys.problem()
    settings = {**STEP, "batch_size": 4}
    one, two = (kind(settings).unlearn(problem, toys.context(problem)).model for kind in (Once, Twice))
    assert not toys.same(one, two)


@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_in_any_fine_tuning_it_ends_with_the_same_bits(tmp_path, after):
    class Dying(Checkpoints):
        offers = 0

        def offer(self, *parts):
            super().offer(*parts)
            Dying.offers += 1
            if Dying.offers == after:
                raise KeyboardInterrupt

    problem = toys.problem(build=toys.Noisy)
    whole = Toy({**STEP, "momentum": 0.9}).unlearn(problem, toys.context(problem))
    with pytest.raises(KeyboardInterrupt):
        Toy({**STEP, "momentum": 0.9}).unlearn(
            problem, toys.context(problem, checkpoints=Dying(tmp_path / "c", every_s=0))
        )
    again = Checkpoints(tmp_path / "c", every_s=0)
    resumed = Toy({**STEP, "momentum": 0.9}).unlearn(problem, toys.context(problem, checkpoints=again))
    assert toys.same(resumed.model, whole.model)
    assert (resumed.history, resumed.cost) == (whole.history, whole.cost)


def test_frozen_parameters_stay():
    problem = toys.problem()
    problem.model[0].weight.requires_grad_(False)
    model = Toy(STEP).unlearn(problem, toys.context(problem)).model
    assert torch.equal(model[0].weight, problem.model[0].weight)
    assert not torch.equal(model[2].weight, problem.model[2].weight)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_held_by_a_divergence_the_way_equals_arithmetic_in_float64(weight):
    """Both sets in each of three steps; the divergence has no slope at the original, so it counts from the second."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    settings = {**STEP, "epochs": 3, "lr": 1.0, "retain": "kl", "retain_weight": weight, "beside": 2}
    method = Single({**settings, "scale": 0.7})
    outcome = method.unlearn(problem, toys.context(problem))
    start = [p.detach().numpy() for p in problem.source.open().parameters()]

    def by_hand(held):
        forget, retain = (
            [part.numpy() for part in view.read(range(len(view)))]
            for view in (problem.forget_view, problem.retain_view)
        )
        weight, bias = start
        for _ in range(3):
            apart = (softmax(forget[0] @ weight.T + bias, axis=1) - np.eye(3)[forget[1]]) / 12
            mine, theirs = (softmax(retain[0] @ w.T + b, axis=1) for w, b in ((weight, bias), start))
            away = held * (mine - theirs) / 48
            weight, bias = (
                weight - apart.T @ forget[0] - away.T @ retain[0],
                bias - apart.sum(0) - away.sum(0),
            )
        return [first - 0.7 * (end - first) for first, end in zip(start, (weight, bias), strict=True)]

    def distance(values):
        pairs = zip(outcome.model.parameters(), values, strict=True)
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in pairs)

    assert distance(by_hand(weight)) < 1e-13
    assert distance(by_hand(weight + 1.0)) > 1e-3
    assert method.needs == {Need.FORGET, Need.RETAIN}
    assert Toy.needs == {Need.FORGET}
    work = Cost(trained=3 * (12 + 48), read=3 * 48 + 2 * 8 + 4)
    assert method.cost(problem) == outcome.cost == work


def test_held_so_retained_answers_move_less_for_as_much_forgetting():
    found = {}
    for retain in ("none", "kl"):
        problem = toys.problem(model=toys.TRAINER(toys.records(60), seed=1), trainer=None)
        run = toys.context(problem)
        settings = {**STEP, "epochs": 6, "lr": 0.1, "scale": 1.0, "retain": retain, "retain_weight": 10.0}
        model = Single(settings).unlearn(problem, run).model
        original = problem.source.open()
        mine, theirs = (problem.meaning.units(each, problem.retain_view.read(range(48))) for each in (model, original))
        rise = run.mean_loss(model, problem.forget_view) - run.mean_loss(original, problem.forget_view)
        found[retain] = float(distillation(mine, theirs).detach()) / rise**2  # whatever the scale, near the original
        assert rise > 0
    assert found["kl"] < 0.7 * found["none"]


def test_of_half_precision_only_the_end_is_rounded():
    """Steps are a tenth of what a bfloat16 can show beside most weights, and the way back is three times as long."""
    problem = spoken(untrained().bfloat16())
    settings = {**STEP, "batch_size": 6, "lr": 2e-3, "scale": 3.0}
    model = Single(settings).unlearn(problem, toys.context(problem)).model

    def by_hand(scale=3.0, wide=torch.float32):
        twin = problem.source.open().train()
        copies = [p.detach().float() for p in twin.parameters()]
        start = [p.clone() for p in copies]
        for epoch in range(2):
            twin.zero_grad()
            (step,) = Pass("forget", None, 6).batches(problem, seed=3, epoch=epoch)
            problem.meaning.units(twin, step.forget.batch).loss.mean().backward()
            for p, copy in zip(twin.parameters(), copies, strict=True):
                copy -= 2e-3 * p.grad.float()
                p.data.copy_(copy)
        ends = [p.detach() for p in twin.parameters()] if wide == torch.bfloat16 else copies
        return [(a.to(wide) - scale * (b.to(wide) - a.to(wide))).bfloat16() for a, b in zip(start, ends, strict=True)]

    def unlike(values):
        pairs = list(zip(model.parameters(), values, strict=True))
        assert all(p.dtype == v.dtype == torch.bfloat16 for p, v in pairs)
        return sum(int((p != v).sum()) for p, v in pairs) / sum(v.numel() for _, v in pairs)

    assert unlike(by_hand()) == 0
    assert unlike(by_hand(wide=torch.bfloat16)) > 0.1
    assert unlike(by_hand(scale=1.0)) > 0.1


def test_interrupted_it_ends_with_the_same_copies(tmp_path):
    """The optimiser that a finished fine-tuning had is read back, and with it the copies in float32."""

    class Dying(Checkpoints):
        offers = 0

        def offer(self, *parts):
            super().offer(*parts)
            Dying.offers += 1
            if Dying.offers == 2:
                raise KeyboardInterrupt

    problem = spoken(untrained().bfloat16())
    settings = {**STEP, "batch_size": 6, "lr": 2e-3, "scale": 3.0}
    whole = Single(settings).unlearn(problem, toys.context(problem)).model
    with pytest.raises(KeyboardInterrupt):
        Single(settings).unlearn(problem, toys.context(problem, checkpoints=Dying(tmp_path / "c", every_s=0)))
    again = Checkpoints(tmp_path / "c", every_s=0)
    assert toys.same(Single(settings).unlearn(problem, toys.context(problem, checkpoints=again)).model, whole)
