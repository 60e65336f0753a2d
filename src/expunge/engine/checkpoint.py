"""Checkpoints of a loop: model, optimiser and place, in safetensors and JSON; never a pickle.

Randomness needs no saving: every epoch seeds its own from (seed, epoch).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from expunge.core.digest import read_safetensors_header
from expunge.core.errors import Tampered
from expunge.core.memory import ran_out
from expunge.core.storage import write_folder, writes
from expunge.engine import ranks


class Stateful(Protocol):
    """What is saved of a model: the model itself, or that part of it which can change."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return tensors by name."""

    def load_state_dict(self, state: Any) -> Any:
        """Take them back."""


class Moving:
    """What can change of a model: all its tensors but the parameters that are frozen when this is made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that may change, by name."""
        return {name: tensor for name, tensor in self._model.state_dict().items() if name not in self._frozen}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            KeyError: it is of other tensors.
        """
        if state.keys() != self.state_dict().keys():
            raise KeyError("tensors of another model, or of other adapters")
        self._model.load_state_dict(dict(state), strict=False)

    def frozen(self) -> dict[str, Tensor]:
        """Return the parameters that may not change, by name."""
        return {name: tensor for name, tensor in self._model.state_dict().items() if name in self._frozen}


class Checkpoints:
    """The latest checkpoint of one loop in ``folder``; written at most every ``every_s`` seconds."""

    def __init__(self, folder: Path, *, every_s: float = 5.0) -> None:
        self._folder, self._every_s, self._last = folder, every_s, time.monotonic()

    def offer(self, model: Stateful, optimiser: torch.optim.Optimizer, place: Mapping[str, Any]) -> None:
        """Write a checkpoint if the last one is old enough; ``place`` is JSON-ready."""
        # By the leader's clock: all processes that hold a part of the state give it, or none does.
        if not ranks.told(lambda: time.monotonic() - self._last >= self._every_s):
            return
        target = self._folder / f"{place['epoch']:06d}"
        older = [path for path in self._folder.glob("[0-9]*") if path != target]
        write_folder(target, lambda folder: fill(folder, state_files(model, optimiser, place)))
        for path in older if writes() else ():
            shutil.rmtree(path)
        self._last = time.monotonic()

    def restore(self, model: Stateful, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Load the latest checkpoint into model and optimiser; return its place, None where there is none.

        Raises:
            Tampered: the checkpoint is truncated or does not fit.
        """
        latest = max(self._folder.glob("[0-9]*"), default=None) if self._folder.is_dir() else None
        if latest is None:
            return None
        return read_state(latest, model, optimiser)

    def beside(self, name: str) -> Path:
        """Return a folder for what the loop must find again when it resumes; it goes when the checkpoints go."""
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def inside(self, name: str) -> Checkpoints:
        """Return the checkpoints of a loop that is part of this one; they go when these go."""
        return type(self)(self._folder / name, every_s=self._every_s)

    def clear(self) -> None:
        """Delete all checkpoints: they hold what the loop has seen."""
        if writes():
            shutil.rmtree(self._folder, ignore_errors=True)


def state_files(model: Stateful, optimiser: torch.optim.Optimizer, place: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a whole state as files by name: equal states give equal bytes; ``place`` is JSON-ready."""
    state = optimiser.state_dict()
    tensors = {f"model.{name}": ranks.collected(tensor) for name, tensor in model.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, slots in state["state"].items():
        for slot, value in slots.items():
            name = f"optimiser.{index}.{slot}"
            if isinstance(value, Tensor):
                tensors[name] = ranks.collected(value)
            else:
                scalars[name] = value
    # Written by Python: save_file would hide a full disk behind an error of its own.
    data = save(_apart(tensors))
    groups = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    about = json.dumps({"groups": groups, "scalars": scalars, "place": dict(place)}, sort_keys=True)
    return {"state.safetensors": data, "place.json": about.encode()}


def model_of(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """Return the tensors of the model in a state (:func:`state_files`), by name."""
    tensors = load(files["state.safetensors"])
    return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors of which no two share memory, as safetensors asks; copied only where they do."""
    seen: set[int] = set()
    found = {}
    for name, tensor in ((name, tensor.cpu()) for name, tensor in tensors.items()):
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.contiguous() if place not in seen else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(place)
    return found


def read_state(folder: Path, model: Stateful, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Load the state in ``folder`` into model and optimiser; return its place.

    Raises:
        Tampered: it is truncated or does not fit.
    """
    try:
        return _read(folder, model, optimiser)
    except (ValueError, TypeError, LookupError, RuntimeError, OSError) as error:
        if ran_out(error):
            raise
        raise Tampered(
            "cannot read a checkpoint",
            where=f"{folder.parent.name}/{folder.name}",
            found=type(error).__name__,
            expected="what the loop wrote",
            fix="delete this folder: the loop starts again from its beginning",
        ) from error


def fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name into ``folder``."""
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _read(folder: Path, model: Stateful, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    about = json.loads((folder / "place.json").read_text())
    read_safetensors_header(folder / "state.safetensors")
    tensors = load_file(folder / "state.safetensors")
    slots: dict[int, dict[str, Any]] = {}
    values = {**{k: v for k, v in tensors.items() if k.startswith("optimiser.")}, **about["scalars"]}
    for name, value in values.items():
        _, index, slot = name.split(".", 2)
        slots.setdefault(int(index), {})[slot] = value
    mine = model.state_dict()
    read = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    model.load_state_dict({k: ranks.parted(v, mine[k]) if k in mine else v for k, v in read.items()})
    own = optimiser.state_dict()
    moving = [p for group in optimiser.param_groups for p in group["params"]]
    for index, state in slots.items():
        like = moving[index]
        for name, value in state.items():
            state[name] = ranks.parted(value, like) if getattr(value, "shape", None) == like.shape else value
    groups = [
        {**group, "params": mine["params"]} for group, mine in zip(about["groups"], own["param_groups"], strict=True)
    ]
    optimiser.load_state_dict({"state": slots, "param_groups": groups})
    place: dict[str, Any] = about["place"]
    return place
