"""The command line: the folder is the list of commands, and every error ends in one place.

A module of this folder is a command of its name (``-`` for ``_``) unless it starts with ``_``; its function
``command`` carries typer's annotations. Modules import lightly: torch is imported inside the function.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import expunge
from expunge.cli import _console
from expunge.core.errors import ExpungeError, Interrupted, RunFailed, UsageError
from expunge.core.memory import asked_for, ran_out
from expunge.core.registry import missing_extra

EXIT_CODES = "Exit codes:\n\n" + "\n\n".join(
    (
        "- 0 done, and the claim is reached.",
        "- 1 done, but the claim is not reached, nothing that was asked for is found, or a certificate does not fit.",
        "- 2 the call, the job file or the configuration is wrong.",
        "- 3 something failed while running; the same command resumes.",
        "- 4 waiting for approval: reserved, no command ends with it yet.",
        "- 5 refused.",
    )
)  # blank lines: older versions of typer join lines that stand together

# Typer once imported click and now carries a copy: its own exception leads to the base class it really uses.
_WrongCall: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class _Group(TyperGroup):
    """Turns Ctrl-C inside a command into an error of ours before typer makes an exit code of it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _interrupted() from None


def command_names() -> list[str]:
    """Return the names of all commands, sorted."""
    folder = [str(Path(__file__).parent)]
    modules = sorted(info.name for info in pkgutil.iter_modules(folder))
    return [name.replace("_", "-") for name in modules if name != "main" and not name.startswith("_")]


def build_app() -> typer.Typer:
    """Return the application with one command per file."""
    app = typer.Typer(cls=_Group, add_completion=False, rich_markup_mode="markdown", epilog=EXIT_CODES)
    app.callback(invoke_without_command=True)(_root)
    for name in command_names():
        module = importlib.import_module(f"expunge.cli.{name.replace('-', '_')}")
        app.command(name)(module.command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error is shown here, once."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminable(), _together(words) as follower:
            if follower:
                return 0
            code = typer.main.get_command(build_app()).main(words, prog_name="expunge", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last stop, for bugs as well
        failure = _failure(error, words)
        if os.environ.get("EXPUNGE_DEBUG") == "1":
            traceback.print_exception(error)
    _console.show_error(failure, as_json="--json" in words)
    return failure.exit_code


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    """Delete training data from trained models, and prove it."""
    if version:
        print(f"expunge {expunge.__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        raise UsageError("no command", expected=f"one of {', '.join(command_names())}", fix="expunge --help")


@contextmanager
def _together(words: Sequence[str]) -> Iterator[bool]:
    """Join the other processes of a launch; yield whether this one only followed, and is done.

    Only for commands that work with models: a certificate is verified wherever RANK happens to be set. A follower does
    what the first process says, until that one is done.
    """
    size = os.environ.get("WORLD_SIZE", "")
    launched = size.isdecimal() and int(size) > 1 and "RANK" in os.environ
    if not launched or not {"audit", "erase", "plan"}.intersection(words):
        yield False
        return
    from expunge.engine import ranks

    ranks.join()
    try:
        if not ranks.leads():
            ranks.serve()
        yield not ranks.leads()
    finally:
        ranks.leave()


@contextmanager
def _terminable() -> Iterator[None]:
    """End a command on SIGTERM as on Ctrl-C: what it holds is closed, and the same command resumes."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failure(error: BaseException, words: Sequence[str]) -> ExpungeError:
    """Return whatever ended a command as an error of ours."""
    if isinstance(error, ExpungeError):
        return error
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _interrupted()
    if isinstance(error, _WrongCall):
        return _wrong_call(error, words)
    if isinstance(error, ModuleNotFoundError) and (error.name or "expunge").partition(".")[0] != "expunge":
        return missing_extra(error)
    return _unexpected(error)


def _interrupted() -> Interrupted:
    return Interrupted("interrupted; the same command resumes")


def _wrong_call(error: Any, words: Sequence[str]) -> UsageError:
    path = error.ctx.command_path if getattr(error, "ctx", None) else "expunge"
    flags = [flag for flag in getattr(getattr(error, "param", None), "opts", ()) if flag.startswith("-")]
    if flags and error.message:
        said = [word.partition("=")[2] for word in words if word.partition("=")[0] in flags and "=" in word]
        said += [after for word, after in pairwise(words) if word in flags]
        found = repr(said[-1]) if said else ""
        return UsageError(
            f"no value for {flags[0]}", where=path, found=found, expected=error.message, fix=f"{path} --help"
        )
    return UsageError(error.format_message(), where=path, fix=f"{path} --help")


def _unexpected(error: BaseException) -> RunFailed:
    """Say where it happened; not with what text, since that may quote records."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if ran_out(error):
        return RunFailed(
            "the memory does not suffice",
            where=f"{Path(frame.filename).name}, line {frame.lineno}, {frame.name}",
            found=f"{asked_for(error)}{type(error).__name__}",
            fix="workers = 1: each worker holds models and records of its own; or a machine with more memory; "
            "the same command resumes",
        )
    return RunFailed(
        f"unexpected {type(error).__name__}",
        where=f"{Path(frame.filename).name}, line {frame.lineno}, {frame.name}",
        fix="set EXPUNGE_DEBUG=1 for the whole traceback (it may quote your data); "
        "where the cause is not in your own code, please report this block as a bug",
    )
