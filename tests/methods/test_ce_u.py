import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.conformance import problems as own
from expunge.core.errors import InvalidProblem
from expunge.engine.visits import Batch
from expunge.methods.ce_u import CeU
from tests.support import answers, toys
from tests.support.pushing import STEP, by_hand, check, nll, regression


def without(logits, hot, original):
    """The slope: p minus the own answer with the label left out."""
    rest = softmax(np.where(hot > 0, -np.inf, logits), 1)
    return (softmax(logits, 1) - rest) / len(logits)


def of_the_original(logits, hot, original):
    return (softmax(logits, 1) - softmax(np.where(hot > 0, -np.inf, original), 1)) / len(logits)


def test_steps_equal_arithmetic_in_float64():
    slips = {
        "the original's rest": by_hand(of_the_original),
        "plain ascent": by_hand(lambda *row: -nll(*row)),
        "towards the label": by_hand(nll),
    }
    check(CeU, {"skip": 0}, by_hand(without), slips)


def test_tokens_of_answers_are_skipped_whatever_stands_before_them():
    """The tokens of a prompt are no units: the first that is skipped is the first of the answer."""
    units = answers.answer()
    assert round(float(CeU({"skip": 1}).forgotten(Batch(None, units))), 6) == 2.020132
    assert round(float(CeU({"skip": 0}).forgotten(Batch(None, units))), 6) == 2.077097
    two = answers.answer(model=answers.MODEL.repeat(2, 1), labels=answers.LABELS.repeat(2), record=[0, 0, 0, 1, 1, 1])
    assert round(float(CeU({"skip": 1}).forgotten(Batch(None, two))), 6) == 2.020132


def test_records_that_would_be_skipped_whole_are_an_error():
    problem = regression()
    assert [each.found for each in CeU().obstacles(problem)] == ["records with one label each, and nothing else scored"]
    assert not CeU({"skip": 0}).obstacles(problem)
    assert not CeU().obstacles(own.problem(language=True))
    with pytest.raises(InvalidProblem, match="skips the first 1 scored tokens"):
        CeU(STEP).unlearn(problem, toys.context(problem))
    problem = own.problem(language=True)
    longest = max(int(scored.sum()) for _, scored in problem.records.held())
    with pytest.raises(InvalidProblem, match="of 14 records"):
        CeU({"skip": longest}).unlearn(problem, own.context(problem))
    assert torch.isfinite(
        torch.tensor(CeU({"epochs": 1}).unlearn(problem, own.context(problem)).history[0]["objective"])
    )
