"""``expunge audit``: judge a model that was unlearned elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _job, _options


def command(
    job: _options.JobFile,
    model: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder (or .safetensors file) of the model.", show_default=False),
    ],
    out: _options.Out = None,
    references: _options.References = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of a model that was retrained elsewhere, with its manifest; repeatable.",
            show_default=False,
        ),
    ] = None,
    policy: _options.Policy = None,
    device: _options.Device = None,
    seed: _options.Seed = None,
    also: _options.Also = None,
    quiet: _options.Quiet = False,
    as_json: _options.AsJson = False,
) -> None:
    """Judge a saved model against models retrained without the records, whoever made it.

    It counts as one more attempt of the run directory. No certificate is issued: how the model was made is
    not known.
    """
    from expunge.cli._progress import Bars
    from expunge.cli._show import show_result
    from expunge.workflow import audit

    problem, settings = _job.load(job)
    settings = _job.merge(
        settings,
        out=out,
        references=references,
        given_references=tuple(reference) if reference else None,
        policy=policy,
        device=device,
        seed=seed,
        also=tuple(also) if also else None,
    )
    with Bars(show_plan=False, quiet=quiet) as bars:
        result = audit(problem, model=model, progress=bars, **settings)
    again = _job.words(
        "audit",
        job,
        model=model,
        out=out,
        references=references,
        reference=reference,
        policy=policy,
        device=device,
        seed=seed,
    )
    raise show_result(result, again=again, as_json=as_json, quiet=quiet)
