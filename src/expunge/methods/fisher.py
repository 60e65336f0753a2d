"""Fisher forgetting: noise on every weight, the more the less the retained records say about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import Config, setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.anatomy import classes_of, head_of
from expunge.engine.context import Context
from expunge.engine.edits import Edit, Edited

MOST, MOST_HEAD = 1e3, 1e2
"""Bounds on the inverse information, of the head's numbers and of all others."""
CLEARED = 1e-4
"""Variance of the head's row of a class that is gone; its mean is 0."""
HIGH = 1e-5
"""An alpha above which noise of a standard deviation beyond 0.3 is possible."""


class Fisher(Edit):
    """Draw the weights anew around the original, with the inverse Fisher information of the retained records.

    The information is the true one: the expectation is over the model's own answers, record by record, at one backward
    pass for every class. The forget set is never read. A class that no retained record has gets a new row in the head,
    drawn around 0. The bounds, the mean over inputs of a layer, and ten times the variance for the head and for
    everything that is no matrix are those of the released code; the head is found by what it does, not by its size.
    """

    title = "Fisher forgetting (noise by the information of the retained records)"
    source = "Golatkar, Achille and Soatto 2020, arXiv 1911.04933, section 5; bounds as in the released code"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of Fisher forgetting."""

        alpha: float = setting(
            1e-7,
            "variance of the noise as a share of the inverse information; its standard deviation is at most "
            "100 times the root of this",
            low=0,
            search=(1e-9, 1e-6),
        )

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, that the task has no classes, and that no head has a row for each of them.

        Information is a mean over classes. Reads two records for it.
        """
        found = super().obstacles(problem)
        if not problem.meaning.scored:
            what, fix = f"{self.name} needs logits", "see which methods `expunge plan` offers instead"
            found.append(Obstacle(what=what, found=f"task {problem.task}, which has none", fix=fix))
        if found:
            return found
        model = problem.source.open()
        try:
            head_of(model, problem, classes_of(model, problem))
        except InvalidProblem as error:
            return list(error.obstacles)
        return []

    def work(self, problem: Problem) -> Cost:
        """Return one visit to every retained record, with as many backward passes as there are classes."""
        return self._visits(problem, classes_of(problem.source.open(), problem))

    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Gather the information, and draw."""
        alpha, classes = self.config.alpha, classes_of(model, problem)
        information, present = _information(model, problem)
        run.spent += self._visits(problem, classes)
        head = head_of(model, problem, classes)
        inside = {id(p) for p in head.parameters()}
        gone = [c for c in range(classes) if c not in present]
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name not in information:
                    continue
                of_head, mean = id(p) in inside, p.clone()
                v = variance(information[name], alpha=alpha, head=of_head)
                if of_head and gone:
                    mean[gone], v[gone] = 0.0, 10 * CLEARED
                p.copy_(mean + v.sqrt() * torch.randn_like(p, memory_format=torch.contiguous_format))
        most = math.sqrt(10 * alpha * MOST)
        high = f"alpha {alpha:g} allows noise of a standard deviation up to {most:.2g}: weights of that size are gone"
        said = f"noise of a standard deviation up to {most:.2g}"
        if gone:
            said += f"; rows of {len(gone)} classes without retained records drawn around 0"
        return Edited(said, (high,) if alpha > HIGH else ())

    def _visits(self, problem: Problem, classes: int) -> Cost:
        count = len(problem.retain_view)
        # A backward pass weighs two reads, and one of them is part of the visit.
        return Cost(trained=count, read=2 * (classes - 1) * count)


def variance(information: Tensor, *, alpha: float, head: bool) -> Tensor:
    """Return the variance of the noise on a tensor of parameters of which this is the Fisher information."""
    found = alpha * (1 / (information + 1e-8)).clamp(max=MOST_HEAD if head else MOST)
    if found.dim() > 1:
        found = found.mean(dim=1, keepdim=True).expand_as(found).clone()
    return 10 * found if head or found.dim() == 1 else found


def _information(model: nn.Module, problem: Problem) -> tuple[dict[str, Tensor], set[int]]:
    """Return (diagonal Fisher information of what may move, by name; classes that occur), over retained records."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    view, present = problem.retain_view, set()
    for index in range(len(view)):
        units: Any = problem.meaning.units(model, view.read([index]))
        present.update(units.target.tolist())
        weights = units.log_probs.detach().exp().mean(dim=0).tolist()
        answers = units.log_probs.mean(dim=0)
        for place, weight in enumerate(weights):
            again = place + 1 < len(weights)
            found = torch.autograd.grad(answers[place], list(named.values()), retain_graph=again, allow_unused=True)
            for name, gradient in zip(named, found, strict=True):
                if gradient is not None:
                    total[name].add_(gradient.square(), alpha=weight)
    return {name: value / len(view) for name, value in total.items()}, present
