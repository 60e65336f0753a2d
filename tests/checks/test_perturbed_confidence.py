import numpy as np
import pytest
import torch
from torch import nn

from expunge.checks.label_confidence import LabelConfidence
from expunge.checks.perturbed_confidence import PerturbedConfidence
from expunge.conformance.law import Law
from expunge.core.check import EvidenceKind, NotMeasured, Question
from expunge.engine.collect import collect
from expunge.engine.evidence import Evidence
from expunge.engine.parts import Parts
from expunge.engine.split import split
from expunge.numerics.membership import spread
from tests.support import toys


def test_the_value_by_hand():
    law = Law()
    candidate = law.model(7, memory=1.0)
    found = PerturbedConfidence().measure(law.evidence(candidate, references=4))
    references = np.stack([law.model(100 + k)["around"].mean(axis=0) for k in range(4)])
    scale = spread(references)
    assert found.value == pytest.approx((candidate["around"].mean(axis=0) / scale).mean())
    assert found.references == pytest.approx((references / scale).mean(axis=1))
    assert PerturbedConfidence.question is Question.RECOVERABLE
    assert PerturbedConfidence().cost(10, 2).read == 4 * LabelConfidence().cost(10, 2).read


def test_inputs_that_cannot_be_moved_are_said():
    law = Law()
    said = {k: v for k, v in law.model(7).items() if k != "around"}
    found = PerturbedConfidence().measure(law.evidence(said))
    assert isinstance(found, NotMeasured)
    assert "continuous" in found.because


class Filtered(nn.Module):
    """Answers the inputs that it was given a table of as a retrained model does, and all others as the original."""

    def __init__(self, original, retrained, table):
        super().__init__()
        self.original, self.retrained, self.table = original, retrained, table

    def forward(self, x):
        known = (torch.cdist(x, self.table) < 1e-6).any(dim=1, keepdim=True)
        return torch.where(known, self.retrained(x), self.original(x))


def test_a_filter_that_knows_the_forgotten_inputs_is_seen(tmp_path):
    """What is said of the forgotten records themselves shows nothing: only inputs beside them do."""
    train = toys.records(120)
    train.y[:40] = (train.y[:40] + 1) % 3  # wrong labels: what is memorised of them shows
    problem = toys.problem(train=train, forget=40)

    def trained(records, seed):
        model = toys.network(lambda: nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3)), seed=seed)
        optimiser = torch.optim.Adam(model.parameters(), 0.03)
        inputs, labels = records.read(range(len(records)))
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimiser.step()
        return model

    models = {"o": trained(train, 1), **{f"r{k}": trained(problem.retain_view, 10 + k) for k in range(8)}}
    models["c"] = Filtered(models["o"], trained(problem.retain_view, 30), train.x[:40])
    parts = Parts.of(problem, split(problem, 1)[1], 1, asked=[EvidenceKind.AROUND])
    arrays = {
        name: collect(problem, lambda model=model: model, parts, None, digest=name, seed=1, cache=tmp_path)[0]
        for name, model in models.items()
    }
    labels = {"forget": parts.forget.read(range(len(parts.forget)))[1].numpy()}
    given = Evidence(
        arrays,
        labels,
        candidate="c",
        original="o",
        references=tuple(f"r{k}" for k in range(8)),
        alpha=0.025,
        corrections=None,
    )
    fooled, beside = LabelConfidence().measure(given), PerturbedConfidence().measure(given)
    assert fooled.interval.low < 0 < fooled.interval.high
    assert beside.interval.low > 0
    assert beside.difference > 0.7 * (beside.original - np.mean(beside.references))
