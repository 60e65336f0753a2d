"""What every method promises.

A method is run as it stands, on networks and records of our own, with its ``trial`` settings; nothing is asked
of it but the contract. The numbers in ``@SUITE.case("G-2")`` name mistakes of published code that the case catches.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.conformance import problems as own
from expunge.conformance._case import NotApplicable, Suite, require
from expunge.conformance._watch import Watch, watching
from expunge.core.errors import ExpungeError
from expunge.core.level import Level
from expunge.core.method import Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.serial import plain
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.passes import touched
from expunge.engine.split import split

SUITE = Suite()
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
_SMALL = {"epochs": 2, "batch_size": 16}
"""Settings of a loop that fit sixty records; ``trial`` overrides them."""


def made(cls: type, **more: object) -> Method:
    """Return the method with its trial settings."""
    known = {field.name for field in dataclasses.fields(cls.Config)}  # type: ignore[attr-defined]
    settings = {name: value for name, value in _SMALL.items() if name in known}
    method: Method = cls({**settings, **cls.trial, **more})  # type: ignore[attr-defined]
    return method


def posed(cls: type, **more: Any) -> Problem:
    """Return a problem with what the method needs.

    Its network has convolutions, or its forgotten records are a whole class, or it is a language model's, where nothing
    else will do.
    """
    needs = cls.needs  # type: ignore[attr-defined]
    return own.problem(ledger=Need.LEDGER in needs, shards=3 if Need.SHARDS in needs else 0, **{**_kind(cls), **more})


@cache
def _kind(cls: type) -> Mapping[str, Any]:
    """Return the first kind of problem that nothing keeps the method from."""
    if Need.SHARDS in cls.needs:  # type: ignore[attr-defined]
        return {}
    if Need.LEDGER in cls.needs:  # type: ignore[attr-defined]
        return {"plain": bool(made(cls).obstacles(own.problem(ledger=True)))}
    kinds: tuple[Mapping[str, Any], ...] = ({}, {"whole_class": True}, {"build": own.Seen}, {"language": True})
    return next((kind for kind in kinds if not made(cls).obstacles(own.problem(**kind))), {})


def unlearned(cls: type, problem: Problem | None = None, *, seed: int = own.SEED, **more: Any) -> Outcome:
    """Return what the method makes of a problem."""
    problem = posed(cls) if problem is None else problem
    torch.rand(3)  # whatever was drawn before must not matter
    return made(cls).unlearn(problem, own.context(problem, seed=seed, **more))


def watched(cls: type, problem: Problem) -> tuple[Outcome, Watch]:
    """Return what the method makes of a problem, and what was seen meanwhile."""
    with watching(problem.records, problem.held_out) as watch:  # type: ignore[arg-type]
        outcome = unlearned(cls, problem)
    return outcome, watch


def _trains(cls: type, why: str) -> None:
    if cls.control or cls.guarantee is Level.SUPPRESSED:  # type: ignore[attr-defined]
        raise NotApplicable(f"a control, or a filter, changes nothing: {why}")


# --- what it says ---------------------------------------------------------------------------------------------


@SUITE.case()
def says_what_it_is(cls: type[Method]) -> None:
    """It has a title, a source and a guarantee, and every setting is documented."""
    for name in ("title", "source"):
        require(getattr(cls, name, "").strip(), f"no {name}")
    require(isinstance(getattr(cls, "guarantee", None), Level), "no guarantee of core.level.Level")
    require(all(isinstance(need, Need) for need in cls.needs), "needs that are no Need")
    silent = [field.name for field in dataclasses.fields(cls.Config) if not field.metadata.get("doc")]
    require(not silent, f"settings without documentation: {', '.join(silent)}; declare them with setting(...)")


@SUITE.case()
def settings_go_round(cls: type[Method]) -> None:
    """Settings written as JSON and read again give the same method; an unknown one is refused."""
    method = made(cls)
    values: Mapping[str, object] = plain(method.config)
    require(cls(values).config == method.config, "other settings after writing and reading them")
    try:
        cls({**values, "no_such_setting": 1})
    except ExpungeError:
        return
    require(False, "a setting that does not exist is accepted")


# --- what it leaves alone -------------------------------------------------------------------------------------


@SUITE.case("G-1")
def callers_model_is_untouched(cls: type[Method]) -> None:
    """The model handed in keeps its parameters, buffers, modes and gradients, bit for bit."""
    problem = posed(cls)
    before = own.state(problem.model)
    unlearned(cls, problem)
    after = own.state(problem.model)
    changed = [name for name, tensor in before[0].items() if not torch.equal(tensor, after[0][name])]
    require(not changed, f"{len(changed)} tensors of the caller's model changed, first {', '.join(changed[:1])}")
    require(before[1] == after[1], "modules of the caller's model changed between training and evaluation mode")
    require(before[2] == after[2], "requires_grad of the caller's parameters changed")
    require(all(p.grad is None for p in problem.model.parameters()), "gradients were left on the caller's model")
    require(problem.source.digest() == posed(cls).source.digest(), "the source opens another original now")


@SUITE.case("G-7")
def datasets_are_untouched(cls: type[Method]) -> None:
    """Records and labels handed in are not written to."""
    problem = posed(cls)
    parts: dict[str, Any] = {"training": problem.records, "holdout": problem.held_out}
    before = {name: [tuple(map(torch.clone, each)) for each in part.held()] for name, part in parts.items()}
    unlearned(cls, problem)
    for name, part in parts.items():
        pairs = list(zip(part.held(), before[name], strict=True))
        for place, what in enumerate(("inputs", "labels")):
            same = all(torch.equal(now[place], then[place]) for now, then in pairs)
            require(same, f"{what} of the {name} records were changed")


@SUITE.case("G-1", "G-2")
def models_share_no_memory(cls: type[Method]) -> None:
    """No two models share memory: not the result and the original, not a teacher and its student."""
    problem = posed(cls)
    outcome, watch = watched(cls, problem)
    addresses = [
        {t.data_ptr() for t in [*m.parameters(), *m.buffers()]}
        for m in (outcome.model, problem.model, problem.source.open())
    ]
    require(not addresses[0] & addresses[1], "the result holds tensors of the caller's model: return a copy")
    require(not addresses[0] & addresses[2], "the result holds tensors of the source: open() makes a fresh instance")
    require(type(outcome.model) is type(problem.model), f"a {type(outcome.model).__name__} came back")
    require(
        not watch.sharing(),
        f"{len(watch.sharing())} pairs of models were called that share parameters: a shallow copy learns as "
        "its origin does; use problem.source.open() or copy.deepcopy",
    )


@SUITE.case("G-4")
def frozen_parts_stay(cls: type[Method]) -> None:
    """Parameters that may not move and the batch statistics of frozen blocks stay, unless the model is made anew."""
    if cls.guarantee >= Level.EXACT:
        raise NotApplicable("the model is trained anew: nothing of the original is kept")
    problem = posed(cls)
    name, block = next(each for each in problem.model.named_modules() if isinstance(each[1], _NORMS))
    for parameter in block.parameters():
        parameter.requires_grad_(False)
    before, outcome = problem.source.open().state_dict(), unlearned(cls, problem)
    frozen = {name for name, p in problem.model.named_parameters() if not p.requires_grad}
    frozen |= {f"{name}.{buffer}" for buffer, _ in block.named_buffers()}
    after = outcome.model.state_dict()
    changed = sorted(name for name in frozen if not torch.equal(before[name], after[name]))
    require(not changed, f"frozen tensors changed: {', '.join(changed)}; use engine.loop.train_mode for model.train()")


# --- what it does ---------------------------------------------------------------------------------------------


@SUITE.case("G-3", "G-15")
def has_an_effect(cls: type[Method]) -> None:
    """The model that comes back differs from the original, and what the optimiser moved is what comes back."""
    _trains(cls, "that is its purpose")
    problem = posed(cls)
    outcome, watch = watched(cls, problem)
    require(not own.same(outcome.model, problem.source.open()), "the result equals the original in every bit")
    if cls.guarantee < Level.EXACT and watch.moved:
        mine = {id(parameter) for parameter in outcome.model.parameters()}
        require(
            mine & set(watch.moved),
            "the optimiser moved a model, and another one came back: give it the parameters of the student",
        )


@SUITE.case("G-15")
def reports_what_changed(cls: type[Method]) -> None:
    """``touched`` is the share of parameters that differ from the original; none is a warning."""
    problem = posed(cls)
    outcome = unlearned(cls, problem)
    before = {name: p.detach() for name, p in problem.source.open().named_parameters()}
    share = touched(before, outcome.model)
    require(0 <= outcome.touched <= 1, f"touched is {outcome.touched}, not a share")
    require(abs(outcome.touched - share) <= 0.1, f"touched says {outcome.touched:.3f}, in truth {share:.3f} changed")
    warned = any("no parameter changed" in text for text in outcome.warnings)
    require((share == 0) == warned, "no parameter changed, and no warning says so" if share == 0 else "a false warning")
    require(outcome.stopped, "`stopped` does not say why it ended")


@SUITE.case("G-4", "G-5", "G-11")
def modes_are_right(cls: type[Method]) -> None:
    """Training runs in training mode in every module, evaluation in evaluation mode; the result evaluates."""
    outcome, watch = watched(cls, posed(cls))
    require(not any(m.training for m in outcome.model.modules()), "the result is in training mode: call eval()")
    require(all(p.grad is None for p in outcome.model.parameters()), "gradients were left on the result")
    torn = [visit.torn for visit in watch.visits if visit.torn]
    require(not torn, f"modules in another mode than their model in {len(torn)} calls, e.g. {torn[0] if torn else ''}")
    still = watch.trained_in_evaluation_mode()
    require(not still, f"{still} steps were trained in evaluation mode, without dropout: call train_mode(model) first")
    idle = sum(visit.training and not visit.graded for visit in watch.visits)
    require(not idle, f"{idle} calls without gradients in training mode: they move batch statistics; call eval() first")


@SUITE.case("G-5")
def gradients_are_used_or_read_in_peace(cls: type[Method]) -> None:
    """A pass whose gradients are only read runs in evaluation mode, so that it changes nothing."""
    _, watch = watched(cls, posed(cls))
    lost = sum(visit.unused and visit.training for visit in watch.visits)
    require(not lost, f"gradients gathered in training mode were thrown away {lost} times: batch statistics moved")


@SUITE.case("G-6")
def same_seed_same_bits(cls: type[Method]) -> None:
    """The same seed gives the same bits, whatever was drawn before."""
    first, again = unlearned(cls), unlearned(cls)
    require(
        own.same(first.model, again.model), "two runs with one seed differ: draw from generators seeded by run.seed"
    )
    told = [plain(dataclasses.replace(each, model=None)) for each in (first, again)]
    require(told[0] == told[1], "two runs with one seed give different outcomes")


@SUITE.case("G-6")
def another_seed_another_model(cls: type[Method]) -> None:
    """Another seed gives another model: what is random follows ``run.seed``."""
    _trains(cls, "every seed gives the original")
    require(not own.same(unlearned(cls).model, unlearned(cls, seed=own.SEED + 1).model), "two seeds give one model")


@SUITE.case("G-8")
def random_draws_are_new(cls: type[Method]) -> None:
    """No generator is set back to a seed it was given before: an epoch would repeat the draws of another."""
    _, watch = watched(cls, posed(cls))
    double = sorted(name for (name, _), count in watch.seeds.items() if count > 1)
    require(
        not double,
        f"seeded with one number more than once: {', '.join(double)}; derive the seed from run.seed and the epoch",
    )


@SUITE.case("G-9")
def forget_batches_are_shuffled_anew(cls: type[Method]) -> None:
    """When the forget set starts again beside a longer retain set, it is read and shuffled anew, never replayed."""
    _trains(cls, "it reads nothing")
    if Need.FORGET not in cls.needs:
        raise NotApplicable("it does not read the forget set")
    problem = posed(cls, count=120, forget=40)
    _, watch = watched(cls, problem)
    gone = set(problem.forget_ids)
    rows = [tuple(name for name in row if name in gone) for row in watch.training_ids()]
    flat = [name for row in rows for name in row]
    rounds = [tuple(flat[i : i + len(gone)]) for i in range(0, len(flat) - len(gone) + 1, len(gone))]
    if any(len(row) >= len(gone) for row in rows) or len(rounds) < 2:
        raise NotApplicable("the forget set is never started again in parts")
    require(len(set(rounds)) == len(rounds), "the forget set came in the same order twice: batches are replayed")
    read = sum(problem.records.seen[name] for name in gone)  # type: ignore[attr-defined]
    require(read >= len(flat), f"{len(flat)} forgotten records were trained on and {read} read: batches are kept")


@SUITE.case("G-10")
def no_record_is_skipped(cls: type[Method]) -> None:
    """Every record that is read reaches a model; all retained, and where declared all forgotten ones are read."""
    _trains(cls, "it reads nothing")
    problem = posed(cls)
    _, watch = watched(cls, problem)
    seen = {name for visit in watch.visits for name in visit.ids}
    trained = {name for row in watch.training_ids() for name in row}
    read = set(problem.records.seen)  # type: ignore[attr-defined]
    require(not read - seen, f"{len(read - seen)} records were read and never reached a model: uneven batches dropped?")
    if not trained:
        raise NotApplicable("it trains on nothing")
    wanted = set(problem.retain_view.ids) if Need.RETAIN in cls.needs else set()
    wanted |= set(problem.forget_ids) if Need.FORGET in cls.needs else set()
    require(not wanted - trained, f"{len(wanted - trained)} of {len(wanted)} records were never trained on")


@SUITE.case()
def forgotten_records_are_read_only_where_declared(cls: type[Method]) -> None:
    """The forget set is read if and only if ``needs`` holds ``Need.FORGET``; ``run.choosing`` is free to look at."""
    problem = posed(cls)
    unlearned(cls, problem)
    free = set(own.context(problem).choosing.forget.ids)
    read = set(problem.records.seen) & set(problem.forget_ids)  # type: ignore[attr-defined]
    if Need.FORGET in cls.needs:
        require(read, "Need.FORGET is declared, and no forgotten record is read")
    else:
        require(not read - free, f"{len(read - free)} forgotten records are read without Need.FORGET")


@SUITE.case("G-12")
def judging_records_decide_nothing(cls: type[Method]) -> None:
    """Judging holdout records are never read; other ones give the same model."""
    first, other = posed(cls), posed(cls)
    judging = split(first, 1)[1].holdout
    assert judging is not None
    other.held_out.spoil(judging.ids)  # type: ignore[union-attr]
    one, two = unlearned(cls, first).model, unlearned(cls, other).model
    read = set(judging.ids) & set(other.held_out.seen)  # type: ignore[union-attr]
    require(not read, f"{len(read)} holdout records were read that the audit judges by: use run.choosing")
    require(own.same(one, two), "other judging records gave another model")


@SUITE.case("G-13")
def exact_owes_the_original_nothing(cls: type[Method]) -> None:
    """A method that guarantees ``exact`` or more gives the same bits whatever the original's weights, and says why."""
    if cls.guarantee < Level.EXACT:
        raise NotApplicable(f"it guarantees {cls.guarantee.value}")
    one, other = (unlearned(cls, posed(cls, original=seed)) for seed in (1, 2))
    require(own.same(one.model, other.model), "another original gave another model: weights of the original survive")
    require(one.evidence, "no evidence: a guarantee that stands alone needs its argument, one line each")


@SUITE.case("G-14")
def works_on_other_networks(cls: type[Method]) -> None:
    """Networks that are made otherwise: each works or is refused with a clear error.

    A perceptron, odd convolutions, no linear head; of language models a Llama and a recurrent network.
    """
    for build in own.others(posed(cls)):
        problem = posed(cls, build=build)
        method = made(cls)
        if method.obstacles(problem):
            continue  # refused before work, with a reason
        try:
            model = method.unlearn(problem, own.context(problem)).model
        except ExpungeError:
            continue
        same = type(model) is type(problem.model)
        require(same, f"on {build.__name__} a {type(model).__name__} came back")
        finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
        require(finite, f"on {build.__name__} weights became NaN or infinite")


@SUITE.case("G-18")
def names_of_modules_decide_nothing(cls: type[Method]) -> None:
    """The same network with its modules under other names gives the same weights."""
    plain_one = posed(cls)
    renamed = posed(cls, build=own.renamed(plain_one))
    for mine, theirs in zip(renamed.model.state_dict().values(), plain_one.model.state_dict().values(), strict=True):
        mine.copy_(theirs)
    results = [list(unlearned(cls, each).model.state_dict().values()) for each in (plain_one, renamed)]
    differ = sum(not torch.equal(one, other) for one, other in zip(*results, strict=True))
    require(not differ, f"{differ} tensors differ when modules are called otherwise: go by type, not by name")


@SUITE.case()
def calibration_stands_for_what_stays(cls: type[Method]) -> None:
    """Where the retained records are gone and as many like them are given as calibration, work and model are as before.

    But for rounding, which training makes larger: a method that takes the forgotten records for all there are differs
    by far more.
    """
    whole = posed(cls, with_trainer=False)
    if made(cls).obstacles(whole):
        raise NotApplicable("it needs what is gone with the retained records")
    gone = dataclasses.replace(
        whole, train=whole.records.select(whole.forget_ids), forget=whole.forget_ids, calibration=whole.retain_view
    )
    if made(cls).obstacles(gone):
        raise NotApplicable("it says that it cannot do with calibration records")
    same = made(cls).cost(whole) == made(cls).cost(gone)
    require(same, "cost() is another: count forget_view and retain_view, since `records` are the forgotten ones alone")
    first, second = unlearned(cls, whole), unlearned(cls, gone)
    require(first.cost == second.cost, "other work was done with calibration records")
    start, *ends = (model.state_dict() for model in (whole.source.open(), first.model, second.model))
    moved, apart = (
        sum(float((one[name].double() - other[name].double()).square().sum()) for name in start) ** 0.5
        for one, other in ((start, ends[0]), ends)
    )
    require(apart <= 0.05 * moved, f"another model, {apart:.3g} away where the whole change is {moved:.3g}")


# --- work, and its end ----------------------------------------------------------------------------------------


@SUITE.case("G-17")
def work_is_counted(cls: type[Method]) -> None:
    """The work is known before, counted while done, and true: every record visit that trained, no more and no less."""
    problem = posed(cls)
    estimate = made(cls).cost(problem)
    outcome, watch = watched(cls, problem)
    done = sum(len(row) for row in watch.training_ids())
    require((estimate.trained > 0) == (outcome.cost.trained > 0), "work was announced and not done, or the reverse")
    require(outcome.cost.trained == done, f"cost says {outcome.cost.trained:g} trained visits, {done} were seen")
    within = done <= estimate.trained <= 2 * done  # an early stop may save half of it here, never add to it
    require(within, f"cost() announced {estimate.trained:g} trained visits, {done} were made")
    read = f"cost() announced {estimate.read:g} reading visits, {outcome.cost.read:g} were made"
    require(outcome.cost.read <= estimate.read, f"{read}: what observe, stop or rewind read is its observation()")
    larger = made(cls).cost(posed(cls, count=2 * own.TRAIN)).trained
    require(larger >= estimate.trained, "cost() does not grow with the records")


@SUITE.case("G-17")
def epochs_run_as_often_as_said(cls: type[Method]) -> None:
    """``epochs`` is the number of epochs, 1-based, exactly, or fewer with a reason; 0 changes nothing."""
    if "epochs" not in {field.name for field in dataclasses.fields(cls.Config)}:
        raise NotApplicable("it has no epochs")
    for epochs in (0, 1, 3):
        problem = posed(cls)
        outcome = made(cls, epochs=epochs).unlearn(problem, own.context(problem))
        count = len(outcome.history)
        early = count < epochs and "after" not in outcome.stopped
        require(count == epochs or early, f"{epochs} epochs were asked for and {count} run")
        require([row.get("epoch") for row in outcome.history] == list(range(1, count + 1)), "epochs are not 1, 2, ...")
        if epochs == 0:
            require(own.same(outcome.model, problem.source.open()), "0 epochs changed the model")


@SUITE.case()
def empty_forget_set_changes_nothing(cls: type[Method]) -> None:
    """With nothing to forget an identical copy comes back, without work."""
    if Need.TRAINER in cls.needs:
        raise NotApplicable("it would train anew: with nothing to forget, no method is asked")
    problem = posed(cls, forget=0)
    outcome = unlearned(cls, problem)
    require(own.same(outcome.model, problem.source.open()), "the model changed although nothing is to be forgotten")
    require(outcome.cost.trained == 0, f"{outcome.cost.trained:g} visits although nothing is to be forgotten")


@SUITE.case()
def interrupted_it_ends_the_same(cls: type[Method]) -> None:
    """Interrupted at its first checkpoint and run again, it ends with the same bits and tells the same."""

    class Dying(Checkpoints):
        def offer(self, *parts: Any) -> None:
            super().offer(*parts)
            raise KeyboardInterrupt

    whole = unlearned(cls)
    with tempfile.TemporaryDirectory() as folder:
        try:
            unlearned(cls, checkpoints=Dying(Path(folder), every_s=0))
        except KeyboardInterrupt:
            pass
        else:
            raise NotApplicable("it makes no checkpoint: interrupted, it starts again")
        resumed = unlearned(cls, checkpoints=Checkpoints(Path(folder), every_s=0))
    require(own.same(whole.model, resumed.model), "resumed from its checkpoint it gives another model")
    require(resumed.cost.trained == whole.cost.trained, "resumed, it counts other work")
    require(resumed.stopped == whole.stopped, "resumed, it ends for another reason")
    kept = ("epoch", "objective", "trained")
    rows = [[[row.get(key) for key in kept] for row in each.history] for each in (whole, resumed)]
    require(rows[0] == rows[1], "resumed, its history differs")


@SUITE.case()
def needs_are_refused_before_work(cls: type[Method]) -> None:
    """What it needs and has not is said at once, before a record is read."""
    problem = posed(cls, count=12, forget=12, with_trainer=False)
    found = {obstacle.what for obstacle in made(cls).obstacles(problem)}
    missing = (
        ({Need.TRAINER}, "a trainer"),
        ({Need.RETAIN}, "retained records"),
        ({Need.LEDGER, Need.SHARDS}, "the ledger"),
    )
    for needs, words in missing:
        said, needed = any(words in what for what in found), bool(needs & cls.needs)
        require(said == needed, f"needs {words}: {needed}; obstacles say: {said}")
    lacks = any(needs & cls.needs for needs, _ in missing)
    require(not (lacks and problem.records.seen), "records were read to find out")  # type: ignore[attr-defined]
