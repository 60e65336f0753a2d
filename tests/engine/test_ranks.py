"""Who leads and who follows: what the leader says is done by all, in order, and what goes wrong is told."""

import threading

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import Shard, distribute_tensor

from expunge.core import storage
from expunge.core.errors import Diverged, RunFailed, UsageError
from expunge.engine import ranks
from tests.support import toys


def noted(problem, what):
    """Called in every process: keep what was asked."""
    DONE.append((threading.get_ident(), problem, what))
    if what == "diverges":
        raise Diverged("too far")
    return what


DONE = []
NAME = f"{__name__}:noted"


@pytest.fixture
def pair(monkeypatch):
    """The leader, as this process is, and a follower in a thread, which share a store; what the follower ended with."""
    store = dist.HashStore()
    DONE.clear()
    leader, follower = (ranks._Here(rank, 2, None, store) for rank in (0, 1))
    monkeypatch.setattr(ranks, "_here", leader)
    monkeypatch.setattr(ranks, "spread", lambda problem: problem)
    monkeypatch.setattr(ranks, "_GRACE", ranks.timedelta(seconds=5))
    ended = []
    thread = threading.Thread(target=lambda: ended.append(follower.listen()), daemon=True)
    thread.start()
    yield leader, ended
    leader.say("stop", None)
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_call_is_made_by_all_with_the_same_arguments(pair):
    workers = ranks.Ranks(problem := toys.problem())
    assert list(workers.map(NAME, [("one",), ("two",)])) == [(0, "one"), (1, "two")]
    assert workers.call_fresh(NAME, "three") == "three"
    mine = [what for thread, _, what in DONE if thread == threading.get_ident()]
    theirs = [what for thread, _, what in DONE if thread != threading.get_ident()]
    assert mine == theirs == ["one", "two", "three"]
    assert all((made is problem) == (thread == threading.get_ident()) for thread, made, _ in DONE), "each has its own"
    assert "2 processes" in workers.process


def test_an_error_that_all_have_ends_the_call_and_nothing_else(pair):
    workers = ranks.Ranks(toys.problem())
    with pytest.raises(Diverged):
        workers.call_fresh(NAME, "diverges")
    assert workers.call_fresh(NAME, "on") == "on"


def test_an_error_of_a_follower_is_told_by_the_leader(pair):
    workers = ranks.Ranks(toys.problem())
    with pytest.raises(RunFailed) as caught, workers.beside(NAME, "diverges"):
        pass
    assert caught.value.obstacles[0].where == "process 1"
    assert "too far" in caught.value.obstacles[0].found


def test_what_the_leader_tells_reaches_the_follower(pair):
    _, ended = pair
    workers = ranks.Ranks(toys.problem())
    assert workers.tell(lambda: ["models"]) == ["models"]
    for _ in range(500):
        if ended:
            break
        threading.Event().wait(0.01)
    assert ended == [("value", ["models"])]


def test_a_follower_that_is_gone_ends_the_wait_for_it(monkeypatch):
    store = dist.HashStore()
    leader = ranks._Here(0, 2, None, store)
    leader.pulse = ranks.Pulse(store, 0, [1], grace=60)  # not started: told here what it finds
    monkeypatch.setattr(ranks, "_here", leader)
    monkeypatch.setattr(ranks, "spread", lambda problem: problem)
    workers = ranks.Ranks(toys.problem())
    leader.pulse.gone = "process 1"
    with pytest.raises(RunFailed, match="is gone") as caught:
        workers.call_fresh(NAME, "one")
    assert caught.value.obstacles[0].where == "process 1"
    assert "the same command resumes" in caught.value.obstacles[0].fix


def test_a_leader_that_is_gone_ends_its_followers_with_a_message():
    class Broken:
        def check(self, keys):
            raise dist.DistNetworkError("connection reset")

    with pytest.raises(RunFailed, match="is gone") as caught:
        ranks._Here(1, 2, None, Broken()).listen()
    assert caught.value.obstacles[0].where == ranks.HUB


def test_a_problem_that_cannot_travel_is_refused(pair):
    problem = toys.problem()
    problem.trainer = lambda records, *, seed: None
    with pytest.raises(UsageError) as caught:
        ranks.Ranks(problem)
    assert "importable" in caught.value.obstacles[0].expected


def test_a_process_alone_leads_and_waits_for_nobody():
    assert ranks.leads()
    assert not ranks.joined()
    assert (ranks.count(), ranks.number()) == (1, 0)
    assert ranks.told(lambda: 7) == 7
    ranks.meet()
    ranks.leave()
    tensor = torch.ones(3)
    assert ranks.whole(tensor) is ranks.collected(tensor) is ranks.parted(tensor, tensor) is tensor


def test_parts_make_the_whole_again():
    ranks.join_by(dist.HashStore(), 0, 1)
    try:
        like = distribute_tensor(torch.zeros(5, 2), ranks.mesh(), [Shard(0)])
        value = torch.arange(10.0).view(5, 2)
        part = ranks.parted(value, like)
        assert type(part) is not Tensor
        assert torch.equal(ranks.whole(part), value)
        assert torch.equal(ranks.collected(part), value)
    finally:
        ranks.leave()


def test_who_follows_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_writes", True)
    storage.only_read()
    seen = []

    def fill(folder):
        (folder / "a").write_text("made by all")
        seen.append(folder)

    storage.write_file(tmp_path / "file", b"data")
    storage.write_folder(tmp_path / "folder", fill)
    assert not storage.writes()
    assert seen, "what all make together is made here too"
    assert not list(tmp_path.iterdir())
    assert not seen[0].exists()


@pytest.mark.parametrize(("rank", "size", "several"), [(None, None, False), ("0", "1", False), ("1", "2", True)])
def test_a_launch_of_several_is_seen(monkeypatch, rank, size, several):
    for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert ranks.launched() is several
