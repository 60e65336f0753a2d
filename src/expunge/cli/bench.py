"""``expunge bench``: methods side by side on named scenarios, several seeds, in a directory that can be resumed."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import _console, _job, _next, _options
from expunge.core import registry
from expunge.core.errors import UsageError

if TYPE_CHECKING:
    from expunge.bench.site import Bench, Site


class Action(enum.Enum):
    """What to do."""

    LIST = "list"
    RUN = "run"
    RESUME = "resume"
    COMPARE = "compare"


class Form(enum.Enum):
    """How a table is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"


def command(
    context: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(
            metavar="ACTION",
            help="`list` scenarios, data, networks and methods; `run` a benchmark; `resume` one that was interrupted; "
            "`compare` what is done so far.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Results directory; an interrupted benchmark resumes in it.")
    ] = Path("runs/bench"),
    data: Annotated[
        str,
        typer.Option("--data", metavar="NAME", help="`digits`, `mnist`, `cifar10`, or package.module:function."),
    ] = "digits",
    data_path: Annotated[
        str, typer.Option("--data-path", metavar="DIR", help="Where the data, or the function's module, lie.")
    ] = "",
    network: Annotated[
        str, typer.Option("--network", metavar="NAME", help="A network of the list. [default: the data's]")
    ] = "",
    records: Annotated[
        int | None, typer.Option("--records", min=1, help="Train on the first so many only.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of every training. [default: the data's]", show_default=False)
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="NAME",
            help="Repeatable. [default: random_10, class, wrong_labels]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="Repeatable; NAME@recipe is one with the settings shipped for the case, `auto` one that is chosen "
            "and tuned in its cell. [default: all that need no ledger of the training, and the control `noop`]",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="TOML",
            help="Settings by method, a table each. [default: the methods' own]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Originals, and runs of each method.")] = 3,
    references: _options.References = None,
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME|FILE", help="Rules of judgement. [default: the scenario's]")
    ] = "",
    models: Annotated[
        int,
        typer.Option(
            "--models", min=0, help="Unlearned models for the competition's forgetting quality: 0, or 16 and more."
        ),
    ] = 0,
    budget: Annotated[
        str, typer.Option("--budget", metavar="SHARE", help="What `auto` may spend in a cell, tuning included.")
    ] = "100%",
    tuning: Annotated[
        str, typer.Option("--tuning", metavar="SHARE", help="Share of that budget that tuning may take.")
    ] = "50%",
    floor: _options.Floor = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Cells at a time. [default: cores]", show_default=False)
    ] = None,
    form: Annotated[Form, typer.Option("--form", help="How `compare` writes the table on stdout.")] = Form.TEXT,
    as_json: _options.AsJson = False,
) -> None:
    """Compare methods on named scenarios: scenario by method by seed, each cell a run like any other.

    Models are retrained once per scenario and shared. `run` and `resume` write table.md, table.tex, table.csv,
    table.json and a page, bench.html, into the results directory.
    """
    if action is Action.LIST:
        _list(as_json)
        return
    from expunge.bench.site import Bench, Site

    if action is Action.RUN:
        from expunge.audit import policy as policies

        names = tuple(method) if method else _methods()
        bench = Bench(
            data=data,
            network=network,
            path=str(Path(data_path).resolve()) if data_path else "",
            records=records,
            epochs=epochs,
            **({"scenarios": tuple(scenario)} if scenario else {}),
            methods=names,
            configs=_settings(settings) if settings else {},
            seeds=seeds,
            policy=policy if policy in ("", *policies.names()) else str(Path(policy).resolve()),
            references=references,
            models=models,
            budget=_job.share(budget),
            tuning=_job.share(tuning, where="--tuning"),
            floor=_job.accuracy(floor) if floor else None,
        )
        site = Site.begin(bench, out)
    else:
        _refuse_other_settings(context)
        site = Site.open(out)
    if action is not Action.COMPARE:
        _run(site, workers, as_json)
    _show(site, Form.JSON if as_json else form, pages=action is not Action.COMPARE)


_NOT_OF_THE_BENCHMARK = {"action", "out", "workers", "form", "as_json"}
"""Options that say how to go on or what to show, not what is measured."""


def _refuse_other_settings(context: typer.Context) -> None:
    """Refuse options that say what is measured, where that was said when the benchmark began."""
    given = sorted(
        f"--{name.replace('_', '-')}"
        for name in context.params
        if name not in _NOT_OF_THE_BENCHMARK and context.get_parameter_source(name).name == "COMMANDLINE"
    )
    if given:
        raise UsageError(
            "what is measured was said when the benchmark began",
            where=f"expunge bench {context.params['action'].value}",
            found=", ".join(given),
            expected="--out, --workers, --form or --json",
            fix="leave them out, or `expunge bench run` with them and another --out",
        )


def _methods() -> tuple[str, ...]:
    """Return the methods that can work on any problem with a trainer; the control comes first."""
    from expunge.core.method import Need

    found = ["noop"]
    for name in registry.names("methods"):
        kind = registry.load("methods", name)
        if not kind.control and not kind.needs & {Need.LEDGER, Need.SHARDS}:
            found.append(name)
    return tuple(found)


def _settings(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        found = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            "cannot read the settings",
            where=file.name,
            found=str(getattr(error, "strerror", None) or error),
            expected="a TOML file with a table per method",
            fix="check the path and the line that is named",
        ) from error
    return found


def _list(as_json: bool) -> None:
    from expunge.bench.data import DATA
    from expunge.bench.networks import NETWORKS
    from expunge.bench.scenarios import SCENARIOS

    titles = {name: scenario.title for name, scenario in SCENARIOS.items()}
    methods = {name: registry.load("methods", name).title for name in _methods()}
    if as_json:
        _console.emit_json({"scenarios": titles, "data": DATA, "networks": sorted(NETWORKS), "methods": methods})
        return
    _console.table(("scenario", "what must be forgotten"), titles.items())
    _console.say("")
    _console.table(("method", "what it is"), methods.items())
    _console.say(f"\ndata: {', '.join(DATA)}, or package.module:function\nnetworks: {', '.join(sorted(NETWORKS))}")


def _run(site: Site, workers: int | None, as_json: bool) -> None:
    from expunge.bench.run import run
    from expunge.cli._progress import Bars

    bench: Bench = site.bench
    if not as_json:
        _console.say(
            f"{len(bench.scenarios)} scenarios x {len(bench.methods)} methods x {bench.seeds} seeds, "
            f"{bench.judges} references for each scenario; interrupted anywhere, "
            f"`{_next.line('bench', 'resume', '--out', str(site.folder))}` goes on."
        )
    with Bars(quiet=as_json) as bars:
        run(site, workers=workers, progress=bars)


def _show(site: Site, form: Form, *, pages: bool) -> None:
    from expunge.bench.page import page
    from expunge.bench.run import cells, grid
    from expunge.bench.table import FORMS, table
    from expunge.core.storage import write_file

    found, drawn = table(site), site.folder / "bench.html"
    if pages:
        for name, ending in (("markdown", "md"), ("latex", "tex"), ("csv", "csv"), ("json", "json")):
            write_file(site.folder / f"table.{ending}", FORMS[name](found).encode())
        write_file(drawn, page(site, found).encode())
    if form is Form.JSON:
        _console.emit_json(found)
    else:
        print(FORMS[form.value](found), end="")
    done, whole = len(cells(site)), len(grid(site))
    if done < whole:
        resume = _next.line("bench", "resume", "--out", str(site.folder))
        _console.say(f"{done} of {whole} cells are done: `{resume}` goes on.")
    if drawn.exists():
        _console.verbatim(f"page         {drawn}")
