"""Whether somebody else's directory can be judged beside an original: of which kind it is, and how it reads texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.core.errors import Obstacle
from expunge.models._directory import CONFIG, TOKENIZER, kind_of, tokenizer_of

_ADAPTERS = "adapter_config.json"


def of_another_kind(kind: Any, folder: Path, *, adapters: bool) -> list[Obstacle]:
    """Return that ``folder`` holds no model of this class: no directory, adapters for a whole one, another class."""
    if folder.is_file():
        return [
            Obstacle(
                what="a file in the place of a directory",
                where=folder.name,
                found="a file",
                expected=f"the directory that holds it, with {CONFIG} or {_ADAPTERS}",
                fix=f"name {folder.parent.name or 'its directory'}",
            )
        ]
    theirs = (folder / _ADAPTERS).is_file() and not (folder / CONFIG).is_file()
    if theirs != adapters and (theirs or (folder / CONFIG).is_file()):
        whole, beside = "a whole model", "adapters on a base"
        return [
            Obstacle(
                what="adapters and a whole model: the original is of the other kind",
                where=folder.name,
                found=beside if theirs else whole,
                expected=beside if adapters else whole,
                fix="merge the adapters into their base and give that directory; or name the original in the same "
                "form, under [model] of the job",
            )
        ]
    if adapters or not (folder / CONFIG).is_file():  # what is missing is told by who opens it
        return []
    found = kind_of(folder)
    if found is kind:
        return []
    return [
        Obstacle(
            what="a model of another class than the original",
            where=f"{folder.name}/{CONFIG}, architectures",
            found=found.__name__,
            expected=kind.__name__,
            fix="give a model that was made from the original, or the original that this one was made from",
        )
    ]


def reads_otherwise(mine: Path | None, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
    """Return that the tokenizer in ``folder`` reads texts otherwise than the one in ``mine``.

    A model is asked the tokens that the original's tokenizer makes: where its own makes others, it is not the model
    that its users meet. One without a tokenizer is asked those alone.
    """
    if mine is None or not all((place / TOKENIZER).is_file() for place in (mine, folder)):
        return []
    one, other = tokenizer_of(mine), tokenizer_of(folder)
    odd = sum(one(text)["input_ids"] != other(text)["input_ids"] for text in texts)
    found = []
    if odd:
        found.append(
            Obstacle(
                what="a model that reads texts otherwise than the original",
                where=f"{folder.name}, tokenizer",
                found=f"{odd} of {len(texts)} texts come to other tokens",
                expected="the same tokens: it is asked with the original's, and would not be met as its users meet it",
                fix="give it the original's tokenizer files where its weights were made for them; else it cannot be "
                "judged beside this original",
            )
        )
    if one.chat_template != other.chat_template:
        found.append(
            Obstacle(
                what="a model with another template of conversations than the original",
                where=f"{folder.name}, chat template",
                found="another, or none on one side",
                expected="the same: it is asked with the original's, and in conversations its users meet it otherwise",
                fix="give it the original's template; where records are no conversations it does not matter",
                fatal=False,
            )
        )
    return found
