import base64
import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.certify import dsse, keys, statement
from expunge.certify.verify import verify
from expunge.core.certificate import PAYLOAD_TYPE, STANDARD_LIMITS
from expunge.core.digest import BASE_FILE, base_digest
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.serial import canonical
from expunge.core.verdict import Verdict
from tests.support import certificates
from tests.support.reports import GONE, STILL_THERE, TENSORS, attempt, report, safetensors


@pytest.fixture
def made(tmp_path):
    return certificates.certify(tmp_path)


def check(made, **changes):
    arguments = {"model": made.model, "key": made.key, "report": made.report_file, **changes}
    return verify(arguments.pop("certificate", made.certificate), **arguments)


def wrong(found):
    """Names of the parts that do not fit; a failure gives away nothing that could be mistaken for a claim."""
    assert found.ok == all(part.ok for part in found.parts)
    if not found.ok:
        assert (found.claim, found.statement, found.certificate, found.shows) == (None, "", "", ())
    return [part.name for part in found.parts if not part.ok]


def part(found, name):
    return next(part for part in found.parts if part.name == name)


def resign(made, *, private=None, **changes):
    """Sign the certificate's statement again with changes to the predicate, as only a signer could."""
    content = statement.read(dsse.read(made.certificate.read_bytes()).payload)
    predicate = statement.identify(replace(content.predicate, **changes))
    payload = statement.write(statement.Statement(content.subjects, predicate))
    key = keys.load_private(private or made.private)
    made.certificate.write_bytes(dsse.sign(payload, payload_type=PAYLOAD_TYPE, key=key))


# --- what fits ----------------------------------------------------------------------------------------------


def test_a_good_certificate(made):
    found = check(made)
    assert wrong(found) == []
    assert found.claim is Level.AUDITED
    assert found.statement == made.report.statement
    assert found.certificate.startswith("ec-")
    assert found.issued == made.report.finished
    assert found.development_key is False
    names = [part.name for part in found.parts]
    assert names == [
        "envelope",
        "signature",
        "statement",
        "kind of key",
        "claim",
        "model files",
        "weights",
        "report",
    ]


def test_it_says_what_it_shows_and_what_not(made):
    found = check(made)
    assert found.shows[-1] == f"The holder of the key states: {made.report.statement}"
    limits = " ".join(found.does_not_show)
    assert "A signature shows who stands for which bytes, no more." in limits
    assert "Not covered: backups of the original" in limits
    assert "Kept where it was made, and derived from forgotten data: references/1" in limits
    assert "was not compared" not in limits


def test_without_the_report_it_says_so(made):
    found = check(made, report=None)
    assert found.ok
    assert "What the report says: it was not given, so it was not compared." in found.does_not_show
    assert not any("report" in sentence for sentence in found.shows)


@pytest.mark.parametrize("looks", [(), (STILL_THERE, GONE)])
def test_a_guarantee_that_stands_alone(tmp_path, looks):
    made = certificates.certify(tmp_path, report(attempt(*looks, guarantee=Level.EXACT)))
    found = check(made)
    assert wrong(found) == []
    assert found.claim is Level.EXACT


def test_a_report_written_for_people_is_the_same_report(made):
    """The digest is over what it says: indentation and order of keys say nothing."""
    data = json.loads(made.report_file.read_text())
    made.report_file.write_text(json.dumps(data, indent=2, ensure_ascii=True))
    assert check(made).ok


# --- adapters and their base -------------------------------------------------------------------------------------


@pytest.fixture
def apart(tmp_path):
    """A certificate of adapters, and the folder of their base."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(safetensors(TENSORS))
    return certificates.certify(tmp_path, base=base), base


def test_adapters_and_their_base(apart):
    made, base = apart
    found = check(made, base=base)
    assert wrong(found) == []
    assert part(found, "base").found == f"base digest {base_digest(base)}"
    assert not any("base you have" in text for text in found.does_not_show)


def test_a_base_with_the_same_weights_and_other_settings_is_another(apart):
    made, base = apart
    (base / "config.json").write_text('{"n_head": 4}')
    assert wrong(check(made, base=base)) == ["base"]


def test_a_base_that_is_not_there(apart, tmp_path):
    made, base = apart
    (base / "model.safetensors").unlink()
    for place in (base, tmp_path / "nowhere"):
        found = check(made, base=place)
        assert wrong(found) == ["base"]
        assert part(found, "base").found == f"no safetensors in {place.name}"


def test_without_the_base_it_says_so(apart):
    found = check(apart[0])
    assert found.ok
    assert any("the base you have is the one" in text for text in found.does_not_show)


def test_another_base(apart):
    made, base = apart
    (base / "model.safetensors").write_bytes(safetensors({**TENSORS, "more": ("F32", (1,), b"1234")}))
    found = check(made, base=base)
    assert wrong(found) == ["base"]
    (base / "model.safetensors").write_bytes(b"short")
    assert wrong(check(made, base=base)) == ["base"]


def test_adapters_that_name_another_base_are_other_adapters(apart):
    made, base = apart
    (made.model / BASE_FILE).write_text(json.dumps({"base": "77" * 32}))
    assert wrong(check(made, base=base)) == [f"file {BASE_FILE}", "weights", "base"]
    (made.model / BASE_FILE).write_text("{")
    assert wrong(check(made, base=base)) == [f"file {BASE_FILE}", "weights", "base"]


def test_a_whole_model_has_no_base(made):
    found = check(made, base=made.model)
    assert wrong(found) == ["base"]
    assert "whole by itself" in part(found, "base").found


# --- the certificate ----------------------------------------------------------------------------------------


def test_any_flipped_bit_of_the_certificate_is_noticed(made):
    """Every byte of the file, one bit each, so that all of base64, JSON and names are hit."""
    original = made.certificate.read_bytes()
    public = keys.load_public(made.key)
    unnoticed = []
    for place in range(len(original)):
        flipped = bytearray(original)
        flipped[place] ^= 1 << (place % 8)
        try:
            fits = dsse.read(bytes(flipped)).signed_by(public)
        except dsse.BadEnvelope:
            fits = False
        if fits:
            unnoticed.append(place)
    assert len(original) > 3000
    assert unnoticed == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_replaced_byte_of_the_certificate_is_reported(made, data):
    original = made.certificate.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[place]))
    changed = made.certificate.with_name("changed.json")
    changed.write_bytes(original[:place] + bytes([byte]) + original[place + 1 :])
    assert wrong(check(made, certificate=changed))[0] in {"envelope", "payload type", "signature"}


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9999])
def test_a_truncated_certificate(made, share):
    data = made.certificate.read_bytes()
    made.certificate.write_bytes(data[: int(len(data) * share)])
    found = check(made)
    assert wrong(found) == ["envelope"]
    assert "truncated" in part(found, "envelope").fix


@pytest.mark.parametrize("data", [b"\x00" * 100, b"[]", b"[" * 100_000, b"{}", b"\xff", b'{"payload": 1e999}'])
def test_another_kind_of_file(made, data):
    made.certificate.write_bytes(data)
    assert wrong(check(made)) == ["envelope"]


def test_content_changed_after_signing_is_told_from_another_key(made):
    envelope = json.loads(made.certificate.read_text())
    content = json.loads(base64.b64decode(envelope["payload"]))
    content["predicate"]["claim"] = "exact"
    envelope["payload"] = base64.b64encode(canonical(content)).decode()
    made.certificate.write_text(json.dumps(envelope))
    found = check(made)
    assert wrong(found) == ["signature"]
    own = keys.key_id(keys.load_public(made.key))
    assert part(found, "signature").found == f"names key {own}, but does not fit"
    assert part(found, "signature").fix == "the certificate was changed after it was signed"


def test_another_key_names_both(made, tmp_path):
    other = keys.generate(tmp_path / "other")
    found = check(made, key=other.public)
    assert wrong(found) == ["signature"]
    assert keys.key_id(keys.load_public(made.key)) in part(found, "signature").found
    assert other.key_id in part(found, "signature").expected


def test_nothing_is_read_before_the_signature_fits(made, tmp_path):
    """What another key signed is not shown, whatever it says."""
    other = keys.generate(tmp_path / "other")
    resign(made, private=other.private, statement="SURE, BELIEVE ME")
    found = check(made)
    assert [part.name for part in found.parts] == ["envelope", "signature"]
    assert "BELIEVE" not in str(found)


def test_another_payload_type(made):
    envelope = json.loads(made.certificate.read_text())
    made.certificate.write_text(json.dumps({**envelope, "payloadType": "text/plain"}))
    found = check(made)
    assert wrong(found) == ["payload type"]
    assert (part(found, "payload type").found, part(found, "payload type").expected) == (
        "text/plain",
        PAYLOAD_TYPE,
    )


def test_another_statement_by_the_same_key(made):
    """The key may sign other things, too: they are no certificates."""
    payload = canonical(
        {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": {}}
    )
    key = keys.load_private(made.private)
    made.certificate.write_bytes(dsse.sign(payload, payload_type=PAYLOAD_TYPE, key=key))
    found = check(made)
    assert wrong(found) == ["statement"]
    assert "its predicateType is 'x'" in part(found, "statement").found


# --- key and claim ------------------------------------------------------------------------------------------


def test_a_development_key_counts_only_where_it_is_allowed(tmp_path):
    made = certificates.certify(tmp_path, development=True)
    assert wrong(check(made)) == ["kind of key"]
    found = check(made, allow_development=True)
    assert wrong(found) == []
    assert found.development_key is True
    assert found.does_not_show[0] == "Anything to a third party: it was signed with a development key."


@pytest.mark.parametrize(
    "changes",
    [
        {"claim": Level.EXACT},
        {"claim": Level.CERTIFIED},
        {"verdict": Verdict.NOT_ERASED},
        {"verdict": Verdict.INCONCLUSIVE},
        {"claim": Level.SUPPRESSED},
        {"claim": Level.SUPPRESSED, "guarantee": Level.SUPPRESSED},
    ],
    ids=str,
)
def test_a_claim_that_nothing_bears(made, changes):
    """Signed all the same: by a signer with other software."""
    resign(made, **changes)
    assert wrong(check(made, report=None)) == ["claim"]


def test_a_lower_claim_is_fine(made):
    resign(made, guarantee=Level.EXACT)
    assert wrong(check(made, report=None)) == []


# --- the model ----------------------------------------------------------------------------------------------


def test_each_file_that_does_not_fit_is_named(made):
    (made.model / "architecture.json").write_text("changed")
    (made.model / "tokenizer" / "words.txt").unlink()
    (made.model / "tokenizer" / "code.py").write_text("")
    (made.model / "link").symlink_to(made.model / "tokenizer")
    found = check(made)
    assert wrong(found) == [
        "file tokenizer/words.txt",
        "file architecture.json",
        "file link",
        "file tokenizer/code.py",
    ]
    texts = [part.found.split(":")[0] for part in found.parts if not part.ok]
    assert texts == ["missing", "changed", "extra", "extra"]
    assert part(found, "weights").ok


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_any_replaced_byte_of_the_model_is_noticed(made, data):
    name = data.draw(st.sampled_from(["model.safetensors", "architecture.json", "tokenizer/words.txt"]))
    model = made.model.with_name("changed")
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(made.model, model)
    original = (model / name).read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[place]))
    (model / name).write_bytes(original[:place] + bytes([byte]) + original[place + 1 :])
    found = check(made, model=model)
    assert f"file {name}" in wrong(found)
    in_data = name == "model.safetensors" and place >= len(original) - 32
    assert not in_data or "weights" in wrong(found)


def test_other_weights(made):
    other = {**TENSORS, "bias": ("F32", [2], bytes(8))}
    (made.model / "model.safetensors").write_bytes(safetensors(other))
    assert wrong(check(made)) == ["file model.safetensors", "weights"]


def test_the_same_tensors_in_another_layout_are_told_apart(made):
    """Re-saved by another program: still not the file that was signed for, but nothing to fear."""
    turned = dict(reversed(TENSORS.items()))
    (made.model / "model.safetensors").write_bytes(safetensors(turned, metadata={"format": "pt"}))
    found = check(made)
    assert wrong(found) == ["file model.safetensors"]
    assert "all tensors are equal" in part(found, "weights").found


@pytest.mark.parametrize("length", [0, 4, 8, 40, 170])
def test_a_truncated_model(made, length):
    data = (made.model / "model.safetensors").read_bytes()
    assert len(data) > 170
    (made.model / "model.safetensors").write_bytes(data[:length])
    found = check(made)
    assert wrong(found) == ["file model.safetensors", "weights"]
    assert "not a whole safetensors file" in part(found, "weights").found


def test_a_certificate_whose_files_and_digest_disagree(made):
    resign(made, model_after="99" * 32)
    assert wrong(check(made, report=None)) == ["weights"]


# --- the report ---------------------------------------------------------------------------------------------


def test_a_tampered_report(made):
    made.report_file.write_bytes(made.report_file.read_bytes().replace(b"dsr-881", b"dsr-882"))
    found = check(made)
    assert wrong(found) == ["report"]
    assert part(found, "report").found.startswith("changed, or another: sha256 ")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a": 1, "a": 1}', b'["\\ud800"]', b"[" * 100_000, b"NaN"])
def test_a_report_that_cannot_be_read(made, data):
    made.report_file.write_bytes(data)
    found = check(made)
    assert wrong(found) == ["report"]
    assert part(found, "report").found.startswith("not readable: ")


def test_a_report_that_does_not_bear_what_was_signed(made):
    """Signer and report agree on the digest, and the figures say something else."""
    lie = replace(made.report, control=replace(made.report.control, findings=GONE))
    made.report_file.write_bytes(canonical(lie))
    resign(made, report_digest=statement.report_digest(lie))
    found = check(made)
    assert wrong(found) == ["report"]
    assert "The verdict on attempt 1, erased, does not follow from its checks." in part(found, "report").found


def test_a_report_of_another_claim(made):
    resign(made, guarantee=Level.EXACT, claim=Level.EXACT)
    found = check(made)
    assert wrong(found) == ["report"]
    assert part(found, "report").found.endswith("which says otherwise: claim, guarantee")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("statement", "No trace is left; this is proven."),
        ("limits", STANDARD_LIMITS),
        ("not_covered", ()),
        ("method", "retrain"),
        ("attempts", ("1. retrain (exact): erased; shipped",)),
        ("policy", "strict"),
        ("policy_digest", "00" * 32),
        ("model_before", "00" * 32),
        ("kept", ()),
        ("checks", ()),
        ("seeds", {"run": 8}),
        ("environment", {}),
    ],
)
def test_what_the_report_says_otherwise_is_named(made, name, said):
    """Only the signer could write so, and only beside the report does it show."""
    resign(made, **{name: said})
    assert wrong(check(made, report=None)) == []
    found = check(made)
    assert wrong(found) == ["report"]
    assert part(found, "report").found == f"the one it names, which says otherwise: {name}"


def test_a_report_of_another_version(made):
    data = {**json.loads(made.report_file.read_text()), "novelty": 1}
    made.report_file.write_bytes(canonical(data))
    resign(made, report_digest=statement.report_digest(data))
    found = check(made)
    assert wrong(found) == ["report"]
    assert "this version cannot read it" in part(found, "report").found
    assert part(found, "report").fix == "verify with expunge 0.1.0"


# --- wrong calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["certificate", "model", "key", "report"])
def test_a_missing_path_is_a_usage_error(made, tmp_path, argument):
    with pytest.raises(UsageError, match=r"nothing\)"):
        check(made, **{argument: tmp_path / "nothing"})


@pytest.mark.parametrize("argument", ["certificate", "report"])
def test_a_folder_is_no_file(made, tmp_path, argument):
    with pytest.raises(UsageError, match="Is a directory"):
        check(made, **{argument: tmp_path})


def test_the_private_key_is_no_public_key(made):
    with pytest.raises(UsageError, match="not an Ed25519 public key"):
        check(made, key=made.private)
