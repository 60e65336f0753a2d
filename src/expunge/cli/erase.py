"""``expunge erase``: the whole way."""

from __future__ import annotations

from expunge.cli import _job, _options


def command(
    job: _options.JobFile,
    out: _options.Out = None,
    method: _options.MethodNames = None,
    budget: _options.Budget = None,
    floor: _options.Floor = None,
    references: _options.References = None,
    policy: _options.Policy = None,
    device: _options.Device = None,
    seed: _options.Seed = None,
    key: _options.Key = None,
    no_escalate: _options.NoEscalate = False,
    keep: _options.Keep = False,
    also: _options.Also = None,
    quiet: _options.Quiet = False,
    as_json: _options.AsJson = False,
) -> None:
    """Forget, audit and certify what a job file asks for.

    Planned methods are tried in order of cost until one passes its audit; exact retraining comes last.
    Interrupted at any point, the same command resumes.
    """
    from expunge.cli._progress import Bars
    from expunge.cli._show import show_result
    from expunge.workflow import erase

    problem, settings = _job.load(job)
    settings = _job.merge(
        settings,
        out=out,
        methods=tuple(method) if method else None,
        budget=_job.share(budget) if budget else None,
        floor=_job.accuracy(floor) if floor else None,
        references=references,
        policy=policy,
        device=device,
        seed=seed,
        key=key,
        escalate=not no_escalate,
        keep=keep,
        also=tuple(also) if also else None,
    )
    with Bars(show_plan=not as_json, quiet=quiet) as bars:
        result = erase(problem, progress=bars, **settings)
    again = _job.words(
        "erase",
        job,
        out=out,
        method=method,
        budget=budget,
        floor=floor,
        references=references,
        policy=policy,
        device=device,
        seed=seed,
        key=key,
    )
    raise show_result(result, again=again, as_json=as_json, quiet=quiet)
