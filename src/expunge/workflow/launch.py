"""A run of several processes that hold one model together (``engine/ranks``): what of it they can do, and what not."""

from __future__ import annotations

from expunge.core import registry
from expunge.core.errors import ExpungeError, InvalidProblem, Obstacle, UsageError
from expunge.core.method import Method
from expunge.core.problem import Problem
from expunge.engine import ranks
from expunge.engine.runtime import Workers
from expunge.plan.auto import AUTO
from expunge.workflow.settings import Settings

_ONE = "start it as one process: expunge erase job.toml"


def pool_of(problem: Problem, settings: Settings, pool: type[Workers]) -> type[Workers]:
    """Return who does the work: the processes of this launch where there are several, else ``pool``.

    Raises:
        UsageError: a launcher, or MPI, started several processes, each of which would do all of it and write over the
            others.
        InvalidProblem: lists what several processes cannot do of this job.
    """
    if not ranks.joined():
        if ranks.launched():
            raise UsageError(
                "several processes were started, and each would do the whole work",
                where="several processes",
                found="a script of your own",
                expected="the command line, of which one process leads",
                fix="accelerate launch -m expunge erase job.toml",
            )
        if found := ranks.apart():
            raise UsageError(
                "several processes were started that do not know of each other, and each would do the whole work",
                where="several processes",
                found=f"{found}, and neither RANK nor WORLD_SIZE",
                expected="one process, or a launcher that tells each its number and where to meet the others",
                fix="start it with torchrun --nproc-per-node 4 -m expunge erase job.toml, or with accelerate launch "
                "-m expunge erase job.toml; where each has a job of its own, set RANK=0 WORLD_SIZE=1",
            )
        return pool
    from expunge.engine import spread  # a second of torch that one process alone does not wait for

    if problem.forget_ids:
        wrong = [*spread.obstacles(problem), *_methods(settings)]
        if wrong:
            raise InvalidProblem(wrong)
    return ranks.Ranks


def at_its_place(problem: Problem, settings: Settings) -> tuple[Problem, list[str]]:
    """Return the problem with its models on the device that is asked for, and what is to be said of that.

    Raises:
        UsageError: no such device, or one is named to processes each of which has its own.
    """
    if ranks.joined():
        if settings.device:
            raise UsageError(
                "a device is named to several processes",
                where="device",
                found=repr(settings.device),
                expected="none: each process takes the accelerator of its number, or the processor",
                fix=f"leave it out, or {_ONE}",
            )
        return problem, []
    if not isinstance(problem, Problem):
        return problem, []  # which is told where it is looked at
    from expunge.engine import device as room  # a second of torch that reading a problem does not wait for

    device = room.device_of(settings.device)
    try:
        why = "" if device.type == "cpu" else room.stays(problem)
        return room.placed(problem, device), [f"computed on the processor, not on {device}: {why}"] if why else []
    except ExpungeError:
        return problem, []  # as well


def kept_back(method: Method) -> str:
    """Return why a planned method is not run by these processes; empty where it is."""
    if not ranks.joined() or method.spreads:
        return ""
    return f"{method.name} was not tried: with these settings it needs all of the model in one process"


def _methods(settings: Settings) -> list[Obstacle]:
    found = []
    for name in settings.methods:
        if name == AUTO:
            what, fix = "tuning runs in one process", "tune in one process, and name the settings that it finds"
        elif not registry.load("methods", name)(settings.configs.get(name)).spreads:
            what, fix = f"{name} needs all of the model in one process", f"name another method, or {_ONE}"
        else:
            continue
        found.append(Obstacle(what=what, where="several processes", found=name, fix=fix))
    return found
