import json
from dataclasses import replace

import pytest

from expunge.certify import dsse, keys, statement
from expunge.core.certificate import PAYLOAD_TYPE, STANDARD_LIMITS
from expunge.core.digest import sha256
from expunge.core.errors import Refused, Tampered, UsageError
from expunge.core.level import Level
from expunge.core.serial import canonical
from expunge.core.verdict import Decision, Verdict
from tests.support import certificates
from tests.support.reports import (
    GONE,
    LEAKS,
    STILL_THERE,
    TENSORS,
    UNCLEAR,
    attempt,
    audit,
    digest_of,
    finding,
    report,
    safetensors,
    save_model,
)


@pytest.fixture
def certify(tmp_path):
    """Return a function from a report to the statement that is signed."""
    model = save_model(tmp_path / "model")
    pair = keys.generate(tmp_path / "key")

    def build(made, *, folder=model, **changes):
        data = certificates.build(made, model=folder, private=pair.private, **changes)
        envelope = dsse.read(data)
        assert envelope.payload_type == PAYLOAD_TYPE
        assert envelope.signed_by(keys.load_public(pair.public))
        return statement.read(envelope.payload)

    build.model = model
    return build


def test_every_file_is_a_subject(certify):
    made = certify(report())
    files = {
        path.relative_to(certify.model).as_posix(): sha256(path.read_bytes())
        for path in certify.model.rglob("*")
        if path.is_file()
    }
    assert made.subjects == files
    assert len(files) == 3


def test_the_content_is_that_of_the_report(certify):
    original = report()
    predicate = certify(original).predicate
    assert predicate.claim is predicate.guarantee is Level.AUDITED
    assert predicate.verdict is Verdict.ERASED
    assert predicate.issued == original.finished
    assert predicate.model_before == original.model_before
    assert predicate.model_after == digest_of(TENSORS)
    assert predicate.report_digest == sha256(canonical(original) + b"\n")
    assert predicate.statement == original.statement
    assert predicate.not_covered == original.not_covered
    assert (predicate.destroyed, predicate.kept) == (original.destroyed, original.kept)
    assert predicate.config == {"epochs": 5, "rate": 0.01, "schedule": ["warm", "cold"]}
    assert predicate.files_before == {"model.safetensors": "88" * 32}
    assert predicate.evidence == ("the argument",)
    assert not predicate.development_key


def test_checks_and_control_are_told_with_their_intervals(certify):
    predicate = certify(report()).predicate
    assert [row["decision"] for row in predicate.checks] == ["pass", "pass"]
    assert [row["decision"] for row in predicate.controls] == ["fail", "pass"]
    row = predicate.checks[0]
    assert row["question"] == "Is it gone?"
    assert (row["value"], row["interval"], row["margin"]) == ("1", "-0.0657 to 0.0657", "0.3")
    assert (row["references"], row["reference mean"]) == ("3", "1")


def test_a_check_that_did_not_run_says_why(certify):
    unmeasured = finding("membership", Decision.NOT_MEASURED, required=False)
    rows = certify(report(attempt((*GONE, unmeasured)))).predicate.checks
    assert rows[-1]["decision"] == "not measured"
    assert rows[-1]["because"] == "no holdout records"
    assert "value" not in rows[-1]


def test_every_attempt_is_told(certify):
    escalated = report(attempt(STILL_THERE, model="99" * 32), attempt(GONE, number=2), chosen=2)
    assert certify(escalated).predicate.attempts == (
        "1. fine_tune (audited): not erased; not shipped",
        "2. fine_tune (audited): erased; shipped",
    )


def test_a_second_look_is_told(certify):
    predicate = certify(report(attempt(STILL_THERE, GONE, guarantee=Level.EXACT))).predicate
    assert predicate.attempts == ("1. fine_tune (exact): not erased, then with fresh references erased; shipped",)
    assert [row["decision"] for row in predicate.checks] == ["pass", "pass"]


@pytest.mark.parametrize("guarantee", [Level.BITWISE, Level.EXACT, Level.CERTIFIED])
@pytest.mark.parametrize("looks", [(), (UNCLEAR,), (STILL_THERE, UNCLEAR)])
def test_a_guarantee_that_stands_alone_is_certified(certify, guarantee, looks):
    made = report(attempt(*looks, guarantee=guarantee))
    assert certify(made).predicate.claim is guarantee


# --- limits -------------------------------------------------------------------------------------------------


def test_the_standard_limits_are_always_there_and_once(certify):
    limits = certify(report()).predicate.limits
    assert limits == (*report().limits, *STANDARD_LIMITS)
    assert certify(report(limits=(*STANDARD_LIMITS, "more"))).predicate.limits == (*STANDARD_LIMITS, "more")


def test_an_audit_in_the_same_process_is_a_limit(certify):
    made = report()
    (only,) = made.attempts
    apart = replace(only.audits[0], process="the problem cannot be imported")
    limits = certify(replace(made, attempts=(replace(only, audits=(apart,)),))).predicate.limits
    assert limits[-1] == "The audit did not run in a fresh process (the problem cannot be imported)."


# --- secrets ------------------------------------------------------------------------------------------------


def test_no_id_and_no_number_of_records_is_public(certify):
    made = certify(report())
    text = statement.write(made).decode()
    assert "forget-0" not in text
    assert "retain-0" not in text
    assert made.predicate.buckets == {"forget": 16, "retain": 256}
    assert not {"n", "count"} & {key for row in made.predicate.checks for key in row}
    payload = json.loads(text)["predicate"]
    numbers = {json.dumps(value) for value in payload.values() if isinstance(value, int)}
    assert numbers <= {"true", "false"}


def test_manifests_are_the_roots(certify):
    roots = certify(report()).predicate.manifests
    assert roots == {part: levels[-1][0].hex() for part, levels in certificates.LEVELS.items()}


# --- signing ------------------------------------------------------------------------------------------------


def test_building_again_gives_the_same_bytes(tmp_path):
    made = certificates.certify(tmp_path)
    assert certificates.build(made.report, model=made.model, private=made.private) == made.certificate.read_bytes()


def test_a_development_key_is_named_in_what_is_signed(tmp_path):
    made = certificates.certify(tmp_path, development=True)
    assert statement.read(dsse.read(made.certificate.read_bytes()).payload).predicate.development_key


# --- refusals -----------------------------------------------------------------------------------------------

ERASED = report()
ONLY = ERASED.attempts[0]
REFUSED = {
    "not erased": (report(attempt(STILL_THERE)), "nothing is claimed"),
    "inconclusive": (report(attempt(UNCLEAR)), "nothing is claimed"),
    "a control that does nothing": (
        report(attempt(STILL_THERE, model="11" * 32), chosen=None),
        "nothing is claimed.*\n  found: verdict not erased",
    ),
    "nothing ships": (report(attempt(STILL_THERE), chosen=None), "nothing is claimed"),
    "a suite without power": (report(attempt(GONE, control=GONE), control=GONE), "nothing is claimed"),
    "exact, contradicted twice": (
        report(attempt(STILL_THERE, STILL_THERE, guarantee=Level.EXACT)),
        "nothing is claimed",
    ),
    "suppressed": (report(attempt(GONE, guarantee=Level.SUPPRESSED)), "suppression is not erasure"),
    "never judged": (replace(report(attempt(GONE, guarantee=Level.EXACT)), verdict=None), "nothing was judged"),
    "a claim made up": (
        replace(report(attempt(STILL_THERE)), claim=Level.AUDITED),
        "contradicts itself.*\n  found: The claim of the report is not that",
    ),
    "a claim made up throughout": (
        replace(report(replace(attempt(STILL_THERE), claim=Level.AUDITED)), claim=Level.AUDITED),
        "contradicts itself.*\n  found: The claim of attempt 1 does not follow",
    ),
    "a claim above the guarantee": (
        replace(ERASED, claim=Level.EXACT, attempts=(replace(ONLY, claim=Level.EXACT),)),
        "contradicts itself.*\n  found: The claim of attempt 1 does not follow",
    ),
    "a verdict made up": (
        replace(ERASED, control=replace(ERASED.control, findings=audit(GONE, attempt=0).findings)),
        "contradicts itself.*\n  found: The verdict on attempt 1",
    ),
    "another model after": (replace(ERASED, model_after="99" * 32), "contradicts itself"),
    "another model in the folder": (
        report(attempt(GONE, model="99" * 32)),
        f"not the one that was judged.*\n  found: model digest {digest_of(TENSORS)}\n  expected: 9999",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_certificate_without_ground(certify, name):
    made, reason = REFUSED[name]
    with pytest.raises(Refused, match=f"no certificate: .*{reason}"):
        certify(made)


def test_the_refused_reports_differ_from_a_good_one_in_one_thing(certify):
    findings = audit(LEAKS, attempt=0).findings
    assert certify(replace(ERASED, control=replace(ERASED.control, findings=findings))).predicate.claim is Level.AUDITED


def test_a_model_without_weights_is_refused(certify):
    (certify.model / "model.safetensors").unlink()
    with pytest.raises(Refused, match="not the one that was judged"):
        certify(report())


def test_weights_in_several_files_are_one_model(certify):
    (certify.model / "model.safetensors").unlink()
    for name, parts in TENSORS.items():
        (certify.model / f"{name}.safetensors").write_bytes(safetensors({name: parts}))
    assert len(certify(report()).subjects) == 4


def test_broken_weights_are_refused(certify):
    (certify.model / "model.safetensors").write_bytes(safetensors(TENSORS)[:-1])
    with pytest.raises(Tampered, match="not a whole safetensors file"):
        certify(report())


def test_what_is_no_file_is_refused(certify, tmp_path):
    (certify.model / "linked").symlink_to(tmp_path)
    with pytest.raises(Refused, match=r"holds something that is no file \(linked\)"):
        certify(report())


def test_a_name_that_could_deceive_is_refused(certify):
    (certify.model / "a\x1b[2Jb").write_text("")
    with pytest.raises(Refused, match="unprintable name"):
        certify(report())


def test_a_missing_folder_is_a_usage_error(certify, tmp_path):
    with pytest.raises(UsageError, match="no such model folder"):
        certify(report(), folder=tmp_path / "nothing")
