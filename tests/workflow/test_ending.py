"""The end: what held forgotten data is gone or listed, and the certificate fits what ships."""

import base64
import json
import os
from types import SimpleNamespace

import pytest

from expunge.audit import annex
from expunge.audit.policy import load
from expunge.certify import keys
from expunge.certify.verify import verify
from expunge.core import wording
from expunge.core.check import EvidenceKind
from expunge.core.errors import Diverged, UnknownName
from expunge.methods.gradient_ascent import GradientAscent
from expunge.render._words import headline, judged
from expunge.render.formats import FORMATS
from expunge.workflow import ending
from tests.support.tiny import tiny_problem as tiny

WEAK = {"finetune": {"epochs": 1}, "neg_grad_plus": {"epochs": 1}}


def predicate(result):
    return json.loads(base64.b64decode(json.loads(result.certificate.read_text())["payload"]))["predicate"]


@pytest.fixture
def pair(tmp_path):
    return keys.generate(tmp_path / "key")


def test_what_held_forgotten_data_is_destroyed_and_listed(erase, pair):
    result = erase("retrain", key=pair.private)
    gone = {"artefacts/original", "artefacts/attempt-1", "private/outputs"}
    assert gone <= set(result.report.destroyed)
    assert predicate(result)["destroyed"] == list(result.report.destroyed)
    assert [name for name in result.report.destroyed if (result.out / name).exists()] == []
    assert [name for name in result.report.kept if not (result.out / name).exists()] == []
    assert predicate(result)["kept"] == list(result.report.kept)


def test_kept_on_request_it_is_listed(erase, pair):
    result = erase("retrain", key=pair.private, keep=True)
    assert result.report.destroyed == ()
    assert {"artefacts/original", "private/outputs"} <= set(result.report.kept)
    assert [name for name in result.report.kept if not (result.out / name).exists()] == []
    assert predicate(result)["kept"] == list(result.report.kept)


def test_the_certificate_fits_and_fits_again(erase, pair):
    for _ in range(2):
        result = erase("retrain", key=pair.private)
        found = verify(result.certificate, model=result.folder, key=pair.public, report=result.out / "report.json")
        assert [part for part in found.parts if not part.ok] == []
        assert (found.ok, found.claim) == (True, result.claim)


def test_without_a_key_it_is_signed_for_development(erase):
    result = erase("retrain")
    key = result.out / "development-key.pub"
    assert not verify(result.certificate, model=result.folder, key=key).ok
    assert verify(result.certificate, model=result.folder, key=key, allow_development=True).ok


def test_nothing_public_names_a_record(erase, pair):
    result = erase("retrain", key=pair.private)
    for path in result.out.rglob("*"):
        if path.is_file() and "private" not in path.parts and path.suffix in {".json", ".jsonl", ".html", ".pub"}:
            assert [secret for secret in tiny.SECRETS if secret in path.read_text()] == [], path.name
    for path in (result.out / "private").rglob("*"):
        if path.is_file() and not path.name.endswith(".pub"):
            assert os.stat(path).st_mode & 0o077 == 0, path.name


def test_a_claim_that_falls_takes_its_certificate_with_it(erase, tmp_path):
    """A certificate beside a report without a claim would be believed."""
    (tmp_path / "run").mkdir()
    result = erase("noop")
    (result.out / "certificate.json").write_text("{}")
    assert erase("noop").certificate is None
    assert not (result.out / "certificate.json").exists()


def test_a_command_that_judges_nothing_leaves_the_verdict_that_was_found(erase, monkeypatch):
    first = erase("finetune").report
    monkeypatch.setattr("expunge.workflow._course.course", lambda *args, **named: iter(()))
    report = erase("retrain").report
    assert first.verdict is not None, "or there was nothing to lose"
    assert (report.verdict, report.statement, headline(report)) == (first.verdict, first.statement, headline(first))
    assert any("This command tried nothing: the verdict is that of an earlier one" in each for each in report.notes)


def test_a_command_that_fails_leaves_the_verdict_and_shows_the_attempt_that_it_is_on(erase, monkeypatch):
    first = erase("finetune").report
    monkeypatch.setattr(GradientAscent, "unlearn", lambda *args: (_ for _ in ()).throw(Diverged("it diverged")))
    report = erase("gradient_ascent").report
    assert [one.method for one in report.attempts] == ["finetune", "gradient_ascent"]
    assert (report.verdict, headline(report)) == (first.verdict, headline(first))
    assert judged(report).method == "finetune"


def test_of_a_regressor_it_is_said_which_checks_do_not_apply():
    def unread(task, have=()):
        return ending._unread(SimpleNamespace(policy=load("standard"), problem=SimpleNamespace(task=task), have=have))

    assert "Accuracy on the worst class" in unread("regression")
    assert "Accuracy on the worst class" not in unread("regression", frozenset({EvidenceKind.CLASSES}))
    assert unread("classification") == []


def test_the_whole_cost_is_counted(erase):
    report = erase("retrain").report
    lines = {line.what: line for line in report.costs}
    assert {"checking the trainer", "references for judging (6)", "attempt 1: Retrain from scratch"} <= lines.keys()
    assert lines["references for judging (6)"].share == pytest.approx(6)
    assert report.total == pytest.approx(sum(line.share for line in report.costs))
    assert report.total > 7
    assert report.total <= report.plan.whole, "what was planned at the most is the most, the trainer's check and all"


def test_the_annex_outlives_the_run_and_is_listed_with_its_reason(erase, pair):
    result = erase("retrain", key=pair.private)
    assert annex.PATH in result.report.kept
    assert wording.ANNEX in result.report.not_covered
    assert annex.PATH in predicate(result)["kept"]
    rows = annex.find(result.out, tiny.make().forget_ids)
    assert {tuple(row["model"] for row in found) for found in rows.values()} == {(), ("original", "attempt 1")}
    keyed = [row["record"] for found in rows.values() for row in found]
    public = [path for path in result.out.rglob("*") if path.is_file() and "private" not in path.parts]
    assert keyed
    assert [path for path in public if any(name.encode() in path.read_bytes() for name in keyed)] == []


def test_without_references_there_is_no_annex_to_list(erase):
    report = erase("retrain", references=0).report
    assert annex.PATH not in report.kept
    assert wording.ANNEX not in report.not_covered


def test_a_second_look_has_rows_of_its_own(erase, monkeypatch):
    monkeypatch.setattr("expunge.workflow.stages.needs_second_look", lambda guarantee, verdict: True)
    result = erase("retrain")
    (rows,) = {
        tuple(row["model"] for row in found) for found in annex.find(result.out, tiny.make().forget_ids).values()
    } - {()}
    assert rows == ("original", "attempt 1", "attempt 1, second look")


def test_forms_that_are_asked_for_are_written_and_never_left_behind(erase):
    out = erase("noop", also=("junit", "markdown")).out
    assert {form.file for name, form in FORMATS.items() if name in ("html", "json", "junit", "markdown")} == {
        path.name for path in out.iterdir() if path.name.startswith("report.")
    }
    before = (out / "report.md").read_bytes()
    report = erase(configs=WEAK).report  # asks for none; an old one beside a new report would be believed
    assert (out / "report.md").read_bytes() == FORMATS["markdown"].render(report) != before
    with pytest.raises(UnknownName):
        erase("noop", also=("pdf",))


def test_time_is_counted_over_commands_and_the_report_stays_the_same(erase):
    first = erase("noop").report.usage
    assert first.whole.seconds > first.reference.seconds > 0
    assert erase("noop").report.usage == first
    second = erase("retrain").report.usage
    assert second.whole.seconds > first.whole.seconds
    assert second.lost == 0
    assert set(second.whole.joules) | set(second.unmeasured) == {"processors", "NVIDIA GPUs"}
