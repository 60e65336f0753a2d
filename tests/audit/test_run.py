import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from expunge.audit import annex
from expunge.audit.judge import judge_all
from expunge.audit.policy import Margin, Policy, load
from expunge.audit.run import CONSTANT, AuditRequest, _worded, corrections, reopen, run_audit
from expunge.core.chart import Chart, Role, Series
from expunge.core.check import Direction, Interval, Measurement, NotMeasured
from expunge.core.errors import RunFailed, Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.core.trigger import Triggered
from expunge.core.verdict import Decision
from expunge.data.canaries import plant
from expunge.engine import prompting, written
from expunge.engine.available import available
from expunge.engine.parts import Parts
from expunge.engine.relearning import RelearningConfig
from expunge.engine.runs import RunDirectory
from expunge.engine.split import split
from expunge.numerics import membership
from tests.support import languages, toys

NAMES = ("forget_accuracy", "loss_membership", "retain_accuracy", "relearning", "restored_labels")
POLICY = Policy(
    name="toy",
    checks={
        name: Margin(margin=0.3, reason="because", when="corrections" if name == "restored_labels" else "always")
        for name in NAMES
    },
    relearning=RelearningConfig(epochs=2, batch_size=8),
)


def wrong_labels(**more):
    """A problem whose forget set was labelled wrongly."""
    train = toys.records(90)
    truth = {name: int(train.y[i]) for i, name in enumerate(train.ids[:18])}
    train.y[:18] = (train.y[:18] + 1) % toys.CLASSES
    request = Request(corrections={name: truth[name] for name in train.ids[:15]})
    return toys.problem(train=train, forget=18, holdout=40, request=request, **more)


@pytest.fixture
def given(tmp_path):
    """A problem, and a request to audit a true retrain of it."""
    problem = wrong_labels()
    run = RunDirectory(tmp_path / "run", {"job": 1})

    def save(name, model):
        source = problem.source
        return run.save(name, source.digest(model), lambda folder: source.save(model, folder))

    retrained = [save(f"retrained-{k}", toys.TRAINER(problem.retain_view, seed=k)) for k in range(5)]
    request = AuditRequest(
        folder=str(run.folder),
        candidate=retrained[4],
        original=save("original", toys.TRAINER(problem.records, seed=9)),
        references=tuple(retrained[:4]),
        policy=POLICY,
        have=available(problem),
        alpha=0.05,
        seed=1,
        subject="attempt 1",
    )
    run.secret(annex.SECRET)
    run.close()
    return problem, request


def test_findings_stand_in_the_order_of_the_policy(given):
    findings, cost = run_audit(*given)
    assert [found.check for found in findings] == list(NAMES)
    assert all(found.decision is not Decision.NOT_MEASURED for found in findings)
    assert all(len(found.result.references) == 4 for found in findings)
    problem, _ = given
    parts = Parts.of(problem, split(problem, 1)[1], 1)
    read = sum(len(view) for _, view in parts.items())
    assert cost == Cost(trained=6 * 2 * 12, read=6 * (read + 2 * 12))


@pytest.mark.parametrize("relearning", [True, False])
def test_an_audit_that_runs_out_of_memory_says_what_holds_most(given, monkeypatch, relearning):
    def exhausted(*said):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4194304 bytes.")

    problem, request = given
    if not relearning:
        checks = {name: margin for name, margin in POLICY.checks.items() if name != "relearning"}
        request = replace(request, policy=replace(POLICY, checks=checks))
    monkeypatch.setattr(type(problem.meaning), "units", exhausted)
    with pytest.raises(RunFailed, match="memory does not suffice") as told:
        run_audit(problem, request)
    obstacle = told.value.obstacles[0]
    assert obstacle.where == "audit of attempt 1"
    assert obstacle.found.startswith("0.0039 GiB asked for; ")
    assert ("a policy without relearning saves" in obstacle.fix) is relearning
    monkeypatch.setattr(type(problem.meaning), "units", lambda *said: [][0])
    with pytest.raises(IndexError):
        run_audit(problem, request)


def test_numbers_are_those_of_the_models(given):
    problem, request = given
    findings = {found.check: found.result for found in run_audit(problem, request)[0]}
    judging = split(problem, request.seed)[1].forget
    inputs, labels = judging.read(range(len(judging)))
    truth = corrections(problem, Parts.of(problem, split(problem, 1)[1], 1))

    def share(artefact, wanted, rows=slice(None)):
        model = reopen(problem, request.folder, artefact)
        with torch.no_grad():
            return float((model(inputs).argmax(1).numpy()[rows] == np.asarray(wanted)[rows]).mean())

    assert findings["forget_accuracy"].value == pytest.approx(share(request.candidate, labels))
    assert findings["forget_accuracy"].original == pytest.approx(share(request.original, labels))
    assert findings["forget_accuracy"].references == pytest.approx([share(r, labels) for r in request.references])
    assert findings["restored_labels"].value == pytest.approx(share(request.candidate, truth, truth >= 0))
    assert findings["forget_accuracy"].n == 12


def test_holdout_records_of_one_subject_count_together(given):
    problem, request = given
    alone = {found.check: found.result.record_error for found in run_audit(problem, request)[0]}
    problem.held_out.subjects = tuple(f"subject {i // 10}" for i in range(len(problem.held_out)))
    together = {found.check: found.result.record_error for found in run_audit(problem, request)[0]}
    assert together["loss_membership"] > 2 * alone["loss_membership"]
    del alone["loss_membership"], together["loss_membership"]
    assert together == alone, "no other check of this policy looks at the holdout"


def test_a_backdoor_is_measured_on_triggered_records_alone(given):
    problem, request = given
    marked = toys.records(50, prefix="t", seed=8)
    problem.triggered = Triggered(records=marked, target=1)
    policy = Policy(name="toy", checks={"attack_success": Margin(margin=0.3, reason="because", when="trigger")})
    (found,), cost = run_audit(problem, replace(request, policy=policy, have=available(problem)))
    inputs, labels = marked.read(range(50))
    others = labels != 1
    for artefact, value in (
        (request.candidate, found.result.value),
        (request.original, found.result.original),
        (request.references[2], found.result.references[2]),
    ):
        with torch.no_grad():
            answers = reopen(problem, request.folder, artefact)(inputs).argmax(1)
        assert value == pytest.approx(float((answers[others] == 1).double().mean()))
    assert found.result.n == int(others.sum())
    assert cost.read >= 6 * 50


def test_corrections_follow_the_judged_records(given):
    problem, _ = given
    parts = Parts.of(problem, split(problem, 1)[1], 1)
    truth = corrections(problem, parts)
    known = problem.request.corrections
    assert truth.tolist() == [known.get(name, -1) for name in parts.forget.ids]
    assert -1 in truth
    assert corrections(toys.problem(), parts) is None


def test_without_corrections_the_check_for_them_is_not_in_the_suite(given):
    problem, request = given
    problem.request = Request()
    without = replace(request, have=available(problem))
    assert [found.check for found in run_audit(problem, without)[0]] == list(NAMES[:-1])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_references_measure_nothing(given, count):
    problem, request = given
    findings, cost = run_audit(problem, replace(request, references=request.references[:count]))
    assert cost == Cost()
    assert len(findings) == len(NAMES)
    for found in findings:
        assert found.decision is Decision.NOT_MEASURED
        assert isinstance(found.result, NotMeasured)
        assert found.result.because == f"needs 3 retrained references or more, there are {count}"


def test_no_choosing_record_is_looked_at(given):
    problem, request = given
    choosing, _ = split(problem, request.seed)
    problem.records.seen.clear()
    problem.held_out.seen.clear()
    run_audit(problem, request)
    assert not set(choosing.forget.ids) & set(problem.records.seen)
    assert not set(choosing.holdout.ids) & set(problem.held_out.seen)


def test_every_judged_record_and_no_other_has_its_row_in_the_annex(given):
    problem, request = given
    run_audit(problem, request)
    run_audit(problem, replace(request, subject="attempt 2"))
    parts = Parts.of(problem, split(problem, request.seed)[1], request.seed)
    found = annex.find(Path(request.folder), problem.forget_ids)
    assert {name for name, rows in found.items() if rows} == set(parts.forget.ids) < set(problem.forget_ids)
    truth = corrections(problem, parts)
    for name, known in zip(parts.forget.ids, truth >= 0, strict=True):
        assert [row["model"] for row in found[name]] == ["attempt 1", "attempt 2"]
        assert all((row["restored"] != "") == known for row in found[name])


def test_a_second_audit_asks_no_model_twice(given):
    problem, request = given
    first, _ = run_audit(problem, request)
    again, cost = run_audit(problem, request)
    assert (again, cost) == (first, Cost())
    other, some = run_audit(problem, replace(request, candidate=request.original, policy=POLICY))
    assert some == Cost()
    assert other[0].result.value == first[0].result.original


def change(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("which", ["candidate", "original", "reference"])
@pytest.mark.parametrize("known", [False, True], ids=["first audit", "outputs known"])
def test_a_model_that_is_not_what_was_saved_is_not_judged(given, which, known):
    problem, request = given
    if known:
        run_audit(problem, request)
    artefact = request.references[1] if which == "reference" else getattr(request, which)
    change(path_of(request, artefact) / "model.safetensors")
    with pytest.raises(Tampered, match=artefact.path):
        run_audit(problem, request)


def path_of(request, artefact):
    return Path(request.folder) / artefact.path


def test_a_candidate_equal_to_the_original_is_looked_at_all_the_same(given):
    problem, request = given
    copy = path_of(request, request.original).with_name("attempt-1")
    shutil.copytree(path_of(request, request.original), copy)
    candidate = replace(request.original, path="artefacts/attempt-1")
    run_audit(problem, replace(request, candidate=candidate))
    change(copy / "architecture.json")
    with pytest.raises(Tampered, match="attempt-1"):
        run_audit(problem, replace(request, candidate=candidate))


def test_files_that_are_added_or_gone_are_noticed(given):
    problem, request = given
    folder = path_of(request, request.candidate)
    (folder / "extra.bin").write_bytes(b"1")
    with pytest.raises(Tampered):
        reopen(problem, request.folder, request.candidate)
    (folder / "extra.bin").unlink()
    reopen(problem, request.folder, request.candidate)
    (folder / "model.safetensors").unlink()
    with pytest.raises(Tampered):
        reopen(problem, request.folder, request.candidate)


def test_a_record_with_the_digest_of_another_model_is_noticed(given):
    problem, request = given
    with pytest.raises(Tampered):
        reopen(problem, request.folder, replace(request.candidate, model=request.original.model))


def test_a_constant_candidate_is_never_called_erased(given):
    """It passes the one check that is asked, as every model does with this margin: nothing is measured of it."""
    problem, request = given
    lax = replace(POLICY, checks={"forget_accuracy": Margin(margin=3.0, reason="because")})
    (passed,), _ = run_audit(problem, replace(request, policy=lax))
    assert passed.decision is Decision.PASS
    constant = reopen(problem, request.folder, request.candidate)
    with torch.no_grad():
        constant[2].weight.zero_()
    run = RunDirectory(Path(request.folder), {"job": 1})
    saved = run.save("constant", problem.source.digest(constant), lambda to: problem.source.save(constant, to))
    run.close()
    (found,), _ = run_audit(problem, replace(request, policy=lax, candidate=saved, subject="attempt 2"))
    assert found.decision is Decision.NOT_MEASURED
    assert found.result.because == CONSTANT
    # One that fails is called so, constant or not: it is told from retrained models by what it lost.
    strict = replace(POLICY, checks={"retain_accuracy": Margin(margin=0.01, reason="because")})
    (failed,), _ = run_audit(problem, replace(request, policy=strict, candidate=saved, subject="attempt 3"))
    assert failed.decision is not Decision.NOT_MEASURED


def test_what_held_out_records_cannot_say_is_not_measured(given):
    """A policy of one's own asks for it always; the request calls labels wrong."""
    problem, request = given
    asks = replace(POLICY, checks={"holdout_calibration": Margin(margin=0.2, reason="because")})
    (found,), _ = run_audit(problem, replace(request, policy=asks))
    assert isinstance(found.result, NotMeasured)
    assert "wrong" in found.result.because


def test_the_audit_knows_no_method(given, tmp_path):
    # The registry imports by name, so a static look at imports cannot show this.
    code = """
import pickle, sys


class Wall:
    def find_spec(self, name, path=None, target=None):
        if name == "expunge.methods" or name.startswith("expunge.methods."):
            raise ImportError("the audit looked at a method")


sys.meta_path.insert(0, Wall())
problem, request = pickle.load(open(sys.argv[1], "rb"))
from expunge.audit import policy
from expunge.audit.run import run_audit
from dataclasses import replace
assert policy.load("standard").checks
findings, _ = run_audit(problem, request)
print(*[found.decision.name for found in findings])
assert not [name for name in sys.modules if name.startswith("expunge.methods")]
try:
    import expunge.methods
except ImportError as error:
    print(error)
"""
    problem, request = given
    here, _ = run_audit(problem, request)
    place = tmp_path / "given.pickle"
    place.write_bytes(pickle.dumps((problem, request)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)],
        env={**os.environ, "PYTHONPATH": str(toys.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    decisions, wall = done.stdout.splitlines()
    assert decisions.split() == [found.decision.name for found in here]
    assert wall == "the audit looked at a method"


@pytest.fixture
def canaries(tmp_path):
    """A problem with canaries, and a function that audits a model of it by the quick policy without references."""
    _, planted = plant(toys.records(240), count=120, secret=bytes(range(32)))
    problem = toys.problem(train=planted.train, forget=3, holdout=90, canaries=planted)
    run = RunDirectory(tmp_path / "run", {"job": 2})
    source = problem.source

    def save(name, model):
        return run.save(name, source.digest(model), lambda folder: source.save(model, folder))

    before = toys.network(seed=3)
    original = save("original", before)
    run.close()

    def audit(name, model):
        asked = AuditRequest(
            folder=str(run.folder),
            candidate=save(name, model),
            original=original,
            references=(),
            policy=load("quick"),
            have=available(problem),
            alpha=0.025,
            seed=1,
            subject="attempt 1",
        )
        return run_audit(problem, asked)

    return problem, audit


def test_without_references_what_needs_none_is_measured(canaries):
    problem, audit = canaries
    model = toys.network(seed=4)
    (gone, kept), cost = audit("theirs", model)
    (inside, labels), (outside, others) = (
        view.read(range(len(view)))
        for view in (problem.records.select(problem.canaries.included), problem.canaries.aside)
    )
    with torch.no_grad():
        scores = [
            membership.confidence(model(x).double().numpy(), y.numpy())
            for x, y in ((inside, labels), (outside, others))
        ]
    assert gone.result.value == pytest.approx(
        roc_auc_score([1] * len(labels) + [0] * len(others), np.concatenate(scores))
    )
    assert gone.result.n == 120
    assert kept.result.n == 60
    assert (gone.result.references, gone.result.yardstick.value) == ((), 0.5)
    assert cost.trained == 0, "nothing is relearned where nothing is compared"


def test_an_audit_without_references_writes_no_rows_and_needs_no_secret(canaries, tmp_path):
    _, audit = canaries
    audit("theirs", toys.network(seed=4))
    assert not (tmp_path / "run" / annex.PATH).exists()


def test_checks_that_need_references_say_so_beside_those_that_do_not(given):
    problem, request = given
    mixed = replace(POLICY, checks={**POLICY.checks, "holdout_kept": Margin(margin=0.1, reason="because")})
    findings, cost = run_audit(problem, replace(request, references=(), policy=mixed))
    said = {found.check: found for found in findings}
    assert said["forget_accuracy"].result.because == "needs 3 retrained references or more, there are 0"
    assert said["holdout_kept"].decision is not Decision.NOT_MEASURED
    assert cost.read > 0


# --- language models ----------------------------------------------------------------------------------------------


def test_every_check_of_the_language_policy_runs_on_texts(tmp_path, monkeypatch):
    """Untrained models: what matters is that each check finds its evidence, and nothing is left unmeasured."""
    monkeypatch.setattr(prompting, "TALK", prompting.TALK[:2])
    monkeypatch.setattr(prompting, "MOST", 3)
    monkeypatch.setattr(written, "MOST", 6)
    names = languages.NAMES
    train, holdout = languages.records(names[:16]), languages.records(names[16:40], seed=5)

    def network(seed):
        torch.manual_seed(seed)
        return languages.gpt(n_positions=64, n_layer=2, initializer_range=0.3).eval()

    bare = Problem(model=network(0), train=train, task="causal_lm", forget=train.ids[:12])
    kinds = {"paraphrased_question": 2, "paraphrased_answer": 1, "wrong_answer": 3}
    made = {kind: {name: ["a poet ."] * count for name in bare.forget_ids} for kind, count in kinds.items()}
    problem = replace(bare, holdout=holdout, variants={kind: _variants(of) for kind, of in made.items()})
    assert problem.validate() == []
    run = RunDirectory(tmp_path / "run", {"job": 1})
    saved = []
    for seed in range(5):
        model, source = network(seed), problem.source
        digest = source.digest(model)
        saved.append(run.save(f"model-{seed}", digest, lambda folder, m=model, s=source: s.save(m, folder)))
    run.secret(annex.SECRET)
    run.close()
    policy = load("language")
    policy = replace(policy, relearning=RelearningConfig(epochs=1, batch_size=8))
    request = AuditRequest(
        folder=str(run.folder),
        candidate=saved[1],
        original=saved[0],
        references=tuple(saved[2:]),
        policy=policy,
        have=available(problem),
        alpha=0.025,
        seed=0,
        subject="attempt 1",
    )
    findings, cost = run_audit(problem, request)
    assert {finding.check for finding in findings} == set(policy.checks)
    assert {f.check: f.result.because for f in findings if not isinstance(f.result, Measurement)} == {}
    membership_ = next(f.result for f in findings if f.check == "token_membership")
    assert any("zlib" in name for name in membership_.details), "the texts were there to be packed"
    shown = [*(f.title for f in findings), *(f.result.cannot_see for f in findings)]
    assert not [said for said in shown if "label" in said or "class" in said], "a language model has tokens"
    assert cost.trained > 0


def test_the_axes_of_a_language_model_speak_of_tokens():
    line = Series(role=Role.SUBJECT, x=(0.0, 1.0), y=(0.0, 1.0))
    chart = Chart(title="t", x="passes", y="share of forgotten records answered as labelled", series=(line,), n=40)
    (finding,) = judge_all({"relearning": Margin(margin=0.1, reason="because")}, {}, 0.025)
    result = Measurement(
        check="relearning",
        value=0.5,
        references=(),
        original=None,
        interval=Interval(0.0, 1.0, 0.95),
        n=40,
        record_error=0.0,
        null_errors=(),
        better=Direction.LOWER,
        unit="share",
        charts=(chart,),
    )
    found = replace(finding, result=result)
    assert "tokens" in _worded(found, "causal_lm").result.charts[0].y
    assert _worded(found, "classification") == found


def _variants(answers):
    rows = [(f"{name}#{k}", answer) for name, several in answers.items() for k, answer in enumerate(several)]
    return languages.LanguageRecords(
        ["what was the born work ?"] * len(rows),
        [answer for _, answer in rows],
        tokenizer=languages.tokenizer(),
        ids=[name for name, _ in rows],
    )
