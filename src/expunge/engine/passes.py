"""Methods that train the original further by passes: over retained records, over forgotten ones, or both side by side.

A method names its passes, epoch by epoch, and what is minimised on each batch; everything else lives here: the
fresh copy, frozen teachers where they are wanted, batches, seeds, modes, checkpoints, progress, the count of work,
and what is looked at between epochs.
"""

from __future__ import annotations

import copy
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.storage import write_file
from expunge.core.task import Task
from expunge.engine import adapters, localised, ranks
from expunge.engine.adapters import Adapters, AdaptersConfig
from expunge.engine.anatomy import deciding
from expunge.engine.checkpoint import Stateful
from expunge.engine.context import Context
from expunge.engine.guard import Guard
from expunge.engine.loop import Steps, evaluating, run_loop
from expunge.engine.memory import sparing
from expunge.engine.runtime import seed_everything
from expunge.engine.visits import Batch, Pass, Step

__all__ = ["Batch", "Pass", "Passes", "touched"]


class Passes(Method):
    """A method that trains the original further, pass by pass.

    It runs on a copy of itself, so what :meth:`prepare` keeps on ``self`` lasts for one run.

    Class attributes: ``teacher``, whether batches carry the teachers' units beside the student's; ``dips``, whether
    epochs before the last may ruin the model because later ones repair it; ``classes``, whether its objectives need
    class labels, ``scores``, whether they need logits, of classes or of tokens; ``only_reads``, whether :meth:`prepare`
    leaves the model as it is, ``of_units``, whether all that it says is written over units, so that processes that hold
    one model together can compute these each for its own records; ``compares``, whether the model is held against what
    the original says, which is asked in evaluation mode: then nothing in the model draws at random (dropout) either.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    teacher: ClassVar[bool] = False
    dips: ClassVar[bool] = False
    classes: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    only_reads: ClassVar[bool] = False
    of_units: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptersConfig):
        """Settings of the loop."""

        epochs: int = setting(5, "passes over the records that drive the loop", low=0, search=(1, 10))
        lr: float = setting(1e-3, "peak learning rate", above=0, search=(1e-4, 3e-2))
        batch_statistics: str = setting(
            "move",
            "running statistics of batch normalisation: `move` with every batch that is trained on, forgotten records "
            "included, as in most papers' code; `keep` normalises by those of the original and leaves them",
            choices=("move", "keep"),
        )
        blocks: float = setting(
            1.0,
            "share of the network's blocks that move: those that carry most of the forgotten records, which is told; "
            "1: all",
            above=0,
            high=1,
        )
        located: str = setting(
            "gradient",
            "what tells which these are: the slope of the records' loss (`gradient`), the Fisher information about "
            "them (`fisher`), or how their loss rises without what a block adds (`patching`)",
            choices=tuple(localised.MEASURES),
        )

    _where: localised.Located | None = None

    # --- what a method says ------------------------------------------------------------------------------------

    @abstractmethod
    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return the passes of ``epoch`` (1, 2, ...), in order; the last one's objective stands in the history."""

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Change the fresh copy before its first epoch, or note something on ``self``; return the work of it.

        Randomness is seeded. What is frozen here (``requires_grad``) may move again in the model that comes back.
        """
        return Cost()

    def preparation(self, problem: Problem) -> Cost:
        """Return the work of :meth:`prepare`, before it is done."""
        return Cost()

    def teachers(self, problem: Problem, run: Context) -> tuple[nn.Module, nn.Module]:
        """Return who teaches on retained and who on forgotten records: the original, unless said otherwise.

        Randomness is seeded.
        """
        original = problem.source.open()
        return original, original

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Change the model before ``epoch`` (1, 2, ...); randomness is seeded by the epoch."""

    def before_update(self, model: nn.Module, step: int, steps: int) -> None:
        """Change gradients before step ``step`` (0, 1, ...) of ``steps`` over all epochs."""

    def after_update(self, model: nn.Module, step: int, steps: int, optimiser: torch.optim.Optimizer) -> None:
        """Change weights, or the optimiser's moments, after a step."""

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return figures of ``epoch`` for its row of the history. May look at the choosing part only."""
        return {}

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return why to stop after ``epoch`` (1, 2, ...); empty to go on. May look at the choosing part only."""
        return ""

    def rewind(self, model: nn.Module, history: Sequence[dict[str, float]], run: Context) -> int:
        """Return the epoch (1, 2, ...) whose model comes back; 0 for the last. Asked once, at the end.

        A method that overrides this has every epoch's model kept until then, unless it ``rewinds`` not.
        """
        return 0

    def observation(self, problem: Problem) -> Cost:
        """Return the most that :meth:`observe`, :meth:`stop` and :meth:`rewind` read, all epochs together.

        Without what models retrained for choosing are asked: how many there are is not the method's to know, and each
        is asked the forgotten records of the choosing part once.
        """
        return Cost()

    @property
    def rewinds(self) -> bool:
        """Whether :meth:`rewind` is to be asked, and every epoch's model kept until then."""
        return type(self).rewind is not Passes.rewind

    @property
    def adapts(self) -> bool:
        """Whether adapters may move in the place of the weights: not where a hook changes these, or their gradients."""
        hooks = ("before_epoch", "before_update", "after_update", "finish")
        return all(getattr(type(self), name) is getattr(Passes, name) for name in hooks)

    @property
    def spreads(self) -> bool:  # type: ignore[override]
        """Whether it runs in several processes: not where it changes weights that each of them holds a part of."""
        return self.of_units and self.adapts and not self.rewinds and self.config.blocks == 1

    def finish(self, model: nn.Module, problem: Problem, run: Context) -> None:
        """Change the model once more, after its last epoch; randomness is seeded."""

    def remarks(self, history: Sequence[dict[str, float]]) -> tuple[str, ...]:
        """Return what a reader of the outcome must know, beside what is said of every method; asked at the end."""
        return ()

    # --- what is done for it -----------------------------------------------------------------------------------

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and that the model is no network: nothing of it could be trained further."""
        found = super().obstacles(problem)
        if not problem.source.gradients:
            what = f"{self.name} trains a network further"
            fix = "see which methods `expunge plan` offers instead"
            found.append(Obstacle(what=what, where="the model", found="no network", expected="a network", fix=fix))
        elif self.config.blocks < 1 and Need.FORGET not in self.needs:
            what, fix = f"{self.name} does not read the forgotten records", "set blocks = 1: all of them move"
            found.append(
                Obstacle(what=what, where=self.at("blocks"), found=str(self.config.blocks), expected="1", fix=fix)
            )
        elif self.config.lora:
            found += self._adapter_obstacles(problem)
        if not found and self.config.blocks < 1 and self.config.located == "patching":
            found += self._patching_obstacles(problem)
        if self.classes and not problem.meaning.labelled:
            what, fix = f"{self.name} needs class labels", "see which methods `expunge plan` offers instead"
            found.append(Obstacle(what=what, found=f"task {problem.task}, which has none", fix=fix))
        elif self.scores and not problem.meaning.scored:
            what, fix = f"{self.name} needs logits", "see which methods `expunge plan` offers instead"
            found.append(Obstacle(what=what, found=f"task {problem.task}, which has none", fix=fix))
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of all passes of all epochs; a teacher reads what the student is trained on."""
        visits = sum(p.visits(problem) for e in range(self.config.epochs) for p in self.passes(e + 1))
        taught = sum(p.taught_visits(problem) for e in range(self.config.epochs) for p in self.passes(e + 1))
        epochs = self.config.epochs
        looked = epochs if not self.dips else min(1, epochs) * (not self._finishes)
        looked += epochs > 0 and (self.rewinds or self._finishes)
        looks = Guard.cost(problem, looked, reads_forget=Need.FORGET in self.needs)
        located = Cost()
        if epochs and self.config.blocks < 1:
            located = localised.most(problem, self.config.located)
        looks += self.observation(problem)
        prepared = self.preparation(problem) if epochs else Cost()
        return prepared + located + Cost(trained=visits, read=taught if self.teacher else 0) + looks

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the original, trained further on a fresh copy.

        Raises:
            Diverged: something became NaN or infinite, or the model lost what it could do on held-out records.
        """
        return copy.copy(self)._unlearn(problem, run)

    def _unlearn(self, problem: Problem, run: Context) -> Outcome:
        model = problem.source.open()
        with sparing(model, self.config):
            return self._train(model, problem, run)

    def _train(self, model: nn.Module, problem: Problem, run: Context) -> Outcome:
        config = self.config
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        if not config.epochs:
            return Outcome(model=model, stopped="after 0 epochs", warnings=(NO_EFFECT,))
        movable = [p.requires_grad for p in model.parameters()]
        spent = run.spent.read
        teachers = self._opened(problem, run, model)
        guard = Guard(model, problem, run, dips=self.dips, reads_forget=Need.FORGET in self.needs)
        seed_everything(keyed_int(b"expunge prepare", run.seed) % 2**31)
        prepared = self._located(model, problem)  # of the original: what is prepared may change weights
        prepared += self.prepare(model, problem, run)
        spent = run.spent.read - spent
        beside = self._adapters(model, run)
        whole: Stateful = model if beside is None else beside
        seen = {"trained": 0, "read": 0}

        with _epochs(run, self.rewinds) as kept:

            def after_epoch(epoch: int, history: list[dict[str, float]]) -> str:
                reads = run.spent
                history[-1].update(self.observe(model, epoch, run))
                reason = self.stop(model, epoch, run) or (run.watch(model, epoch) if epoch < config.epochs else "")
                # Who dips until its very end is looked at after it.
                later = self.dips and self._finishes
                guard.look(model, epoch, last=not later and (bool(reason) or epoch == config.epochs))
                if kept is not None:
                    write_file(kept / f"{epoch:06d}.safetensors", _bytes(whole))
                # The history carries the cost so far, so that a resumed loop reports the work of all its epochs.
                earlier = history[-2] if len(history) > 1 else {"trained": 0, "read": 0}
                history[-1]["trained"] = earlier["trained"] + seen["trained"]
                history[-1]["read"] = earlier["read"] + seen["read"] + run.spent.read - reads.read
                seen.update(trained=0, read=0)
                return reason

            steps = Steps(
                count=lambda epoch: sum(p.steps(problem) for p in self.passes(epoch + 1)),
                batches=lambda epoch: self._items(problem, run.seed, epoch),
                objective=lambda item: self._terms(item, problem.meaning, (model, teachers, beside), seen),
                name=lambda item: "objective" if item[1] else f"objective on {item[0].over}",
                rate=lambda item: item[3],
                moments=lambda item: item[0].moments,
                weight_decay=lambda item: item[0].weight_decay,
                before_epoch=lambda epoch, optimiser: self.before_epoch(model, epoch, optimiser),
                before_update=lambda step, count: self.before_update(model, step, count),
                after_update=lambda step, count, optimiser: self.after_update(model, step, count, optimiser),
                after_epoch=after_epoch,
                advance=lambda: run.progress.advance(run.label),
                keep_statistics=config.batch_statistics == "keep",
                still=deciding(model) if self.compares else (),
                notes=(notes := []),
            )
            run.progress.start(run.label, sum(steps.count(epoch) for epoch in range(config.epochs)))
            made = run_loop(model, steps, config, seed=run.seed, checkpoints=run.checkpoints, saved=whole)
            history, stopped = made
            run.progress.finish(run.label)
            reads, epoch = run.spent.read, 0
            if kept is not None and (epoch := self.rewind(model, [dict(row) for row in history], run)):
                whole.load_state_dict(load_file(kept / f"{epoch:06d}.safetensors"))
                stopped = f"{stopped}; gone back to epoch {epoch}"
        if beside is not None:
            model = self._merged(model, beside, problem, run)
        seed_everything(keyed_int(b"expunge finish", run.seed) % 2**31)
        self.finish(model, problem, run)
        if epoch or self._finishes:  # another model than the one that was looked at after the last epoch
            guard.look(model, epoch or len(history), last=True)
        for p, may in zip(model.parameters(), movable, strict=True):
            p.requires_grad_(may)
        share = touched(dict(problem.source.open().named_parameters()), model)
        where = (localised.words(self._where),) if self._where is not None else ()
        warnings = (*where, *self.remarks([dict(row) for row in history]), *guard.warnings(model))
        reads = spent + run.spent.read - reads
        return Outcome(
            model=model,
            cost=prepared + Cost(trained=history[-1]["trained"], read=history[-1]["read"] + reads),
            history=tuple(history),
            touched=share,
            stopped=stopped,
            warnings=(*((NO_EFFECT,) if share == 0 else ()), *notes, *warnings),
            charts=(localised.chart(self._where, len(problem.forget_ids)),) if self._where is not None else (),
        )

    def _terms(
        self, item: _Item, task: Task, models: tuple[nn.Module, _Teachers, Adapters | None], seen: dict[str, int]
    ) -> Iterator[Tensor]:
        """Yield what is minimised on one step, set by set where the pass says so; count the work of it in ``seen``."""
        kind, _, step, _ = item
        model, teachers, beside = models
        seen["trained"] += kind.trained(step)
        seen["read"] += step.among(kind.taught).visits if self.teacher else 0
        by_set = kind.objective if isinstance(kind.objective, Mapping) else {"both": kind.objective}
        for name, value in by_set.items():
            part = step.among(name)
            taught = self._taught(part.among(kind.taught), task, teachers, model, beside)
            with kind.answering(model, name):
                yield value(part.units(task, model, model, taught, unanswered=kind.unanswered))

    def _opened(self, problem: Problem, run: Context, model: nn.Module) -> _Teachers:
        if not self.teacher or self._taught_by_itself(model):
            return None
        seed_everything(keyed_int(b"expunge teachers", run.seed) % 2**31)
        return self.teachers(problem, run)

    def _taught(
        self, step: Step, task: Task, teachers: _Teachers, model: nn.Module, beside: Adapters | None
    ) -> Batch | None:
        if not self.teacher:
            return None
        if teachers is None:
            assert beside is not None
            with evaluating(model), beside.off(), torch.no_grad():
                return step.units(task, model, model)
        with evaluating(teachers[0]), evaluating(teachers[1]), torch.no_grad():
            return step.units(task, *teachers)

    def _located(self, model: nn.Module, problem: Problem) -> Cost:
        """Let only those blocks move that carry the forgotten records, where the settings say so; return the work."""
        if self.config.blocks == 1:
            return Cost()
        c = self.config
        self._where = localised.narrow(model, problem, share=c.blocks, size=c.batch_size, measure=c.located)
        return self._where.cost

    def _adapters(self, model: nn.Module, run: Context) -> Adapters | None:
        if not self.config.lora:
            return None
        c = self.config
        return adapters.drawn(model, rank=c.lora, alpha=c.lora_alpha, names=c.lora_layers, seed=run.seed)

    def _merged(self, model: nn.Module, beside: Adapters, problem: Problem, run: Context) -> nn.Module:
        """Return the model with its adapters added to its weights; one that is spread is put together for it."""
        if ranks.joined():
            from expunge.engine import spread  # a second of torch that one process alone does not wait for

            if spread.is_spread(model):
                put = spread.rebuilt(problem.source.whole(), model, lambda whole: self._adapters(whole, run))
                put[1].merge()
                return spread.shard(put[0])
        beside.merge()
        return model

    def _adapter_obstacles(self, problem: Problem) -> list[Obstacle]:
        if self.adapts:
            wrong = adapters.obstacles(problem.source.open(), self.config.lora_layers)
            return [replace(each, where=self.at(each.where)) if each.where[:4] == "lora" else each for each in wrong]
        what, fix = f"{self.name} changes the weights themselves, which adapters leave alone", "set lora = 0"
        return [Obstacle(what=what, where=self.at("lora"), found=str(self.config.lora), expected="0", fix=fix)]

    def _patching_obstacles(self, problem: Problem) -> list[Obstacle]:
        if localised.adds(problem.source.open(), problem):
            return []
        what, found = f"{self.name} cannot tell blocks by patching", "none whose output has the shape of its input"
        expected, fix = "blocks that add to what they are given", "set located = 'gradient' or 'fisher'"
        return [Obstacle(what=what, where=self.at("located"), found=found, expected=expected, fix=fix)]

    def _taught_by_itself(self, model: nn.Module) -> bool:
        """Return whether the model without its adapters is its own teacher: no second one is held then.

        Not where :meth:`prepare` may have changed it, or batches move what it normalises by.
        """
        hooks = ("teachers",) if self.only_reads else ("teachers", "prepare")
        asked = all(getattr(type(self), name) is getattr(Passes, name) for name in hooks)
        moving = any(getattr(layer, "running_mean", None) is not None for layer in model.modules())
        return bool(self.config.lora) and asked and not moving

    @property
    def _finishes(self) -> bool:
        return type(self).finish is not Passes.finish

    def _items(self, problem: Problem, seed: int, epoch: int) -> Iterator[_Item]:
        passes = [one for one in self.passes(epoch + 1) if one.steps(problem)]
        flowed = 0
        if any(one.goes_on for one in passes):
            flowed = sum(one.flow(problem) for earlier in range(epoch) for one in self.passes(earlier + 1))
        for place, one in enumerate(passes):
            # Each pass of an epoch has a shuffle of its own: the second would replay the first.
            own = one.batches(problem, seed=seed, epoch=epoch + place * 2**20, flowed=flowed)
            flowed += one.flow(problem)
            for index, step in enumerate(own):
                yield one, place == len(passes) - 1, step, one.factor(index)


_Teachers = tuple[nn.Module, nn.Module] | None
_Item = tuple[Pass, bool, Step, float]
"""A pass, whether it is the last of its epoch, what one of its steps reads, and the factor on its rate."""


NO_EFFECT = "no parameter changed: the method had no effect"
"""What a warning says where a method did nothing."""


def touched(before: dict[str, Tensor], model: nn.Module) -> float:
    """Return the share of parameters (single numbers) that differ from ``before``."""
    changed = sum(int(ranks.whole((p.detach() != before[name]).sum())) for name, p in model.named_parameters())
    return changed / max(1, sum(p.numel() for p in model.parameters()))


@contextmanager
def _epochs(run: Context, wanted: bool) -> Iterator[Path | None]:
    """Hold a folder for the models of all epochs: beside the checkpoints, so that a resumed run finds them."""
    if not wanted:
        yield None
    elif run.checkpoints is not None:
        yield run.checkpoints.beside("epochs")
    else:
        with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
            yield Path(folder)


def _bytes(model: Stateful) -> bytes:
    return save({name: tensor.to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()})
