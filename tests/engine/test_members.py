"""Who held which record, and what each member says of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.conformance import problems
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine import members
from expunge.engine.ensemble import Ensemble, held, ledgers
from expunge.numerics import membership
from tests.support import languages, toys


@pytest.fixture
def sharded():
    return problems.problem(build=problems.Mlp, shards=3)


def test_the_ledgers_say_who_held_what(sharded):
    found = members.holders(sharded, sharded.forget_view)
    known = held(ledgers(Path(sharded.ledger)))
    assert found.members == 3
    assert found.holders.tolist() == [known[name] for name in sharded.forget_ids]
    assert members.dealt_out(sharded)
    assert not members.dealt_out(toys.problem())


def test_a_subject_of_which_something_stays_tells_nothing(sharded):
    """Records 0 and 1 are of one person, and so is record 40, which stays; 2 and 3 are of another, all of which go."""
    subjects = [None] * len(sharded.records)
    subjects[0] = subjects[1] = subjects[40] = "anna"
    subjects[2] = subjects[3] = "ben"
    sharded.records.subjects = tuple(subjects)
    sharded.__dict__.pop("retain_view", None)
    found = members.holders(sharded, sharded.records.select(sharded.forget_ids))
    assert (found.holders[:2] == -1).all()
    assert (found.holders[2:] >= 0).all()


def test_each_member_is_asked_by_itself(sharded):
    model = sharded.source.open()
    found = members.confidences(sharded, model, sharded.forget_view)
    inputs, labels = sharded.forget_view.read(range(len(sharded.forget_view)))
    for member, row in zip(model.members, found, strict=True):
        with torch.no_grad():
            logits = member.eval()(inputs).double().numpy()
        assert np.allclose(row, membership.confidence(logits, labels.numpy()))
    assert members.confidences(sharded, toys.network(), sharded.forget_view) is None


def test_why_the_members_say_nothing(sharded):
    """Three members need 67 units judged: (3 + 1) / (12 * 2 * .05^2)."""
    assert members.lacks(toys.problem()) == "there are no ledgers of an ensemble in shards"
    assert members.judged_units(sharded) == (10, 3)
    assert "10 forgotten subjects or single records are judged, 67 or more are needed" in members.lacks(sharded)
    other = toys.problem(ledger=sharded.ledger)
    assert "no ensemble" in members.lacks(other)


def test_canaries_are_left_aside(sharded):
    sharded.__dict__["planted_ids"] = frozenset(sharded.forget_ids[:4])
    assert members.judged_units(sharded) == (7, 3)


def test_a_request_by_subject_counts_subjects(sharded):
    sharded.records.subjects = tuple(f"p{i // 2}" for i in range(len(sharded.records)))
    asked = replace(
        sharded,
        train=sharded.records,
        forget=(),
        request=Request(subjects=[f"p{i}" for i in range(6)]),
        model=sharded.source,
    )
    assert members.judged_units(asked) == (4, 3)


def test_of_a_record_of_several_tokens_the_mean_counts():
    """Against a plain computation: the logarithm of the odds of each scored token, averaged over a record."""
    records = languages.records(languages.NAMES[:3])
    made = Ensemble([languages.untrained(1), languages.untrained(2)], [0.5, 0.5])
    problem = Problem(model=made, train=records, task="causal_lm", forget=[records.ids[0]])
    said = members.confidences(problem, made, records)
    assert said.shape == (2, len(records))
    for row, seed in zip(said, (1, 2), strict=True):
        for value, place in zip(row, range(len(records)), strict=True):
            inputs, labels = records.read([place])
            p = languages.untrained(seed)(**inputs).logits.detach().double().softmax(-1)[0, :-1]
            own = p[torch.arange(p.shape[0]), labels[0, 1:].clamp_min(0)][labels[0, 1:] != -100]
            assert value == pytest.approx(float((own.log() - torch.log1p(-own)).mean()), abs=1e-4)
