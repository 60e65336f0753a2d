"""The guard: a model that has lost what it could do stops its method; noise in a small holdout does not."""

import pytest
import torch
from scipy.stats import beta

from expunge.core.errors import Diverged
from expunge.engine.guard import LEVEL, Guard
from expunge.engine.split import split
from expunge.methods.finetune import Finetune
from expunge.methods.neg_grad_plus import NegGradPlus
from tests.support import toys


class Answering(torch.nn.Module):
    """Answers so many records of a set right, and the rest wrong."""

    def __init__(self, records, right):
        super().__init__()
        self.records, self.right = records, right
        self.place = {tuple(row.tolist()): i for i, row in enumerate(records.read(range(len(records)))[0])}

    def forward(self, x):
        target = self.records.read(range(len(self.records)))[1]
        places = [self.place[tuple(row.tolist())] for row in x]
        answers = [int(target[i]) if i < self.right else (int(target[i]) + 1) % 3 for i in places]
        return torch.nn.functional.one_hot(torch.tensor(answers), 3).float()


def guarded(right, *, dips=False, last=False):
    problem = toys.problem(count=40, holdout=90)
    run = toys.context(problem)
    holdout = split(problem, 1)[0].holdout
    guard = Guard(Answering(holdout, len(holdout)), problem, run, dips=dips, reads_forget=True)
    guard.look(Answering(holdout, right), 1, last=last)
    return guard, problem, run


def fewest():
    """The smallest number of 30 right answers that is not surely too few, from the beta distribution."""
    holdout = split(toys.problem(count=40, holdout=90), 1)[0].holdout
    guess = torch.bincount(holdout.read(range(30))[1]).max() / 30
    return next(k for k in range(30) if beta.ppf(1 - LEVEL, k + 1, 30 - k) >= (1 + guess) / 2)


def test_a_model_surely_below_half_the_lead_of_the_original_has_collapsed():
    few = fewest()
    assert 10 < few < 20  # half-way between guessing, some 12, and 30 lies 21: below it by more than chance
    guarded(few)
    with pytest.raises(Diverged, match="collapsed"):
        guarded(few - 1)


def test_what_may_be_a_collapse_and_may_be_chance_is_a_warning():
    holdout = split(toys.problem(count=40, holdout=90), 1)[0].holdout
    guard, problem, _ = guarded(fewest())
    (told,) = [text for text in guard.warnings(problem.source.open()) if "may have collapsed" in text]
    assert f"{fewest() / 30:.0%} of the {len(holdout)} held-out records" in told
    kept, problem, _ = guarded(29)
    assert not [text for text in kept.warnings(problem.source.open()) if "may have collapsed" in text]


def test_an_original_no_better_than_guessing_has_nothing_to_lose():
    problem = toys.problem(count=40, holdout=90)
    run, holdout = toys.context(problem), split(problem, 1)[0].holdout
    guess = int(torch.bincount(holdout.read(range(30))[1]).max())
    guard = Guard(Answering(holdout, guess), problem, run, dips=False, reads_forget=True)
    guard.look(Answering(holdout, 0), 1, last=True)
    better = Guard(Answering(holdout, guess + 1), problem, run, dips=False, reads_forget=True)
    with pytest.raises(Diverged):
        better.look(Answering(holdout, 0), 1, last=True)


def test_a_warning_needs_no_look_before_it():
    """A resumed method that had ended looks no more."""
    problem = toys.problem(count=40, holdout=90)
    model = problem.source.open()
    for looked in (True, False):
        guard = Guard(model, problem, toys.context(problem), dips=False, reads_forget=True)
        if looked:
            guard.look(model, 1, last=True)
            said = guard.warnings(model)
        else:
            assert guard.warnings(model) == said


def test_who_dips_is_looked_at_in_its_last_epoch_alone():
    guarded(0, dips=True)
    with pytest.raises(Diverged):
        guarded(0, dips=True, last=True)


def test_without_held_out_records_nothing_is_looked_at():
    problem = toys.problem(holdout=0)
    run = toys.context(problem)
    guard = Guard(problem.source.open(), problem, run, dips=False, reads_forget=True)
    guard.look(problem.source.open(), 1, last=True)
    assert guard.warnings(problem.source.open()) == ()
    assert run.spent.read == 0


def test_over_forgetting_is_a_warning():
    guard, problem, run = guarded(30)
    forget = run.choosing.forget
    assert guard.warnings(Answering(forget, len(forget))) == ()
    (said,) = guard.warnings(Answering(forget, 0)) or ("",)
    assert said.startswith("over-forgetting: 0% of the forgotten records")
    silent = Guard(Answering(run.choosing.holdout, 30), problem, run, dips=False, reads_forget=False)
    silent.look(Answering(run.choosing.holdout, 30), 1, last=True)
    assert silent.warnings(Answering(forget, 0)) == ()


def trained():
    problem = toys.problem(count=120, forget=30, holdout=150)
    return toys.problem(count=120, forget=30, holdout=150, model=toys.TRAINER(problem.records, seed=1))


class Ascent(NegGradPlus):
    """Ascent that nothing stops."""

    def stop(self, model, epoch, run):
        return ""


def test_ascent_that_ruins_the_model_is_a_failure_and_fine_tuning_is_none():
    problem = trained()
    with pytest.raises(Diverged, match="collapsed"):
        Ascent({"alpha": 0.0, "epochs": 20, "lr": 0.1}).unlearn(problem, toys.context(problem))
    Finetune({"epochs": 2}).unlearn(problem, toys.context(problem))
