"""The trainer that an estimator brings along: its settings, nothing that it learnt, and a seed that is all there is."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from expunge.core.errors import BrokenTrainer, Refused
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.core.records import WatchedView
from expunge.data.table import TableRecords
from expunge.engine.fitting import Refit
from expunge.engine.references import check_trainer, seeds_matter
from expunge.models.estimator import state_digest
from tests.support.estimators import Means
from tests.support.people import FEATURES, fitted, people


@pytest.fixture
def records():
    return TableRecords(people(), label="income", id="person", subject="household")


def forest(**settings):
    return make_pipeline(StandardScaler(), RandomForestClassifier(5, **settings))


def test_it_fits_what_scikit_learn_fits(records):
    frame = people()
    mine = Refit(fitted(LogisticRegression(C=0.3), frame))(records, seed=1)
    theirs = LogisticRegression(C=0.3).fit(frame[FEATURES], frame.income)
    np.testing.assert_array_equal(mine.coef_, theirs.coef_)
    assert mine.feature_names_in_.tolist() == FEATURES
    assert mine.classes_.tolist() == ["high", "low"]


def test_it_reads_its_view_and_nothing_else(records):
    view = WatchedView(records, range(40, 160))
    model = Refit(fitted(LogisticRegression(), people()))(view, seed=1)
    assert set(view.reads) == {1}
    some = people().iloc[40:]
    np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(some[FEATURES], some.income).coef_)


def test_one_that_was_given_arrays_is_given_arrays(records):
    frame = people()
    model = LogisticRegression().fit(frame[FEATURES].to_numpy(), frame.income)
    assert not hasattr(Refit(model)(records, seed=1), "feature_names_in_")


@pytest.mark.parametrize("kind", [object, "U4", "i4"])
def test_labels_are_of_the_type_they_were(kind):
    frame = people()
    frame["income"] = frame.income.map({"low": 0, "high": 1}) if kind == "i4" else frame.income
    model = LogisticRegression().fit(frame[FEATURES], frame.income.to_numpy().astype(kind))
    again = Refit(model)(TableRecords(frame, label="income", id="person", features=FEATURES), seed=1)
    assert again.classes_.dtype == model.classes_.dtype


def test_every_setting_for_a_seed_follows_it(records):
    refit = Refit(fitted(make_pipeline(StandardScaler(), BaggingClassifier(forest(), 3)), people()))
    one, same, other = (refit(records, seed=seed) for seed in (1, 1, 2))
    assert state_digest(one) == state_digest(same) != state_digest(other)
    drawn = [v for n, v in one.get_params().items() if n.endswith("random_state")]
    assert (len(drawn), len(set(drawn))) == (2, 2)


def test_nothing_learnt_comes_along(records):
    low = people().assign(income="low")
    low.loc[0, "income"] = "high"
    refits = [Refit(fitted(forest(random_state=0), frame)) for frame in (people(), low)]
    one, other = (state_digest(refit(records, seed=4)) for refit in refits)
    assert one == other
    assert refits[0].describe() == refits[1].describe()
    assert Refit(fitted(forest(max_depth=2), low)).describe() != refits[0].describe()


@pytest.mark.parametrize(
    ("estimator", "matter"),
    [
        (GaussianNB(), False),  # no setting for a seed
        (LogisticRegression(), False),  # one that this solver does not use
        (forest(), True),
        (BaggingClassifier(GaussianNB(), 3), True),
        (ExtraTreesClassifier(3), True),  # grown to the end: on their own rows all answer alike
        (RandomForestClassifier(1, bootstrap=False, max_depth=1, max_features=1.0), False),
    ],
)
def test_whether_seeds_matter_is_tried(estimator, matter, records):
    refit = Refit(fitted(estimator, people()))
    assert refit.seeds_matter(records) is matter
    problem = Problem(model=fitted(estimator, people()), train=records, forget=["p0-001"], trainer=refit)
    assert seeds_matter(problem) is matter


class Hiding(Means):
    """Hides what it learnt under noise of its own."""

    guarantee = Level.CERTIFIED

    def _settle(self):
        super()._settle()
        self.means_ = self.means_ + np.random.default_rng().normal(size=self.means_.shape)


def test_noise_that_nobody_may_repeat_is_no_breach(records):
    model = fitted(Hiding(), people())
    refit = Refit(model)
    assert refit.seeds_matter(records)
    problem = Problem(model=model, train=records, forget=["p0-001"], trainer=refit)
    assert check_trainer(problem).passes == 1
    refit.__class__ = type("Denying", (Refit,), {"repeatable": True})
    with pytest.raises(BrokenTrainer, match="two models for one seed"):
        check_trainer(problem)


def test_a_function_is_taken_to_follow_its_seed(records):
    def trainer(records, *, seed):
        raise AssertionError("asked nothing")

    problem = Problem(model=fitted(GaussianNB(), people()), train=records, forget=["p0-001"], trainer=trainer)
    assert seeds_matter(problem)


@pytest.mark.parametrize("estimator", [LogisticRegression(), forest(), Means()])
def test_it_keeps_the_contract_of_a_trainer(estimator, records):
    model = fitted(estimator, people())
    ids = [f"p0-{place:03d}" for place in range(30)]
    problem = Problem(model=model, train=records, forget=ids, trainer=Refit(model))
    facts = check_trainer(problem)
    assert facts.passes == 1


def test_one_that_can_forget_is_told_the_ids(records):
    model = Refit(fitted(Means(), people()))(records, seed=1)
    assert model.sample_ids_ == records.ids
    numbered = TableRecords(people()[[*FEATURES, "income"]], label="income")
    by_number = Means().fit(people()[FEATURES], people().income.to_numpy())
    assert Refit(by_number)(numbered, seed=1).sample_ids_ == tuple(range(160))
    assert Refit(by_number)(records, seed=1).sample_ids_ == records.ids


def test_it_crosses_a_process_boundary(records):
    refit = Refit(fitted(forest(), people()))
    again = pickle.loads(pickle.dumps(refit))
    assert state_digest(again(records, seed=3)) == state_digest(refit(records, seed=3))
    assert again.describe() == refit.describe()


def test_parts_fitted_beforehand_are_refused():
    frozen = FrozenEstimator(LogisticRegression().fit(people()[FEATURES], people().income))
    with pytest.raises(Refused, match="fitted beforehand"):
        Refit(make_pipeline(StandardScaler(), frozen))


def test_threads_do_not_change_its_bits(records):
    refit = Refit(fitted(LogisticRegression(), people()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = state_digest(refit(records, seed=1))
    finally:
        torch.set_num_threads(before)
    assert two == state_digest(refit(records, seed=1))


@pytest.mark.parametrize(
    ("estimator", "matter"), [(Ridge(), False), (RandomForestRegressor(5), True), (DecisionTreeRegressor(), False)]
)
def test_a_regressor_is_fitted_on_numbers(estimator, matter):
    frame = people()
    records = TableRecords(frame, label="hours", id="person", features=["age"], numbers=True)
    model = estimator.fit(frame[["age"]], frame.hours)
    again = Refit(model)(records, seed=1)
    theirs = clone(estimator).set_params(**{k: v for k, v in again.get_params().items() if k == "random_state"})
    theirs.fit(frame[["age"]], frame.hours)
    np.testing.assert_array_equal(again.predict(frame[["age"]]), theirs.predict(frame[["age"]]))
    assert Refit(model).seeds_matter(records) is matter
