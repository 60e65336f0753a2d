"""Every command with its arguments and options, as typer knows them."""

from __future__ import annotations

import re
from typing import Any

import typer

from _reference.text import page as text_page
from _reference.text import plain
from expunge.cli.main import build_app, command_names

_INTRO = """
Text for people goes to stderr. With `--json` a command prints one object on stdout and nothing else there.

Set `EXPUNGE_DEBUG=1` for the whole traceback of an error; it may quote your data.

`expunge --version` shows the version, `expunge COMMAND --help` what stands on this page.
"""


def application() -> Any:
    """Return the command line as click sees it."""
    return typer.main.get_command(build_app())


def parameters(command: Any) -> list[Any]:
    """Return arguments and options of a command, without --help."""
    return [p for p in command.params if p.name != "help"]


def page() -> str:
    """Return the page."""
    whole = application()
    parts = [_section(name, whole.commands[name]) for name in command_names()]
    return text_page("Commands", _INTRO.strip(), *parts, "## Exit codes\n\nSee [Errors and exit codes](errors.md).")


def _section(name: str, command: Any) -> str:
    known = parameters(command)
    call = " ".join(["expunge", name, *(_call(p) for p in known)])
    described = plain("\n\n".join(part.strip() for part in (command.help or "").split("\f")[0].split("\n\n")))
    return "\n\n".join([f"## {name}", described, f"```sh\n{call}\n```", "\n".join(_line(p) for p in known)])


def _line(parameter: Any) -> str:
    """Return one argument or option as a line of a list."""
    default = _default(parameter)
    more = " **Required.**" if parameter.required else f" Default: {default}." if default else ""
    return f"- {_names(parameter)}: {plain(_help(parameter))}{more}"


def _is_argument(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "argument"


def _value(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return {int: "N", float: "X"}.get(annotation, parameter.name.upper())


def _call(parameter: Any) -> str:
    if _is_argument(parameter):
        return _value(parameter)
    word = max(parameter.opts, key=len) + ("" if parameter.is_flag else f" {_value(parameter)}")
    return word if parameter.required else f"[{word}]"


def _names(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_value(parameter)}`"
    return ", ".join(f"`{name}`" for name in parameter.opts) + ("" if parameter.is_flag else f" `{_value(parameter)}`")


def _help(parameter: Any) -> str:
    return re.sub(r"\s*\[default: [^\]]*\]", "", getattr(parameter, "help", "") or "")


def _default(parameter: Any) -> str:
    written = re.search(r"\[default: ([^\]]*)\]", getattr(parameter, "help", "") or "")
    if written:
        return written[1]
    value = parameter.default
    absent = value is None or value is False or callable(value)
    return "" if parameter.required or absent else f"`{value}`"
