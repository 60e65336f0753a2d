"""PyTorch modules: safetensors in, safetensors out; nothing is ever unpickled."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from expunge.core import digest as digests
from expunge.core.errors import Obstacle, Tampered, UnsafeFile, UsageError
from expunge.core.model import ModelSource

WEIGHTS = "model.safetensors"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TorchModel(ModelSource):
    """A ``torch.nn.Module``: a live one (copied once), or a function that builds it and its weights.

    Args:
        build: ``() -> nn.Module``, or ``"module:function"`` naming one.
        weights: a ``.safetensors`` file, or a folder that holds ``model.safetensors``.

    Raises:
        UnsafeFile: the weights are a pickle, whatever their name says.
        Tampered: the weights are truncated, or do not fit the module.
    """

    def __init__(self, build: Callable[[], nn.Module] | str, *, weights: str | Path) -> None:
        make = _named(build) if isinstance(build, str) else build
        self._original = _load(make(), Path(weights)).eval()

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether ``thing`` is a module."""
        return isinstance(thing, nn.Module)

    @classmethod
    def adopt(cls, thing: nn.Module) -> TorchModel:
        """Return a source over a copy of the module, taken now; it lies on the processor, wherever the module does."""
        source = cls.__new__(cls)
        source._original = moved(copy.deepcopy(thing), torch.device("cpu")).eval()
        return source

    def open(self) -> nn.Module:
        """Return a fresh copy of the original, in evaluation mode; gradients are off nowhere."""
        return copy.deepcopy(self._original)

    def digest(self, model: nn.Module | None = None) -> str:
        """Return the model digest: equal to that of the file :meth:`save` writes."""
        state = _once((self._original if model is None else model).state_dict())
        return digests.combine([tensor_digest(name, tensor) for name, tensor in state.items()])

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write ``model.safetensors`` and ``architecture.json`` into ``folder``."""
        state = {n: tensor.detach().cpu().clone().contiguous() for n, tensor in _once(model.state_dict()).items()}
        (folder / WEIGHTS).write_bytes(save(state))
        kind = type(model)
        about = {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "format": "safetensors",
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
        (folder / "architecture.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")

    def reopen(self, folder: Path) -> nn.Module:
        """Return the module whose weights :meth:`save` wrote."""
        return _load(self.open(), folder).eval()

    def unsaved(self, model: nn.Module) -> list[str]:
        """Return the non-persistent buffers that differ from the original's: no file holds them."""
        mine, saved = dict(self._original.named_buffers()), model.state_dict()
        fleeting = {name: buffer for name, buffer in model.named_buffers() if name not in saved}
        return sorted(n for n, b in fleeting.items() if n not in mine or not torch.equal(b, mine[n]))

    def examine(self) -> list[Obstacle]:
        """Return weights that are not finite, and state that cannot be saved."""
        found = []
        state = self._original.state_dict()
        bad = [n for n, t in state.items() if isinstance(t, Tensor) and not bool(torch.isfinite(t).all())]
        if bad:
            found.append(
                Obstacle(
                    what="the model has weights that are NaN or infinite",
                    where=bad[0],
                    found=f"{len(bad)} of {len(state)} tensors",
                    expected="finite numbers",
                    fix="restore the model from an intact checkpoint",
                )
            )
        odd = [n for n, t in state.items() if not isinstance(t, Tensor) or t.dtype not in _DTYPES]
        if odd:
            found.append(
                Obstacle(
                    what="the model has state that safetensors cannot hold",
                    where=odd[0],
                    found=f"{len(odd)} of {len(state)} entries",
                    expected="tensors of a kind that safetensors knows",
                    fix="keep extra state out of the state_dict",
                )
            )
        parameters = list(self._original.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            found.append(
                Obstacle(
                    what="no weight of the model may move: no method could change it, nor the audit teach it again",
                    where=type(self._original).__name__,
                    found=f"requires_grad = False in all of {len(parameters)} parameters",
                    expected="the network as it was trained",
                    fix="call model.requires_grad_(True), then freeze what the training froze",
                )
            )
        if not parameters:
            found.append(
                Obstacle(
                    what="the model has no parameters",
                    where=type(self._original).__name__,
                    found="0 parameters",
                    expected="a trained network",
                    fix="pass the trained network itself",
                )
            )
        return found


def _named(target: str) -> Callable[[], nn.Module]:
    module, _, function = target.partition(":")
    try:
        make: Callable[[], nn.Module] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"cannot import {target!r}",
            where="model",
            found=type(error).__name__,
            expected="module:function",
            fix="check the spelling, and run in the environment that has your project",
        ) from error
    return make


def _load(module: nn.Module, path: Path) -> nn.Module:
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            "no weights",
            where=file.name,
            found="no such file",
            expected=f"a .safetensors file, or a folder with {WEIGHTS}",
            fix="save them with safetensors.torch.save_file(model.state_dict(), path)",
        )
    refuse_pickle(file)
    digests.read_safetensors_header(file)
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise Tampered(
            "cannot read the weights",
            where=file.name,
            found=str(error),
            expected="a whole safetensors file",
            fix="restore the file from where it was saved",
        ) from error
    own = module.state_dict()
    needed = _once(own).keys()
    wrong = sorted(
        name
        for name in needed | state.keys()
        if name not in own or name not in state or own[name].shape != state[name].shape
    )
    if wrong:
        raise Tampered(
            "the weights do not fit the module",
            where=f"{file.name}, {wrong[0]}",
            found=f"{len(wrong)} tensors missing, unknown or of another shape",
            expected=f"the {len(needed)} tensors of the module, each in its shape",
            fix="use the weights that were saved from this architecture",
        )
    module.load_state_dict(state, strict=False)
    return module


def _once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without tensors that are one with an earlier one: tied weights are written once."""
    found, seen = {}, set()
    for name, tensor in state.items():
        whole = isinstance(tensor, Tensor) and tensor.numel()  # what has no tensor, or no numbers, has no place
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if whole else name
        if place not in seen:
            found[name] = tensor
            seen.add(place)
    return found


def moved(model: nn.Module, place: torch.device) -> nn.Module:
    """Return a module on a device; it is moved there, in place, where a tensor of it lies elsewhere."""
    there = all(tensor.device == place for tensor in chain(model.parameters(), model.buffers()))
    return model if there else model.to(place)


def refuse_pickle(file: Path) -> None:
    """Raise if the file is a pickle or an archive of one, by its first bytes, whatever its name says.

    Raises:
        UnsafeFile: it starts like a pickle (protocol 2 or later), a zip, a tar or a gzip.
    """
    with file.open("rb") as handle:
        head = handle.read(512)
    looks = {
        "a pickle": head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05" and len(head) > 1,
        "a zip archive (torch.save)": head[:2] == b"PK",
        "a gzip archive": head[:2] == b"\x1f\x8b",
        "a tar archive": head[257:262] == b"ustar",
    }
    name = next((text for text, yes in looks.items() if yes), None)
    # The length of a header may begin with any byte; a length that fits, before a brace, is safetensors' own.
    fits = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size - 8
    if name and not fits:
        raise UnsafeFile(
            "a pickle can run code when it is opened, so it is refused",
            where=file.name,
            found=name,
            expected="safetensors",
            fix="convert it where you trust it: safetensors.torch.save_file(state_dict, path)",
        )


def tensor_digest(name: str, tensor: Tensor) -> str:
    """Return the digest of a tensor as a safetensors file would hold it."""
    flat = tensor.detach().cpu().contiguous()
    data = flat.reshape(-1).view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return digests.tensor_digest(name, _DTYPES[flat.dtype], list(flat.shape), data)
