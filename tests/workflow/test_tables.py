"""The whole way on a saved estimator and a table, without a line of the user's code."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from expunge.certify.verify import verify
from expunge.cli._job import load
from expunge.cli._progress import show_plan
from expunge.core.errors import ForeignRun, InvalidProblem, Refused, UsageError
from expunge.core.level import Level
from expunge.core.problem import Origin, Problem
from expunge.core.request import Request
from expunge.core.serial import build
from expunge.core.verdict import Decision, Verdict
from expunge.data.table import TableRecords
from expunge.engine.fitting import Refit
from expunge.estimators import (
    ForgettingForestRegressor,
    ForgettingKNeighborsRegressor,
    ForgettingRidge,
    ShardedRegressor,
)
from expunge.models._skops import save_object
from expunge.workflow import plan
from expunge.workflow.bad_input import unchanged
from expunge.workflow.tables import problem as from_files
from tests.support.estimators import Means
from tests.support.people import FEATURES, fitted, people

ROWS, OTHERS = people(), people(140, seed=1)
REQUEST = Request(ids=("p0-150",), subjects=tuple(f"h0-{n}" for n in range(9)), reference="DSR-7")


@pytest.fixture
def files(tmp_path):
    """Return a function that writes a model and its tables, and returns the problem that they make."""

    def write(estimator, *, rows=ROWS, holdout=OTHERS, request=REQUEST):
        save_object(fitted(estimator, rows), tmp_path / "model.skops")
        rows.to_csv(tmp_path / "rows.csv", index=False)
        holdout.to_parquet(tmp_path / "others.parquet")
        arguments = {
            "model": str(tmp_path / "model.skops"),
            "data": str(tmp_path / "rows.csv"),
            "label": "income",
            "id": "person",
            "subject": "household",
            "holdout": str(tmp_path / "others.parquet"),
        }
        return Origin("expunge.workflow.tables:problem", "", tuple(arguments.items()), request).make()

    return write


def verified(result):
    """Verify certificate, model and report as a stranger would; return what was found wrong."""
    found = verify(
        result.certificate,
        model=result.folder,
        key=result.out / "development-key.pub",
        report=result.out / "report.json",
        allow_development=True,
    )
    return [part for part in found.parts if not part.ok]


def odd(rows, place=30):
    """Return the rows with a decimal comma in one of them, as a spreadsheet writes it."""
    rows = rows.copy()
    rows[FEATURES[0]] = rows[FEATURES[0]].astype(object)
    rows.loc[rows.index[place], FEATURES[0]] = "12,5"
    return rows


def test_a_word_in_a_column_of_numbers_is_told_by_file_and_row(files, tmp_path):
    files(LogisticRegression())
    arguments = {"label": "income", "id": "person", "model": str(tmp_path / "model.skops")}
    odd(ROWS).to_csv(tmp_path / "odd.csv", index=False)
    clean = {**arguments, "data": str(tmp_path / "rows.csv")}
    wrong = {**arguments, "data": str(tmp_path / "odd.csv")}
    made = Origin("expunge.workflow.tables:problem", "", tuple(wrong.items()), REQUEST)
    with pytest.raises(InvalidProblem, match="text in a column of numbers") as told:
        plan(made.make())
    (found,) = [each for each in told.value.obstacles if "text in" in each.what]
    assert (found.where, found.found) == (
        f"training records, column {FEATURES[0]}, first at position 30",
        f"1 of {len(ROWS)} rows",
    )
    odd(OTHERS, 4).to_csv(tmp_path / "others.csv", index=False)
    wrong = {**clean, "holdout": str(tmp_path / "others.csv")}
    made = Origin("expunge.workflow.tables:problem", "", tuple(wrong.items()), REQUEST)
    with pytest.raises(UsageError, match=rf"others\.csv, column {FEATURES[0]}, first at row 5"):
        made.make()


def test_a_column_names_the_groups_between_which_gaps_are_judged(erase, tmp_path):
    """Of codes with zeros in front, one of them the word for a missing value; some training rows have none."""
    rows, others = people(400), people(400, seed=1)
    rows["ward"] = np.where(np.arange(400) % 7 == 0, "", np.where(np.arange(400) % 2, "01", "NA"))
    others["ward"] = np.where(np.arange(400) % 2, "01", "NA")
    save_object(fitted(RandomForestClassifier(5, random_state=1), rows), tmp_path / "model.skops")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    others.to_csv(tmp_path / "others.csv", index=False)
    path = tmp_path / "job.toml"
    path.write_text(
        """
        [model]
        path = "model.skops"
        [data]
        path = "rows.csv"
        label = "income"
        id = "person"
        group = "ward"
        [holdout]
        path = "others.csv"
        [request]
        ids = ["p0-150"]
        """
    )
    problem, _ = load(path)
    assert problem.groups["p0-001"] == "01"
    assert problem.groups["p1-002"] == "NA"
    assert "p0-007" not in problem.groups
    assert list(problem.records[0][0].frame.columns) == FEATURES
    result = erase("retrain", problem=problem, policy="standard", references=4)
    found = {finding.check: finding for finding in result.report.attempts[-1].audits[-1].findings}
    assert {"worst_group_accuracy", "equalised_odds"} <= found.keys()
    assert len(found["equalised_odds"].result.references) == 4
    path.write_text(path.read_text().replace('"ward"', '"wards"'))
    with pytest.raises(UsageError, match=r"wards(.|\n)*ward"):
        load(path)


def test_a_group_may_be_a_feature_as_well(tmp_path):
    rows = people(40)
    rows["home"] = np.arange(40) % 2
    train = TableRecords(rows, label="income", id="person", features=[*FEATURES, "home"], group="home")
    assert train.groups["p0-001"] == "1"
    assert train.like(people(40, seed=1).assign(home=1)).groups["p1-000"] == "1"
    assert train[1][0].frame["home"].tolist() == [1]


@pytest.mark.parametrize("features", [None, [*FEATURES, "home"]])
def test_a_group_that_is_a_feature_is_read_of_a_csv_file_as_it_is_written(tmp_path, features):
    """What the model reads stays what it was: a number, or a value that is missing."""
    rows = people(40).assign(home=["01", "2"] * 20, ward=["NA", "north"] * 20)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    read = partial(TableRecords, tmp_path / "rows.csv", label="income", id="person", features=features)
    train = read(group="home")
    assert (train.groups["p0-000"], train.groups["p0-001"]) == ("01", "2")
    assert train[0][0].frame["home"].tolist() == [1]
    if features is None:
        train = read(group="ward")
        assert (train.groups["p0-000"], train.groups["p0-001"]) == ("NA", "north")
        assert train[0][0].frame["ward"].isna().all()


def test_a_group_is_the_same_where_a_missing_one_makes_its_column_one_of_fractions(tmp_path):
    rows = people(40).assign(home=[1.0, np.nan, 2.0, 1.0] * 10)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    train = TableRecords(tmp_path / "rows.csv", label="income", id="person", features=FEATURES, group="home")
    assert sorted({*train.groups.values()}) == ["1", "2"]
    assert len(train.groups) == 30


def test_groups_may_be_subjects_and_neither_ids_nor_labels():
    rows = people(40).assign(of=np.arange(40) // 20)
    train = TableRecords(rows, label="income", id="person", subject="of", group="of", features=FEATURES)
    assert (train.groups["p0-001"], train.subjects[1]) == ("0", "0")
    for name, what in (("person", "groups by id"), ("income", "groups by label")):
        with pytest.raises(UsageError, match=what):
            TableRecords(rows, label="income", id="person", features=FEATURES, group=name)


def test_other_columns_than_those_of_the_fit_are_told_with_both_numbers(tmp_path):
    rows = ROWS.assign(ward="north")
    save_object(LogisticRegression().fit(rows[FEATURES].to_numpy(), rows["income"]), tmp_path / "model.skops")
    rows.drop(columns="household").to_csv(tmp_path / "rows.csv", index=False)
    named = {"label": "income", "id": "person", "group": "ward"}
    with pytest.raises(UsageError, match="other columns than the model was fitted on") as told:
        from_files(model=str(tmp_path / "model.skops"), data=str(tmp_path / "rows.csv"), **named)
    (found,) = told.value.obstacles
    assert (found.found, found.expected) == (
        f"{len(FEATURES) + 1}: {', '.join([*FEATURES, 'ward'])}",
        f"{len(FEATURES)}",
    )
    assert "features = [" in found.fix


def test_a_column_of_groups_without_any_is_refused(files, tmp_path):
    files(LogisticRegression(), rows=ROWS.assign(ward=""))
    more = {"label": "income", "id": "person", "group": "ward", "features": FEATURES}
    with pytest.raises(UsageError, match=r"names none(.|\n)*column ward"):
        from_files(model=str(tmp_path / "model.skops"), data=str(tmp_path / "rows.csv"), **more)


def test_words_in_several_columns_of_numbers_are_told_by_the_first(files, tmp_path):
    files(LogisticRegression())
    rows = odd(ROWS)
    rows[FEATURES[1]] = rows[FEATURES[1]].astype(object)
    rows.loc[rows.index[9], FEATURES[1]] = "2,5"
    rows.to_csv(tmp_path / "odd.csv", index=False)
    arguments = {"label": "income", "id": "person", "model": str(tmp_path / "model.skops")}
    arguments["data"] = str(tmp_path / "odd.csv")
    made = Origin("expunge.workflow.tables:problem", "", tuple(arguments.items()), REQUEST)
    with pytest.raises(InvalidProblem) as told:
        plan(made.make())
    (found,) = [each for each in told.value.obstacles if "text in" in each.what]
    assert found.where == f"training records, column {FEATURES[0]}, first at position 30"


def test_without_a_column_of_ids_a_holdout_is_no_copy_of_the_training_records(files, tmp_path):
    """Rows of both files are called by their positions, which are the same numbers."""
    files(LogisticRegression())
    arguments = {"label": "income", "subject": "person", "model": str(tmp_path / "model.skops")}
    arguments |= {"data": str(tmp_path / "rows.csv"), "features": tuple(FEATURES)}
    OTHERS.to_csv(tmp_path / "others.csv", index=False)
    arguments["holdout"] = str(tmp_path / "others.csv")
    made = Origin("expunge.workflow.tables:problem", "", tuple(arguments.items()), Request(ids=("3", "5"))).make()
    assert [each for each in made.check() if each.fatal] == []
    assert (made.forget_ids, made.held_out.ids[0]) == (("3", "5"), "holdout-0")


def test_a_column_is_not_blamed_for_what_is_wrong_elsewhere(files, tmp_path, monkeypatch):
    """Words among numbers may be what the model was fitted with: wards 11, 12 and 4B."""
    files(LogisticRegression())
    odd(ROWS).to_csv(tmp_path / "odd.csv", index=False)
    monkeypatch.setattr(LogisticRegression, "predict_proba", lambda self, x: 1 / 0)
    arguments = {"label": "income", "id": "person", "model": str(tmp_path / "model.skops")}
    made = Origin(
        "expunge.workflow.tables:problem", "", tuple({**arguments, "data": str(tmp_path / "odd.csv")}.items())
    )
    with pytest.raises(InvalidProblem, match="does not fit the task") as told:
        plan(replace(made, request=REQUEST).make())
    assert "text in a column" not in str(told.value)


def test_the_problem_that_files_make(files):
    problem = files(LogisticRegression())
    assert problem.records.classes == ("high", "low")
    assert problem.records.columns.names == tuple(FEATURES)  # as it was fitted, not all that the file has
    assert len(problem.forget_ids) == 37
    assert problem.check() == []


def test_another_process_makes_the_same_problem(files):
    problem = files(RandomForestClassifier(5, random_state=1))
    again = pickle.loads(pickle.dumps(problem))
    assert again is not problem
    assert again.spec == problem.spec


def test_a_model_without_randomness_is_retrained_without_references(files, erase):
    problem = files(make_pipeline(StandardScaler(), LogisticRegression()))
    foreseen = plan(problem)
    assert [option.method for option in foreseen.options if option.planned] == ["retrain"]
    assert foreseen.references == 0
    assert any("one model whatever the seed" in line for line in foreseen.advice)
    result = erase(problem=problem, policy="standard")
    assert (result.claim, result.verdict) == (Level.EXACT, Verdict.INCONCLUSIVE)
    rest = people()[~people().person.isin(problem.forget_ids)]
    truth = make_pipeline(StandardScaler(), LogisticRegression()).fit(rest[FEATURES], rest.income)
    assert (result.model[-1].coef_ == truth[-1].coef_).all()
    evidence = " ".join(result.report.shipped.outcome.evidence)
    assert "seeds make no difference" in evidence
    assert verified(result) == []
    assert "DSR-7" in result.page.read_text()


POLICY = """
name = "forests"
alpha = 0.1
references = 8
choosing_references = 0
[checks.forget_accuracy]
margin = 0.2
reason = "a forest is right on all that it was fitted on"
[checks.loss_membership]
margin = 0.12
reason = "a hundred records judge it"
[checks.retain_accuracy]
margin = 0.05
reason = "as wide"
"""


def test_a_forest_is_judged_against_forests(files, erase, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    asked = {"request": Request(subjects=tuple(f"h0-{n}" for n in range(35)))}
    forest = RandomForestClassifier(20, random_state=1)
    problem = files(forest, rows=people(300), holdout=people(400, seed=1), **asked)
    result = erase("noop", "retrain", problem=problem, policy=tmp_path / "policy.toml")
    control = {finding.check: finding.decision for finding in result.report.control.findings}
    assert control["loss_membership"] is Decision.FAIL  # the original knows what it was fitted on
    first, second = result.report.attempts
    assert first.audits[0].verdict is Verdict.NOT_ERASED  # and so does its copy
    assert (second.method, second.claim, second.audits[0].verdict) == ("retrain", Level.EXACT, Verdict.ERASED)
    assert type(result.model) is RandomForestClassifier
    assert verified(result) == []


def test_the_checks_of_a_network_are_left_out(files, erase):
    settings = {"policy": "standard", "references": 3}
    result = erase("retrain", problem=files(RandomForestClassifier(3, random_state=1)), **settings)
    asked = {finding.check for finding in result.report.control.findings}
    assert {"record_distance", "perturbed_confidence", "neighbour_accuracy"} <= asked
    assert not {"relearning", "representation"} & asked


CONFIGS = {"native": {"verify_by_refit": True}}


def test_a_model_that_can_forget_does(files, erase, monkeypatch):
    monkeypatch.setattr("expunge.models._skops._OURS", "tests.support.estimators.")  # stands for expunge.estimators
    problem = files(Means())
    foreseen = {option.method: option for option in plan(problem).options}
    assert (foreseen["native"].guarantee, foreseen["native"].share) == (Level.BITWISE, pytest.approx(37 / 123))
    assert [name for name, option in foreseen.items() if option.planned] == ["native", "retrain"]
    result = erase("native", problem=problem, policy="standard", configs=CONFIGS)
    assert result.claim is Level.BITWISE
    assert result.report.shipped.method == "native"
    rest = people()[~people().person.isin(problem.forget_ids)]
    assert result.model.fingerprint() == fitted(Means(), rest).fingerprint()
    assert verified(result) == []
    certificate = result.certificate.read_text()
    page = result.page.read_text()
    assert "means are computed anew in the order of ids" in page
    assert "fresh fit" in page
    assert "p0-150" not in page + certificate


def test_methods_of_networks_are_named_in_one_line(files, erase, capsys):
    problem = files(LogisticRegression())
    foreseen = plan(problem)
    assert {"salun", "ssd", "finetune"} <= {option.method for option in foreseen.of_networks}
    assert "retrain" not in {option.method for option in foreseen.of_networks}
    show_plan(foreseen)
    said = " ".join(capsys.readouterr().err.split())
    assert f"{len(foreseen.of_networks)} methods work on networks alone, and this model is none: " in said
    assert said.count("(found: no network)") == 0
    assert plan(problem, methods=("retrain", "salun")).of_networks == (), "it was named"
    page = erase("retrain", problem=problem, policy="standard").page.read_text()
    assert "(found: no network)" not in page


def test_a_finished_run_is_read_again(files, erase):
    problem = files(LogisticRegression())
    first = erase(problem=problem, policy="standard")
    assert erase(problem=pickle.loads(pickle.dumps(problem)), policy="standard").certificate == first.certificate


def test_a_finished_run_does_not_pass_over_other_settings(files, erase, monkeypatch):
    monkeypatch.setattr("expunge.models._skops._OURS", "tests.support.estimators.")  # stands for expunge.estimators
    problem = files(Means())
    assert erase("native", problem=problem, policy="standard").certificate
    other = {"native": {"verify_by_refit": True}}
    with pytest.raises(ForeignRun, match=r"found: methods\.native\.verify_by_refit = False"):
        erase("native", problem=problem, policy="standard", configs=other)


def test_classes_are_those_of_the_model(files, tmp_path):
    files(LogisticRegression(), holdout=people(30, seed=1).query("income == 'low'"))
    arguments = {"model": str(tmp_path / "model.skops"), "label": "income", "id": "person"}
    assert from_files(data=str(tmp_path / "others.parquet"), **arguments).records.classes == ("high", "low")
    people(8).assign(income="none").to_csv(tmp_path / "odd.csv")
    with pytest.raises(UsageError, match="no class of the model"):
        from_files(data=str(tmp_path / "odd.csv"), **arguments)


def test_what_is_fitted_beforehand_is_refused(files):
    from sklearn.frozen import FrozenEstimator

    inner = LogisticRegression().fit(people()[FEATURES], people().income)
    with pytest.raises(Refused, match="fitted beforehand"):
        files(make_pipeline(StandardScaler(), FrozenEstimator(inner)))


WAGES = {
    "forest": lambda: ForgettingForestRegressor(10, trees_per_row=5, random_state=1),
    "ridge": ForgettingRidge,
    "neighbours": ForgettingKNeighborsRegressor,
    "shards": lambda: ShardedRegressor(DecisionTreeRegressor(max_depth=3), n_shards=3, random_state=1),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", WAGES)
def test_a_regressor_that_can_forget_does(kind, whole, tmp_path, erase):
    rows, others = people(120), people(60, seed=1)
    if whole:  # a file of whole numbers, which the model was given as such
        rows, others = (frame.assign(hours=frame.hours.round().astype(int)) for frame in (rows, others))
    model = WAGES[kind]().fit(rows[["age"]], rows.hours, sample_ids=rows.person.tolist())
    save_object(model, tmp_path / "model.skops")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    others.to_csv(tmp_path / "others.csv", index=False)
    problem = from_files(
        model=str(tmp_path / "model.skops"),
        data=str(tmp_path / "rows.csv"),
        label="hours",
        id="person",
        holdout=str(tmp_path / "others.csv"),
    )
    gone = rows.person[:20].tolist()
    problem = replace(problem, forget=gone)
    assert problem.task == "regression"
    assert problem.check() == []
    result = erase("native", problem=problem, policy="standard", configs=CONFIGS, references=0)
    assert result.claim is Level.BITWISE
    rest = rows[~rows.person.isin(gone)]
    fresh = WAGES[kind]().fit(rest[["age"]], rest.hours, sample_ids=rest.person.tolist())
    assert result.model.fingerprint() == fresh.fingerprint()
    assert verified(result) == []


def test_a_regressor_is_judged_by_the_suite_of_classifiers(tmp_path, erase):
    """One that fits its rows exactly is told from retrained ones; a retrained one comes out erased."""
    rows, others = people(400), people(400, seed=1)
    draw = np.random.default_rng(0)
    rows, others = (
        frame.assign(wage=frame.age + frame.hours + draw.normal(0, 9, len(frame))) for frame in (rows, others)
    )
    model = ExtraTreesRegressor(20, random_state=1).fit(rows[FEATURES], rows.wage)  # right on every row of its own
    records = TableRecords(rows, label="wage", id="person", features=FEATURES, numbers=True)
    problem = Problem(
        model=model,
        task="regression",
        train=records,
        holdout=records.like(others),
        trainer=Refit(model),
        forget=rows.person[:150].tolist(),
    )
    (tmp_path / "policy.toml").write_text(POLICY)
    result = erase("noop", "retrain", problem=problem, policy=tmp_path / "policy.toml")
    first, second = result.report.attempts
    assert first.audits[0].verdict is Verdict.NOT_ERASED
    assert (second.method, second.claim, second.audits[0].verdict) == ("retrain", Level.EXACT, Verdict.ERASED)
    assert "Typical error of an answer" in result.page.read_text()


def test_a_file_older_than_the_model_is_refused_and_teaches_it_nothing_again(files, erase, monkeypatch, tmp_path):
    """The second request, on what the first one left, with rows in the file that the model has forgotten."""
    monkeypatch.setattr("expunge.models._skops._OURS", "tests.support.estimators.")  # stands for expunge.estimators
    first = erase("native", problem=files(Means()), policy="standard")
    left = first.folder / "estimator.skops"
    again = files(Means(), request=Request(ids=("p0-151",)))
    (tmp_path / "model.skops").write_bytes(left.read_bytes())
    gone = len(people()) - len(first.problem.retain_view)
    for how in (partial(erase, problem=again.origin.make()), lambda: plan(again.origin.make())):
        with pytest.raises(InvalidProblem, match=f"{gone} of {len(people())} records not held"):
            how()
    rest = people()[~people().person.isin(first.problem.forget_ids)]
    rest.to_csv(tmp_path / "rows.csv", index=False)
    second = erase("native", problem=again.origin.make(), policy="standard", out=tmp_path / "second")
    assert second.model.fingerprint() == fitted(Means(), rest[rest.person != "p0-151"]).fingerprint()


def test_true_labels_may_be_of_any_kind_that_a_column_has(tmp_path):
    rows = people()
    for names, true in (({"low": False, "high": True}, True), ({"low": 1.5, "high": 2.0}, 2.0)):
        records = TableRecords(rows.assign(income=rows.income.map(names)), label="income", id="person")
        asked = build(Request, {"ids": ["p0-003"], "corrections": {"p0-003": true}}, where="[request]")
        problem = Problem(model=LogisticRegression(), train=records, request=asked)
        assert problem.truth == {"p0-003": 1}


@pytest.mark.parametrize("of", ["numbers", "words"])
def test_true_labels_of_a_table_are_those_of_its_column(tmp_path, of):
    """Classes 1 and 2 are numbered 0 and 1 inside: nobody outside is asked for that number."""
    names = {"low": 1, "high": 2} if of == "numbers" else {"low": "low", "high": "high"}
    rows = people().assign(income=people().income.map(names))
    records = TableRecords(rows, label="income", id="person", features=["age"])
    model = LogisticRegression().fit(rows[["age"]], rows.income)
    name, given = rows.person[3], rows.income.tolist()[3]
    true = next(each for each in names.values() if each != given)
    of_labels = Problem(model=model, train=records, request=Request(ids=(name,), corrections={name: true}))
    assert of_labels.truth == {name: records.classes.index(true)}
    assert not [each for each in of_labels.validate() if each.fatal]
    assert unchanged(of_labels) is None
    same = replace(of_labels, request=Request(ids=(name,), corrections={name: given}))
    assert unchanged(same).found == "1 of 1"
    for strange in (7, "none"):
        wrong = replace(of_labels, request=Request(ids=(name,), corrections={name: strange}))
        assert [each.what for each in wrong.validate() if each.fatal] == [
            "true labels that are no class of the records"
        ]


def test_true_labels_are_of_classes(tmp_path):
    rows = people(60)
    records = TableRecords(rows, label="hours", id="person", features=["age"], numbers=True)
    model = DecisionTreeRegressor().fit(rows[["age"]], rows.hours)
    request = Request(ids=("p0-001",), corrections={"p0-001": 1})
    found = Problem(model=model, task="regression", train=records, request=request).validate()
    assert [each.what for each in found if each.fatal] == ["true labels are given where there are no classes"]
