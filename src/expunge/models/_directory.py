"""A directory as transformers writes models: what lies there is looked at before anything is opened.

Nothing is unpickled, and no code from the directory runs; nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import digest as digests
from expunge.core.errors import RunFailed, Tampered, UnsafeFile, UsageError
from expunge.core.memory import GIB, asked_for, ran_out
from expunge.models.torch import refuse_pickle

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
_COUNT_FROM_PAD = frozenset(
    "camembert data2vec-text ibert lilt longformer luke mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl "
    "xmod".split()
)
"""Families whose positions begin after the number of the pad token: so many of their places no text ever fills."""


def kind_of(folder: Path) -> Any:
    """Return the class of the model in ``folder``.

    Raises:
        UsageError: no model, or one of a class that this transformers does not know.
        UnsafeFile: pickled weights, or a configuration that asks for code from the directory.
    """
    import transformers

    about = safe(folder)
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


def safe(folder: Path) -> dict[str, Any]:
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


def read_model(kind: Any, folder: Path, *, config: Any = None, drawn: Collection[str] = ()) -> Any:
    """Return the model in ``folder``, of a class that :func:`kind_of` gave.

    Of modules that are ``drawn`` the directory may hold nothing: torch's generator then draws their weights. With a
    ``config``, that of another head, it may hold what this one has no place for.

    Raises:
        UnsafeFile: a pickle in the place of safetensors.
        Tampered: weights that are truncated, or do not fit the configuration.
        RunFailed: the memory does not suffice.
    """
    for file in folder.glob("*.safetensors"):
        refuse_pickle(file)
        digests.read_safetensors_header(file)
    given = {} if config is None else {"config": config, "ignore_mismatched_sizes": bool(drawn)}
    try:
        with quiet(keep=not drawn):
            model, told = kind.from_pretrained(
                folder, **given, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True
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
    odd = {*told["missing_keys"], *(str(each[0]) for each in told["mismatched_keys"])}
    strange = told["unexpected_keys"] if config is None else ()
    wrong = sorted({*(name for name in odd if not name.startswith(tuple(f"{m}." for m in drawn))), *strange})
    if wrong:
        raise Tampered(
            "the weights do not fit the model",
            where=f"{folder.name}, {wrong[0]}",
            found=f"{len(wrong)} tensors missing, unknown or of another shape",
            expected="the tensors of the class that config.json names",
            fix="use the weights that were saved with this configuration; a head that was never trained is no original",
        )
    return model


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
        with quiet():
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
    if not isinstance(said, int) or said <= 0:
        return None
    unused = int(text.get("pad_token_id") or 0) + 1 if about.get("model_type") in _COUNT_FROM_PAD else 0
    return said - unused


def classes_of(folder: str | Path) -> dict[str, int]:
    """Return the names of the classes of a model in a directory, with their numbers; none where two share one."""
    file = Path(folder) / CONFIG
    named = read_json(file).get("id2label") if file.is_file() else None
    found = {str(name): int(number) for number, name in named.items()} if isinstance(named, dict) else {}
    return found if len(found) == len(named or ()) else {}


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


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of the files that make a model."""
    files = [*folder.glob("*.safetensors"), folder / CONFIG]
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@contextmanager
def quiet(*, keep: bool = True) -> Iterator[None]:
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
