"""Hugging Face models: a directory as transformers wrote it goes in, one that it opens comes out; nothing is unpickled.

What lies beside the weights (tokenizer, generation settings) is carried over byte for byte, and so is the
configuration: written anew by transformers, older versions and other loaders would miss what has another name now. A
model card of the original is not: it may quote what must be forgotten.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import digest as digests
from expunge.core.errors import InvalidProblem, Obstacle, Tampered, UsageError
from expunge.core.model import ModelSource
from expunge.models._directory import CONFIG, WEIGHTS, carried, kind_of, lay, quiet, read_model, safe, stamps
from expunge.models._likeness import of_another_kind, reads_otherwise
from expunge.models.torch import TorchModel, moved

_TWICE = 2.0
"""So many times the weights that files hold a model may have: tied ones stand in them once."""


class HuggingFaceModel(ModelSource):
    """A transformers model: a live one (copied once), or a directory with ``config.json`` and safetensors.

    Of a directory no weights stay in memory: each instance that is opened is read anew.

    Args:
        path: the directory; it is read, never written, and must stay as it is.

    Raises:
        UsageError: no such directory, no configuration, a class that this transformers does not know.
        UnsafeFile: the weights are pickled, or the configuration asks for code from the directory.
        Tampered: weights are missing, truncated, or do not fit the configuration; or they have changed since.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        self._kind, self._folder, self._live = kind_of(folder), folder, None
        self._files = stamps(folder)
        self._digest = self.digest(read_model(self._kind, folder))  # what cannot be read is told now
        self._config, self._beside = (folder / CONFIG).read_bytes(), carried(folder)

    @property
    def carries(self) -> tuple[str, ...]:
        """The files beside the weights that ship as they came."""
        return tuple(self._beside)

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether ``thing`` is a network that saves itself as transformers' models do."""
        # By what it has: to ask for the class would load transformers for every network.
        return isinstance(thing, nn.Module) and all(
            hasattr(thing, name) for name in ("save_pretrained", "from_pretrained", "config")
        )

    @classmethod
    def adopt(cls, thing: Any) -> HuggingFaceModel:
        """Return a source over a copy of the model, taken now, on the processor; no tokenizer is carried over."""
        source = cls.__new__(cls)
        source._live, source._beside = moved(copy.deepcopy(thing), torch.device("cpu")).eval(), {}
        source._config = b""
        source._kind, source._digest = type(thing), ""
        return source

    def open(self) -> Any:
        """Return a fresh copy of the original, in evaluation mode.

        Raises:
            Tampered: the directory is not what it was.
        """
        if self._live is not None:
            return copy.deepcopy(self._live)
        if stamps(self._folder) != self._files:
            raise Tampered(
                "the directory of the model has changed since it was opened",
                where=self._folder.name,
                found="files of another size or time",
                expected="a directory that nothing writes to",
                fix="copy it to where it stays as it is, and start again",
            )
        return read_model(self._kind, self._folder).eval()

    @property
    def _original(self) -> Any:
        return self.open() if self._live is None else self._live

    def digest(self, model: Any = None) -> str:
        """Return the model digest: that of the files which :meth:`save` writes."""
        if model is None and self._digest:
            return self._digest
        # transformers decides which tensors a file holds (tied weights once, names as published): it is asked.
        with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
            _write(self._original if model is None else model, Path(folder))
            return digests.model_digest(Path(folder))

    def save(self, model: Any, folder: Path) -> None:
        """Write weights in one file, configuration, and what lay beside the original."""
        _write(model, folder)
        if self._config and _read_alike(self._kind, self._config, (folder / CONFIG).read_bytes()):
            (folder / CONFIG).write_bytes(self._config)
        lay(self._beside, folder)

    def reopen(self, folder: Path) -> Any:
        """Return the model that :meth:`save` wrote."""
        safe(folder)
        return read_model(self._kind, folder).eval()

    def alike(self, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
        """Return that it is no directory of such a model, or of another class, size, or way to read texts."""
        found = of_another_kind(self._kind, folder, adapters=False)
        if found or not (folder / CONFIG).is_file():  # what is missing is told by who opens it
            return found
        mine = self._folder if self._live is None else None
        return [*_of_another_size(self._kind, folder), *reads_otherwise(mine, folder, texts)]

    def settings(self, folder: Path) -> str:
        """Return the digest of the configuration."""
        return digests.sha256((folder / CONFIG).read_bytes())

    def unsaved(self, model: Any) -> list[str]:
        """Return the non-persistent buffers that differ from the original's: no file holds them."""
        return TorchModel.unsaved(self, model)  # type: ignore[arg-type]

    def examine(self) -> list[Obstacle]:
        """Return weights that are not finite, and state that cannot be saved."""
        return TorchModel.examine(self)  # type: ignore[arg-type]


class Anew:
    """Makes the model that a training starts from: the ``base`` it was fine-tuned from, or one with new weights.

    Its numbers are of the original's types, whatever those of the base: what comes of it is compared with the original,
    and may ship in its place.

    Args:
        like: directory of the model; its configuration is that of new weights.
        base: directory of the model before it was trained on the records; None where it started from nothing. Of a
            classifier it may be of another class of its family: the head is drawn then, as transformers did it.

    Raises:
        UsageError, UnsafeFile, Tampered: as of :class:`HuggingFaceModel`; or the base is of another class or shape, or
            the model itself.
        InvalidProblem: the base has weights that are not finite.
    """

    def __init__(self, like: str | Path, base: str | Path | None = None) -> None:
        self._kind = kind_of(Path(like))
        self._like, self.base = str(like), None if base is None else str(base)
        self._beyond: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]):  # a head that is drawn to be looked at is nobody's
            self.rests_on = "" if base is None else self._checked(Path(base))
            cast = self._cast(Path(like), None if base is None else Path(base))
        start = ("new weights" if base is None else f"weights {self.rests_on[:16]}") + cast
        # What a trainer is described by.
        self.__module__, self.__qualname__ = "transformers", f"{self._kind.__name__} from {start}"

    def _checked(self, base: Path) -> str:
        """Return the digest of the base, which must be a model that the training could have started from."""
        theirs, headless = kind_of(base), False
        if theirs is not self._kind:
            classifier = self._kind.__name__.endswith("ForSequenceClassification")
            headless = classifier and theirs.config_class is self._kind.config_class
        if theirs is not self._kind and not headless:
            raise UsageError(
                "the base is of another class than the model",
                where=base.name,
                found=theirs.__name__,
                expected=self._kind.__name__ + (", or another of its family" if classifier else ""),
                fix="give the directory of the model that the training started from",
            )
        if headless:
            self._beyond = _without_head(self._kind, Path(self._like), base)
        source, model = HuggingFaceModel(base), HuggingFaceModel(self._like)
        if source.digest() == model.digest():
            raise UsageError(
                "the base is the model itself: what is retrained from it holds the records already",
                where=base.name,
                found="the same weights",
                expected="what the model was before it was trained on the records",
                fix="give the directory that the training started from; leave base out where that was nothing",
            )
        wrong = source.examine()
        if wrong:
            raise InvalidProblem([replace(each, where=f"base, {each.where}") for each in wrong])
        mine, other = (
            {name: tuple(t.shape) for name, t in each.state_dict().items()}
            for each in (self._begun(base), model.open())
        )
        if mine != other:
            odd = sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))
            raise UsageError(
                "the base is of another shape than the model",
                where=f"{base.name}, {odd[0]}",
                found=f"{len(odd)} tensors missing, unknown or of another shape",
                expected="the shapes of the model",
                fix="give the directory of the model that the training started from",
            )
        return source.digest()

    def _cast(self, like: Path, base: Path | None) -> str:
        """Note the types of the original's numbers; return to which ones those of the start are cast, if any."""
        mine, self._types = _types(read_model(self._kind, like))
        begun = {name: torch.get_default_dtype() for name in mine}
        if base is not None:
            begun, _ = _types(self._begun(base))
        odd = {str(kind).removeprefix("torch.") for name, kind in mine.items() if begun.get(name, kind) != kind}
        return f" in {' and '.join(sorted(odd))}" if odd else ""

    def _begun(self, base: Path) -> Any:
        """Return the base in the class of the model; torch's generator draws a head that it has not."""
        return read_model(self._kind, base, **self._beyond)

    def __call__(self) -> Any:
        """Return it; new weights follow from torch's generator."""
        if self.base is not None:
            model = self._begun(Path(self.base))
        else:
            from transformers import AutoConfig

            with quiet(keep=False):
                model = self._kind(AutoConfig.from_pretrained(self._like, local_files_only=True))
        # Buffers that no file holds as well: the model computes with both.
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.data = tensor.data.to(self._types.get(name, tensor.dtype))
        return model


def _without_head(kind: Any, like: Path, base: Path) -> dict[str, Any]:
    """Return what :func:`read_model` is told to read a classifier of the configuration in ``like`` from its base."""
    from transformers import AutoConfig

    with quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(like, local_files_only=True)
        named = list(kind(config).state_dict())
    prefix = f"{kind.base_model_prefix}."
    held = {
        name.removeprefix(prefix)
        for file in base.glob("*.safetensors")
        for name in digests.read_safetensors_header(file)[0]
    }
    lacking = {name.rpartition(".")[0] for name in named if name.removeprefix(prefix) not in held}
    return {"config": config, "drawn": tuple(sorted(lacking))}


def _types(model: nn.Module) -> tuple[dict[str, torch.dtype], dict[str, torch.dtype]]:
    """Return the types of the parameters by name, and those of parameters and buffers."""
    weights = {name: p.dtype for name, p in model.named_parameters(remove_duplicate=False)}
    return weights, {**weights, **{name: tensor.dtype for name, tensor in model.named_buffers()}}


def _of_another_size(kind: Any, folder: Path) -> list[Obstacle]:
    """Return that the configuration asks for far more than the files hold: to build that could fill the memory."""
    from transformers import AutoConfig

    try:
        with quiet(), torch.device("meta"):
            built = kind(AutoConfig.from_pretrained(folder, local_files_only=True))
    except (OSError, RuntimeError, ValueError):  # told by who opens it
        return []
    asked = sum(p.numel() for p in built.parameters())
    entries = [e for f in folder.glob("*.safetensors") for e in digests.read_safetensors_header(f)[0].values()]
    held = sum(math.prod(entry.shape) for entry in entries)
    if asked <= _TWICE * held:
        return []
    return [
        Obstacle(
            what="the configuration is of a larger model than the weights beside it",
            where=f"{folder.name}/{CONFIG}",
            found=f"{asked:,} weights asked for, {held:,} in the files",
            expected="the configuration that the weights were saved with",
            fix="restore the directory from where it was saved",
        )
    ]


def _write(model: Any, folder: Path) -> None:
    if getattr(model, "peft_config", None):
        raise UsageError(
            "the model holds adapters, and of its base nobody knows where it lies",
            where="model",
            found="a live model with adapters of peft",
            expected="adapters and base in directories, or a model without adapters",
            fix="model.save_pretrained(directory), then expunge.AdaptedModel(directory, base=...); or "
            "model.merge_and_unload()",
        )
    with quiet(), _written_here(model):
        model.save_pretrained(folder, max_shard_size="1000GB")  # one file: what a digest names is one thing
    # Whoever may read the configuration may read the model: safetensors itself lets nobody but its owner.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)


def _read_alike(kind: Any, one: bytes, other: bytes) -> bool:
    """Return whether this transformers reads the same settings of a class of models from two configurations.

    A type of numbers that is not said is that of the weights.
    """
    read = []
    for content in (one, other):
        with tempfile.TemporaryDirectory(prefix="expunge-") as aside, quiet():
            (Path(aside) / CONFIG).write_bytes(content)
            found = kind.config_class.from_pretrained(aside, local_files_only=True).to_dict()
        read.append(found)
    return _alike(*read)


def _alike(one: Any, other: Any) -> bool:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return bool(one == other)
    mine, theirs = ({k: v for k, v in each.items() if k not in _OF_THE_WRITING} for each in (one, other))
    kinds = {str(each.pop("dtype")) for each in (mine, theirs) if each.get("dtype") is not None}
    for each in (mine, theirs):
        each.pop("dtype", None)
    return len(kinds) < 2 and mine.keys() == theirs.keys() and all(_alike(mine[name], theirs[name]) for name in mine)


_OF_THE_WRITING = ("_name_or_path", "transformers_version")
"""What a configuration says of who wrote it, and where."""


@contextmanager
def _written_here(model: Any) -> Iterator[None]:
    """Let transformers write in whichever of several processes asks: by itself it does so in the first alone."""
    model.should_save_on_this_rank = lambda is_main_process: is_main_process
    try:
        yield
    finally:
        del model.should_save_on_this_rank
