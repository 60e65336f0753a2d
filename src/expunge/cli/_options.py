"""Options that several commands share, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.render.formats import ALWAYS, FORMATS

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run directory; the same job resumes in it.", show_default=False),
]
MethodNames = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="This method alone, repeatable; auto: methods chosen for the problem, tuned within the budget.",
        show_default=False,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="SHARE",
        help="What attempts may cost: passes over records, as a share of one retraining. [default: 100%]",
        show_default=False,
    ),
]
Floor = Annotated[
    str | None,
    typer.Option(
        "--floor",
        metavar="SHARE",
        help="With auto: the lowest accuracy on held-out records of what is chosen, e.g. 90%. "
        "[default: 3 points below the original's]",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Of everything random. [default: 0]", show_default=False)
]
References = Annotated[
    int | None,
    typer.Option(
        "--references",
        min=0,
        help="Retrained models to judge against. [default: the policy's]",
        show_default=False,
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME|FILE",
        help="Rules of judgement: a policy of ours (`expunge plan` shows them), or a TOML file. [default: the job's]",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where networks are trained and asked: cuda, cuda:1, cpu. [default: CUDA's first where there is one]",
        show_default=False,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="PEM", help="Private signing key (`expunge keygen`).", show_default=False),
]
NoEscalate = Annotated[bool, typer.Option("--no-escalate", help="Stop after the first attempt.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep state that holds forgotten data.")]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="FORMAT",
        help=f"Write the report in this form, too ({', '.join(n for n in FORMATS if n not in ALWAYS)}); repeatable.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables: the outcome in a few lines.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
