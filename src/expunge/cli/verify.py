"""``expunge verify``: does this certificate fit this model, under this key?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expunge.cli import _console, _options

if TYPE_CHECKING:
    from expunge.certify.verify import Verification


def command(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="The certificate file.", show_default=False)],
    model: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the model.", show_default=False)],
    key: Annotated[
        Path,
        typer.Option(metavar="PUB", help="Public key of the signer, from a place you trust.", show_default=False),
    ],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The report, to check it as well.", show_default=False)
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Of adapters, the folder of their base, to check it as well.", show_default=False
        ),
    ] = None,
    allow_development_key: Annotated[
        bool, typer.Option("--allow-development-key", help="Accept a key that was made for trying out.")
    ] = False,
    as_json: _options.AsJson = False,
) -> None:
    """Check a certificate against a model and a key.

    Works offline and does not open the model. Exit code 0: everything fits; 1: something does not; 2: a
    file is missing, or the key is no public key.
    """
    from expunge.certify.verify import verify

    found = verify(certificate, model=model, key=key, report=report, base=base, allow_development=allow_development_key)
    if as_json:
        _console.emit_json(found)
    else:
        _show(found)
    raise typer.Exit(0 if found.ok else 1)


def _show(found: Verification) -> None:
    if found.ok:
        kind = ", under a development key" if found.development_key else ""
        _console.say(f"VERIFIED{kind}: certificate {found.certificate} fits.", style="bold green")
    else:
        wrong = [part.name for part in found.parts if not part.ok]
        _console.say(f"NOT VERIFIED: {', '.join(wrong)}.", style="bold red")
    _console.say("")
    for part in found.parts:
        _console.say(f"{part.name}: {part.found}", first="  ok    " if part.ok else "  WRONG ", indent=8)
        if not part.ok:
            for name, text in (("expected", part.expected), ("fix", part.fix)):
                if text:
                    _console.say(text, first=f"        {name}:", indent=18)
    for title, sentences in (
        ("What this shows", found.shows),
        ("What it does not show", found.does_not_show),
    ):
        if sentences:
            _console.say(f"\n{title}", style="bold")
        for sentence in sentences:
            _console.say(sentence, first="  - ", indent=4)
