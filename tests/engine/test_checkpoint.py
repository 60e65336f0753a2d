import json
import resource

import pytest
import torch
from safetensors.torch import load
from torch import nn
from torch.nn import functional

from expunge.core.errors import StorageFailed, Tampered
from expunge.engine import checkpoint
from expunge.engine.checkpoint import Checkpoints
from tests.support import toys


def optimiser_of(model, name="adamw"):
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
        "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    }
    return kinds[name](model.parameters())


def step(model, optimiser):
    inputs, labels = toys.points(16)
    optimiser.zero_grad()
    functional.cross_entropy(model(inputs), labels).backward()
    optimiser.step()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints" / "attempt-1"


@pytest.fixture
def saved(folder):
    """One checkpoint of a trained model, and the model."""
    model = toys.network(toys.Noisy)
    optimiser = optimiser_of(model)
    step(model, optimiser)
    Checkpoints(folder, every_s=0).offer(model, optimiser, {"epoch": 1, "history": [{"loss": 0.1}]})
    return model, optimiser


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_checkpoint_holds_all_that_the_next_step_needs(folder, name):
    model = toys.network(toys.Mlp)
    optimiser = optimiser_of(model, name)
    for _ in range(3):
        step(model, optimiser)
    Checkpoints(folder, every_s=0).offer(model, optimiser, {"epoch": 3, "history": [], "reason": ""})

    other = toys.network(toys.Mlp, seed=9)
    fresh = optimiser_of(other, name)
    assert Checkpoints(folder).restore(other, fresh) == {"epoch": 3, "history": [], "reason": ""}
    assert toys.same(other, model)
    for _ in range(3):
        step(model, optimiser)
        step(other, fresh)
    assert toys.same(other, model)


def test_buffers_come_back(folder, saved):
    other = toys.network(toys.Noisy, seed=9)
    Checkpoints(folder).restore(other, optimiser_of(other))
    assert toys.same(other, saved[0])
    assert int(other[1].num_batches_tracked) == 1


def test_an_optimiser_without_state_comes_back(folder):
    model = toys.network()
    Checkpoints(folder, every_s=0).offer(model, optimiser_of(model, "sgd"), {"epoch": 0})
    assert Checkpoints(folder).restore(model, optimiser_of(model, "sgd")) == {"epoch": 0}


def test_only_the_latest_is_kept_and_restored(folder, saved):
    model, optimiser = saved
    keeper = Checkpoints(folder, every_s=0)
    for epoch in range(2, 12):
        step(model, optimiser)
        keeper.offer(model, optimiser, {"epoch": epoch})
        assert [path.name for path in folder.iterdir()] == [f"{epoch:06d}"]
    assert keeper.restore(toys.network(toys.Noisy), optimiser_of(toys.network(toys.Noisy)))["epoch"] == 11


def test_an_older_one_left_by_a_kill_is_not_taken(folder, saved):
    model, optimiser = saved
    (folder / "000000").mkdir()
    assert Checkpoints(folder).restore(model, optimiser)["epoch"] == 1


def test_checkpoints_are_not_written_too_often(folder):
    model = toys.network()
    keeper = Checkpoints(folder, every_s=3600)
    keeper.offer(model, optimiser_of(model), {"epoch": 1})
    assert not folder.exists()


def test_nothing_to_restore(folder):
    model = toys.network()
    assert Checkpoints(folder).restore(model, optimiser_of(model)) is None
    folder.mkdir(parents=True)
    assert Checkpoints(folder).restore(model, optimiser_of(model)) is None


def test_clear_leaves_nothing_that_held_data(folder, saved):
    Checkpoints(folder).clear()
    assert not folder.exists()
    Checkpoints(folder).clear()


def test_nothing_is_pickled(folder, saved):
    assert sorted(path.name for path in (folder / "000001").iterdir()) == ["place.json", "state.safetensors"]
    json.loads((folder / "000001" / "place.json").read_text())


def truncate(name, keep):
    def damage(folder):
        path = folder / "000001" / name
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    return damage


@pytest.mark.parametrize("keep", [0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("name", ["state.safetensors", "place.json"])
def test_a_truncated_checkpoint_is_refused(folder, saved, name, keep):
    truncate(name, keep)(folder)
    with pytest.raises(Tampered):
        Checkpoints(folder).restore(*saved)


@pytest.mark.parametrize("name", ["state.safetensors", "place.json"])
def test_half_a_checkpoint_is_refused(folder, saved, name):
    (folder / "000001" / name).unlink()
    with pytest.raises(Tampered) as caught:
        Checkpoints(folder).restore(*saved)
    assert caught.value.obstacles[0].fix == "delete this folder: the loop starts again from its beginning"


def test_a_checkpoint_of_another_model_is_refused(folder, saved):
    other = toys.network(toys.Mlp)
    with pytest.raises(Tampered):
        Checkpoints(folder).restore(other, optimiser_of(other))


def test_a_place_that_says_something_else_is_refused(folder, saved):
    (folder / "000001" / "place.json").write_text("[1]")
    with pytest.raises(Tampered):
        Checkpoints(folder).restore(*saved)


def test_a_full_disk_is_reported_and_leaves_no_checkpoint(folder):
    model = toys.network()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        with pytest.raises(StorageFailed, match="File too large"):
            Checkpoints(folder, every_s=0).offer(model, optimiser_of(model), {"epoch": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.rglob("*")) == []


def test_weights_that_share_memory_come_back(folder):
    """Tied layers, a view of a larger tensor, one that is not contiguous: the bytes are those of copies."""

    def tied():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        model.register_buffer("part", torch.arange(10.0)[2:5])
        model.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
        return model

    model = tied()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 4)).sum().backward()
    optimiser.step()
    files = checkpoint.state_files(model, optimiser, {})
    copies = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    assert all(torch.equal(load(files["state.safetensors"])[f"model.{name}"], t) for name, t in copies.items())
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.fill(folder, files)
    again = tied()
    checkpoint.read_state(folder, again, torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in copies.items())


def test_a_loop_inside_another_has_checkpoints_of_its_own(tmp_path):
    outer = Checkpoints(tmp_path / "loop", every_s=0)
    inner, model = outer.inside("part-1"), toys.network()
    inner.offer(model, torch.optim.SGD(model.parameters(), lr=0.1), {"epoch": 2})
    assert outer.restore(model, torch.optim.SGD(model.parameters(), lr=0.1)) is None
    assert inner.restore(model, torch.optim.SGD(model.parameters(), lr=0.1)) == {"epoch": 2}
    outer.clear()
    assert inner.restore(model, torch.optim.SGD(model.parameters(), lr=0.1)) is None


def test_memory_that_does_not_suffice_to_read_a_checkpoint_is_no_fault_of_its(folder, saved, monkeypatch):
    def exhausted(*given):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(checkpoint, "load_file", exhausted)
    with pytest.raises(RuntimeError, match="allocate"):
        Checkpoints(folder).restore(*saved)
