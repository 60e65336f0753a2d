import numpy as np
import pytest
import torch
from torch.nn import functional

import expunge
from expunge.core.digest import keyed_int
from expunge.data.arrays import ArrayRecords
from expunge.engine.anatomy import reset
from expunge.engine.runtime import seed_everything
from expunge.engine.strangers import said
from expunge.methods.distill_anew import DistillAnew
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 16, "lr": 0.05}


def without_class(label):
    """Return a problem of which all records of a class are to go."""
    train = toys.records(60)
    gone = [name for name, (_, y) in zip(train.ids, train, strict=True) if int(y) == label]
    return expunge.Problem(
        model=toys.network(),
        train=train,
        forget=gone,
        holdout=toys.records(24, prefix="h", seed=1),
        trainer=toys.TRAINER,
    )


def shares(problem, model, records):
    """Return the answers to records as probabilities."""
    return torch.from_numpy(said(problem, model, records).logits).softmax(dim=1).numpy()


def apart(problem, model, records):
    """Return how far answers lie from the original's, the mean divergence in nats."""
    own, other = (np.log(shares(problem, each, records)) for each in (problem.source.open(), model))
    return float((np.exp(own) * (own - other)).sum(axis=1).mean())


def test_one_step_is_the_slope_of_the_divergence_written_out():
    """Plain SGD over all retained records at once, from the same start, with the loss written by hand."""
    problem = toys.problem(trainer=None, holdout=0)
    config = {"epochs": 1, "batch_size": 48, "lr": 0.3, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
    model = DistillAnew(config).unlearn(problem, toys.context(problem, seed=5)).model

    original, hand = problem.source.open().eval(), problem.source.open()
    seed_everything(keyed_int(b"expunge prepare", 5) % 2**31)
    reset(hand)
    x = torch.stack([x for x, _ in problem.retain_view])
    with torch.no_grad():
        taught = original(x).softmax(dim=1)
    start = [p.clone() for p in hand.parameters()]
    loss = (taught * (taught.log() - functional.log_softmax(hand(x), dim=1))).sum(dim=1).mean()
    loss.backward()
    for mine, before, p in zip(model.parameters(), start, hand.parameters(), strict=True):
        assert mine.detach().numpy() == pytest.approx((before - 0.3 * p.grad).detach().numpy(), abs=1e-6)


def test_it_comes_to_answer_as_the_original_does_and_takes_none_of_its_weights():
    problem = toys.problem()
    few, many = (
        DistillAnew({**LOOP, "epochs": n, "lr": 0.3}).unlearn(problem, toys.context(problem)).model for n in (1, 60)
    )
    assert apart(problem, many, problem.retain_view) < 0.2 * apart(problem, few, problem.retain_view)
    before, after = problem.source.open().state_dict(), many.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert DistillAnew(LOOP).anew(problem)


def test_a_class_that_goes_is_struck_out_of_what_the_original_answers():
    """The original is made to hold everything to be of the class that goes; nothing of that comes through."""
    problem = without_class(0)
    teacher = problem.source.open()
    with torch.no_grad():
        list(teacher.modules())[-1].bias[0] += 4.0
    problem = expunge.Problem(
        model=teacher, train=problem.train, forget=problem.forget_ids, holdout=problem.holdout, trainer=toys.TRAINER
    )
    said_before = shares(problem, problem.source.open(), problem.retain_view)
    model = DistillAnew({**LOOP, "epochs": 60, "lr": 0.3}).unlearn(problem, toys.context(problem)).model
    after = shares(problem, model, problem.retain_view)
    assert said_before[:, 0].mean() > 0.5
    assert after[:, 0].mean() < 0.02
    staying = said_before[:, 1:] / said_before[:, 1:].sum(axis=1, keepdims=True)
    assert np.abs(after[:, 1:] - staying).mean() < 0.1


def test_what_forgotten_records_hold_reaches_nothing():
    """With other inputs in their place the model is the same in every bit."""
    problem = toys.problem(trainer=None, holdout=0)
    gone = set(problem.forget_ids)
    rows = [
        np.full(4, 9.0, np.float32) if name in gone else np.asarray(x)
        for name, (x, _) in zip(problem.train.ids, problem.train, strict=True)
    ]
    labels = np.array([int(label) for _, label in problem.train])
    other = expunge.Problem(
        model=problem.source.open(),
        train=ArrayRecords(np.stack(rows), labels, ids=problem.train.ids),
        forget=problem.forget_ids,
    )
    one, two = (DistillAnew(LOOP).unlearn(each, toys.context(each, seed=2)).model for each in (problem, other))
    assert toys.same(one, two)


def test_the_original_is_asked_once_and_counted():
    problem = toys.problem(trainer=None, holdout=0)
    for epochs in (1, 5):
        method = DistillAnew({**LOOP, "epochs": epochs})
        cost = method.unlearn(problem, toys.context(problem)).cost
        assert cost == method.cost(problem)
        assert cost.trained == 48 * epochs
    one, five = (DistillAnew({**LOOP, "epochs": n}).cost(problem).read for n in (1, 5))
    assert one == five


def test_where_labels_are_corrected_the_plan_says_to_learn_from_labels():
    problem = toys.problem()
    name = problem.forget_ids[0]
    request = expunge.Request(ids=(name,), corrections={name: (int(problem.forget_view[0][1]) + 1) % 3})
    corrected = expunge.Problem(
        model=problem.source.open(), train=problem.train, request=request, holdout=problem.holdout, trainer=toys.TRAINER
    )
    found = DistillAnew(LOOP).obstacles(corrected)
    assert [(each.where, each.found) for each in found] == [("request", "1 corrected labels")]
    assert not DistillAnew(LOOP).obstacles(problem)
