"""A base and adapters (LoRA) beside it, as peft saves them: what is trained, saved and shipped is the adapters alone.

The base is opened for every instance and never moves; only the adapters' own matrices may, and the modules that were
trained whole beside them (``modules_to_save``: a classifier's head). So a model goes out as it came in, and what its
adapters learnt is nowhere else. Nothing is fetched and nothing is unpickled.

Source of the adapters: Hu et al. 2021, arXiv 2106.09685, section 4.1. Format: peft's ``adapter_config.json`` and
``adapter_model.safetensors``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from expunge.core import digest as digests
from expunge.core import registry
from expunge.core.digest import BASE_FILE, sha256
from expunge.core.errors import Obstacle, RunFailed, Tampered, UnsafeFile, UsageError
from expunge.core.serial import canonical
from expunge.models._directory import TOKENIZER, carried, classes_of, lay, read_json, read_model, stamps
from expunge.models._heads import kind_with_head
from expunge.models._likeness import of_another_kind, reads_otherwise
from expunge.models.huggingface import HuggingFaceModel
from expunge.models.torch import refuse_pickle, tensor_digest

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_SAYS = "alpha_pattern exclude_modules fan_in_fan_out init_lora_weights layers_pattern layers_to_transform lora_alpha"
_SETTINGS = (*_SAYS.split(), "lora_dropout", "modules_to_save", "r", "rank_pattern", "target_modules", "use_rslora")
"""What peft is told of what it reads there."""
_NOTES = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision")
"""What does not bear on what the adapters compute; nor does ``task_type``."""
_DRAWN = (True, False, "gaussian", "orthogonal")
"""Ways to draw new adapters that leave the base as it is."""
_MERGE = (
    "merge them first, in Python: peft.AutoPeftModelForCausalLM (of a classifier: ...ForSequenceClassification)"
    ".from_pretrained(ADAPTERS).merge_and_unload().save_pretrained(FOLDER); save the tokenizer there as well, and give "
    "that folder"
)
_NAME = "default"
_PREFIX = "base_model.model."


def is_adapters(folder: str | Path) -> bool:
    """Return whether a directory holds adapters and no whole model."""
    place = Path(folder)
    return (place / CONFIG).is_file() and not (place / "config.json").is_file()


class AdaptedModel(HuggingFaceModel):
    """Adapters (LoRA) as peft saves them, on a base that stays as it is; both are directories on this machine.

    An instance is a model of the base's class, or for adapters of a classifier that of its family, with peft's layers
    in it, of which the adapters alone may move, and modules that are saved with them. Adapters are held in float32 at
    least, such modules in the type of the base. The digest is over adapters, their configuration and the weights of
    the base.

    Args:
        path: the directory of the adapters; it is read, never written, and must stay as it is.
        base: the directory of the model that they belong to; without it the one that ``adapter_config.json`` names,
            which must be here: nothing is fetched.

    Raises:
        UsageError: no such directory; no base here; adapters of another kind than plain LoRA; a module saved with them
            that is tied to the base.
        UnsafeFile: pickled weights, or a configuration that asks for code.
        Tampered: weights that are truncated, that do not fit, or that belong to another base.
        MissingExtra: peft is not installed.
    """

    def __init__(self, path: str | Path, base: str | Path | None = None) -> None:
        folder = Path(path)
        self._live = None
        self._folder, self._about = folder, _about(folder)
        self.base = _base(folder, self._about, base)
        self._whole = tuple(self._about.get("modules_to_save") or ())
        self._made = kind_with_head(self.base, self._about, folder / WEIGHTS, self.tokens)
        self._kind = self._made.of
        self._files = self._stamps()
        self.rests_on = digests.base_digest(self.base)
        self._config = (folder / CONFIG).read_bytes()
        self._mark = canonical({"adapter_config": sha256(self._config), "base": self.rests_on}) + b"\n"
        self._still = ""
        self._digest = self.digest(self._load(folder))  # what cannot be read is told now
        self._beside = carried(folder)

    @property
    def tokens(self) -> Path:
        """The directory of the tokenizer: that of the adapters, or else of the base."""
        return self._folder if (self._folder / TOKENIZER).is_file() else self.base

    @property
    def classes(self) -> dict[str, int]:
        """The names of the classes, where the base has the head; peft writes none beside one of its own."""
        return classes_of(self.base) if self._made.config is None else {}

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return False: of a live model nobody knows where its base lies."""
        return False

    def open(self) -> Any:
        """Return a fresh instance, in evaluation mode.

        Raises:
            Tampered: one of the directories is not what it was.
        """
        return self._load(self._folder).eval()

    def anew(self) -> Any:
        """Return the base with adapters that nobody has trained, which torch's generator draws.

        So it does with a head that the base has not; of modules that are saved whole the base's own are where they
        begin.
        """
        return _attached(self._bare(), self._about)

    def bare(self) -> Any:
        """Return the base without adapters, in evaluation mode."""
        return self._bare().eval()

    def _bare(self) -> Any:
        return read_model(self._kind, self.base, config=self._made.config, drawn=self._made.drawn)

    def digest(self, model: Any = None) -> str:
        """Return the model digest: that of the files which :meth:`save` writes."""
        if model is None:
            return self._digest
        tensors = [tensor_digest(name, tensor) for name, tensor in self._tensors(model).items()]
        return digests.combine([*tensors, sha256(self._mark)])

    def save(self, model: Any, folder: Path) -> None:
        """Write the adapters as peft does, which base they belong to, and what lay beside the original.

        Raises:
            RunFailed: the base is not what it was.
        """
        state = {name: tensor.cpu().clone().contiguous() for name, tensor in self._tensors(model).items()}
        (folder / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
        (folder / CONFIG).write_bytes(self._config)
        (folder / BASE_FILE).write_bytes(self._mark)
        lay(self._beside, folder)

    def reopen(self, folder: Path) -> Any:
        """Return the model whose adapters lie in ``folder``; its base is the original's.

        Raises:
            UsageError: adapters of other settings than the original's.
            Tampered: adapters of another base; or the directories of the original have changed.
        """
        mine, theirs = (_settings(about) for about in (self._about, _about(folder)))
        odd = sorted(name for name in mine if mine[name] != theirs[name])
        if odd:
            raise UsageError(
                "the adapters are of another kind than the original's",
                where=f"{folder.name}/{CONFIG}, {odd[0]}",
                found=str(theirs[odd[0]]),
                expected=str(mine[odd[0]]),
                fix="train them with the settings of the original",
            )
        return self._load(folder).eval()

    def alike(self, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
        """Return that it is no directory of adapters, or reads texts otherwise."""
        return of_another_kind(self._kind, folder, adapters=True) or reads_otherwise(self.tokens, folder, texts)

    def settings(self, folder: Path) -> str:
        """Return nothing: adapters of other settings are refused when they are opened."""
        return ""

    def _load(self, folder: Path) -> Any:
        if self._stamps() != self._files:
            raise Tampered(
                "the directory of the adapters, or that of their base, has changed since it was opened",
                where=self._folder.name,
                found="files of another size or time",
                expected="directories that nothing writes to",
                fix="copy them to where they stay as they are, and start again",
            )
        mark = folder / BASE_FILE
        if mark.is_file() and digests.base_of(folder) != self.rests_on:
            raise Tampered(
                "the adapters belong to another base",
                where=f"{folder.name}/{BASE_FILE}",
                found=f"digest {self.rests_on[:16]} in {self.base.name}",
                expected=f"digest {str(digests.base_of(folder))[:16]}",
                fix="give the directory of the base that they were made for",
            )
        with torch.random.fork_rng(devices=[]):  # what is drawn here is read over at once
            model = _attached(self._bare(), self._about)
        _fill(dict(self._movable(model)), folder / WEIGHTS)
        self._still = self._still or self._frozen(model)
        return model

    def _tensors(self, model: Any) -> dict[str, Tensor]:
        """Return the adapters by their names in the file, once the base is seen to be what it was."""
        if self._frozen(model) != self._still:
            raise RunFailed(
                "the base has changed, and adapters alone would be saved",
                where="model",
                found="other weights than those of the directory",
                expected=f"those of {self.base.name}",
                fix="use a method that moves only what may move; or merge the adapters into the base first, and give "
                "the whole model",
            )
        return {_in_file(name): p.detach() for name, p in self._movable(model)}

    def _movable(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Yield by name what the adapters' file holds, whether it may move or not."""
        whole = tuple(f"{name}." for name in _ending(model, self._whole))
        return ((n, p) for n, p in model.named_parameters() if ".lora_" in n or n.startswith(whole))

    def _frozen(self, model: Any) -> str:
        """Return the digest of all of a model but its adapters."""
        adapters = {name for name, _ in self._movable(model)}
        rest = {name: tensor for name, tensor in model.state_dict().items() if name not in adapters}
        return digests.combine([tensor_digest(name, tensor) for name, tensor in rest.items()])

    def _stamps(self) -> list[tuple[str, int, int]]:
        mine = [(file.name, file.stat()) for file in (self._folder / CONFIG, self._folder / WEIGHTS)]
        return [*stamps(self.base), *((name, one.st_size, one.st_mtime_ns) for name, one in mine)]


class NewAdapters:
    """Makes the model that a training of adapters starts from: the base of a ``source`` with new ones on it."""

    def __init__(self, source: AdaptedModel) -> None:
        self._source, self.base, self.rests_on = source, str(source.base), source.rests_on
        # What a trainer is described by.
        settings = sha256(canonical(_settings(source._about)))
        self.__module__, self.__qualname__ = "peft", f"adapters {settings[:16]} on weights {source.rests_on[:16]}"

    def __call__(self) -> Any:
        """Return it; new adapters follow from torch's generator."""
        return self._source.anew()


def _about(folder: Path) -> dict[str, Any]:
    """Return the configuration in ``folder``: plain LoRA, in safetensors."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            "no adapters here",
            where=folder.name,
            found=f"no {CONFIG}" if folder.is_dir() else "no such directory",
            expected=f"a directory with {CONFIG} and {WEIGHTS}, as peft saves it",
            fix="save them with model.save_pretrained(directory), of peft",
        )
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLED).is_file():
            raise UnsafeFile(
                "pickled weights can run code when they are opened, so they are refused",
                where=folder.name,
                found=PICKLED,
                expected=WEIGHTS,
                fix="convert them where you trust them: load the adapters there, and save_pretrained(directory)",
            )
        raise UsageError(
            "no adapters",
            where=folder.name,
            found=f"{CONFIG} alone",
            expected=f"{WEIGHTS} beside it",
            fix="save them with model.save_pretrained(directory), of peft",
        )
    about = read_json(folder / CONFIG)
    given = about if isinstance(about, dict) else {}
    odd = _odd(given)
    if odd or not given.get("r"):
        raise UsageError(
            "adapters of another kind than plain LoRA, which alone are worked on beside their base",
            where=f"{folder.name}/{CONFIG}",
            found=", ".join(odd) or "no rank",
            expected="LoRA that adds to weights as they are, and trains nothing else",
            fix=_MERGE,
        )
    return given


def _odd(about: Mapping[str, Any]) -> list[str]:
    """Return what a configuration asks for beyond plain LoRA."""
    usual = vars(_peft().LoraConfig())
    kind = about.get("peft_type")
    found = [] if kind == "LORA" else [f"peft_type {kind}"]
    whole = about.get("modules_to_save") or []
    found += (
        [] if isinstance(whole, list) and all(isinstance(name, str) and name for name in whole) else ["modules_to_save"]
    )
    found += (
        [] if about.get("init_lora_weights", True) in _DRAWN else [f"init_lora_weights {about['init_lora_weights']}"]
    )
    known = {*_SETTINGS, *_NOTES, "task_type"}
    return found + sorted(n for n, value in about.items() if n not in known and value and value != usual.get(n))


def _settings(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the adapters compute by: lists whose order means nothing sorted, what is not said as it is usual."""
    usual = vars(_peft().LoraConfig())
    read = {name: about.get(name, usual.get(name)) for name in _SETTINGS}
    return {name: sorted(value) if isinstance(value, (list, set)) else value for name, value in read.items()}


def _base(folder: Path, about: Mapping[str, Any], given: str | Path | None) -> Path:
    named = str(about.get("base_model_name_or_path") or "")
    place = Path(named) if given is None else Path(given)
    if (given is None and not named) or not place.is_dir():
        raise UsageError(
            "the base of the adapters is not on this machine",
            where=f"{folder.name}/{CONFIG}, base_model_name_or_path" if given is None else "base",
            found=(named or "none named") if given is None else f"no directory {place.name}",
            expected="the directory of the model that they were trained on; nothing is fetched",
            fix='give it: base = "DIRECTORY" under [model] in a job, AdaptedModel(path, base=...) in Python',
        )
    return place


def _attached(model: Any, about: Mapping[str, Any]) -> Any:
    """Return ``model`` with new adapters in it, which alone may move, and modules that are saved with them."""
    peft = _peft()
    try:
        with _unadvised():
            peft.LoraModel(model, peft.LoraConfig(**{n: about[n] for n in _SETTINGS if n in about}), _NAME)
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # of all that peft does not look at itself
        raise Tampered(
            "peft cannot put adapters of these settings into this base",
            where=CONFIG,
            found=f"{type(error).__name__} with a {type(model).__name__}",
            expected="settings as peft saves them, with target_modules that the base has",
            fix="give the base that the adapters were trained on, and adapter_config.json as it was saved",
        ) from error
    _unwrap(model)
    for name, p in model.named_parameters():
        if ".lora_" in name:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
    return model


def _unwrap(model: Any) -> None:
    """Put modules that are saved whole back where peft has put a copy beside each: here only one of the two is needed.

    Raises:
        UsageError: such a module shares weights with the rest: the copy would not.
    """
    names, wrapper = [], _peft().utils.ModulesToSaveWrapper
    while (name := next((n for n, part in model.named_modules() if isinstance(part, wrapper)), None)) is not None:
        model.set_submodule(name, model.get_submodule(name).original_module.requires_grad_(True))
        names.append(name)
    mine = {id(p) for name in names for p in model.get_submodule(name).parameters()}
    inside = tuple(f"{name}." for name in names)
    others = {n: p for n, p in model.named_parameters(remove_duplicate=False) if not n.startswith(inside)}
    tied = sorted(name for name, p in others.items() if id(p) in mine)
    if tied:
        raise UsageError(
            "a module that was trained whole beside the adapters shares its weights with the base",
            where=f"{CONFIG}, modules_to_save",
            found=f"{', '.join(names)}, tied to {tied[0]}",
            expected="modules with weights of their own",
            fix=_MERGE,
        )


def _ending(model: Any, names: Sequence[str]) -> list[str]:
    """Return the modules of a model whose names end so, as peft finds those that it saves whole."""
    return [each for each, _ in model.named_modules() if each.endswith(tuple(names))] if names else []


def _fill(movable: Mapping[str, Any], file: Path) -> None:
    """Read adapters from a file that must hold them all, and nothing else."""
    refuse_pickle(file)
    digests.read_safetensors_header(file)
    mine, read = {_in_file(name): p for name, p in movable.items()}, load_file(file)
    wrong = sorted(n for n in mine.keys() | read.keys() if _shape(mine.get(n)) != _shape(read.get(n)))
    if wrong:
        raise Tampered(
            "the adapters do not fit the base",
            where=f"{file.parent.name}, {wrong[0]}",
            found=f"{len(wrong)} tensors missing, unknown or of another shape",
            expected=f"the {len(mine)} matrices that {CONFIG} asks for in this base, and nothing else",
            fix="give the base that they were trained on, saved anew where its embeddings were resized; adapters of "
            "embeddings are merged first",
        )
    other = sorted(name for name, p in mine.items() if ".lora_" not in name and read[name].dtype != p.dtype)
    if other:
        raise UsageError(
            "a module that was trained whole beside the adapters is of another type than the base",
            where=f"{file.parent.name}, {other[0]}",
            found=str(read[other[0]].dtype).removeprefix("torch."),
            expected=str(mine[other[0]].dtype).removeprefix("torch."),
            fix=f"save the base in the type of the training: from_pretrained(BASE, dtype={read[other[0]].dtype})"
            ".save_pretrained(FOLDER), and give that as the base",
        )
    with torch.no_grad():
        for name, p in mine.items():
            p.copy_(read[name])


def _shape(tensor: Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)


def _in_file(name: str) -> str:
    """Return what a file of peft's calls a matrix."""
    return _PREFIX + name.replace(f".{_NAME}", "")


@contextmanager
def _unadvised() -> Iterator[None]:
    with warnings.catch_warnings():
        # Transformers' Conv1D keeps its weight transposed: peft sees so, layer by layer, and says that it did.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")  # see _unwrap
        yield


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise registry.missing_extra(error) from error
    return peft
