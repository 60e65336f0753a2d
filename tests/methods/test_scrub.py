import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from expunge.engine.visits import Pass
from expunge.methods.finetune import Finetune
from expunge.methods.scrub import Scrub
from tests.support import toys

STEP = {"batch_size": 64, "lr": 0.5, "momentum": 0.0, "weight_decay": 0.01, "decay": [1], "rewind": False}
PAPER = {"epochs": 3, "ascents": 2, "alpha": 0.4, "gamma": 0.7, "temperature": 3.0, "forget_batch_size": 5}


def by_hand(
    problem, *, epochs=3, ascents=2, alpha=0.4, gamma=0.7, heat=3.0, sign=-1.0, batch=5, first="forget", ce=0.0,
    power=2, swapped=False, decay=1
):  # fmt: skip
    """The same in NumPy: the slope of T^2 KL(teacher || student) in the student's logits is T (s - t) / N."""
    start = [p.detach().numpy().copy() for p in problem.source.open().parameters()]
    weight, bias = (p.copy() for p in start)
    for epoch in range(1, epochs + 1):
        rate = 0.5 * (0.1 if epoch > decay else 1.0)
        names = (["forget"] if epoch <= ascents else []) + ["retain"]
        for name in names if first == "forget" else names[::-1]:
            for step in Pass(name, None, batch if name == "forget" else 64).batches(problem, seed=3, epoch=epoch - 1):
                inputs, label = (part.numpy() for part in getattr(step, name).batch)
                logits, taught = inputs @ weight.T + bias, inputs @ start[0].T + start[1]
                mine, theirs = softmax(logits / heat, 1), softmax(taught / heat, 1)
                apart = heat ** (power - 1) * (mine - theirs) / len(label)
                if swapped:  # the slope of KL(student || teacher)
                    odds = np.log(mine / theirs)
                    apart = heat * mine * (odds - (mine * odds).sum(1, keepdims=True)) / len(label)
                loss = (softmax(logits, 1) - np.eye(3)[label]) / len(label)
                slope = sign * apart - ce * loss if name == "forget" else gamma * loss + alpha * apart
                weight, bias = (
                    weight - rate * (slope.T @ inputs + 0.01 * weight),
                    bias - rate * (slope.sum(0) + 0.01 * bias),
                )
    return weight, bias


def distance(model, values):
    return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))


def test_epochs_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    model = Scrub({**STEP, **PAPER}).unlearn(problem, toys.context(problem)).model
    assert distance(model, by_hand(problem)) < 1e-13
    slips = {
        "SCRUB-2: retained first": {"first": "retain"},
        "SCRUB-3: one ascent more": {"ascents": 3},
        "SCRUB-3: one ascent less": {"ascents": 1},
        "SCRUB-4: ascent on the loss, too": {"ce": 1.0},
        "SCRUB-6: without T squared": {"power": 0},
        "SCRUB-8: other forget batches": {"batch": 12},
        "towards the teacher on forgotten records": {"sign": 1.0},
        "teacher and student swapped": {"swapped": True},
        "weights swapped": {"alpha": 0.7, "gamma": 0.4},
        "rate falls an epoch late": {"decay": 2},
    }
    for name, slip in slips.items():
        assert distance(model, by_hand(problem, **slip)) > 1e-5, name


@pytest.mark.parametrize(("ascents", "epochs"), [(0, 3), (1, 3), (3, 3), (9, 3)])
def test_so_many_ascents_as_said_and_no_more_than_epochs(ascents, epochs):
    """SCRUB-3."""
    problem = toys.problem()
    method = Scrub({**STEP, "ascents": ascents, "epochs": epochs, "lr": 0.01})
    history = method.unlearn(problem, toys.context(problem)).history
    assert sum("objective on forget" in row for row in history) == min(ascents, epochs)
    assert ["objective on forget" in row for row in history] == [epoch <= ascents for epoch in range(1, epochs + 1)]


def test_the_forget_batches_are_of_the_size_that_is_asked_for():
    """SCRUB-8."""
    problem = toys.problem()
    method = Scrub({"forget_batch_size": 5, "batch_size": 20})
    assert [(one.over, one.steps(problem)) for one in method.passes(1)] == [("forget", 3), ("retain", 3)]


def apart(problem, model):
    """The divergence of the original's answers on forgotten records from the model's, both evaluating, by SciPy."""
    inputs, _ = problem.forget_view.read(range(12))
    with torch.no_grad():
        taught, mine = (softmax(m.eval()(inputs).double().numpy(), 1) for m in (problem.source.open(), model))
    return entropy(taught, mine, axis=1).mean()


def test_ascent_leaves_the_teacher_from_the_second_pass_on_and_the_first_is_none_and_says_so():
    """SCRUB-1 and SCRUB-5."""
    problem = toys.problem(dtype=torch.float64)
    far, after = [], []

    class Watching(Scrub):
        def after_update(self, model, step, steps, optimiser):
            far.append(apart(problem, model.train()))
            model.train()

    settings = {**STEP, "epochs": 2, "ascents": 2, "weight_decay": 0.0, "forget_batch_size": 4, "decay": [9]}
    outcome = Watching(settings).unlearn(problem, toys.context(problem))
    assert max(far[:3]) < 1e-15  # three steps of the first ascent: rounding is all that is left
    assert far[3] > 1e-6  # the first descent
    assert far[4] > far[3]
    assert far[6] > far[4]
    assert any("first pass over the forgotten records did nothing" in text for text in outcome.warnings)
    after = Scrub({**settings, "ascents": 0}).unlearn(problem, toys.context(problem))
    assert not any("did nothing" in text for text in after.warnings)


def test_with_batch_statistics_or_dropout_the_first_ascent_has_a_slope():
    """SCRUB-1 and SCRUB-5."""
    problem = toys.problem(build=toys.Noisy)
    outcome = Scrub({**STEP, "epochs": 2, "ascents": 2, "lr": 0.01}).unlearn(problem, toys.context(problem))
    assert outcome.history[0]["objective on forget"] < -0.01
    assert not any("did nothing" in text for text in outcome.warnings)


def test_without_ascents_and_divergence_it_is_fine_tuning():
    problem = toys.problem()
    loop = {"epochs": 2, "batch_size": 16, "lr": 0.05, "optimiser": "sgd", "weight_decay": 0.01}
    plain = {"ascents": 0, "alpha": 0.0, "gamma": 1.0, "rewind": False, "schedule": "constant"}
    one = Scrub({**loop, **plain}).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, Finetune(loop).unlearn(problem, toys.context(problem)).model)


# --- going back ---------------------------------------------------------------------------------------------------

LONG = {"epochs": 6, "ascents": 2, "lr": 0.05, "batch_size": 16, "forget_batch_size": 4, "alpha": 0.5}


def wrong(model, records, ids):
    inputs, labels = records.read([records.position[name] for name in ids])
    with torch.no_grad():
        return float((model.eval()(inputs).argmax(1) != labels).double().mean())


def test_it_goes_back_to_the_epoch_that_forgot_as_much_as_held_out_records_say():
    """SCRUB-7 and SCRUB+R, by brute force over all epochs."""
    problem = toys.problem(count=90, forget=30, holdout=90, model=toys.TRAINER(toys.records(90), seed=1), trainer=None)
    run = toys.context(problem)
    models = []

    class Keeping(Scrub):
        def observe(self, model, epoch, run):
            models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return super().observe(model, epoch, run)

    outcome = Keeping(LONG).unlearn(problem, run)
    opened = []
    for state in models:
        opened.append(problem.source.open())
        opened[-1].load_state_dict(state)
    labels = {int(problem.records.y[problem.records.position[name]]) for name in run.choosing.forget.ids}
    held = [n for n in run.choosing.holdout.ids if int(problem.held_out.y[problem.held_out.position[n]]) in labels]
    wanted = wrong(opened[-1], problem.held_out, held)
    errors = [wrong(model, problem.records, run.choosing.forget.ids) for model in opened]
    assert len(set(errors)) > 1
    assert [row["forget error"] for row in outcome.history] == pytest.approx(errors)
    distances = [abs(error - wanted) for error in errors]
    best = max(epoch for epoch in range(1, 7) if distances[epoch - 1] == min(distances))
    assert best < 6  # else the test shows nothing
    assert toys.same(outcome.model, opened[best - 1])
    assert outcome.stopped == f"after 6 epochs; gone back to epoch {best}"
    stays = Scrub({**LONG, "rewind": False}).unlearn(problem, toys.context(problem))
    assert toys.same(stays.model, opened[-1])
    assert "forget error" not in stays.history[0]


def test_without_held_out_records_of_the_classes_it_stays_and_says_so():
    problem = toys.problem(holdout=24, trainer=None)
    problem.held_out.y[problem.held_out.y == 1] = 0
    problem.records.y[:12] = 1
    outcome = Scrub({**LONG, "epochs": 2, "lr": 1e-5}).unlearn(problem, toys.context(problem))
    assert any("did not go back" in text for text in outcome.warnings)
    assert "gone back" not in outcome.stopped


def test_without_holdout_rewinding_is_refused_before_work():
    problem = toys.problem(holdout=0)
    assert [found.fix for found in Scrub().obstacles(problem)] == ["give the problem a holdout, or set rewind = false"]
    assert not Scrub({"rewind": False}).obstacles(problem)
    assert not problem.records.seen
