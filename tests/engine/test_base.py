"""What the training starts from: whether it knows the forgotten answers before any work."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from expunge.engine import base
from expunge.engine.base import known
from expunge.models.adapted import AdaptedModel
from tests.support import languages as L


@dataclass(frozen=True)
class Start:
    """Opens a model, as the directory of a base is opened."""

    model: object
    base: str = "a directory"

    def __call__(self):
        return self.model


def started(model, **more):
    return L.spoken(L.untrained(3), trainer=replace(L.TRAINER, build=Start(model)), **more)


def test_a_base_that_has_the_answers_by_heart_is_told_with_figures(monkeypatch):
    said = iter([np.array([0.9, 1.0, 0.8, 0.7, 0.9, 0.5]), np.linspace(0.1, 0.3, 24)])
    monkeypatch.setattr(base, "_by_heart", lambda problem, model, records: next(said))
    note = known(started(L.untrained(1)))
    assert not note.fatal
    assert note.found.startswith("80% of the forgotten answers by heart (extraction strength, 6 records), and 20% of")


def test_by_heart_is_the_share_that_is_right_to_the_end():
    # By hand: the share of each answer's tokens that are the most likely ones to its end, with all before them given.
    problem = started(L._by_heart())
    batch = problem.forget_view.read(range(6))
    units = problem.meaning.units(L._by_heart(), batch)
    shares = []
    for record in range(6):
        right = units.correct[units.record == record].tolist()
        shares.append(next((i for i, ok in enumerate(reversed(right)) if not ok), len(right)) / len(right))
    found = base._by_heart(problem, L._by_heart(), problem.forget_view)
    assert sorted(found) == pytest.approx(sorted(shares))
    assert max(shares) > 0


def test_a_base_that_never_saw_them_is_not(monkeypatch):
    assert known(started(L.untrained(1))) is None
    # As much of held-out answers as of forgotten ones: that is knowing the kind, not the records.
    monkeypatch.setattr(base, "_by_heart", lambda problem, model, records: np.full(len(records), 0.7))
    assert known(started(L.untrained(1))) is None


def test_a_difference_that_chance_explains_is_not_told(monkeypatch):
    few = iter([np.array([0.9, 0.1, 0.2]), np.array([0.0, 0.1, 0.2, 0.3])])
    monkeypatch.setattr(base, "_by_heart", lambda problem, model, records: next(few))
    assert known(started(L.untrained(1))) is None


def test_a_base_whose_answers_are_no_numbers_is_told():
    model = L.untrained(1)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    note = known(started(model))
    assert not note.fatal
    assert note.found == "30 of 30 records that were asked"


def test_nobody_to_forget_is_not_looked_at():
    problem = started(L.untrained(1))
    nobody = replace(problem, model=problem.source, train=problem.records, holdout=problem.held_out, forget=())
    assert known(nobody) is None


@pytest.mark.parametrize("problem", [L.spoken(L.untrained(3), trainer=L.TRAINER), started(L.untrained(1), held=0)])
def test_new_weights_and_nothing_held_out_are_not_looked_at(problem):
    assert known(problem) is None


def test_the_base_of_adapters_is_looked_at_by_itself(tmp_path, monkeypatch):
    asked = []

    def by_heart(problem, model, records):
        asked.append(model)
        return np.linspace(0.8, 1.0, len(records)) if len(asked) == 1 else np.linspace(0.1, 0.3, len(records))

    monkeypatch.setattr(base, "_by_heart", by_heart)
    source = AdaptedModel(L.adapted(tmp_path, base=L.untrained(3)))
    note = known(L.spoken(source))  # whether it is said how the adapters were trained, or not
    assert "knows the forgotten answers already" in note.what
    mine, wanted = asked[0].state_dict(), L.untrained(3).state_dict()
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(mine[name], wanted[name]) for name in mine)
