"""``expunge keygen``: make a key pair for signing certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console, _options


def command(
    out: Annotated[
        Path,
        typer.Option(metavar="PATH", help="A folder, or the name of the private file.", show_default=False),
    ],
    as_json: _options.AsJson = False,
) -> None:
    """Make a key pair for signing certificates.

    Writes the private key to PATH, readable for you alone, and the public key to PATH.pub. Never overwrites.
    """
    from expunge.certify.keys import generate

    made = generate(out)
    if as_json:
        _console.emit_json({"private": str(made.private), "public": str(made.public), "key_id": made.key_id})
        return
    _console.say(f"private key: {made.private}")
    _console.say(f"public key:  {made.public}")
    _console.say(f"key id:      {made.key_id}")
    _console.say("\nKeep the private file secret: whoever has it can sign in your name.")
    _console.say("Give the public file to those who will verify, in a way that they trust.")
