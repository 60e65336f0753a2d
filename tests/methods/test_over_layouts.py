"""A network whose channels lie last in memory is the same network: its digest, its file, and what becomes of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from expunge.conformance.problems import CLASSES, Witness
from expunge.core import registry
from expunge.core.problem import Problem
from expunge.core.serial import plain
from expunge.engine import stacked
from expunge.engine.anatomy import reset
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import Here
from expunge.engine.training import Trainer
from expunge.workflow import erase
from tests.support import toys

CONFIG = LoopConfig(epochs=2, batch_size=16, lr=0.05, optimiser="sgd")


class Convolutional(nn.Module):
    """Two convolutions, of batch statistics, and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        """Return logits of images [B, 3, 6, 6]."""
        return self.head(self.body(x).relu().mean(dim=(2, 3)))


def last():
    """Return a new network whose channels lie last."""
    return Convolutional().to(memory_format=torch.channels_last)


def images(count, *, seed, prefix):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    inputs = draw.normal(size=(count, 3, 6, 6)).astype(np.float32)
    inputs[np.arange(count), labels % 3] += 0.7
    return Witness(torch.tensor(inputs), torch.tensor(labels), ids=[f"{prefix}{i}" for i in range(count)])


RECORDS, HELD = images(60, seed=0, prefix="r"), images(24, seed=1, prefix="h")


@pytest.fixture(scope="module")
def posed():
    """The same problem of both: the original as it was trained, and with its channels last."""
    model = Trainer(build=Convolutional, config=CONFIG)(RECORDS, seed=1)
    given = {"train": RECORDS, "forget": RECORDS.ids[:8], "holdout": HELD}
    pairs = ((model, Convolutional), (copy.deepcopy(model).to(memory_format=torch.channels_last), last))
    return [Problem(**given, model=each, trainer=Trainer(build=build, config=CONFIG)) for each, build in pairs]


def lies_last(model):
    weights = [p for p in model.parameters() if p.dim() == 4]
    return all(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in weights)


def apart(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def test_it_is_known_saved_and_opened_as_the_other_is(posed, tmp_path):
    here, there = (problem.source for problem in posed)
    assert here.digest() == there.digest()
    for name, source in (("here", here), ("there", there)):
        (tmp_path / name).mkdir()
        source.save(source.open(), tmp_path / name)
    files = [{f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("here", "there")]
    assert files[0] == files[1]
    assert lies_last(there.open())
    assert not lies_last(here.open())
    assert there.digest(there.reopen(tmp_path / "there")) == here.digest()


METHODS = ("finetune", "scrub", "ssd", "ct", "eu_k", "cfw", "fisher", "msg", "prmq", "rni", "noisy_finetune")


@pytest.mark.parametrize("name", METHODS)
def test_methods_end_where_they_end_with_the_other(posed, name, tmp_path):
    kind = registry.load("methods", name)
    loop = {"optimiser": "sgd"} if "optimiser" in kind.Config.__dataclass_fields__ else {}
    made = []
    for problem in posed:
        made.append(kind({**kind.trial, **loop}).unlearn(problem, toys.context(problem, folder=tmp_path)).model)
    assert apart(*made) < 1e-4
    assert lies_last(made[1])
    assert apart(made[0], posed[0].source.open()) > 1e-3


def test_what_is_drawn_anew_is_what_is_drawn_for_the_other():
    models = [Convolutional(), last()]
    frozen = models[1].body[0].weight.requires_grad_(False).detach().clone()
    for model in models:
        torch.manual_seed(3)
        reset(model)
    assert torch.equal(models[1].body[0].weight, frozen)
    models[0].body[0].weight.data = frozen
    assert apart(*models) == 0.0
    assert lies_last(models[1])


def test_many_at_once_are_what_they_are_with_the_other(posed):
    ends = [stacked.train(problem.trainer, problem.records, seeds=[1, 2]) for problem in posed]
    assert all(stacked.form_of(problem.trainer, problem.records)[0] for problem in posed)
    assert max(apart(*pair) for pair in zip(*ends, strict=True)) < 1e-5


def test_an_audit_finds_what_it_finds_with_the_other(posed, tmp_path):
    more = {"methods": ("finetune",), "policy": "standard", "references": 3, "escalate": False, "pool": Here}
    configs = {"finetune": {"epochs": 1, "optimiser": "sgd"}}
    said = [erase(problem, out=tmp_path / f"{i}", configs=configs, **more) for i, problem in enumerate(posed)]
    found = [[plain(each) for a in done.report.attempts[-1].audits for each in a.findings] for done in said]
    assert [each["check"] for each in found[0]] == [each["check"] for each in found[1]]
    assert [each["decision"] for each in found[0]] == [each["decision"] for each in found[1]]
    values = [[each["result"].get("value", 0.0) for each in one] for one in found]
    np.testing.assert_allclose(*values, atol=1e-3)
    assert any(values[0])
