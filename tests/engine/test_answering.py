"""Models that answer, models that do not, and how often they are asked."""

import pytest
import torch

from expunge.engine.answering import SAMPLE, answers
from tests.support import toys


@pytest.fixture
def problem():
    return toys.problem(trainer=None)


def constant():
    model = toys.network(seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def asked(problem, monkeypatch):
    """Return a list that grows by the records of each question."""
    counts, real = [], type(problem.meaning).examine

    def examine(self, model, records, *, where):
        counts.append(len(records))
        return real(self, model, records, where=where)

    monkeypatch.setattr(type(problem.meaning), "examine", examine)
    return counts


def test_a_model_that_answers_is_asked_once_on_a_problem(problem, monkeypatch):
    counts = asked(problem, monkeypatch)
    model = toys.network(seed=1)
    digest = problem.source.digest(model)
    for _ in range(3):
        assert answers(problem, model, where="reference", digest=digest) == []
    assert counts == [min(SAMPLE, len(problem.retain_view))]
    other = toys.problem(trainer=None)
    assert answers(other, model, where="reference", digest=digest) == []
    assert len(counts) == 2, "another problem asks other records"
    assert answers(problem, toys.network(seed=3), where="reference", digest="d" * 64) == []
    assert len(counts) == 3, "another model"


def test_what_is_wrong_is_said_each_time_and_by_its_name(problem, monkeypatch):
    counts = asked(problem, monkeypatch)
    model = constant()
    digest = problem.source.digest(model)
    for where in ("reference a", "reference b"):
        (note,) = answers(problem, model, where=where, digest=digest)
        assert where in str(note)
        assert not note.fatal
    assert len(counts) == 2
