from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.core.method import Cost
from expunge.engine.context import mean_loss
from expunge.engine.split import Part, split
from tests.support import toys


def by_hand(model, records):
    """Mean cross entropy of one batch in float64."""
    inputs, labels = records.read(range(len(records)))
    with torch.no_grad():
        logits = model(inputs).double().numpy()
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels.numpy()]))


def test_the_mean_loss_does_not_depend_on_batches_and_restores_the_mode():
    problem = toys.problem(count=600, build=toys.Noisy)
    model = toys.network(toys.Noisy).train()
    before = toys.state(model)
    loss = mean_loss(problem, model, problem.records)
    assert model.training
    after = toys.state(model)
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), after[0].values(), strict=True)), "buffers too"
    assert loss == pytest.approx(by_hand(model.eval(), problem.records), rel=1e-6)


def test_looking_costs_reading():
    problem = toys.problem()
    run = toys.context(problem)
    run.mean_loss(problem.source.open(), problem.retain_view)
    assert run.spent == Cost(read=48)


def test_the_target_is_the_loss_of_retrained_models():
    problem = toys.problem()
    models = [toys.network(seed=seed) for seed in (1, 2)]
    run = toys.context(problem, models=models)
    expected = np.mean([by_hand(model, run.choosing.forget) for model in models])
    assert run.target_loss == pytest.approx(expected, rel=1e-6)
    assert run.spent == Cost(read=2 * len(run.choosing.forget))
    assert run.target_loss == pytest.approx(expected, rel=1e-6)
    assert run.spent == Cost(read=2 * len(run.choosing.forget)), "measured once"


def test_without_references_the_target_is_the_originals_loss_on_held_out_records_of_the_same_classes():
    problem = toys.problem(trainer=None)
    run = toys.context(problem)
    original, (forget, holdout) = problem.source.open(), (run.choosing.forget, run.choosing.holdout)
    labels, held = (part.read(range(len(part)))[1].numpy() for part in (forget, holdout))
    theirs = [holdout.select([holdout.ids[i] for i in np.flatnonzero(held == label)]) for label in labels]
    assert 1 < len({len(each) for each in theirs}), "the mix of classes differs, or nothing would be shown"
    expected = np.mean([by_hand(original, each) for each in theirs])
    assert run.target_loss == pytest.approx(expected, rel=1e-6)
    asked = replace(toys.context(problem), choosing_models=lambda: pytest.fail("a model was trained for it"))
    assert asked.loss_of_strangers == run.target_loss
    assert abs(expected - by_hand(original, holdout)) > 1e-3
    assert run.spent == Cost(read=len(holdout))


@pytest.mark.parametrize("holdout", [0, 2])
def test_without_either_there_is_no_target(holdout):
    problem = toys.problem(trainer=None, holdout=holdout)  # a third of two is none
    assert toys.context(problem).target_loss is None


def test_without_forget_records_to_choose_by_references_are_of_no_use():
    problem = toys.problem(forget=2, holdout=0)
    run = toys.context(problem, models=[toys.network()])
    assert len(run.choosing.forget) == 0
    assert run.target_loss is None


def test_judging_records_cannot_be_reached():
    problem = toys.problem()
    choosing, judging = split(problem, 1)
    run = toys.context(problem, choosing=choosing)
    hidden = {*judging.forget.ids, *judging.holdout.ids}
    assert hidden
    assert isinstance(run.choosing, Part)
    assert not hidden & {*run.choosing.forget.ids, *run.choosing.holdout.ids}
    problem.records.seen.clear()
    problem.held_out.seen.clear()
    assert run.target_loss is not None
    assert not hidden & {*problem.records.seen, *problem.held_out.seen}
