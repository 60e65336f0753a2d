"""Scenarios: which records must go, counted by hand on small beds."""

import dataclasses

import numpy as np
import pytest
import torch

from expunge.bench import data, scenarios
from expunge.bench.networks import Build
from expunge.core.errors import InvalidProblem
from expunge.core.problem import Problem
from expunge.core.trigger import Triggered
from expunge.data.arrays import ArrayRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.models.torch import TorchModel

COUNT, CLASSES = 200, 4


class Scores:
    """Numbers in an order that no other order explains."""

    def memorised(self):
        return np.sin(np.arange(COUNT) * 1.7)

    def loss(self):
        return np.cos(np.arange(COUNT) * 2.3)

    def alike(self, train, forget):
        return tuple(name for name in train.ids if name not in forget)[:3]


def bed(**changes):
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(COUNT) % CLASSES
    x = torch.rand(COUNT, 1, 6, 6, generator=draw) * 0.2 + labels[:, None, None, None] * 0.1
    x[::3] += 0.4  # two kinds within each class
    subjects = [f"person-{i // 25}" for i in range(COUNT)]
    train = ArrayRecords(x, labels, ids=[f"r{i}" for i in range(COUNT)], subjects=subjects)
    holdout = ArrayRecords(x[:40] + 0.01, labels[:40], ids=[f"h{i}" for i in range(40)])
    build = Build("mlp", (1, 6, 6), CLASSES)
    trainer = Trainer(build=build, config=LoopConfig(epochs=1))
    made = data.Bed(name="small", train=train, holdout=holdout, trainer=trainer, source=TorchModel.adopt(build()))
    return dataclasses.replace(made, **changes)


def drawn(name, seed=0, **changes):
    return scenarios.draw(name, bed(**changes), Scores(), seed)


@pytest.mark.parametrize(
    ("name", "count"),
    [("random_1", 2), ("random_10", 20), ("random_50", 100), ("class", 50), ("subject", 25), ("memorised", 67),
     ("unmemorised", 67), ("highest_loss", 20), ("lowest_loss", 20), ("wrong_labels", 20), ("wrong_labels_half", 10),
     ("wrong_labels_tenth", 2), ("backdoor", 20), ("backdoor_half", 10), ("backdoor_tenth", 2),
     ("wrong_labels_found", 13), ("backdoor_found", 13), ("drift", 20)],
)  # fmt: skip
def test_as_many_records_go_as_the_name_says(name, count):
    found = drawn(name)
    assert len(found.forget) == len(set(found.forget)) == count
    assert set(found.forget) < set(found.train.ids)


@pytest.mark.parametrize("name", [n for n in scenarios.SCENARIOS if n != "given"])
def test_a_draw_is_a_function_of_the_seed(name):
    assert drawn(name).requests == drawn(name).requests
    free = name not in ("memorised", "unmemorised", "highest_loss", "lowest_loss")
    assert free == any(drawn(name, seed).requests != drawn(name).requests for seed in (1, 2, 3))


def test_a_class_and_a_subject_go_whole():
    train = bed().train
    found = drawn("class")
    labels = {int(train.y[train.position[name]]) for name in found.forget}
    assert len(labels) == 1
    people = {train.subjects[train.position[name]] for name in drawn("subject").forget}
    assert len(people) == 1


def test_a_subclass_is_one_of_the_kinds_within_a_class():
    found = drawn("subclass")
    places = [found.train.position[name] for name in found.forget]
    assert len({int(found.train.y[i]) for i in places}) == 1
    assert 10 <= len(places) < 50
    assert len({i % 3 == 0 for i in places}) == 1, "the two kinds were mixed"


def test_memorised_and_loss_take_the_right_end():
    order = np.argsort(Scores().memorised())
    assert {*drawn("memorised").forget} == {f"r{i}" for i in order[-67:]}
    assert {*drawn("unmemorised").forget} == {f"r{i}" for i in order[:67]}
    worst = np.argsort(Scores().loss())
    assert {*drawn("highest_loss").forget} == {f"r{i}" for i in worst[-20:]}
    assert {*drawn("lowest_loss").forget} == {f"r{i}" for i in worst[:20]}


@pytest.mark.parametrize(
    ("name", "known"), [("wrong_labels", 20), ("wrong_labels_half", 10), ("wrong_labels_tenth", 2)]
)
def test_wrong_labels_are_wrong_and_nothing_else_changes(name, known):
    clean, found = bed().train, drawn(name)
    changed = {found.train.ids[i] for i in range(COUNT) if found.train.y[i] != clean.y[i]}
    assert len(changed) == 20
    assert set(found.forget) <= changed
    assert sorted(found.train.y.tolist()) == sorted(clean.y.tolist()), "labels are dealt out, not drawn"
    assert len(found.forget) == known
    assert all(found.corrections[i] == clean.y[clean.position[i]] for i in found.forget)
    assert torch.equal(found.train.x, clean.x)
    assert found.train.subjects == clean.subjects


def test_the_backdoor_marks_other_classes_and_labels_them_as_the_target():
    clean, found = bed().train, drawn("backdoor_half")
    marked = [i for i in range(COUNT) if not torch.equal(found.train.x[i], clean.x[i])]
    assert len(marked) == 20
    assert all(clean.y[i] != 0 and found.train.y[i] == 0 for i in marked)
    brightest = clean.x.max()
    changed = (found.train.x != clean.x).any(dim=0)[0]
    assert not changed[:3].any()
    assert not changed[:, :3].any()
    assert (found.train.x[marked][:, :, 3:, 3:] == brightest).all()
    assert set(found.forget) < {found.train.ids[i] for i in marked}
    trigger = found.triggered
    assert trigger.target == 0
    assert len(trigger.records) == 30
    assert (trigger.records.y != 0).all(), "a record of the target class says nothing of the trigger"
    assert (trigger.records.x[:, :, 3:, 3:] == brightest).all()


@pytest.mark.parametrize("kind", ["wrong_labels", "backdoor"])
def test_the_tenth_that_is_known_is_a_part_of_the_half(kind):
    half, tenth = drawn(f"{kind}_half"), drawn(f"{kind}_tenth")
    assert tenth.train.manifest.digest == half.train.manifest.digest, "one original serves both"
    assert set(tenth.forget) < set(half.forget)
    assert tenth.corrections == {name: half.corrections[name] for name in tenth.corrections}
    assert (tenth.triggered is None) == (half.triggered is None)


@pytest.mark.parametrize("kind", ["wrong_labels", "backdoor"])
def test_what_is_looked_for_is_forgotten_beside_the_half_that_is_known(kind):
    half, found = drawn(f"{kind}_half"), drawn(f"{kind}_found")
    assert found.train.manifest.digest == half.train.manifest.digest
    assert found.forget == (*half.forget, *found.also)
    assert len(found.also) == 3
    assert found.corrections == half.corrections, "nobody said what the others are"


def test_ten_requests_have_nothing_in_common():
    found = drawn("drift")
    assert [len(request) for request in found.requests] == [2] * 10


def test_a_problem_of_the_users_says_itself_what_goes():
    own = bed()
    given = Problem(model=own.source, train=own.train, forget=["r5", "r7"], holdout=own.holdout)
    assert drawn("given", given=given).forget == ("r5", "r7")
    assert drawn("given", given=given).triggered is None


def test_the_trigger_of_a_problem_of_the_users_comes_with_it():
    own = bed()
    marked = ArrayRecords(own.holdout.x, own.holdout.y, ids=[f"t{i}" for i in range(len(own.holdout))])
    trigger = Triggered(records=marked, target=1)
    given = Problem(model=own.source, train=own.train, forget=["r5"], holdout=own.holdout, triggered=trigger)
    found = drawn("given", given=given).triggered
    assert found.target == 1
    assert set(found.records.ids) == {f"t{i}" for i in range(40) if i % CLASSES != 1}, (
        "those of the target show nothing"
    )


@pytest.mark.parametrize("name", ["subject", "given", "backdoor"])
def test_what_the_data_do_not_carry_is_said(name):
    flat = ArrayRecords(torch.rand(COUNT, 5), torch.arange(COUNT) % CLASSES)
    with pytest.raises(InvalidProblem, match="do not carry this scenario"):
        drawn(name, train=flat)


@pytest.mark.parametrize(("name", "most"), [("wrong_labels_half", 0.8), ("backdoor", 0.95)])
def test_of_classes_too_unlike_in_size_it_is_said_too(name, most):
    one = bed().train
    labels = (torch.arange(COUNT) >= most * COUNT).long()  # the lowest class is the large one
    with pytest.raises(InvalidProblem, match="do not carry this scenario"):
        drawn(name, train=ArrayRecords(one.x, labels))
