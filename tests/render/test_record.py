"""The record: comes back equal, and anything but what was written is refused."""

import json
import random
from dataclasses import replace

import pytest

from expunge.core.digest import sha256
from expunge.core.errors import Tampered, UsageError
from expunge.render.record import dump, load


def test_round_trip(sample):
    data = dump(sample)
    assert load(data) == sample
    assert dump(load(data)) == data
    assert data.endswith(b"\n")
    assert data == json.dumps(
        json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode() + b"\n"  # fmt: skip


def test_whole_numbers_in_fields_of_floats_come_back(samples):
    report = replace(samples["nothing"], total=0, plan=replace(samples["nothing"].plan, budget=1))
    assert load(dump(report)) == report


def test_no_live_handle_and_no_id_is_written(samples):
    report = samples["erased"]
    first = report.attempts[0]
    handled = replace(first, outcome=replace(first.outcome, model=object()))
    assert dump(replace(report, attempts=(handled, report.attempts[1]))) == dump(report)
    assert b'"ids"' not in dump(report)


def test_what_could_not_be_read_back_is_not_written(samples):
    with pytest.raises(UsageError):
        dump(replace(samples["nothing"], title=7))
    with pytest.raises(ValueError, match="JSON compliant"):
        dump(replace(samples["nothing"], total=float("nan")))


@pytest.fixture
def data(samples):
    return dump(samples["erased"])


def refused(data, **keywords):
    with pytest.raises(Tampered) as caught:
        load(data, **keywords)
    assert caught.value.obstacles[0].fix
    return caught.value.obstacles[0].found


def test_truncated(data):
    for length in (0, 1, len(data) // 2, len(data) - 2, len(data) - 1):
        refused(data[:length])


def test_reformatted(data):
    assert refused(json.dumps(json.loads(data), indent=1).encode()) == "bytes that expunge does not write"
    assert refused(data + b"\n") == "bytes that expunge does not write"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "expunge-report-2"},
        {"format": None},
        {"verdict": "probably erased"},
        {"total": "0"},
        {"total": float("nan")},
        {"forget_count": True},
        {"extra": 1},
        {"attempts": {}},
        {"run": {"a": []}},
    ],
)
def test_changed(data, change):
    content = {**json.loads(data), **change}
    refused(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")


def test_a_missing_part(data):
    content = json.loads(data)
    del content["claim"]
    assert "missing key 'claim'" in refused(json.dumps(content).encode())


@pytest.mark.parametrize("junk", [b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format":"expunge-report-1"}'])
def test_something_else(junk):
    refused(junk)


def test_an_exchanged_number_needs_the_digest(data):
    forged = data.replace(b'"n":420', b'"n":421', 1)
    assert forged != data
    assert load(forged) != load(data)
    assert load(data, digest=sha256(data))
    assert sha256(forged) in refused(forged, digest=sha256(data))


def test_one_changed_byte_is_refused_or_is_another_whole_report(samples):
    data, source = dump(samples["nothing"]), random.Random(0)
    for position in source.sample(range(len(data)), 200):
        changed = bytearray(data)
        changed[position] ^= 1 << source.randrange(8)
        refused(bytes(changed), digest=sha256(data))
        try:
            report = load(bytes(changed))
        except Tampered:
            continue
        assert report != load(data)
        assert dump(report) == bytes(changed)
