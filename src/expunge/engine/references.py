"""References: models retrained without the forget set, one per seed, built once per run directory."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from expunge.core.digest import keyed_int
from expunge.core.errors import BrokenTrainer, ExpungeError, RunFailed, Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import View, WatchedView
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.progress import Progress
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers, seed_everything
from expunge.engine.storage import write_folder
from expunge.engine.training import Trainer

STAGE = "retrained-"
"""How the name of a stage starts that trains one reference."""


@dataclass(frozen=True)
class Retrained:
    """One model retrained on the retain set: where it lies, its seed, what it cost."""

    artefact: Artefact
    seed: int
    cost: Cost


@dataclass(frozen=True)
class TrainerFacts:
    """What was measured when the trainer's contract was checked: reads per record, and the work of checking."""

    passes: float
    cost: Cost


def seed_of(run_seed: int, purpose: str, index: int) -> int:
    """Return the seed of one retraining, in [0, 2**31)."""
    return keyed_int(b"expunge retraining", run_seed, purpose, index) % 2**31


def build(
    problem: Problem,
    run: RunDirectory,
    seeds: Sequence[int],
    *,
    workers: Workers,
    progress: Progress,
    label: str,
) -> list[Retrained]:
    """Return one retrained model per seed; those that an earlier command finished are not trained again."""
    todo = [seed for seed in seeds if not run.done(stage_of(seed))]
    if todo:
        progress.start(label, len(seeds), len(seeds) - len(todo))
    facts: dict[int, tuple[str, float]] = {}
    for index, result in workers.map(f"{__name__}:train_one", [(str(run.folder), seed) for seed in todo]):
        facts[todo[index]] = result
        _record(run, problem, todo[index], facts)
        progress.advance(label)
    if todo:
        progress.finish(label)
    retrained = [_record(run, problem, seed, facts) for seed in seeds]
    if len({one.artefact.model for one in retrained}) < len(set(seeds)):
        raise BrokenTrainer(
            "the trainer gives one model for two seeds",
            where=_name(problem),
            found=f"{len({one.artefact.model for one in retrained})} different models from {len(seeds)} seeds",
            expected="another model for each seed",
            fix="use `seed` for the initial weights and the order: references must differ as retrainings do",
        )
    return retrained


def stage_of(seed: int) -> str:
    """Return the stage that holds the model retrained with this seed."""
    return f"{STAGE}{seed}"


def _record(run: RunDirectory, problem: Problem, seed: int, facts: dict[int, tuple[str, float]]) -> Retrained:
    def make() -> Retrained:
        digest, passes = facts[seed]
        path = run.folder / "artefacts" / stage_of(seed)
        return Retrained(run.record(path, digest), seed, Cost(trained=passes * len(problem.retain_view)))

    retrained = run.stage(stage_of(seed), make, Retrained)
    run.open_artefact(retrained.artefact)
    return retrained


def train_one(problem: Problem, folder: str, seed: int) -> tuple[str, float]:
    """Train on the retain set in this process, save, and return (model digest, reads per record).

    Raises:
        BrokenTrainer: some retained records were never read, or there is no new model.
    """
    view = WatchedView.over(problem.retain_view)
    place = Path(folder) / "artefacts" / stage_of(seed)
    checkpoints = Checkpoints(Path(folder) / "checkpoints" / stage_of(seed))
    model, passes = _run_trainer(problem, view, seed, checkpoints)
    digest = problem.source.digest(model)
    unsaved = problem.source.unsaved(model)
    if unsaved:
        raise BrokenTrainer(
            "the model keeps state that is not saved with it",
            where=f"{_name(problem)}, {unsaved[0]}",
            found=f"{len(unsaved)} non-persistent buffers that differ from the original's",
            expected="state that depends on the data in the state_dict",
            fix="register these buffers with persistent=True: what is not saved cannot be judged, and would be the "
            "original's when the model is opened again",
        )
    # A folder without its stage is what a kill left between the two: train_one would give the same bits.
    write_folder(place, lambda aside: problem.source.save(model, aside))
    try:
        again = problem.source.reopen(place)
    except Tampered as error:
        raise BrokenTrainer(
            "the trainer returned a model that does not fit the original",
            where=_name(problem),
            found=error.obstacles[0].found,
            expected="a model of the original's architecture",
            fix="build the model in the trainer as the original was built",
        ) from error
    if problem.source.digest(again) != digest:
        raise Tampered("a retrained model does not reopen as it was saved", where=place.name)
    if not _alike(problem, model, again):
        raise BrokenTrainer(
            "the model keeps state that is not saved with it",
            where=_name(problem),
            found="other outputs after saving and opening it again",
            expected="the same outputs: all that depends on the data in the state_dict",
            fix="register such tensors (means, vocabularies, stored rows) as persistent buffers",
        )
    return digest, passes


def _alike(problem: Problem, model: Any, again: Any) -> bool:
    """Return whether two models answer some retained records with the same bits."""
    retain = problem.retain_view
    batch = retain.read(range(min(64, len(retain))))
    with torch.no_grad():
        one, other = (problem.meaning.units(each.eval(), batch).logits for each in (model, again))
    return torch.equal(one, other)


def check_trainer(problem: Problem) -> TrainerFacts:
    """Check the trainer's contract on a tenth of the retained records, and count its reads.

    Raises:
        BrokenTrainer: it returns no new model, it does not read its view, two runs with one seed differ, or two
            seeds or two sets of records give the same model.
    """
    some, others = _samples(problem)
    first, view = _trained(problem, some, seed=1)
    if view.unread:
        raise BrokenTrainer(
            "the trainer does not read the records it is given",
            where=_name(problem),
            found=f"{view.unread} of {len(view)} records never read",
            expected="every record read through the view",
            fix="train on the argument `records` (a map-style dataset), not on data from elsewhere; a DataLoader "
            "must read in this process (num_workers=0), where reads are counted",
        )
    if first != _trained(problem, some, seed=1)[0]:
        raise BrokenTrainer(
            "the trainer gives two models for one seed",
            where=_name(problem),
            found="other weights in the second of two equal calls",
            expected="the same weights, bit for bit",
            fix="draw all randomness from `seed`: initial weights, order, dropout, augmentation",
        )
    if first == _trained(problem, some, seed=2)[0]:
        raise BrokenTrainer(
            "the trainer gives one model for two seeds",
            where=_name(problem),
            found="equal weights from seeds 1 and 2",
            expected="other weights from another seed",
            fix="use `seed` for the initial weights and the order: references must differ as retrainings do",
        )
    if first == _trained(problem, others, seed=1)[0]:
        raise BrokenTrainer(
            "the trainer gives one model for two sets of records",
            where=_name(problem),
            found="it reads its view and trains on something else",
            expected="other weights from other records",
            fix="train on the argument `records` alone",
        )
    declared = getattr(problem.trainer, "passes", None)
    passes = float(declared) if declared is not None else view.passes
    return TrainerFacts(passes, Cost(trained=passes * (3 * len(some) + len(others))))


def _samples(problem: Problem) -> tuple[View, View]:
    retain = problem.retain_view
    ranked = sorted(retain.ids, key=lambda name: keyed_int(b"expunge trainer check", name))
    size = min(len(ranked), max(64, len(ranked) // 10))
    return retain.select(ranked[:size]), retain.select(ranked[-size:] if size < len(ranked) else ranked[: size // 2])


def _trained(problem: Problem, records: View, *, seed: int) -> tuple[str, WatchedView]:
    view = WatchedView.over(records)
    model, _ = _run_trainer(problem, view, seed, None)
    return problem.source.digest(model), view


def _run_trainer(problem: Problem, view: WatchedView, seed: int, checkpoints: Checkpoints | None) -> tuple[Any, float]:
    trainer = problem.trainer
    assert trainer is not None
    seed_everything(seed)
    own = isinstance(trainer, Trainer)
    try:
        model = trainer(view, seed=seed, checkpoints=checkpoints) if own else trainer(view, seed=seed)
    except ExpungeError:
        raise
    except Exception as error:  # the user's code may raise anything, and its text could hold data
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise RunFailed(
            "the trainer failed",
            where=f"{_name(problem)}: {Path(frame.filename).name}, line {frame.lineno}, {frame.name}",
            found=type(error).__name__,
            expected="trainer(records, *, seed) -> new model",
            fix="call it by hand: trainer(problem.retain_view, seed=1)",
        ) from error
    if not hasattr(model, "eval"):
        raise BrokenTrainer(
            "the trainer did not return a model",
            where=_name(problem),
            found=type(model).__name__,
            expected="the new model",
            fix="end it with `return model`",
        )
    if model is problem.model:
        raise BrokenTrainer(
            "the trainer returned no model of its own",
            where=_name(problem),
            found="the original itself",
            expected="a new model",
            fix="build the model inside the trainer, and return it",
        )
    if checkpoints is not None and view.unread and not own:
        raise BrokenTrainer(
            "the trainer did not read all records it was given",
            where=_name(problem),
            found=f"{view.unread} of {len(view)} records never read",
            expected="every record read through the view",
            fix="train on all of the argument `records`: drop no last batch in every epoch, sample none away",
        )
    declared = getattr(trainer, "passes", None)
    return model.eval(), float(declared) if declared is not None else view.passes


def _name(problem: Problem) -> str:
    return problem.spec.trainer or "trainer"
