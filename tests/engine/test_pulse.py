"""Signs of life between processes: who is heard lives, who falls silent is gone, and nothing waits for ever."""

import threading
import time

import pytest
import torch.distributed as dist

from expunge.engine import pulse


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(pulse, "BEAT", 0.01)
    monkeypatch.setattr(pulse, "SILENCE", 0.2)
    ended = threading.Event()
    monkeypatch.setattr(pulse.os, "_exit", lambda code: ended.set())
    return ended


def test_who_beats_is_not_gone_and_who_stops_is(hurried, capsys):
    store = dist.HashStore()
    one, two = pulse.Pulse(store, 0, [1], 0.02), pulse.Pulse(store, 1, [0], 0.02)
    two.start()
    one.start()
    assert not hurried.wait(0.5), "both beat, for longer than a silence may last"
    assert not one.gone
    assert not two.gone
    two.stop()
    assert hurried.wait(5), "what waits in the middle of a step ends"
    assert one.gone == "process 1"
    assert "process 0 ends: process 1 is gone; the same command resumes" in capsys.readouterr().err
    assert not two.gone


def test_who_ends_by_itself_in_time_is_let_end(hurried):
    alone = pulse.Pulse(dist.HashStore(), 0, [1], 60.0)
    alone.start()
    while not alone.gone:
        threading.Event().wait(0.01)
    alone.stop()
    alone.join(5)
    assert not alone.is_alive()
    assert not hurried.is_set()


def test_who_was_asleep_itself_takes_nobody_for_gone(hurried, monkeypatch):
    """Where a machine is suspended all fall silent: the first to wake finds no sign of the others."""
    monkeypatch.setattr(pulse, "SILENCE", 0.02)
    one = pulse.Pulse(dist.HashStore(), 0, [1], 60.0)
    heard = one._hear(1, b"", 0)
    time.sleep(0.05)
    heard = one._hear(1, *heard)
    assert not one.gone
    for _ in range(3):
        heard = one._hear(1, *heard)
    assert one.gone == "process 1", "looked for often enough, and not heard"


def test_where_nothing_can_be_said_any_more_all_are_gone(hurried):
    class Broken(dist.Store):
        def set(self, key, value):
            raise dist.DistNetworkError("connection reset")

    lost = pulse.Pulse(Broken(), 1, [0], 0.01)
    lost.start()
    assert hurried.wait(5)
    assert lost.gone == pulse.HUB
