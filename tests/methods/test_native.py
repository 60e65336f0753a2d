"""Letting the model forget: what it promises is the estimator's, and what it holds must be what the problem says."""

import dataclasses

import pytest
from sklearn.naive_bayes import GaussianNB

from expunge.conformance.problems import context
from expunge.core.errors import RunFailed
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.data.table import TableRecords
from expunge.engine.fitting import Refit
from expunge.methods.native import Native
from tests.support import toys
from tests.support.estimators import Means, Stale
from tests.support.people import FEATURES, fitted, people

GONE = ["p0-001", "p0-007", "p0-100"]


def problem(model=None, *, table=None, forget=GONE):
    model = fitted(Means(), people()) if model is None else model
    records = TableRecords(people() if table is None else table, label="income", id="person", features=FEATURES)
    return Problem(model=model, train=records, forget=forget, trainer=Refit(model))


def unlearned(of, **settings):
    method = Native(settings)
    assert method.obstacles(of) == []
    return method.unlearn(of, context(of))


def said(of, **settings):
    return " ".join(map(str, Native(settings).obstacles(of)))


class Exact(Means):
    guarantee = Level.EXACT


class Slow(Means):
    """Forgets when it is told to drain."""

    waiting = ()

    def forget(self, ids):
        self.waiting = tuple(ids)
        return self

    def drain(self):
        super().forget(self.waiting)
        self.waiting = ()

    @property
    def what_remains_(self):
        return dataclasses.replace(super().what_remains_, pending=len(self.waiting))


class Idle(Slow):
    drain = None


def test_it_is_what_a_fresh_fit_gives():
    outcome = unlearned(problem())
    rest = people().query("person not in @GONE")
    fresh = fitted(Means(), rest)
    assert outcome.model.fingerprint() == fresh.fingerprint()
    assert outcome.model.what_remains_.rows == len(rest)
    assert outcome.cost == Cost(trained=3)
    assert 0 < outcome.touched <= 1
    assert outcome.warnings == ()


def test_the_original_stays():
    of = problem()
    unlearned(of)
    assert of.model.what_remains_.rows == of.source.open().what_remains_.rows == 160


def test_the_argument_of_the_estimator_is_its_evidence():
    outcome = unlearned(problem())
    told = " ".join(outcome.evidence)
    assert Means.argument in told
    for words in ("the rows themselves", outcome.model.fingerprint(), "assumption", "keyed hashes of forgotten ids"):
        assert words in told
    assert not any(name in told for name in GONE)
    rest = told.replace(outcome.model.fingerprint(), "")
    assert not {"157", "160"} & set(rest.split())  # how many rows there are is nobody's business


def test_the_guarantee_is_the_estimators():
    assert Native().guarantee_on(problem()) is Level.BITWISE
    assert Native().guarantee_on(problem(fitted(Exact(), people()))) is Level.EXACT


def test_it_drains_what_waits():
    assert unlearned(problem(fitted(Slow(), people()))).model.what_remains_.rows == 157


def test_what_is_still_pending_is_no_success():
    with pytest.raises(RunFailed, match="3 parts pending"):
        unlearned(problem(fitted(Idle(), people())))


def test_a_fresh_fit_says_whether_it_is_true():
    outcome = unlearned(problem(), verify_by_refit=True)
    assert any("fresh fit" in line for line in outcome.evidence)
    assert outcome.cost == Cost(trained=3 + 157)
    with pytest.raises(RunFailed, match="not what a fresh fit gives"):
        unlearned(problem(fitted(Stale(), people())), verify_by_refit=True)


def test_a_fresh_fit_shows_that_the_data_are_others():
    with pytest.raises(RunFailed, match="not what a fresh fit gives"):
        unlearned(problem(table=people().assign(age=people().age + 1)), verify_by_refit=True)


def test_ids_may_be_numbers():
    table = people()
    model = Means().fit(table[FEATURES], table.income.to_numpy())
    of = problem(model, table=table.assign(person=range(160)), forget=["3", "5"])
    assert unlearned(of, verify_by_refit=True).model.what_remains_.rows == 158


def test_nothing_to_forget_changes_nothing():
    of = problem(forget=())
    outcome = unlearned(of)
    assert of.source.digest(outcome.model) == of.source.digest()
    assert outcome.cost == Cost()


@pytest.mark.parametrize("of", [lambda: problem(fitted(GaussianNB(), people())), toys.problem])
def test_what_cannot_forget_is_refused(of):
    assert "cannot forget by itself" in said(of())
    assert Native().guarantee_on(of()) is Level.CERTIFIED


def test_other_rows_than_those_of_the_model_are_refused():
    assert "2 of 160 records not held, 0 rows held" in said(problem(fitted(Means(), people().iloc[2:])))
    assert "0 of 158 records not held, 2 rows held" in said(problem(table=people().iloc[2:], forget=["p0-100"]))
    assert "160 of 160 records not held" in said(problem(table=people().assign(person=range(160)), forget=["1"]))


def test_a_fresh_fit_that_cannot_be_equal_is_refused():
    assert "compares bits" in said(problem(fitted(Exact(), people())), verify_by_refit=True)

    class Seeded(Means):
        def __init__(self, random_state=None):
            self.random_state = random_state

    assert "needs the seed" in said(problem(fitted(Seeded(), people())), verify_by_refit=True)
    assert said(problem(fitted(Seeded(3), people())), verify_by_refit=True) == ""

    class Around(Seeded):
        def __init__(self, inner=None, random_state=None):
            self.inner, self.random_state = inner, random_state

    seeded = fitted(Around(Seeded(), random_state=3), people())  # its own seed is what its parts draw from
    assert said(problem(seeded), verify_by_refit=True) == ""
