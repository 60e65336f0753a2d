import torch

from expunge.core.records import WatchedView
from expunge.core.registry import load
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from tests.support import toys

RECORDS = toys.records(50)
NOISY = Trainer(build=toys.Noisy, config=LoopConfig(epochs=3, batch_size=16))


def test_the_contract_is_kept():
    first = NOISY(RECORDS, seed=1)
    torch.rand(5)
    assert toys.same(first, NOISY(RECORDS, seed=1))
    assert not toys.same(first, NOISY(RECORDS, seed=2))
    assert not toys.same(first, NOISY(RECORDS.without(["r0"]), seed=1))


def test_it_reads_its_view_alone_and_as_often_as_it_says():
    view = WatchedView.over(RECORDS.select(RECORDS.ids[:33]))
    NOISY(view, seed=1)
    assert (view.passes, view.unread) == (NOISY.passes, 0)
    assert set(view.reads) == {3}


def test_weights_are_drawn_from_the_seed():
    untrained = Trainer(build=toys.Mlp, config=LoopConfig(epochs=0))(RECORDS, seed=4)
    assert toys.same(untrained, toys.network(toys.Mlp, seed=4))


def test_it_learns():
    model = toys.TRAINER(RECORDS, seed=1)
    units = load("tasks", "classification")().units(model, RECORDS.read(range(50)))
    assert float(units.correct.float().mean()) > 0.7
    assert not model.training


def test_it_resumes_and_clears_its_checkpoints(tmp_path):
    whole = NOISY(RECORDS, seed=1)
    calls = []
    real = Checkpoints.offer

    class Dying(Checkpoints):
        def offer(self, *parts):
            real(self, *parts)
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt

    try:
        NOISY(RECORDS, seed=1, checkpoints=Dying(tmp_path / "c", every_s=0))
    except KeyboardInterrupt:
        assert (tmp_path / "c").exists()
    assert toys.same(NOISY(RECORDS, seed=1, checkpoints=Checkpoints(tmp_path / "c")), whole)
    assert not (tmp_path / "c").exists()


def test_equal_trainers_are_described_equally():
    same = Trainer(build=toys.Noisy, config=LoopConfig(epochs=3, batch_size=16))
    longer = Trainer(build=toys.Noisy, config=LoopConfig(epochs=4, batch_size=16))
    assert same.describe() == NOISY.describe()
    assert len({NOISY.describe(), longer.describe(), toys.TRAINER.describe()}) == 3
    assert "expunge.conformance.problems:Noisy" in NOISY.describe()
