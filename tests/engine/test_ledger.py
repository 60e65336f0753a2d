"""The ledger: what it holds, who may read it, and that one changed bit is found."""

import json

import pytest

import expunge
from expunge.core.errors import Refused, Tampered, UsageError
from expunge.engine.ledger import Entry, Ledger, StepLine
from tests.support import recordings as own

PLAIN = own.TRAINERS["adamw, dropout, one cycle"]


def train(folder):
    model = expunge.train(PLAIN, own.records(), seed=4, ledger=folder)
    return model, Ledger(folder)


def test_a_ledger_is_whole_and_private(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    assert ledger.length == ledger.head.total == 32
    assert {entry.id for entry in ledger.entries} == set(own.records().ids)
    assert list(ledger.checkpoints) == [0, 4, 8, 12, 16, 20, 24, 28, 32]  # at most ten, and the end
    assert sum(line.count for line in ledger.lines()) == 4 * own.N
    assert (tmp_path / "ledger").stat().st_mode & 0o077 == 0


def test_one_changed_bit_is_found(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    file = ledger.folder / "steps.bin"
    data = bytearray(file.read_bytes())
    for place in (0, 104 * 7 + 20, len(data) - 1):
        bad = bytearray(data)
        bad[place] ^= 1
        file.write_bytes(bad)
        with pytest.raises(Tampered, match=f"step {place // 104}"):
            Ledger(ledger.folder)
    file.write_bytes(data[:-50])  # a line that a loss of power cut short
    assert Ledger(ledger.folder).length == 31


def test_nothing_is_a_ledger_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="no ledger"):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="not empty"):
        Ledger.begin(tmp_path, train(tmp_path / "ledger")[1].head, [Entry("a", "b")])


def test_a_line_says_what_was_done(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    first, second = list(ledger.lines())[:2]
    assert (first.number, second.number) == (0, 1)
    assert first.state
    assert not second.state
    assert len(StepLine(1, 2, 0.5, 0.1, b"w" * 16, "").packed()) + 32 == 104


@pytest.mark.parametrize("bad", ["{}", '["r1"]', '["r1", "c", "0", 1]', "no JSON"])
def test_a_damaged_list_of_records_is_told(tmp_path, bad):
    _, ledger = train(tmp_path / "ledger")
    (ledger.folder / "records.jsonl").write_text(bad + "\n")
    with pytest.raises(Tampered, match=r"records\.jsonl"):
        assert ledger.entries


def test_a_changed_head_is_found(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    head = json.loads((ledger.folder / "head.json").read_text())
    for name, value in (("seed", 5), ("rule", "mask"), ("threads", 2), ("program", "x")):
        (ledger.folder / "head.json").write_text(json.dumps({**head, name: value}))
        with pytest.raises(Tampered, match="step 0"):
            Ledger(ledger.folder)


def test_a_changed_checkpoint_is_found_before_anything_starts_from_it(tmp_path):
    from expunge.engine import replay

    model, ledger = train(tmp_path / "ledger")
    gone = ["r3"]
    start = replay.forecast(ledger, gone).start

    def begin():
        replay.replay(PLAIN, ledger, own.records().without(gone), gone, tmp_path / "new")

    for step, use in ((ledger.head.total, lambda: ledger.ends_with(model)), (start, begin)):
        file = ledger.checkpoints[step] / "state.safetensors"
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
        with pytest.raises(Tampered, match=f"checkpoints/{step:09d}"):
            use()
