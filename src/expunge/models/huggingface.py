"""Hugging Face models: a directory as transformers wrote it goes in, one that it opens comes out; nothing is unpickled.

What lies beside the weights (tokenizer, generation settings) is carried over byte for byte, and so is the
configuration: written anew by transformers, older versions and other loaders would miss what has another name now. A
model card of the original is not: it may quote what must be forgotten.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import digest as digests
from expunge.core.errors import InvalidProblem, Obstacle, RunFailed, Tampered, UnsafeFile, UsageError
from expunge.core.memory import GIB, asked_for, ran_out
from expunge.core.model import ModelSource
from expunge.models.torch import TorchModel, moved, refuse_pickle

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")
CARRIED = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files that ship with the model as they came, and so do templates of chats that have names of their own."""
_NAMED_TEMPLATES = "additional_chat_templates"


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
        _safe(folder)
        return read_model(self._kind, folder).eval()

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
        base: directory of the model before it was trained on the records; None where it started from nothing.

    Raises:
        UsageError, UnsafeFile, Tampered: as of :class:`HuggingFaceModel`; or the base is of another class or shape, or
            the model itself.
        InvalidProblem: the base has weights that are not finite.
    """

    def __init__(self, like: str | Path, base: str | Path | None = None) -> None:
        self._kind = kind_of(Path(like))
        self._like, self.base = str(like), None if base is None else str(base)
        start = "new weights" if base is None else f"weights {self._checked(Path(base))[:16]}"
        start += self._cast(Path(like), None if base is None else Path(base))
        # What a trainer is described by.
        self.__module__, self.__qualname__ = "transformers", f"{self._kind.__name__} from {start}"

    def _checked(self, base: Path) -> str:
        """Return the digest of the base, which must be a model that the training could have started from."""
        if kind_of(base) is not self._kind:
            raise UsageError(
                "the base is of another class than the model",
                where=base.name,
                found=kind_of(base).__name__,
                expected=self._kind.__name__,
                fix="give the directory of the model that the training started from, with its head",
            )
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
        mine, theirs = (
            {name: tuple(t.shape) for name, t in each.open().state_dict().items()} for each in (source, model)
        )
        if mine != theirs:
            odd = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
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
            begun, _ = _types(read_model(self._kind, base))
        odd = {str(kind).removeprefix("torch.") for name, kind in mine.items() if begun.get(name, kind) != kind}
        return f" in {' and '.join(sorted(odd))}" if odd else ""

    def __call__(self) -> Any:
        """Return it; new weights follow from torch's generator."""
        if self.base is not None:
            model = read_model(self._kind, Path(self.base))
        else:
            from transformers import AutoConfig

            with _quiet(keep=False):
                model = self._kind(AutoConfig.from_pretrained(self._like, local_files_only=True))
        # Buffers that no file holds as well: the model computes with both.
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.data = tensor.data.to(self._types.get(name, tensor.dtype))
        return model


def _types(model: nn.Module) -> tuple[dict[str, torch.dtype], dict[str, torch.dtype]]:
    """Return the types of the parameters by name, and those of parameters and buffers."""
    weights = {name: p.dtype for name, p in model.named_parameters(remove_duplicate=False)}
    return weights, {**weights, **{name: tensor.dtype for name, tensor in model.named_buffers()}}


def tokenizer_of(folder: str | Path) -> Any:
    """Return the tokenizer in a directory.

    Raises:
        UsageError: there is none.
        UnsafeFile: it needs code of its own.
        Tampered: it cannot be read.
    """
    from transformers import AutoTokenizer

    place = Path(folder)
    if not (place / TOKENIZER).is_file():
        raise UsageError(
            "no tokenizer here",
            where=place.name,
            found=f"no {TOKENIZER}",
            expected=f"{TOKENIZER} beside the weights, as fast tokenizers are saved",
            fix="save it beside the model with tokenizer.save_pretrained(directory)",
        )
    settings = place / "tokenizer_config.json"
    if settings.is_file() and "auto_map" in read_json(settings):
        raise _own_code(settings, "auto_map")
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise Tampered(
            "cannot read the tokenizer",
            where=place.name,
            found=type(error).__name__,
            expected="files of a class of transformers",
            fix="restore the directory from where it was saved",
        ) from error


def context_of(folder: str | Path) -> int | None:
    """Return how many tokens the model in a directory reads, as its config says; None where it says nothing."""
    file = Path(folder) / "config.json"
    about = read_json(file) if file.is_file() else {}
    text = about["text_config"] if isinstance(about.get("text_config"), dict) else about
    said = text.get("max_position_embeddings") or text.get("n_positions")
    return said if isinstance(said, int) and said > 0 else None


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
    with _quiet(), _written_here(model):
        model.save_pretrained(folder, max_shard_size="1000GB")  # one file: what a digest names is one thing
    # Whoever may read the configuration may read the model: safetensors itself lets nobody but its owner.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)


def carried(folder: Path) -> dict[str, bytes]:
    """Return what ships with a model as it came, by its path in the directory."""
    named = sorted(each.relative_to(folder).as_posix() for each in (folder / _NAMED_TEMPLATES).glob("*.jinja"))
    return {name: (folder / name).read_bytes() for name in (*CARRIED, *named) if (folder / name).is_file()}


def lay(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, by their paths, into a directory."""
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)


def _read_alike(kind: Any, one: bytes, other: bytes) -> bool:
    """Return whether this transformers reads the same settings of a class of models from two configurations.

    A type of numbers that is not said is that of the weights.
    """
    read = []
    for content in (one, other):
        with tempfile.TemporaryDirectory(prefix="expunge-") as aside, _quiet():
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


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of the files that make a model."""
    files = [*folder.glob("*.safetensors"), folder / CONFIG]
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def read_model(kind: Any, folder: Path) -> Any:
    """Return the model in ``folder``, of a class that :func:`kind_of` gave.

    Raises:
        UnsafeFile: a pickle in the place of safetensors.
        Tampered: weights that are truncated, or do not fit the configuration.
        RunFailed: the memory does not suffice.
    """
    for file in folder.glob("*.safetensors"):
        refuse_pickle(file)
        digests.read_safetensors_header(file)
    try:
        with _quiet():
            model, told = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True
            )
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        if ran_out(error):
            size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / GIB
            raise RunFailed(
                "the memory does not suffice",
                where=f"opening {folder.name}",
                found=f"{asked_for(error)}{size:.2g} GiB of weights in the directory",
                expected="room for them in every process that opens the model",
                fix=f"workers = 1: every worker fewer saves {size:.2g} GiB or more; or a machine with more memory",
            ) from error
        raise Tampered(
            "cannot read the model",
            where=folder.name,
            found=type(error).__name__,
            expected="whole safetensors files that fit config.json",
            fix="restore the directory from where it was saved",
        ) from error
    wrong = sorted({*told["missing_keys"], *told["unexpected_keys"], *(str(m) for m in told["mismatched_keys"])})
    if wrong:
        raise Tampered(
            "the weights do not fit the model",
            where=f"{folder.name}, {wrong[0]}",
            found=f"{len(wrong)} tensors missing, unknown or of another shape",
            expected="the tensors of the class that config.json names",
            fix="use the weights that were saved with this configuration; a head that was never trained is no original",
        )
    return model


def kind_of(folder: Path) -> Any:
    """Return the class of the model in ``folder``.

    Raises:
        UsageError: no model, or one of a class that this transformers does not know.
        UnsafeFile: pickled weights, or a configuration that asks for code from the directory.
    """
    import transformers

    about = _safe(folder)
    named = (about.get("architectures") or [""])[0]
    kind = getattr(transformers, named, None) if named else None
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise UsageError(
            "the model is of a class that transformers does not have",
            where=f"{folder.name}/{CONFIG}, architectures",
            found=named or "none named",
            expected=f"a class of transformers {transformers.__version__}",
            fix="install the version of transformers that has it",
        )
    return kind


def _safe(folder: Path) -> dict[str, Any]:
    """Return the configuration in ``folder``, once nothing in the directory could run code."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            "no Hugging Face model here",
            where=folder.name,
            found=f"no {CONFIG}" if folder.is_dir() else "no such directory",
            expected=f"a directory with {CONFIG} and {WEIGHTS}",
            fix="save it with model.save_pretrained(directory)",
        )
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            "a whole model and adapters in one directory: which of the two is meant nobody says",
            where=folder.name,
            found=f"{CONFIG} and adapter_config.json",
            expected="one of them; transformers would put the adapters into the model unasked",
            fix="move the adapters (adapter_config.json, adapter_model.safetensors) to a directory of their own, and "
            "give that with this one as their base",
        )
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        if not pickled:
            raise UsageError(
                "no weights",
                where=folder.name,
                found="no safetensors file",
                expected=f"{WEIGHTS}, or {INDEX} and its parts",
                fix="save it with model.save_pretrained(directory)",
            )
        raise UnsafeFile(
            "pickled weights can run code when they are opened, so they are refused",
            where=folder.name,
            found=pickled[0],
            expected=WEIGHTS,
            fix="convert them where you trust them: load the model there, and model.save_pretrained(directory)",
        )
    about = read_json(folder / CONFIG)
    if not isinstance(about, dict) or about.get("auto_map"):
        raise _own_code(folder / CONFIG, "auto_map" if isinstance(about, dict) else type(about).__name__)
    return about


def read_json(file: Path) -> Any:
    """Return what a file of transformers' says.

    Raises:
        Tampered: no JSON.
    """
    try:
        return json.loads(file.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Tampered(
            "cannot read the configuration",
            where=f"{file.parent.name}/{file.name}",
            found=type(error).__name__,
            expected="JSON as transformers writes it",
            fix="restore the file from where it was saved",
        ) from error


def _own_code(file: Path, found: str) -> UnsafeFile:
    return UnsafeFile(
        "the model wants code from its own directory to be run, so it is refused",
        where=f"{file.parent.name}/{file.name}",
        found=found,
        expected="a model whose class is part of transformers",
        fix="port the model to a class of transformers, or build the module yourself and give it to the Problem",
    )


@contextmanager
def _quiet(*, keep: bool = True) -> Iterator[None]:
    """Hold back transformers' own progress bars and remarks, and, to ``keep`` it, the caller's random generator."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Weights that are drawn although they are read next would move the caller's generator.
    state = torch.get_rng_state()
    try:
        yield
    finally:
        if keep:
            torch.set_rng_state(state)
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
