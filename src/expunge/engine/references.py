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
from expunge.core.memory import asked_for, ran_out
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records, View, WatchedView
from expunge.core.storage import write_folder
from expunge.engine import stacked
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.device import settled
from expunge.engine.loop import ready
from expunge.engine.progress import Progress
from expunge.engine.relabelling import (
    FEWEST,
    MOST,
    Patterns,
    Relabelled,
    answers,
    knows_the_classes,
    labels_of,
    remembers,
    sample,
    shift,
    suspect,
)
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers, seed_everything
from expunge.engine.training import Trainer

STAGE = "retrained-"
"""How the name of a stage starts that trains one reference."""


KNOWS_THE_CLASSES = (
    "The trainer answers most records that it was not given as labelled, even where trained with other labels: it "
    "brings knowledge of the classes from elsewhere (a pretrained head, the weights of the original, other data). "
    "Whether that knowledge holds forgotten records cannot be told from here; if it does, the audit's control fails."
)
"""What is said of a trainer that does not start from nothing."""


_MORE_SEEDS = (2, 3, 4, 5, 6)
"""Of further pairs, each with records of its own. Were all forgotten records one record, a pair would pass for
knowledge by chance at most every other time, as likely as for its mirror: six in all at most once in 64."""


@dataclass(frozen=True)
class Retrained:
    """One model retrained on the retain set: where it lies, its seed, what it cost."""

    artefact: Artefact
    seed: int
    cost: Cost


@dataclass(frozen=True)
class TrainerFacts:
    """What was measured when the trainer's contract was checked: reads per record, and the work of checking.

    ``notes`` are sentences for the report: what was seen that is no breach.
    """

    passes: float
    cost: Cost
    notes: tuple[str, ...] = ()


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
    jobs: list[Sequence[int]] = []
    if todo:
        progress.start(label, len(seeds), len(seeds) - len(todo))
        jobs = [job for job in _jobs(problem, seeds, workers) if not set(job).isdisjoint(todo)]
    facts: dict[int, tuple[str, float]] = {}
    for index, results in workers.map(f"{__name__}:train_some", [(str(run.folder), tuple(job)) for job in jobs]):
        facts.update(zip(jobs[index], results, strict=True))
        for seed in set(jobs[index]) & set(todo):
            _record(run, problem, seed, facts)
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


def seeds_matter(problem: Problem) -> bool:
    """Return whether the problem's trainer gives other models for other seeds; it does unless it says otherwise.

    Where it does not, all retrained models are one: there is no spread to judge by.
    """
    ask = getattr(problem.trainer, "seeds_matter", None)
    return bool(ask(problem.retain_view)) if ask is not None else True


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


TOGETHER = 5
"""References to a job, where they can be stacked: small enough to keep several processes busy."""


def _jobs(problem: Problem, seeds: Sequence[int], workers: Workers) -> list[Sequence[int]]:
    """Return which references are trained together: a function of problem and seeds, so that bits can be repeated."""
    size = 1
    plain = type(getattr(problem.trainer, "at_home", problem.trainer)) is Trainer  # a subclass may train otherwise
    if workers.stacks and plain and len(seeds) > 1:
        size = next(workers.map(f"{__name__}:stackable", [()]))[1]
    return [seeds[part] for part in stacked.groups(len(seeds), min(size, TOGETHER, -(-len(seeds) // 2)))]


def stackable(problem: Problem) -> int:
    """Return how many references can be trained as one model; 1 for none."""
    assert isinstance(problem.trainer, Trainer)
    return stacked.form_of(problem.trainer, problem.retain_view)[1]


def train_some(problem: Problem, folder: str, seeds: Sequence[int]) -> list[tuple[str, float]]:
    """Train one model per seed on the retain set in this process, save, and return (model digest, reads per record).

    Several are trained as one (``engine/stacked``): each is what its seed alone would give, as near as
    :func:`stacked.train` says.

    Raises:
        BrokenTrainer: some retained records were never read, or there is no new model.
    """
    if len(seeds) == 1:
        return [train_one(problem, folder, seeds[0])]
    trainer = problem.trainer
    assert isinstance(trainer, Trainer)
    checkpoints = Checkpoints(Path(folder) / "checkpoints" / f"{stage_of(seeds[0])}-and-{len(seeds) - 1}")
    models = stacked.train(trainer, problem.retain_view, seeds=seeds, checkpoints=checkpoints)
    found = [
        (_keep(problem, model, folder, seed), float(trainer.passes)) for seed, model in zip(seeds, models, strict=True)
    ]
    checkpoints.clear()
    return found


def train_one(problem: Problem, folder: str, seed: int) -> tuple[str, float]:
    """Train on the retain set in this process, save, and return (model digest, reads per record).

    Raises:
        BrokenTrainer: some retained records were never read, or there is no new model.
    """
    view = WatchedView.over(problem.retain_view)
    checkpoints = Checkpoints(Path(folder) / "checkpoints" / stage_of(seed))
    model, passes = _run_trainer(problem, view, seed, checkpoints)
    return _keep(problem, model, folder, seed), passes


def _keep(problem: Problem, model: Any, folder: str, seed: int) -> str:
    """Save a retrained model and return its digest, after opening it again: what is judged is what was trained."""
    place = Path(folder) / "artefacts" / stage_of(seed)
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
    # A folder without its stage is what a kill left between the two: training again gives the same bits.
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
    return digest


def _alike(problem: Problem, model: Any, again: Any) -> bool:
    """Return whether two models answer some retained records with the same bits."""
    retain = problem.retain_view
    batch = retain.read(range(min(64, len(retain))))
    with torch.no_grad():
        one, other = (problem.meaning.units(ready(each), batch).output for each in (model, again))
    return torch.equal(one, other)


def check_trainer(problem: Problem) -> TrainerFacts:
    """Check the trainer's contract on a tenth of the retained records, and count its reads.

    Raises:
        BrokenTrainer: it returns no new model, it does not read its view, two runs with one seed differ, two
            seeds or two sets of records give the same model, or it knows forgotten records that it was not given
            (see ``engine/relabelling``, which also says what that cannot see).
    """
    some, others = _samples(problem)
    model, first, view = _trained(problem, some, seed=1)
    if view.unread:
        raise BrokenTrainer(
            "the trainer does not read the records it is given",
            where=_name(problem),
            found=f"{view.unread} of {len(view)} records never read",
            expected="every record read through the view",
            fix="train on the argument `records` (a map-style dataset), not on data from elsewhere; a DataLoader "
            "must read in this process (num_workers=0), where reads are counted",
        )
    # Noise that hides what was learnt must not be repeated; all else that is random follows the seed.
    if first != _trained(problem, some, seed=1)[1] and getattr(problem.trainer, "repeatable", True):
        raise BrokenTrainer(
            "the trainer gives two models for one seed",
            where=_name(problem),
            found="other weights in the second of two equal calls",
            expected="the same weights, bit for bit",
            fix="draw all randomness from `seed`: initial weights, order, dropout, augmentation",
        )
    second = _trained(problem, some, seed=2)[1]
    if first == second and seeds_matter(problem):
        raise BrokenTrainer(
            "the trainer gives one model for two seeds",
            where=_name(problem),
            found="equal weights from seeds 1 and 2",
            expected="other weights from another seed",
            fix="use `seed` for the initial weights and the order: references must differ as retrainings do",
        )
    if first == _trained(problem, others, seed=1)[1]:
        raise BrokenTrainer(
            "the trainer gives one model for two sets of records",
            where=_name(problem),
            found="it reads its view and trains on something else",
            expected="other weights from other records",
            fix="train on the argument `records` alone",
        )
    declared = getattr(problem.trainer, "passes", None)
    passes = float(declared) if declared is not None else view.passes
    more = [(None, _drawn(problem, seed), seed) for seed in _MORE_SEEDS]
    visits, read, notes = _check_knowledge(problem, [(model, some, 1), *more])
    return TrainerFacts(passes, Cost(trained=passes * (3 * len(some) + len(others) + visits), read=read), notes)


def most_of_checking(problem: Problem, passes: float) -> Cost:
    """Return the most that :func:`check_trainer` costs with a trainer that reads each record so often.

    It stops sooner where an honest trainer is cleared sooner, which is nearly always after the first pair of models.
    """
    some, others = (len(view) for view in _samples(problem))
    visits, read = 3 * some + others, 0
    fresh = len(problem.held_out) if problem.held_out is not None else len(problem.retain_view)
    if fresh and labels_of(problem, problem.forget_view.select(problem.forget_ids[:1])) is not None:
        pairs = 1 + len(_MORE_SEEDS) if len(problem.forget_ids) >= FEWEST else 1
        # The changed half of the first pair, and both of those after it.
        visits += some + (2 * len(_drawn(problem, 1)) * len(_MORE_SEEDS) if pairs > 1 else 0)
        read = 2 * pairs * (min(MOST, len(problem.forget_ids)) + min(MOST, fresh))
    return Cost(trained=passes * visits, read=read)


def _check_knowledge(
    problem: Problem, plain: Sequence[tuple[Any | None, View, int]]
) -> tuple[int, int, tuple[str, ...]]:
    """Train with changed labels beside each model of ``plain`` (model or None, its records, seed), until all is clear.

    The first pair nearly always clears an honest trainer. Where it shows anything, others are trained: on more records,
    since who kept the forget set aside learns it by heart in more steps and unlearns the classes on more changed
    labels; and several, against a forget set that one decision of a model makes or breaks (records nearly the same).

    Returns:
        (records of these trainings, records answered, notes).
    """
    forget, fresh = sample(problem.forget_view), sample(_never_given(problem, [records for _, records, _ in plain]))
    given, given_fresh = labels_of(problem, forget), labels_of(problem, fresh)
    if given is None or given_fresh is None:
        return 0, 0, ()  # no labels, or nobody to compare with
    visits, answered, notes = 0, 0, ()
    seen: tuple[Patterns, Patterns] | None = None
    for step, (model, records, seed) in enumerate(plain):
        labels = labels_of(problem, records)
        classes = shift(labels, step) if labels is not None else {}
        if not classes:
            return visits, answered, notes
        if model is None:
            model, visits = _trained(problem, records, seed=seed)[0], visits + len(records)
        changed = _trained(problem, Relabelled(records, problem.meaning, classes), seed=seed)[0]
        visits, answered = visits + len(records), answered + 2 * (len(forget) + len(fresh))
        pair = [
            Patterns.of(truth, answers(problem, model, part), answers(problem, changed, part), classes)
            for part, truth in ((forget, given), (fresh, given_fresh))
        ]
        if step == 0 and knows_the_classes(pair[1]):
            notes = (KNOWS_THE_CLASSES,)
        seen = (seen[0] & pair[0], seen[1] & pair[1]) if seen else (pair[0], pair[1])
        clear = not (suspect(seen[0]) if step == 0 else remembers(seen[0], given, seen[1], given_fresh))
        if clear:
            return visits, answered, notes
    assert seen is not None
    raise BrokenTrainer(
        "the trainer knows forgotten records that it was not given",
        where=_name(problem),
        found=f"{int(seen[0].known.sum())} of {len(given)} forgotten records get their given label from models that "
        "were trained without them and with other labels",
        expected="a model that knows no more than the records it is given",
        fix="train on the argument `records` alone: no copy of the data from elsewhere, no start from the weights of "
        "the original or of another model that saw these records",
    )


def _never_given(problem: Problem, given: Sequence[View]) -> View:
    """Return records that no training of the check was given: the holdout, else the rest of the retain set."""
    if problem.held_out is not None:
        return problem.held_out.select(problem.held_out.ids)
    return problem.retain_view.without([name for view in given for name in view.ids])


def _drawn(problem: Problem, draw: int) -> View:
    """Return a fifth of the retained records, 64 at the least, another for every ``draw``.

    Without a holdout of one half of them: the others are to be given to nobody.
    """
    retain = problem.retain_view
    ranked = _ranked(retain.ids)
    pool = ranked if problem.held_out is not None else ranked[: max(64, len(ranked) // 2)]
    return retain.select(_ranked(pool, draw)[: max(64, len(retain) // 5)])


def _samples(problem: Problem) -> tuple[View, View]:
    retain = problem.retain_view
    ranked = _ranked(retain.ids)
    size = min(len(ranked), max(64, len(ranked) // 10))
    return retain.select(ranked[:size]), retain.select(ranked[-size:] if size < len(ranked) else ranked[: size // 2])


def _ranked(names: Sequence[str], *draw: int) -> list[str]:
    return sorted(names, key=lambda name: keyed_int(b"expunge trainer check", *draw, name))


def _trained(problem: Problem, records: Records, *, seed: int) -> tuple[Any, str, WatchedView]:
    view = WatchedView.over(records)
    model, _ = _run_trainer(problem, view, seed, None)
    return model, problem.source.digest(model), view


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
        if ran_out(error):
            raise RunFailed(
                "the memory does not suffice",
                where=f"{_name(problem)}: {Path(frame.filename).name}, line {frame.lineno}, {frame.name}",
                found=f"{asked_for(error)}{type(error).__name__} in the trainer",
                expected="room for as many trainings at a time as there are workers",
                fix="workers = 1 trains one after the other; what one takes is up to the trainer",
            ) from error
        raise RunFailed(
            "the trainer failed",
            where=f"{_name(problem)}: {Path(frame.filename).name}, line {frame.lineno}, {frame.name}",
            found=type(error).__name__,
            expected="trainer(records, *, seed) -> new model",
            fix="call it by hand: trainer(problem.retain_view, seed=1)",
        ) from error
    if not (hasattr(model, "eval") or hasattr(model, "predict")):
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
    return ready(model if own else settled(problem, model)), float(declared) if declared is not None else view.passes


def _name(problem: Problem) -> str:
    return problem.spec.trainer or "trainer"
