"""The whole way with `auto`, on the tiny problem."""

import html
import json
from types import SimpleNamespace

import pytest

import expunge
from expunge.certify._summary import line
from expunge.core.digest import sha256
from expunge.core.errors import InvalidProblem, UsageError
from expunge.core.serial import canonical
from expunge.engine.progress import Progress
from expunge.plan import auto as choosing
from expunge.plan.objective import Look, Objective
from expunge.plan.tune import Study
from expunge.workflow import attempt, choose, judge, plan
from expunge.workflow.planning import plan_of, policy_of
from expunge.workflow.settings import Settings
from expunge.workflow.tuning import course
from tests.support import languages as L
from tests.support import running
from tests.support.tiny import tiny_problem as tiny

BUDGET = 4.0
START = {"finetune": {"epochs": 20, "batch_size": 16}}
"""Only the rate of fine-tuning is searched: a rate that is right passes the audit."""


def narrow(patch):
    """Tune two methods with four trials each, from their own settings, whatever else there is."""
    names, run = choosing.registry.names, Study.run
    known = ("finetune", "neg_grad_plus", "noop", "retrain")
    patch.setattr(choosing.registry, "names", lambda room: known if room == "methods" else names(room))
    patch.setattr(choosing.recipes, "shipped", tuple)
    patch.setattr(Study, "run", lambda self, budget, trials=4: run(self, budget, trials=min(4, trials)))


@pytest.fixture(autouse=True)
def two(monkeypatch):
    narrow(monkeypatch)


def events(result, kind):
    lines = (result.out / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def problem():
    truth = tiny.tables()[4]
    wrong = {f"zebra-{i:03d}": int(truth[i]) for i in range(tiny.WRONG)}
    return tiny.make(request=expunge.Request(subjects=("okapi-0",), reference="TINY-1", corrections=wrong))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """One run with `auto`, for all that looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.engine.runtime._pickled", lambda of: None)
        narrow(patch)
        out = tmp_path_factory.mktemp("auto") / "run"
        policy = running.TINY / "policy.toml"
        return expunge.erase(problem(), out=out, policy=policy, methods=("auto",), budget=BUDGET, configs=START)


def test_without_a_method_texts_are_forgotten_by_their_recipe(monkeypatch):
    monkeypatch.undo()
    asked, settings = L.spoken(trainer=L.TRAINER), Settings(references=3)
    policy = policy_of(asked, settings)
    planned = plan_of(asked, settings, policy, passes=L.TRAINER.passes)
    assert planned.order == ("wga", "retrain")
    assert planned.choosing_references == 0, "its settings need none"
    (name, config, said), (last, none, _) = course(SimpleNamespace(problem=asked), settings, planned, [], blind=False)
    assert (name, last, none) == ("wga", "retrain", None)
    assert config == choosing.spoken_for(asked, {}).base
    assert "recipe for texts" in said


def test_what_tuning_found_is_tried_and_said(tuned):
    report = tuned.report
    assert {one.method for one in report.tuned} == {"finetune", "neg_grad_plus"}
    assert all(1 <= one.trials <= 4 for one in report.tuned)
    first = report.attempts[0]
    best = min((one for one in report.tuned if one.best is not None), key=lambda one: one.value)
    assert (first.method, first.config) == (best.method, best.config)
    assert first.tuned == best.sentence
    assert "found without a retrained model" in first.tuned
    assert best.value < best.original, "nearer than the original"


def test_search_and_attempts_together_stay_within_the_budget(tuned, erase, monkeypatch):
    report = tuned.report
    spent = sum(one.share for one in report.tuned)
    assert len(report.attempts) == 2, "the first did not erase, and both fit"
    assert spent + sum(one.share for one in report.attempts) <= BUDGET
    monkeypatch.setattr("expunge.workflow.tuning._share", lambda stages, one: 0.6 * (BUDGET - spent))
    said = []
    watcher = type("Watcher", (Progress,), {"say": lambda self, text: said.append(text)})()
    again = erase("auto", problem=problem(), budget=BUDGET, configs=START, progress=watcher).report
    assert [each for each in said if "not tried" in each], "also to whoever watches: the plan had named it"
    assert [one.method for one in again.attempts] == [report.attempts[0].method]
    assert any(f"{report.attempts[1].method} was tuned and not tried: one run of it" in each for each in again.notes)


def test_what_a_run_costs_is_told_of_the_whole_holdout(erase, monkeypatch):
    """A trial sees a third of it: told by that, what is found would cost more than it may."""
    told, run = [], Study.run
    monkeypatch.setattr(Study, "run", lambda self, budget, trials: told.append(self) or run(self, 0.0))
    erase("auto", problem=problem(), budget=BUDGET, configs=START, escalate=False)
    assert [study.problem.held_out.ids for study in told] == [problem().held_out.ids] * 4, "a first trial, and all"
    shown = told[0].context(1, "").problem
    assert 0 < len(shown.held_out) < len(problem().held_out)


def test_the_cost_of_tuning_is_part_of_the_whole(tuned):
    report = tuned.report
    lines = {line.what: line.share for line in report.costs}
    tuning = [share for what, share in lines.items() if what.startswith("tuning: ")]
    assert tuning == pytest.approx([one.share for one in report.tuned])
    assert 0 < sum(tuning) <= report.plan.tuning == BUDGET / 2
    assert report.total == pytest.approx(sum(lines.values()))
    assert report.plan.whole > report.plan.tuning


def test_nothing_was_retrained_to_choose_by(tuned):
    assert not [line for line in tuned.report.costs if "references for choosing" in line.what]
    assert tuned.report.plan.choosing_references == 0


def test_page_and_certificate_say_how_the_settings_were_found(tuned):
    first = tuned.report.attempts[0]
    page = html.unescape(tuned.page.read_text())
    assert "<h3>Tuning</h3>" in page
    assert first.tuned[1:] in page
    assert line(first, shipped=first).endswith(f"shipped; {first.tuned}")
    assert [secret for secret in tiny.SECRETS if secret in page] == []


def test_the_same_command_again_reads_what_was_found(tuned):
    started = len(events(tuned, "started"))
    policy = running.TINY / "policy.toml"
    again = expunge.erase(problem(), out=tuned.out, policy=policy, methods=("auto",), budget=BUDGET, configs=START)
    assert again.report == tuned.report
    assert len(events(again, "started")) == started


def test_others_are_glanced_at_and_tuned_where_they_do_better_at_once(erase, tmp_path, monkeypatch):
    names = choosing.registry.names
    known = ("finetune", "gradient_ascent", "neg_grad_plus", "noop", "random_label", "retrain")
    monkeypatch.setattr(choosing.registry, "names", lambda room: known if room == "methods" else names(room))
    monkeypatch.setattr(choosing, "MOST", 2)
    chosen = [each.method for each in choosing.candidates(problem(), START)]
    rest = [each.method for each in choosing.others(problem(), START, choosing.candidates(problem(), START))]
    assert len(chosen) == len(rest) == 2

    def found(better):
        with monkeypatch.context() as patch:
            patch.setattr("expunge.workflow.tuning.ahead", lambda first, glanced: glanced[:1] if better else [])
            given = {"problem": problem(), "budget": BUDGET, "configs": START, "escalate": False}
            report = erase("auto", out=tmp_path / f"run-{better}", **given).report
        return {one.method: one.trials for one in report.tuned}, report

    plain, report = found(False)
    said = f"up to 2 further methods with one trial each ({', '.join(rest)})"
    assert any(said in each for each in report.plan.advice)
    assert [plain[name] for name in rest] == [1, 1]
    assert all(plain[name] > 1 for name in chosen)
    glances = sum(one.share for one in report.tuned if one.method in rest)
    assert glances <= choosing.GLANCES * report.plan.tuning
    other, _ = found(True)
    assert other[rest[0]] > 1, "it is tuned"
    assert other[chosen[0]] > 1
    assert other[chosen[1]] == 1, "in the place of the last"
    assert set(other) == {*chosen, *rest}


def test_one_that_is_tuned_in_the_place_of_another_may_break_as_well(erase, monkeypatch):
    names = choosing.registry.names
    known = ("finetune", "neg_grad_plus", "noop", "retrain")
    monkeypatch.setattr(choosing.registry, "names", lambda room: known if room == "methods" else names(room))
    monkeypatch.setattr(choosing, "MOST", 1)
    monkeypatch.setattr("expunge.workflow.tuning.ahead", lambda first, glanced: glanced)
    (other,) = choosing.others(problem(), START, choosing.candidates(problem(), START))
    kind = choosing.registry.load("methods", other.method)
    whole, calls = kind.unlearn, []

    def once(self, problem, run):
        calls.append(1)
        return whole(self, problem, run) if len(calls) == 1 else [][0]

    monkeypatch.setattr(kind, "unlearn", once)
    report = erase("auto", problem=problem(), budget=BUDGET, configs=START).report
    trials = {one.method: (one.trials, one.failed) for one in report.tuned}
    assert trials[other.method][0] == trials[other.method][1] + 1 > 2, "all but the first"
    stopped = {attempt.method: attempt.outcome.stopped for attempt in report.attempts}
    assert stopped[other.method] == "failed: IndexError in the method", "nor does the run that is judged"


def test_an_other_method_that_breaks_stops_nothing(erase, monkeypatch):
    names = choosing.registry.names
    known = ("finetune", "neg_grad_plus", "noop", "retrain")
    monkeypatch.setattr(choosing.registry, "names", lambda room: known if room == "methods" else names(room))
    monkeypatch.setattr(choosing, "MOST", 1)
    chosen = choosing.candidates(problem(), START)
    (other,) = choosing.others(problem(), START, chosen)
    kind = choosing.registry.load("methods", other.method)
    monkeypatch.setattr(kind, "unlearn", lambda self, problem, run: [][0])
    report = erase("auto", problem=problem(), budget=BUDGET, configs=START, escalate=False).report
    trials = {one.method: (one.trials, one.failed, one.best) for one in report.tuned}
    assert trials[other.method] == (1, 1, None)
    assert report.attempts[0].method == chosen[0].method


def test_a_killed_tuning_goes_on_with_the_next_trial(tuned, erase, monkeypatch):
    whole, made = Study._trial, []

    def until_the_third(self, number, config, asked):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(number)
        return whole(self, number, config, asked)

    given = {"problem": problem(), "budget": BUDGET, "configs": START, "escalate": False}
    with monkeypatch.context() as patch:
        patch.setattr(Study, "_trial", until_the_third)
        with pytest.raises(KeyboardInterrupt):
            erase("auto", **given)
    result = erase("auto", **given)
    stages = [e["stage"] for e in events(result, "finished") if e["stage"].startswith("tuning-")]
    assert len(stages) == len(set(stages)) == sum(one.trials for one in result.report.tuned) + 4
    assert result.report.tuned == tuned.report.tuned, "as if it had not been killed"
    searched = {one.method: one.searched for one in result.report.tuned}
    assert searched == {"finetune": ("lr",), "neg_grad_plus": ("epochs", "lr", "alpha")}, (
        "what is given is not searched"
    )


def trials(out):
    lines = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return [e["stage"] for e in lines if e["event"] == "finished" and e["stage"].startswith("tuning-")]


def test_a_floor_is_kept_and_another_one_makes_its_own_trials(tmp_path, monkeypatch):
    """Under a floor that nothing reaches nothing is chosen; the same directory then takes another one."""
    floors, made = [], Objective.__init__
    monkeypatch.setattr(
        Objective, "__init__", lambda self, *args, floor=None: floors.append(floor) or made(self, *args, floor=floor)
    )
    monkeypatch.setattr(Look, "below", lambda self, floor: floor if floor == 1.0 else 0.0)
    given = {"out": tmp_path / "run", "policy": running.TINY / "policy.toml", "methods": ("auto",), "configs": START}
    with pytest.raises(InvalidProblem, match="tuning found nothing to try") as caught:
        choose(problem(), **given, budget=BUDGET, floor=1.0)
    (obstacle,) = caught.value.obstacles
    assert "a floor of 100.0%" in obstacle.found
    assert "lower the floor" in obstacle.fix
    first = trials(tmp_path / "run")
    chosen = choose(problem(), **given, budget=BUDGET, floor=0.05)
    assert set(floors) == {1.0, 0.05}
    second = [name for name in trials(tmp_path / "run") if name not in first]
    assert len(second) >= len(first) > 4, "none of the first is taken for one of these"
    assert choose(problem(), **given, budget=BUDGET, floor=0.05) == chosen
    assert len(trials(tmp_path / "run")) == len(first) + len(second), "asked again, none is made anew"
    choose(problem(), **given, budget=BUDGET, floor=0.04)
    for floor in (0.05, 0.04):
        attempt(problem(), **given, budget=BUDGET, floor=floor)
        report = judge(problem(), **given, budget=BUDGET, floor=floor).report
        assert {one.asked for one in report.tuned} == {one.floor for one in report.tuned} == {floor}
        assert report.attempts[-1].config in [one.config for one in report.tuned]


def test_a_method_whose_every_trial_falls_below_the_floor_is_told(erase, monkeypatch):
    monkeypatch.setattr(Look, "below", lambda self, floor: 1.0)
    result = erase("auto", problem=problem(), budget=BUDGET, configs=START, floor=0.999)
    assert (result.report.attempts, result.judged) == ((), False)
    told = [each for each in result.report.notes if "was tuned and not tried: of" in each]
    assert len(told) == len(result.report.tuned) == 2
    assert all("answered less than 99.9% of held-out records rightly" in each for each in told)


def test_without_a_floor_trials_are_called_as_they_were(tuned):
    """So that a run which was begun before floors could be asked for goes on."""
    (candidate, _) = choosing.candidates(problem(), START)
    name = f"tuning-{candidate.method}-{sha256(canonical(candidate))[:8]}-1"
    assert name in trials(tuned.out)


def test_the_plan_says_that_a_floor_holds_nothing_where_nothing_is_tuned():
    policy = running.TINY / "policy.toml"
    alone = plan(problem(), methods=("finetune",), policy=policy, floor=0.9)
    assert any("The floor of 90.0% is one of tuning" in said for said in alone.advice)
    tuned = plan(problem(), methods=("auto",), policy=policy, floor=0.9)
    assert not any("floor" in said for said in tuned.advice)
    assert tuned.floor == 0.9


def test_the_plan_says_what_is_tuned_and_for_how_much(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = plan(problem(), methods=("auto", "retrain"), policy=running.TINY / "policy.toml", budget=0.4, tuning=0.75)
    assert found.order == ("finetune", "neg_grad_plus", "retrain")
    assert [option.tuned for option in found.options] == [True, True, False]
    assert found.tuning == pytest.approx(0.3)
    assert found.choosing_references == 2, "retrain was named as well"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("lack", "words"), [("trainer", "share of one retraining"), ("holdout", "nothing to tune by")])
def test_what_cannot_be_tuned_is_refused_before_any_work(erase, tmp_path, lack, words):
    of = tiny.make(**{lack: None})
    with pytest.raises(InvalidProblem, match=words):
        erase("auto", problem=of)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InvalidProblem, match=words):
        plan(of, methods=("auto",), policy=running.TINY / "policy.toml")


def test_a_share_of_the_budget_is_a_share(erase):
    for wrong in (-0.1, 1.5, "half"):
        with pytest.raises(UsageError, match="tuning"):
            erase("auto", problem=problem(), tuning=wrong)
