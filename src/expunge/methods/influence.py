"""Influence unlearning: one step by the inverse curvature, as if the forgotten records had never had a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from expunge.core.config import Config, setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.batches import in_order, order
from expunge.engine.context import Context
from expunge.engine.edits import Edit, Edited
from expunge.engine.gradients import Gradients, by_batch, mean_gradient
from expunge.engine.loop import evaluating
from expunge.numerics.curvature import conjugate_gradients, released, woodfisher

ROOM = 4 << 30
"""Bytes that the gradients of ``woodfisher`` may take."""
_SIZE, _TEXTS = 256, 8
"""Records at a time; of texts fewer: what is differentiated twice makes all logits of a batch at once."""


class Influence(Edit):
    """Move by ``alpha`` times the inverse curvature, times the mean gradient of all minus that of retained records.

    With the retained records' Hessian and alpha 1 this is a Newton step towards the model retrained without the forget
    set, from one that was trained to the end. Where the training had a penalty of ``damping / 2`` times the squared
    length of the weights, that is the damping to give. Three solvers: ``woodfisher`` takes the mean outer product of
    single records' gradients for curvature, exactly; ``cg`` the Hessian itself; ``released`` is the recursion of the
    released code, which is next to a plain gradient step of length alpha (0.2 there, 1 to 20 in its scripts), kept for
    comparison. Records are drawn by the seed where the released code takes the first ones.

    The step is as long as the share of all records that is forgotten is large. Where calibration records stand for the
    retained ones, how many there were is unknown: the share is that among the forgotten and the calibration records,
    and a warning says which alpha makes up for more.
    """

    title = "Influence unlearning (one step by the inverse curvature)"
    source = "Koh and Liang 2017, arXiv 1703.04730, section 2; Jia et al. 2023, arXiv 2304.04934, section 3 (IU)"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    trial: ClassVar = {"samples": 20, "damping": 0.1}

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of influence unlearning."""

        solver: str = setting(
            "woodfisher", "how the inverse curvature is had", choices=("woodfisher", "cg", "released")
        )
        alpha: float = setting(1.0, "multiple of the step; 1 is the whole one", low=0, search=(0.1, 20))
        damping: float = setting(1e-3, "λ added to the curvature, of woodfisher and cg", above=0, search=(1e-5, 1.0))
        samples: int = setting(1000, "retained records whose gradients make the curvature; not of cg", low=1)
        iterations: int = setting(50, "products with the Hessian at the most, of cg", low=1)
        tolerance: float = setting(1e-3, "relative residual at which cg stops", above=0, high=1)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and gradients of single records that would not fit into memory."""
        found = super().obstacles(problem)
        if found or self.config.solver != "woodfisher":
            return found
        room = self._drawn(problem) * sum(
            p.numel() * p.element_size() for p in problem.source.open().parameters() if p.requires_grad
        )
        if room <= ROOM:
            return []
        return [
            Obstacle(
                what="the gradients of single records are too large to be kept",
                where=self.at("samples"),
                found=f"{room / 2**30:.1f} GiB",
                expected=f"at most {ROOM >> 30} GiB",
                fix="fewer samples, solver = 'cg', or freeze what need not move (requires_grad = False)",
            )
        ]

    def work(self, problem: Problem) -> Cost:
        """Return one visit to every record for the gradients, and what the solver reads."""
        retain = len(problem.retain_view)
        first = Cost(trained=len(problem.forget_view) + retain)
        if self.config.solver != "cg":
            return first + Cost(trained=self._drawn(problem))
        return first + Cost(trained=self.config.iterations * retain, read=6 * self.config.iterations * retain)

    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Find the step, and take it."""
        parts = [mean_gradient(model, problem, each, run) for each in (problem.forget_view, problem.retain_view)]
        forget, retain = (_flat(part) for part in parts)
        count = len(problem.forget_view) + len(problem.retain_view)
        vector = len(problem.forget_view) / count * (forget - retain)
        step, warnings = self._solve(model, problem, run, vector)
        if problem.calibration is not None:
            warnings += (
                f"the step is that from {count} records, the forgotten and the calibration ones, to the latter: if the "
                f"model was trained on N records, more than these, alpha = {count} / N is the whole step",
            )
        moved, start = self.config.alpha * step, 0
        with torch.no_grad():
            for p in (p for p in model.parameters() if p.requires_grad):
                p.add_(moved[start : start + p.numel()].reshape(p.shape))
                start += p.numel()
        length = float(moved.norm())
        return Edited(f"one step of length {length:.3g} by {self.config.solver}", warnings)

    def _solve(
        self, model: nn.Module, problem: Problem, run: Context, vector: Tensor
    ) -> tuple[Tensor, tuple[str, ...]]:
        config = self.config
        if config.solver == "cg":
            step, residual, convex = conjugate_gradients(
                lambda x: _hessian_product(model, problem, run, x) + config.damping * x,
                vector,
                iterations=config.iterations,
                tolerance=config.tolerance,
            )
            flat = "the loss is not convex here: raise the damping; " if not convex else ""
            left = f"{flat}cg left a relative residual of {residual:.2g}: the step is not the whole one"
            return step, (left,) if residual > config.tolerance else ()
        view = problem.retain_view
        drawn = view.select([view.ids[i] for i in order(view.ids, seed=run.seed, epoch=0)[: self._drawn(problem)]])
        gradients = (_flat(each) for each, _ in by_batch(model, problem, drawn, run, size=1))
        if config.solver == "released":
            return released(gradients, vector, count=len(drawn)), ()
        rows = vector.new_empty(len(drawn), len(vector))  # filled in place: a list of them beside it would be as large
        for row, gradient in zip(rows, gradients, strict=True):
            row.copy_(gradient)
        return woodfisher(rows, vector, damping=config.damping), ()

    def _drawn(self, problem: Problem) -> int:
        return min(self.config.samples, len(problem.retain_view))


def _flat(gradients: Gradients) -> Tensor:
    return torch.cat([value.flatten() for value in gradients.values()])


def _hessian_product(model: nn.Module, problem: Problem, run: Context, x: Tensor) -> Tensor:
    """Return the Hessian of the mean loss of the retained records times ``x`` [P]."""
    moving = [p for p in model.parameters() if p.requires_grad]
    total, view = torch.zeros_like(x), problem.retain_view
    size = _SIZE if problem.meaning.labelled or not problem.meaning.scored else _TEXTS
    # Of the kernels of attention one alone can be differentiated twice.
    with evaluating(model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        for batch in in_order(view, size):
            units: Any = problem.meaning.units(model, batch)
            first = torch.autograd.grad(units.loss.mean(), moving, create_graph=True, materialize_grads=True)
            along = torch.dot(torch.cat([g.flatten() for g in first]), x)
            second = torch.autograd.grad(along, moving, materialize_grads=True)
            total += units.batch_size / len(view) * torch.cat([g.flatten() for g in second])
            # Back through forward and backward pass costs about twice both: six reads on top of the visit.
            run.spent += Cost(trained=units.batch_size, read=6 * units.batch_size)
    return total
