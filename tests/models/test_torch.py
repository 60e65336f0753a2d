import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from expunge.core.digest import model_digest, weights_digest
from expunge.core.errors import ExpungeError, Tampered, UnsafeFile, UsageError
from expunge.core.registry import adopt
from expunge.models.torch import WEIGHTS, TorchModel, refuse_pickle
from tests.support import toys


class Tied(nn.Module):
    """An output layer that is the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.embed(x).mean(1))


class Odd(nn.Module):
    """Buffers of many types, a scalar, an empty one, and weights that are not contiguous."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(4, 6, generator=draw).T)
        self.brain = nn.Parameter(torch.rand(3, generator=draw).bfloat16())
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("u8", torch.arange(5, dtype=torch.uint8))
        self.register_buffer("small", torch.arange(-2, 2, dtype=torch.int16))
        self.register_buffer("f16", torch.rand(2, 2, generator=draw).half())
        self.register_buffer("f64", torch.rand(2, generator=draw).double())
        self.register_buffer("view", torch.arange(12.0)[::3])
        self.register_buffer("nothing", torch.empty(0, 3))


def saved(model, folder):
    folder.mkdir(parents=True)
    source = TorchModel.adopt(model)
    source.save(source.open(), folder)
    return source


# --- digests, saving, reopening -------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [toys.Mlp, toys.Noisy, Tied, Odd])
def test_the_digest_is_that_of_the_saved_file(tmp_path, build):
    source = saved(build(), tmp_path / "m")
    assert source.digest() == weights_digest(tmp_path / "m" / WEIGHTS) == model_digest(tmp_path / "m")
    reopened = source.reopen(tmp_path / "m")
    assert toys.same(reopened, source.open())
    assert source.digest(reopened) == source.digest()


@pytest.mark.parametrize("build", [toys.Noisy, Odd])
def test_every_tensor_counts_in_the_digest(build):
    source = TorchModel.adopt(build())
    for name, tensor in source.open().state_dict().items():
        if tensor.numel():
            changed = source.open()
            place = (changed.state_dict()[name], (0,) * tensor.dim())
            place[0][place[1]] = ~place[0][place[1]] if tensor.dtype == torch.bool else place[0][place[1]] + 1
            assert source.digest(changed) != source.digest(), name


def test_names_types_and_shapes_count_in_the_digest():
    plain = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(plain.weight)
    wide, double, named = nn.Linear(8, 2, bias=False), nn.Linear(4, 2, bias=False).double(), nn.Bilinear(1, 4, 4, False)
    for other in (wide, double, named):
        nn.init.zeros_(other.weight)
    digests = {TorchModel.adopt(model).digest() for model in (plain, wide, double, named)}
    assert len(digests) == 4


def test_ties_survive(tmp_path):
    source = saved(Tied(), tmp_path / "m")
    model = source.reopen(tmp_path / "m")
    assert model.out.weight is model.embed.weight


def test_tied_weights_are_written_once_and_read_from_files_that_hold_each(tmp_path):
    source = saved(Tied(), tmp_path / "m")
    state = load_file(tmp_path / "m" / WEIGHTS)
    assert [name for name in ("embed.weight", "out.weight") if name in state] == ["embed.weight"]
    save_file({**state, "out.weight": state["embed.weight"].clone()}, tmp_path / "m" / WEIGHTS)
    model = source.reopen(tmp_path / "m")
    assert torch.equal(model.out.weight, source.open().embed.weight)
    assert source.digest(model) == source.digest()


def test_files_can_be_opened_by_others(tmp_path):
    source = saved(Odd(), tmp_path / "m")
    state = load_file(tmp_path / "m" / WEIGHTS)
    assert state.keys() == source.open().state_dict().keys()
    assert all(torch.equal(state[n], t) and state[n].dtype == t.dtype for n, t in source.open().state_dict().items())
    about = json.loads((tmp_path / "m" / "architecture.json").read_text())
    assert about["class"].endswith("Odd")
    assert about["parameters"] == 27


def test_saving_twice_gives_the_same_bytes(tmp_path):
    saved(toys.Noisy(), tmp_path / "a")
    source = TorchModel(toys.Noisy, weights=tmp_path / "a")
    (tmp_path / "b").mkdir()
    source.save(source.open(), tmp_path / "b")
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


# --- what a user holds is never changed -----------------------------------------------------------------------


def test_a_live_model_is_copied_when_it_is_handed_in():
    mine = toys.network(toys.Noisy).train()
    mine[0].weight.requires_grad_(False)
    mine(torch.rand(8, 4)).sum().backward()
    before = toys.state(mine)
    source = adopt("models", mine)
    digest = source.digest()
    model = source.open()
    with torch.no_grad():
        model[0].weight.add_(1)
        mine[0].bias.add_(1)
    assert source.digest() == digest, "what happens to the user's model later changes nothing here"
    mine[0].bias.data.sub_(1)
    assert before[1:] == toys.state(mine)[1:]
    assert torch.equal(mine[0].weight, before[0]["0.weight"])
    assert mine[4][0].weight.grad is not None
    assert model[4][0].weight.grad is None


def test_copies_share_nothing_and_are_in_evaluation_mode():
    source = TorchModel.adopt(toys.network(toys.Noisy).train())
    one, other = source.open(), source.open()
    places = [{t.data_ptr() for t in model.state_dict().values()} for model in (one, other, source._original)]
    assert not places[0] & places[1]
    assert not (places[0] | places[1]) & places[2]
    assert not any(module.training for module in one.modules())
    assert all(p.requires_grad for p in one.parameters())


def test_frozen_parameters_stay_frozen():
    mine = toys.network()
    mine[0].weight.requires_grad_(False)
    assert [p.requires_grad for p in TorchModel.adopt(mine).open().parameters()] == [False, True, True, True]


# --- opening by name ------------------------------------------------------------------------------------------


def test_a_model_is_made_by_name(tmp_path):
    saved(toys.network(), tmp_path / "m")
    by_name = TorchModel("tests.support.toys:Mlp", weights=tmp_path / "m" / WEIGHTS)
    assert toys.same(by_name.open(), toys.network())
    assert not by_name.open().training


@pytest.mark.parametrize("target", ["tests.support.toys:None_such", "no.such.module:f", "", ":f", "tests.support.toys"])
def test_a_name_that_does_not_exist_is_refused(tmp_path, target):
    with pytest.raises(UsageError, match="cannot import"):
        TorchModel(target, weights=tmp_path)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no weights"):
        TorchModel(toys.Mlp, weights=tmp_path)
    with pytest.raises(UsageError, match="no weights"):
        TorchModel(toys.Mlp, weights=tmp_path / "none.safetensors")


# --- pickles --------------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a trace if it is unpickled."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return (os.mkdir, (self.place,))


def pickles(place):
    """Return dangerous bytes by kind."""
    bomb = Bomb(place)
    torch_zip, torch_old, tar, archive = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"weight": bomb}, torch_zip)
    torch.save({"weight": bomb}, torch_old, _use_new_zipfile_serialization=False)
    raw = pickle.dumps(bomb)
    with tarfile.open(fileobj=tar, mode="w") as file:
        entry = tarfile.TarInfo("weights{pickle")
        entry.size = len(raw)
        file.addfile(entry, io.BytesIO(raw))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("{", raw)
    return {
        **{f"protocol {p}": pickle.dumps(bomb, protocol=p) for p in range(2, 6)},
        "torch.save": torch_zip.getvalue(),
        "torch.save, old": torch_old.getvalue(),
        "gzip": gzip.compress(raw),
        "tar": tar.getvalue(),
        "zip": archive.getvalue(),
    }


@pytest.mark.parametrize("kind", pickles("none"))
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "weights.bin"])
def test_a_pickle_is_refused_under_any_name_without_being_opened(tmp_path, kind, name):
    trace = tmp_path / "trace"
    (tmp_path / name).write_bytes(pickles(trace)[kind])
    with pytest.raises(UnsafeFile) as caught:
        TorchModel(toys.Mlp, weights=tmp_path / name)
    assert caught.value.exit_code == 5
    assert not trace.exists()


def test_the_bomb_would_have_gone_off(tmp_path):
    pickle.loads(pickles(tmp_path / "trace")["protocol 4"])
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("disguise", ["protocol 0", "brace", "prefixed"])
def test_a_pickle_in_disguise_is_not_opened_either(tmp_path, disguise):
    trace = tmp_path / "trace"
    raw = pickle.dumps(Bomb(trace), protocol=0 if disguise == "protocol 0" else 4)
    if disguise == "brace":  # looks like safetensors where the sniffing looks
        raw = b"\x80\x04\x95\x00\x00\x00\x00\x00{" + raw
    if disguise == "prefixed":
        raw = b"N0" + raw
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(ExpungeError):
        TorchModel(toys.Mlp, weights=tmp_path)
    assert not trace.exists()


def test_a_pickle_beside_the_weights_is_not_opened(tmp_path):
    saved(toys.network(), tmp_path / "m")
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(pickles(tmp_path / "trace")["torch.save"])
    TorchModel(toys.Mlp, weights=tmp_path / "m")
    assert not (tmp_path / "trace").exists()


def with_header_length(path, length):
    """Save a network whose header is padded to this length; spaces after the JSON are legal."""
    save_file(toys.network().state_dict(), path)
    data = path.read_bytes()
    (own,) = struct.unpack("<Q", data[:8])
    assert own <= length
    path.write_bytes(struct.pack("<Q", length) + data[8 : 8 + own].ljust(length) + data[8 + own :])


@pytest.mark.parametrize(
    ("length", "start"),
    [
        (0x0180, b"\x80\x01"),  # pickle, protocol 1
        (0x0480, b"\x80\x04"),  # pickle, protocol 4
        (0x4B50, b"PK"),  # zip; a header of 19,280 bytes names some 200 tensors
        (0x8B1F, b"\x1f\x8b"),  # gzip
    ],
)
def test_a_header_length_that_looks_like_an_archive_is_legal(tmp_path, length, start):
    path = tmp_path / "model.safetensors"
    with_header_length(path, length)
    assert path.read_bytes()[:2] == start
    refuse_pickle(path)
    assert toys.same(TorchModel(toys.Mlp, weights=path).open(), toys.network())


# --- damaged and foreign files --------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 4, 8, 60, -200, -1])
def test_truncated_weights_are_refused(tmp_path, keep):
    saved(toys.network(), tmp_path / "m")
    path = tmp_path / "m" / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Tampered):
        TorchModel(toys.Mlp, weights=path)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Linear(4, 15), nn.ReLU(), nn.Linear(15, 3)),
        nn.Sequential(nn.Linear(4, 16), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Linear(3, 3)),
        nn.Linear(4, 3),
    ],
    ids=["shape", "missing", "unknown", "names"],
)
def test_weights_of_another_architecture_are_refused(tmp_path, other):
    saved(other, tmp_path / "m")
    with pytest.raises(Tampered, match="do not fit"):
        TorchModel(toys.Mlp, weights=tmp_path / "m")
    with pytest.raises(Tampered, match="do not fit"):
        TorchModel.adopt(toys.network()).reopen(tmp_path / "m")


def test_weights_of_a_type_that_the_library_cannot_read_are_refused(tmp_path):
    header = json.dumps({"weight": {"dtype": "F12", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(Tampered, match="cannot read the weights"):
        TorchModel(toys.Softmax, weights=tmp_path)


# --- examination ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_weights_that_are_not_finite_are_listed(value, name):
    model = toys.network(toys.Noisy)
    model.state_dict()[name].view(-1)[3] = value
    (obstacle,) = TorchModel.adopt(model).examine()
    assert "NaN or infinite" in obstacle.what
    assert (obstacle.where, obstacle.found) == (name, "1 of 9 tensors")
    assert TorchModel.adopt(toys.network(toys.Noisy)).examine() == []


def test_state_that_cannot_be_saved_is_listed():
    class Extra(toys.Softmax):
        def get_extra_state(self):
            return {"vocabulary": ["a"]}

        def set_extra_state(self, state): ...

    class Complex(toys.Softmax):
        def __init__(self):
            super().__init__()
            self.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))

    for model, where in ((Extra(), "_extra_state"), (Complex(), "phase")):
        (obstacle,) = TorchModel.adopt(model).examine()
        assert "safetensors cannot hold" in obstacle.what
        assert obstacle.where == where


def test_a_model_without_parameters_is_listed():
    assert ["no parameters" in o.what for o in TorchModel.adopt(nn.ReLU()).examine()] == [True]


def test_a_network_of_which_nothing_may_move_is_told_before_any_work():
    (said,) = TorchModel.adopt(nn.Linear(2, 2).requires_grad_(False)).examine()
    assert (said.fatal, "requires_grad_(True)" in said.fix) == (True, True)
    half = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    assert not TorchModel.adopt(half).examine()


def test_only_modules_are_accepted():
    assert TorchModel.accepts(toys.network())
    assert not TorchModel.accepts(toys.network().state_dict())
    with pytest.raises(UsageError):
        adopt("models", "weights.pt")
