"""The private record of canaries: its commitment, its file, and portions of it."""

import hashlib
import json
import stat
from dataclasses import replace

import pytest

from expunge.core.canaries import Canaries, Canary, Planted
from expunge.core.errors import UsageError
from tests.support import toys

RECORD = Canaries(
    secret="ab" * 32,
    canaries=(
        Canary(id="canary-1", source="r1", label=2, included=True),
        Canary(id="canary-2", source="r7", label=0, included=False),
    ),
)


def test_the_commitment_is_the_hash_of_all_of_it():
    text = (
        '{"canaries":[{"id":"canary-1","included":true,"label":2,"source":"r1"},'
        '{"id":"canary-2","included":false,"label":0,"source":"r7"}],'
        f'"format":"expunge-canaries-1","kind":"mislabelled","secret":"{"ab" * 32}"}}'
    )
    assert RECORD.commitment == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        replace(RECORD, secret="cd" * 32),
        replace(RECORD, canaries=(replace(RECORD.canaries[0], included=False), RECORD.canaries[1])),
        replace(RECORD, canaries=(replace(RECORD.canaries[0], label=1), RECORD.canaries[1])),
    ],
)
def test_nothing_of_it_can_be_changed_afterwards(changed):
    assert changed.commitment != RECORD.commitment


def test_it_is_written_for_its_owner_alone_and_never_replaced(tmp_path):
    path = tmp_path / "canaries.json"
    RECORD.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Canaries.load(path) == RECORD
    with pytest.raises(FileExistsError):
        RECORD.save(path)


@pytest.mark.parametrize("text", ["", "[]", '{"secret": "ab"}', json.dumps({"secret": 3, "canaries": []})])
def test_another_file_is_refused_without_quoting_it(tmp_path, text):
    path = tmp_path / "canaries.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        Canaries.load(path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"format": "expunge-canaries-9"}, "another format"),
        ({"secret": "zz"}, "no hexadecimal number"),
        ({"canaries": RECORD.canaries * 2}, "2 canaries that are there twice"),
        ({"canaries": (RECORD.canaries[0], replace(RECORD.canaries[1], source="r1"))}, "1 canaries that are there"),
    ],
)
def test_what_save_never_writes_was_altered(tmp_path, changes, found):
    path = tmp_path / "canaries.json"
    replace(RECORD, **changes).save(path)
    with pytest.raises(UsageError, match=found):
        Canaries.load(path)


def planted():
    aside = toys.records(30, prefix="a", seed=1)
    return Planted(
        train=toys.records(60), included=tuple(f"r{i}" for i in range(24)), aside=aside, commitment=RECORD.commitment
    )


def test_portions_share_out_all_canaries_once():
    parts = [planted().portion(index, of=3, secret=RECORD.secret) for index in range(3)]
    names = [name for part in parts for name in part.included]
    assert sorted(names) == sorted(planted().included)
    assert [len(part.included) for part in parts] == [8, 8, 8]
    assert sorted(n for p in parts for n in p.aside.ids) == sorted(planted().aside.ids)
    again = planted().portion(1, of=3, secret=RECORD.secret)
    assert (again.included, again.aside.ids) == (parts[1].included, parts[1].aside.ids)
    assert again.commitment == RECORD.commitment


def test_there_is_no_fourth_third():
    with pytest.raises(ValueError, match="part 3 of 3"):
        planted().portion(3, of=3, secret=RECORD.secret)
