"""Methods that were written for classifiers run on a language model as they stand, or say before any work why not."""

import pytest
import torch

from expunge.conformance import problems as own
from expunge.conformance.methods import made
from expunge.core import registry
from expunge.numerics.tokens import Tokens
from tests.support import toys

RUN = [
    "bad_teacher", "finetune", "gradient_ascent", "l1_sparse", "lfssd", "neg_grad_plus", "negmerge", "noop", "scrub",
    "ssd", "task_arithmetic",
    "grad_diff", "kl_min", "npo", "simnpo", "undial", "wga", "satimp", "ce_u", "pdu",
]  # fmt: skip
REFUSED = {
    "boundary_shrink": "needs class labels",
    "kde": "needs class labels",
    "last_layer": "needs class labels",
    "random_label": "needs class labels",
    "retain_distill": "needs class labels",
    "salun": "needs class labels",
    "ct": "turns the kernels of convolutions",
}


@pytest.mark.parametrize("name", RUN)
def test_it_runs_and_never_makes_all_logits(name, monkeypatch):
    monkeypatch.setattr(Tokens, "logits", property(lambda _: pytest.fail("logits of all tokens at once")))
    problem = own.problem(language=True)
    method = made(registry.load("methods", name))
    assert method.obstacles(problem) == []
    outcome = method.unlearn(problem, own.context(problem))
    assert own.same(outcome.model, problem.source.open()) == (name == "noop")
    assert all(bool(torch.isfinite(p).all()) for p in outcome.model.parameters())
    assert type(outcome.model) is type(problem.model)


def test_a_method_that_asks_for_curvature_gets_it():
    problem = own.problem(language=True)
    method = registry.load("methods", "influence")({"solver": "cg", "damping": 10.0})
    outcome = method.unlearn(problem, own.context(problem))
    assert not own.same(outcome.model, problem.source.open())
    assert not [warning for warning in outcome.warnings if "residual" in warning], "the system was not solved"


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_any_work(name):
    problem = own.problem(language=True)
    found = made(registry.load("methods", name)).obstacles(problem)
    assert REFUSED[name] in " ".join(each.what for each in found)
    assert not problem.records.seen


@pytest.mark.parametrize("name", ["gradient_ascent", "scrub", "bad_teacher"])
def test_numbers_have_no_logits(name):
    found = made(registry.load("methods", name)).obstacles(toys.problem(task="regression"))
    assert f"{name} needs logits" in [each.what for each in found]
