"""Passes: SCRUB written with them equals SCRUB written out in NumPy; a teacher is another model; work is counted."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from expunge.conformance import problems as conformance
from expunge.core import registry
from expunge.core.errors import Diverged
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import ALONE, alone
from expunge.engine.passes import Pass, Passes
from expunge.numerics.losses import distillation
from tests.support import toys


class Alternating(Passes):
    """Away from the teacher on forgotten records in the first epochs, towards it on retained ones in all."""

    title, source, guarantee = "Toy", "Kurmanji et al. 2023, arXiv 2302.09880", Level.AUDITED
    needs: ClassVar = frozenset({Need.RETAIN, Need.FORGET})
    teacher = True
    ascents = 2

    def passes(self, epoch):
        away = [Pass("forget", self.flee, 8)] if epoch <= self.ascents else []
        return [*away, Pass("retain", self.follow, self.config.batch_size)]

    def flee(self, batch):
        assert batch.retain is None
        return -distillation(batch.forget, batch.teacher.forget, temperature=3.0)

    def follow(self, batch):
        assert not batch.teacher.retain.logits.requires_grad
        return 0.7 * batch.retain.loss.mean() + 0.5 * distillation(batch.retain, batch.teacher.retain, temperature=3.0)


LOOP = {"epochs": 3, "batch_size": 64, "lr": 0.5, "optimiser": "sgd", "momentum": 0.0, "schedule": "step", "decay": [1]}


def by_hand(problem, *, ascents=2, decay=1, sign=-1.0, batch=8):
    """The same in NumPy: the slope of T^2 KL(teacher || student) in the student's logits is T (s - t) / N."""
    start = [p.detach().numpy().copy() for p in problem.source.open().parameters()]
    weight, bias = (p.copy() for p in start)
    for epoch in range(1, 4):
        rate = 0.5 * (0.1 if epoch > decay else 1.0)
        for place, name in enumerate((["forget"] if epoch <= ascents else []) + ["retain"]):
            one, drawn = Pass(name, None, batch if name == "forget" else 64), epoch - 1 + place * 2**20
            for step in one.batches(problem, seed=3, epoch=drawn):
                inputs, label = (part.numpy() for part in getattr(step, name).batch)
                logits, taught = inputs @ weight.T + bias, inputs @ start[0].T + start[1]
                apart = 3 * (np.exp(log_softmax(logits / 3, 1)) - np.exp(log_softmax(taught / 3, 1))) / len(label)
                loss = (np.exp(log_softmax(logits, 1)) - np.eye(3)[label]) / len(label)
                slope = sign * apart if name == "forget" else 0.7 * loss + 0.5 * apart
                weight, bias = weight - rate * slope.T @ inputs, bias - rate * slope.sum(0)
    return weight, bias


def distance(model, values):
    return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))


def test_passes_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    outcome = Alternating(LOOP).unlearn(problem, toys.context(problem))
    assert distance(outcome.model, by_hand(problem)) < 1e-13
    for slip in ({"ascents": 3}, {"ascents": 1}, {"decay": 2}, {"sign": 1.0}, {"batch": 12}):
        assert distance(outcome.model, by_hand(problem, **slip)) > 1e-5, slip


def test_work_is_counted_as_announced_and_the_teacher_reads():
    problem = toys.problem()
    outcome = Alternating(LOOP).unlearn(problem, toys.context(problem))
    visits = 3 * 48 + 2 * 12
    looked = 4 * 8 + 4  # the choosing holdout at the original and after each epoch, the choosing forget records once
    assert Alternating(LOOP).cost(problem) == outcome.cost == Cost(trained=visits, read=visits + looked)
    assert [row["trained"] for row in outcome.history] == [60, 120, 168]


def test_the_history_keeps_objectives_of_passes_apart():
    problem = toys.problem()
    rows = Alternating(LOOP).unlearn(problem, toys.context(problem)).history
    assert [sorted(row) for row in rows] == [
        ["epoch", "objective", "objective on forget", "read", "trained"],
        ["epoch", "objective", "objective on forget", "read", "trained"],
        ["epoch", "objective", "read", "trained"],
    ]
    assert all(row["objective"] > 0 for row in rows)
    assert rows[1]["objective on forget"] < 0


def test_the_teacher_evaluates_and_is_another_model():
    modes = []

    class Noting(toys.Noisy):
        def forward(self, x):
            modes.append((self.training, torch.is_grad_enabled(), id(self)))
            return super().forward(x)

    problem = toys.problem(build=Noting)
    modes.clear()
    Alternating({**LOOP, "lr": 0.01}).unlearn(problem, toys.context(problem))
    assert {(training, graded) for training, graded, _ in modes} == {(False, False), (True, True)}
    assert len({who for *_, who in modes}) == 2


def test_a_resumed_method_ends_with_the_same_bits(tmp_path):
    class Dying(Checkpoints):
        def offer(self, *parts):
            super().offer(*parts)
            raise KeyboardInterrupt

    problem = toys.problem(build=toys.Noisy)
    whole = Alternating({**LOOP, "lr": 0.01}).unlearn(problem, toys.context(problem))
    with pytest.raises(KeyboardInterrupt):
        Alternating({**LOOP, "lr": 0.01}).unlearn(
            problem, toys.context(problem, checkpoints=Dying(tmp_path / "c", every_s=0))
        )
    again = Checkpoints(tmp_path / "c", every_s=0)
    resumed = Alternating({**LOOP, "lr": 0.01}).unlearn(problem, toys.context(problem, checkpoints=again))
    assert toys.same(resumed.model, whole.model)
    assert (resumed.history, resumed.cost) == (whole.history, whole.cost)


def test_a_pass_over_both_sets_puts_a_forget_batch_beside_every_step():
    problem = toys.problem()
    both = Pass("both", None, 10)
    sizes = [(len(s.retain.ids), len(s.forget.ids)) for s in both.batches(problem, seed=3, epoch=0)]
    assert sizes == [(10, 10), (10, 2), (10, 10), (10, 2), (8, 10)]
    assert (both.steps(problem), both.visits(problem)) == (5, 48 + 5 * 10)


def test_batch_statistics_move_or_are_kept_as_the_settings_say():
    problem = toys.problem(build=toys.Noisy)
    before = problem.source.open().state_dict()
    moved = {}
    for wanted in ("move", "keep"):
        run = toys.context(problem)
        after = Alternating({**LOOP, "lr": 0.01, "batch_statistics": wanted}).unlearn(problem, run).model.state_dict()
        moved[wanted] = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved["move"] - moved["keep"] == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert "1.weight" in moved["keep"]


class Ruinous(Alternating):
    """Says something at its end, and ruins the model in its last word."""

    def finish(self, model, problem, run):
        with torch.no_grad():
            model[2].bias.add_(torch.tensor([50.0, 0.0, 0.0]))

    def remarks(self, history):
        return (f"{len(history)} epochs, {sorted(history[0])[0]}",)


SINGLE = "of a single record"


@pytest.mark.parametrize(
    "name",
    "scrub gradient_ascent neg_grad_plus random_label salun boundary_expand fcs uam npo task_arithmetic negmerge "
    "bad_teacher wga grad_diff finetune msg l1_sparse prmq rni".split(),
)
def test_one_record_is_forgotten_by_a_network_with_batch_statistics(name):
    """The request of one person, as most are."""
    problem = toys.problem(forget=1, build=toys.Noisy)
    method = registry.load("methods", name)({"epochs": 1})
    outcome = method.unlearn(problem, toys.context(problem))
    # What never steps on it alone has statistics to take.
    alone = name not in ("finetune", "l1_sparse", "bad_teacher", "msg", "prmq", "rni")
    assert any(SINGLE in text for text in outcome.warnings) == alone
    several = toys.problem(forget=2, build=toys.Noisy)
    assert not any(SINGLE in text for text in method.unlearn(several, toys.context(several)).warnings)


def test_a_last_step_of_one_record_keeps_the_statistics_that_there_are():
    problem = toys.problem(forget=3, build=toys.Noisy)
    method = registry.load("methods", "gradient_ascent")({"epochs": 1, "batch_size": 2})
    outcome = method.unlearn(problem, toys.context(problem))
    assert any(SINGLE in text for text in outcome.warnings)
    before, after = problem.source.open(), outcome.model
    assert not torch.equal(before[1].running_mean, after[1].running_mean), "those of the two before it"
    assert int(after[1].num_batches_tracked - before[1].num_batches_tracked) == 1
    assert not after[1]._forward_hooks
    assert not after[1]._forward_pre_hooks


def test_an_input_that_is_named_is_one_as_well():
    """A network may call its layers by keyword."""
    layer = torch.nn.BatchNorm1d(3).train()
    with alone(layer, said := []):
        layer(input=torch.rand(4, 3))
        assert (said, layer.training) == ([], True)
        layer(input=torch.rand(1, 3))
    assert (said, layer.training, int(layer.num_batches_tracked)) == ([ALONE], True, 1)


def test_what_was_seen_is_said_of_an_interrupted_run_as_well(tmp_path):
    """Killed after its last epoch and resumed it makes the same model, and the same warnings."""
    problem = toys.problem(forget=3, build=toys.Noisy)
    method = registry.load("methods", "gradient_ascent")({"epochs": 2, "batch_size": 2, "lr": 3.0})

    def run():
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        return method.unlearn(problem, toys.context(problem, checkpoints=checkpoints))

    first, again = run(), run()
    assert any(SINGLE in text for text in first.warnings)
    assert first.warnings == again.warnings
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_images_have_statistics_one_by_one():
    """Of each channel there are many values in one image: torch takes them, and so do papers' codes."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).train()
    with alone(model, said := []):
        model(torch.rand(1, 1, 5, 5))
    assert (said, int(model[1].num_batches_tracked)) == ([], 1)


def test_a_method_may_remark_on_what_happened():
    problem = toys.problem()

    class Remarking(Alternating):
        remarks = Ruinous.remarks

    assert "3 epochs, epoch" in Remarking(LOOP).unlearn(problem, toys.context(problem)).warnings


def test_what_the_end_of_a_method_ruins_is_no_result():
    problem = toys.problem(model=toys.TRAINER(toys.records(60), seed=1), holdout=600)
    looked = Alternating(LOOP).cost(problem).read
    assert Ruinous(LOOP).cost(problem).read == looked + 200  # one look more
    with pytest.raises(Diverged, match="collapsed"):
        Ruinous({**LOOP, "lr": 1e-3}).unlearn(problem, toys.context(problem))


def test_epochs_are_kept_only_where_the_method_rewinds(tmp_path):
    class Back(Alternating):
        def rewind(self, model, history, run):
            return 1

    class Never(Back):
        rewinds = False

    problem = toys.problem()
    one, last, never = (
        kind({**LOOP, "epochs": epochs}).unlearn(problem, toys.context(problem))
        for kind, epochs in ((Back, 3), (Alternating, 3), (Never, 3))
    )
    assert one.stopped == "after 3 epochs; gone back to epoch 1"
    assert toys.same(never.model, last.model)
    assert not toys.same(one.model, last.model)
    places = Checkpoints(tmp_path / "c", every_s=1e9)
    Never(LOOP).unlearn(problem, toys.context(problem, checkpoints=places))
    assert not (tmp_path / "c" / "epochs").exists()
    # Going back is counted: the model that comes back is looked at once more.
    assert one.cost.read == last.cost.read + 8


def test_what_needs_classes_is_refused_where_there_are_none():
    class Classed(Alternating):
        classes = True

    regression, classes = toys.problem(task="regression"), toys.problem()
    assert ["needs class labels" in found.what for found in Classed().obstacles(regression)] == [True]
    assert not Classed().obstacles(classes)
    assert not Alternating().obstacles(regression)
    assert not regression.records.seen


def test_what_needs_logits_is_refused_where_there_are_none_and_tokens_have_them():
    class Reading(Alternating):
        scores = True

    regression = toys.problem(task="regression")
    assert ["needs logits" in found.what for found in Reading().obstacles(regression)] == [True]
    assert not Reading().obstacles(toys.problem())
    assert not Reading().obstacles(conformance.problem(language=True))
    assert not regression.records.seen


def test_whoever_watches_may_stop_it_and_what_he_reads_is_counted():
    of, seen = toys.problem(build=toys.Softmax), []

    def run(stop):
        context = toys.context(of)

        def watch(model, epoch):
            context.spent += Cost(read=100)
            seen.append(epoch)
            return "enough" if epoch == stop else ""

        context.watch = watch
        return Alternating(LOOP).unlearn(of, context)

    unwatched = Alternating(LOOP).unlearn(of, toys.context(of))
    whole, cut = run(None), run(1)
    assert seen == [1, 2, 1], "after its last epoch there is nothing to stop"
    assert (whole.stopped, cut.stopped, len(cut.history)) == (unwatched.stopped, "enough", 1)
    assert whole.cost == unwatched.cost + Cost(read=200)
    assert all(torch.equal(*pair) for pair in zip(whole.model.parameters(), unwatched.model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["distill_anew", "salun", "msg"])
def test_nothing_is_prepared_for_no_epochs_and_nothing_is_told_of_it(name):
    of = toys.problem()
    prepared, none = (registry.load("methods", name)({"epochs": epochs}) for epochs in (1, 0))
    assert prepared.preparation(of) != Cost()
    assert none.unlearn(of, toys.context(of)).cost == none.cost(of) == Cost()
