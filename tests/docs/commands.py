"""Command lines as the documentation shows them: checked against the command line, the Makefile and the tree."""

from __future__ import annotations

import re
import shlex
import tomllib

import typer

from expunge.cli.main import _WrongCall, build_app
from tests.docs.blocks import ROOT

TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
APP = typer.main.get_command(build_app())
VARIABLE = re.compile(r"[A-Z_]+=")


def lines(text):
    """Return (command, expected output) of a shell block; `$` marks commands where output stands between them."""
    joined = text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in joined):
        return [(line, "") for line in joined if line.strip() and not line.lstrip().startswith("#")]
    found = []
    for line in joined:
        if line.startswith("$ "):
            found.append([line[2:], ""])
        else:
            found[-1][1] += line + "\n"
    return [tuple(pair) for pair in found]


def wrong(command, folder=ROOT):
    """Return what is wrong with a command line, or an empty text."""
    words = shlex.split(command, comments=True)
    while words and VARIABLE.match(words[0]):
        words = words[1:]
    if not words:
        return "no command"
    name, rest = words[0], words[1:]
    check = {"expunge": _expunge, "make": _make, "pip": _pip, "python": _python, "cd": _cd}.get(name)
    if check is not None:
        return check(rest, folder)
    if name.startswith(".venv/bin/"):
        return _tool(name, rest)
    return "" if (ROOT / name).is_file() else f"nothing here knows the command {name!r}"


def wrong_inline(text):
    """Return what is wrong with a command in running text, where arguments may be left out."""
    words = shlex.split(text)
    if words[0] == "make":
        return _make(words[1:], ROOT)
    if len(words) == 1 or words[1].startswith("-") or words[1].isupper():
        return ""
    command = APP.commands.get(words[1])
    if command is None:
        return f"no command {words[1]!r}"
    known = {"--help", *(option for p in command.params for option in p.opts)}
    unknown = [word for word in words[2:] if word.startswith("--") and word not in known]
    return f"no option {unknown[0]}" if unknown else ""


def _expunge(words, folder):
    if words[:1] == ["--version"]:
        return ""
    if not words or words[0] not in APP.commands:
        return f"no command {words[:1]}"
    command = APP.commands[words[0]]
    try:
        command.make_context(words[0], list(words[1:]))
    except _WrongCall as error:
        return error.format_message()
    return ""


def _make(words, folder):
    for word in words:
        name, _, value = word.partition("=")
        if VARIABLE.match(word):
            if "demo" in words and name == "ARGS":
                if problem := _expunge(["demo", *shlex.split(value)], folder):
                    return problem
        elif word not in TARGETS:
            return f"no target {word!r}"
    return ""


def _pip(words, folder):
    for word in words:
        for extra in re.findall(r"\[([\w,]+)\]", word):
            if missing := set(extra.split(",")) - set(EXTRAS):
                return f"no extra {missing}"
    return "" if words[:1] == ["install"] else "only `pip install` is shown"


def _python(words, folder):
    if words[:1] != ["-m"]:
        return "" if (folder / words[0]).is_file() else f"no file {words[0]}"
    place = folder.joinpath(*words[1].split("."))
    return "" if place.with_suffix(".py").is_file() or words[1] == "http.server" else f"no module {words[1]}"


def _cd(words, folder):
    return "" if (ROOT / words[0]).is_dir() else f"no folder {words[0]}"


def _tool(name, words):
    if not (ROOT / name).exists():
        return f"no tool {name}"
    marks = [words[i + 1] for i, word in enumerate(words) if word == "-m" and name.endswith("pytest")]
    return "" if all(mark == "slow" for mark in marks) else f"no mark {marks}"
