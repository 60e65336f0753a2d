import json
from dataclasses import fields, replace

import pytest

from expunge.certify import statement
from expunge.core.certificate import PREDICATE_TYPE, Predicate
from expunge.core.level import Level
from expunge.core.verdict import Verdict

TEXTS = {field.name: "text" for field in fields(Predicate) if field.type == "str"}
LISTS = {field.name: ("one",) for field in fields(Predicate) if field.type == "tuple[str, ...]"}
PREDICATE = statement.identify(
    Predicate(
        **TEXTS,
        **LISTS,
        development_key=False,
        request={"reference": "dsr-881"},
        manifests={"forget": "00"},
        buckets={"forget": 16},
        files_before={"model.safetensors": "11"},
        guarantee=Level.AUDITED,
        config={"rate": 0.1, "nested": {"list": [1, 2]}},
        seeds={"method": 7},
        environment={"python": "3.11"},
        claim=Level.AUDITED,
        verdict=Verdict.ERASED,
        checks=({"check": "forget_loss"},),
        controls=(),
    )
)
STATEMENT = statement.Statement({"b": "22", "a": "11"}, PREDICATE)


def changed(**changes):
    """The payload of a good statement, with changes."""
    data = {**json.loads(statement.write(STATEMENT)), **changes}
    return json.dumps({key: value for key, value in data.items() if value is not None}).encode()


def test_round_trip():
    assert statement.read(statement.write(STATEMENT)) == STATEMENT


def test_it_is_an_in_toto_statement():
    data = json.loads(statement.write(STATEMENT))
    assert data["_type"] == "https://in-toto.io/Statement/v1"
    assert data["subject"] == [
        {"name": "a", "digest": {"sha256": "11"}},
        {"name": "b", "digest": {"sha256": "22"}},
    ]
    assert data["predicateType"] == PREDICATE_TYPE


def test_the_id_follows_from_everything_else():
    assert PREDICATE.certificate.startswith("ec-")
    assert len(PREDICATE.certificate) == len("ec-") + 16
    assert statement.identify(replace(PREDICATE, certificate="ec-0")) == PREDICATE
    for field in fields(Predicate):
        if field.name != "certificate":
            other = {"str": "other", "bool": True, "Level": Level.EXACT, "Verdict": Verdict.INCONCLUSIVE}
            value = other.get(str(field.type), {} if "Mapping[" in str(field.type)[:8] else ("other",))
            again = statement.identify(replace(PREDICATE, **{field.name: value}))
            assert again.certificate != PREDICATE.certificate, field.name


BAD = {
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "no object": b"[]",
    "missing key": changed(subject=None),
    "unknown key": changed(extra=1),
    "type": changed(_type="https://in-toto.io/Statement/v0.1"),
    "predicate type": changed(predicateType="https://slsa.dev/provenance/v1"),
    "predicate no object": changed(predicate=[]),
    "predicate with more": changed(predicate={**json.loads(changed())["predicate"], "extra": 1}),
    "predicate of wrong types": changed(predicate={**json.loads(changed())["predicate"], "method": 5}),
    "predicate with unknown level": changed(predicate={**json.loads(changed())["predicate"], "claim": "sure"}),
    "id": changed(predicate={**json.loads(changed())["predicate"], "method": "another"}),
    "lone surrogate": changed(predicate={**json.loads(changed())["predicate"], "method": "\ud800"}),
    "subject no list": changed(subject="a"),
    "no subjects": changed(subject=[]),
    "subject without digest": changed(subject=[{"name": "a"}]),
    "subject with two digests": changed(subject=[{"name": "a", "digest": {"sha256": "11", "md5": "1"}}]),
    "subject with more": changed(subject=[{"name": "a", "digest": {"sha256": "11"}, "uri": "x"}]),
    "subject twice": changed(subject=[{"name": "a", "digest": {"sha256": d}} for d in ("11", "22")]),
    "name no text": changed(subject=[{"name": 1, "digest": {"sha256": "11"}}]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_such_statement_is_refused(name):
    with pytest.raises(statement.BadStatement):
        statement.read(BAD[name])


def test_the_reason_names_what_is_wrong():
    with pytest.raises(statement.BadStatement, match="its predicateType is 'https://slsa"):
        statement.read(BAD["predicate type"])
    with pytest.raises(statement.BadStatement, match=r"predicate\.claim.*expected: one of bitwise"):
        statement.read(BAD["predicate with unknown level"])
