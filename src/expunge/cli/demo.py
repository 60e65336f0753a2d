"""``expunge demo``: the whole way on a small problem, on two CPU cores, without network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from expunge.cli import _console, _options


class Shown(StrEnum):
    """What the demo shows."""

    DIGITS = "digits"
    LANGUAGE = "language"


def command(
    shown: Annotated[
        Shown, typer.Argument(metavar="[digits|language]", help="A classifier of images, or a language model.")
    ] = Shown.DIGITS,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Run directory. [default: runs/demo, or runs/demo-language]",
            show_default=False,
        ),
    ] = None,
    method: _options.MethodNames = None,
    no_escalate: _options.NoEscalate = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    as_json: _options.AsJson = False,
) -> None:
    """Forget what one careless annotator labelled, or one person of a language model, and prove it.

    digits: 1,797 real digits; the demo makes a share of one annotator's labels wrong, and a small network memorises
    them. language: questions about people who do not exist; a small language model and its tokenizer are trained on
    them. Trains the original and the references, forgets, audits, certifies.
    """
    from expunge.cli._progress import Bars
    from expunge.cli._show import show_result
    from expunge.workflow import erase

    bed, told = _digits() if shown is Shown.DIGITS else _language()
    folder = out or Path("runs", "demo" if shown is Shown.DIGITS else f"demo-{shown}")
    if not as_json:
        _console.say(told)
    with Bars(show_plan=not as_json) as bars:
        problem = bed.prepare(folder, seed, bars)
        result = erase(
            problem,
            progress=bars,
            out=folder,
            methods=tuple(method) if method else bed.METHODS,
            configs=bed.CONFIGS,
            escalate=not no_escalate,
            seed=seed,
            device="cpu",  # on two cores, as it says, whatever else there is
        )
    words = [] if shown is Shown.DIGITS else [str(shown)]
    again = ["demo", *words, "--out", str(folder), *(["--seed", str(seed)] if seed else [])]
    again += [word for name in method or [] for word in ("--method", name)]
    raise show_result(result, again=again, as_json=as_json)


def _digits() -> tuple[ModuleType, str]:
    """Return the test bed, and what is told of it."""
    from expunge.testbeds import digits

    return digits, (
        f"{digits.TRAINING} handwritten digits (UCI, scikit-learn's copy). {digits.CARELESS} labelled "
        f"{digits.LABELLED} of them; this demo made {digits.WRONG} of those labels wrong. A small convolutional "
        f"network was trained on all of it. The request: forget everything {digits.CARELESS} labelled."
    )


def _language() -> tuple[ModuleType, str]:
    """Return the test bed, and what is told of it."""
    from expunge.testbeds import people

    return people, (
        f"{people.TRAINED} people who do not exist, {people.RECORDS} questions about each, with their answers. A small "
        f"language model, {people.PARAMETERS:,} parameters, is trained on them until it knows all answers by heart. "
        f"The request: forget everything about {people.FORGOTTEN}. Others are married to {people.FORGOTTEN} or were "
        "taught by them: what is said of these stays."
    )
