"""Mistakes of published unlearning code, each planted in a method that is right otherwise.

The numbers are those of the documentation. ``MISTAKES`` says for each what it does, where it was seen, and which
case must catch it; the test shows that it does, and that the method without it passes.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from expunge.core.check import Check, Direction, EvidenceKind, Question
from expunge.core.config import Config, setting
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.engine.batches import drawn_endlessly, in_order, shuffled
from expunge.engine.loop import train_mode
from expunge.engine.passes import touched
from expunge.engine.runtime import seed_everything


class Right(Method):
    """Follow the labels of the retained records, and a uniform answer on the forgotten ones, near a teacher."""

    name = "right"
    title = "A hand-written loop without a mistake"
    source = "written for this test"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        epochs: int = setting(2, "passes over the retain set", low=0)
        batch_size: int = setting(16, "records per step", low=1)
        lr: float = setting(0.05, "learning rate", above=0)

    def cost(self, problem):
        size, forget = self.config.batch_size, len(problem.forget_view)
        steps = -(-len(problem.retain_view) // size)
        return Cost(trained=self.config.epochs * (len(problem.retain_view) + steps * min(size, forget)))

    def unlearn(self, problem, run):
        model = self.start(problem)
        before = {name: p.detach().clone() for name, p in problem.source.open().named_parameters()}
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        teacher = self.teacher(problem, model)
        seed_everything(run.seed)
        self.before(problem, model)
        optimiser = self.optimiser(model, teacher)
        history, trained, forgotten = [], 0, self.forgotten(problem, run)
        for epoch in self.epochs():
            self.mode(model, teacher)
            for retain in shuffled(problem.retain_view, self.config.batch_size, seed=run.seed, epoch=epoch):
                forget = next(forgotten)
                if self.skips(retain, forget):
                    continue
                loss = self.objective(model, teacher, retain, forget, run, epoch)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                trained += len(retain[1]) + len(forget[1])
            history.append({"epoch": epoch, "trained": trained})
            if self.stop(problem, model, run):
                break
        self.finish(problem, model)
        share = touched(before, model)
        return Outcome(
            model=self.result(model),
            cost=Cost(trained=trained),
            history=tuple(history),
            touched=self.share(share),
            stopped=f"after {len(history)} epochs",
            warnings=self.warnings(share),
        )

    # What follows is right; each mistake replaces one of these.

    def start(self, problem):
        return problem.source.open()

    def teacher(self, problem, model):
        return problem.source.open().eval()

    def before(self, problem, model):
        pass

    def optimiser(self, model, teacher):
        return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], self.config.lr)

    def epochs(self):
        return range(1, self.config.epochs + 1)

    def mode(self, model, teacher):
        train_mode(model)
        teacher.eval()

    def forgotten(self, problem, run) -> Iterator[Any]:
        drawn = drawn_endlessly(problem.forget_view, self.config.batch_size, seed=run.seed, epoch=0)
        return map(problem.forget_view.read, drawn)

    def skips(self, retain, forget):
        return False

    def labels(self, forget, run, epoch) -> Tensor:
        """Random labels, drawn anew in every step."""
        return torch.randint(0, 3, forget[1].shape)

    def objective(self, model, teacher, retain, forget, run, epoch):
        with torch.no_grad():
            near = teacher(retain[0]).log_softmax(1)
        logits = model(retain[0])
        said = functional.cross_entropy(logits, retain[1]) + functional.kl_div(
            logits.log_softmax(1), near, log_target=True, reduction="batchmean"
        )
        return said + functional.cross_entropy(model(forget[0]), self.labels(forget, run, epoch))

    def stop(self, problem, model, run):
        return False

    def finish(self, problem, model):
        model.eval()
        for p in model.parameters():
            p.grad = None

    def result(self, model):
        return model

    def share(self, share):
        return share

    def warnings(self, share):
        return ("no parameter changed",) if share == 0 else ()


class InPlace(Right):
    def start(self, problem):
        return problem.model


class ShallowTeacher(Right):
    def teacher(self, problem, model):
        return copy.copy(model)

    def mode(self, model, teacher):
        train_mode(model)


class OptimisesTeacher(Right):
    def optimiser(self, model, teacher):
        return torch.optim.SGD(teacher.parameters(), self.config.lr)

    def warnings(self, share):
        return ()


class TeacherTurnsStudentOff(Right):
    def teacher(self, problem, model):
        class Around(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.ModuleList(model.children())

            def forward(self, x):
                for part in self.inner:
                    x = part(x)
                return x

        return Around()

    def mode(self, model, teacher):
        model.train()
        teacher.eval()

    def objective(self, model, teacher, retain, forget, run, epoch):
        return functional.cross_entropy(model(retain[0]), retain[1]) + functional.cross_entropy(
            model(forget[0]), self.labels(forget, run, epoch)
        )


class NeverTrains(Right):
    def mode(self, model, teacher):
        model.eval()


class TeacherWrapsStudent(Right):
    def teacher(self, problem, model):
        return nn.Sequential(model)

    def mode(self, model, teacher):
        teacher.eval()
        train_mode(model)


class FrozenDrift(Right):
    def mode(self, model, teacher):
        model.train()


class SaliencyInTrainingMode(Right):
    def before(self, problem, model):
        model.train()
        for inputs, labels in in_order(problem.forget_view):
            functional.cross_entropy(model(inputs), labels).backward()
        self.mask = [p.grad.abs() if p.grad is not None else None for p in model.parameters()]
        model.zero_grad()


class Unseeded(Right):
    drawn = itertools.count()

    def labels(self, forget, run, epoch):
        generator = torch.Generator().manual_seed(next(self.drawn))
        return torch.randint(0, 3, forget[1].shape, generator=generator)


class RelabelsTheDataset(Right):
    def before(self, problem, model):
        places = [problem.records.position[name] for name in problem.forget_ids]
        problem.records.y[places] = (problem.records.y[places] + 1) % 3


class SameLabelsEveryEpoch(Right):
    def labels(self, forget, run, epoch):
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 3, forget[1].shape, generator=generator)


class ReplaysBatches(Right):
    def forgotten(self, problem, run):
        return itertools.cycle(shuffled(problem.forget_view, self.config.batch_size, seed=run.seed, epoch=0))


class SkipsUnevenPairs(Right):
    def skips(self, retain, forget):
        return len(retain[1]) != self.config.batch_size


class EvaluatesInTrainingMode(Right):
    def stop(self, problem, model, run):
        with torch.no_grad():
            for inputs, _ in in_order(run.choosing.forget):
                model(inputs)
        return False


class ChoosesByTestAccuracy(Right):
    best = None

    def stop(self, problem, model, run):
        model.eval()
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in in_order(problem.held_out))
        if self.best is None or right > self.best[0]:
            self.best = right, copy.deepcopy(model)
        return False

    def result(self, model):
        for p in self.best[1].parameters():
            p.grad = None
        return self.best[1] if self.best else model


class ResetsTopLevelOnly(Right):
    guarantee = Level.EXACT
    needs = frozenset({Need.RETAIN})

    def cost(self, problem):
        return Cost(trained=self.config.epochs * len(problem.retain_view))

    def forgotten(self, problem, run):
        return itertools.repeat((None, ()))

    def before(self, problem, model):
        for child in model.children():
            if hasattr(child, "reset_parameters"):
                child.reset_parameters()

    def objective(self, model, teacher, retain, forget, run, epoch):
        return functional.cross_entropy(model(retain[0]), retain[1])

    def share(self, share):
        return 1.0


class KnowsTheHead(Right):
    def before(self, problem, model):
        nn.init.zeros_(model[4][0].bias)


class ClaimsAnEffect(Right):
    def optimiser(self, model, teacher):
        return torch.optim.SGD([p for p in model.parameters() if p.requires_grad][:1], self.config.lr)

    def share(self, share):
        return 1.0


class OneEpochTooMany(Right):
    def epochs(self):
        return range(1, self.config.epochs + 2)


class SkipsByName(Right):
    def optimiser(self, model, teacher):
        named = [p for name, p in model.named_parameters() if p.requires_grad and "bn" not in name]
        return torch.optim.SGD(named, self.config.lr)


class OneSided(Check):
    """Accuracy on the forgotten records above 95%, else nothing: forgetting too much looks like success."""

    name = "one_sided"
    title = "Accuracy on the forgotten records, the lower the better"
    source = "written for this test"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "forgetting too much"

    def measure(self, evidence):
        def above(model):
            # Whatever is lower than retrained models is taken for as good as they are.
            mean = sum(evidence.outputs(r, "forget").correct for r in evidence.references) / len(evidence.references)
            own = evidence.outputs(model, "forget").correct
            return own if own.mean() >= mean.mean() else mean

        return evidence.compare_means(self, ("forget",), above)


@dataclass(frozen=True)
class Mistake:
    """What is done wrong, where it was seen, the class that does it, and the case that catches it."""

    number: str
    what: str
    seen: str
    planted: type
    case: str


MISTAKES = (
    Mistake("G-1", "edits the model it is given", "several public methods", InPlace, "callers_model_is_untouched"),
    Mistake(
        "G-2",
        "the teacher is a shallow copy of the student",
        "ERASURE's SCRUB",
        ShallowTeacher,
        "models_share_no_memory",
    ),
    Mistake("G-3", "the optimiser moves the teacher", "EasyDUB's SCRUB", OptimisesTeacher, "has_an_effect"),
    Mistake(
        "G-4",
        "teacher.eval() on shared modules turns the student's dropout off",
        "shared modules",
        TeacherTurnsStudentOff,
        "modes_are_right",
    ),
    Mistake("G-4", "the student stays in evaluation mode", "loops that inherit a mode", NeverTrains, "modes_are_right"),
    Mistake(
        "G-2",
        "the teacher is wrapped around the student",
        "a draft of SCRUB",
        TeacherWrapsStudent,
        "models_share_no_memory",
    ),
    Mistake("G-4", "batch statistics of a frozen block drift", "frozen layers", FrozenDrift, "frozen_parts_stay"),
    Mistake(
        "G-5",
        "a saliency pass in training mode pushes forgotten records into batch statistics",
        "train-mode saliency passes",
        SaliencyInTrainingMode,
        "gradients_are_used_or_read_in_peace",
    ),
    Mistake(
        "G-6", "draws from a generator that the seed does not reach", "widespread", Unseeded, "same_seed_same_bits"
    ),
    Mistake(
        "G-7",
        "writes new labels into the dataset it was given",
        "relabelling code that writes into a shared list",
        RelabelsTheDataset,
        "datasets_are_untouched",
    ),
    Mistake(
        "G-8",
        "sets its generator back to one seed every time, so that random labels repeat",
        "DeepUnlearn",
        SameLabelsEveryEpoch,
        "random_draws_are_new",
    ),
    Mistake(
        "G-9",
        "replays cached forget batches",
        "itertools.cycle over a loader",
        ReplaysBatches,
        "forget_batches_are_shuffled_anew",
    ),
    Mistake(
        "G-10",
        "skips pairs of batches of unequal size",
        "ERASURE's AdvancedNegGrad",
        SkipsUnevenPairs,
        "no_record_is_skipped",
    ),
    Mistake("G-11", "evaluates in training mode", "widespread", EvaluatesInTrainingMode, "modes_are_right"),
    Mistake(
        "G-12",
        "keeps the epoch with the best test accuracy",
        "the corrective-unlearning benchmark",
        ChoosesByTestAccuracy,
        "judging_records_decide_nothing",
    ),
    Mistake(
        "G-13",
        "resets only top-level children before it retrains",
        "SSD's released script",
        ResetsTopLevelOnly,
        "exact_owes_the_original_nothing",
    ),
    Mistake(
        "G-14", "knows where the head is", "hard-coded fc, head, 10 classes", KnowsTheHead, "works_on_other_networks"
    ),
    Mistake("G-15", "reports a change that was not made", "SSD on random sets", ClaimsAnEffect, "reports_what_changed"),
    Mistake(
        "G-16",
        "a check that takes forgetting too much for success",
        "public demos: 33% where retraining gives 94%",
        OneSided,
        "forgetting_too_much_is_found",
    ),
    Mistake("G-17", "runs one epoch more than asked", "RUM's SCRUB", OneEpochTooMany, "epochs_run_as_often_as_said"),
    Mistake(
        "G-18",
        "finds batch normalisation by the name bn",
        "torchvision's downsample.1 is one",
        SkipsByName,
        "names_of_modules_decide_nothing",
    ),
)
