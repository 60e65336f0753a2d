"""WHP: the generic predictions by hand, with a second model that made one step of AdamW on the forgotten records."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.methods.whp import GenericPredictions as Whp
from expunge.numerics.token_losses import generic
from tests.support import toys
from tests.support.answers import KINDS, LABELS, MODEL, ORIGINAL, answer
from tests.support.languages import spoken
from tests.support.pushing import by_hand, check, kl, nll, regression

SECOND = {"reinforce_epochs": 1, "reinforce_lr": 0.5}


def second(sign=1):
    """Return its logits on the forgotten records: AdamW's first step goes ``lr`` along the sign of the slope."""
    problem = regression()
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(len(problem.forget_view))))
    rows = nll(inputs @ weight.T + bias, np.eye(3)[labels], None)
    steps = [g / (np.abs(g) + 1e-8) for g in (rows.T @ inputs, rows.sum(0))]
    return inputs @ (weight - sign * 0.5 * steps[0]).T + bias - sign * 0.5 * steps[1]


def distilled(strength, *, other=None, swapped=False, fresh=False):
    """The slope of a cross entropy against fixed shares: p minus these."""

    def slope(logits, hot, original):
        mine, theirs = (logits if fresh else original), second() if other is None else other
        more = mine - theirs if swapped else theirs - mine
        return (softmax(logits, 1) - softmax(mine - strength * np.maximum(more, 0), 1)) / len(logits)

    return slope


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(distilled(3.0))
    slips = {
        "raised": by_hand(distilled(-3.0)),
        "the two swapped": by_hand(distilled(3.0, swapped=True)),
        "a second model that forgot instead": by_hand(distilled(3.0, other=second(-1))),
        "the model is its own original": by_hand(distilled(3.0, fresh=True)),
    }
    check(Whp, {**SECOND, "lr": 0.3, "strength": 3.0}, right, slips)
    check(Whp, {**SECOND, "lr": 0.3, "strength": 3.0, "retain": "kl"}, by_hand(distilled(3.0), kept=kl), slips)


def test_without_strength_the_aim_is_the_original():
    check(Whp, {**SECOND, "strength": 0.0, "retain": "kl"}, by_hand(kl, kept=kl), {})


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_logit_of_the_aim_is_raised(kind):
    """In NumPy, of the sheet's answer; where the second model prefers nothing more, nothing is changed."""
    model = MODEL.clone().requires_grad_()
    other = ORIGINAL + torch.tensor([[2.0, 0, 0, -1], [0, 0, 0, 0], [-3, 1, 0, 0]])
    aim = (ORIGINAL - 2 * (other - ORIGINAL).clamp_min(0)).numpy()
    assert (aim <= ORIGINAL.numpy()).all()
    value = generic(*(answer(kind, model=logits) for logits in (model, ORIGINAL, other)), strength=2.0)
    value.backward()
    shares = softmax(aim, 1)
    wanted = -(shares * np.log(softmax(MODEL.numpy(), 1))).sum(1).mean()
    assert float(value.detach()) == pytest.approx(wanted)
    np.testing.assert_allclose(model.grad.numpy(), (softmax(MODEL.numpy(), 1) - shares) / len(LABELS), atol=1e-12)
    same = [
        float(generic(answer(kind), answer(kind, model=ORIGINAL), answer(kind, model=o), strength=2.0))
        for o in (ORIGINAL - 1, ORIGINAL)
    ]
    assert same[0] == same[1]


def test_work_is_counted_and_a_language_model_forgets():
    given = spoken()
    method = Whp({"epochs": 6, "lr": 1e-2, "reinforce_lr": 1e-2, "batch_size": 6, "until": "guess", "strength": 5.0})
    run = toys.context(given)
    outcome = method.unlearn(given, run)
    assert outcome.cost.trained == method.cost(given).trained == 3 * 6 + 6 * 12
    losses = [run.mean_loss(model, given.forget_view) for model in (given.source.open(), outcome.model)]
    assert losses[1] > losses[0] + 0.1
    whole = method.cost(given)
    assert abs(outcome.cost.read - whole.read) <= 4  # the choosing records, once more at the end


def test_a_single_record_has_no_statistics_for_the_second_model_either():
    problem = toys.problem(forget=1, build=toys.Noisy)
    outcome = Whp({"epochs": 1, "reinforce_epochs": 1}).unlearn(problem, toys.context(problem))
    assert not toys.same(outcome.model, problem.source.open())
    assert all(torch.isfinite(p).all() for p in outcome.model.parameters())
