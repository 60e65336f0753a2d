"""RMU: inside the network, push what forgotten tokens look like towards a random direction, and hold the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.problem import Problem
from expunge.core.task import Task
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.forgetting import held
from expunge.engine.loop import evaluating
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import misdirection
from expunge.tasks.causal_lm import blocks, body_and_head, owners

_MATRIX = 2
MOVED = 3
"""Blocks whose last projection moves: the steered one and the two before it."""


class MisdirectedRepresentations(Passes):
    """Minimise ``mean ‖h(forgotten) - c u‖^2 / H + alpha * mean ‖h(retained) - h_original(retained)‖^2 / H``.

    h [H] is what one block says where a scored token is predicted, u a direction drawn once per run; means are over the
    tokens of each record, and over records. What moves are the weights by which that block and the two before it write
    last (``down_proj`` of a Llama, ``mlp.c_proj`` of a GPT-2), found by running the model: the authors' code takes them
    by a place in the list of weights, which is another one in other models. Nothing behind the block is run, and there
    is no second model: the original is the same one with these matrices put back.

    ``c`` means something beside the length of h alone, so the history holds their ratio. The squares are means over H,
    as in the authors' code; the paper's are sums. They look at all tokens of a text, here at scored ones.

    Other than by their hidden states, which is the paper's, retained records may be held by what is answered: by their
    loss, or by the divergence from the original's answers. These run the whole network, its head included, and hold
    nothing that the answers do not show. Dropout rests where they are held to what the original says (not by `nll`).

    Cost is counted in whole visits: a record that is read up to that block counts as one that is read to the end, so
    the work is less than what is told.
    """

    title = "RMU (representations of forgotten tokens misdirected)"
    source = "Li et al. 2024, arXiv 2403.03218, section 4; defaults of its code for a model of 7 billion weights"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {"beside": 4}
    adapts = False  # three matrices move, and the original is these put back

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of RMU."""

        epochs: int = setting(
            5, "passes over the forget set, as many retained records beside it", low=0, search=(1, 10)
        )
        batch_size: int = setting(4, "forgotten records per step", low=1)
        beside: int = setting(1, "retained records that are read for each forgotten one", low=1)
        lr: float = setting(5e-5, "peak learning rate", above=0, search=(1e-5, 1e-2))
        block: int = setting(
            -1, "block that is steered, the first is 0; -1: the last one of the first quarter (7 of 32)", low=-1
        )
        c: float = setting(6.5, "length that forgotten tokens are steered to", above=0, search=(1, 100))
        retain: str = setting(
            "hidden",
            "what holds the retained records: their hidden states, as in the paper (`hidden`), their loss (`nll`), the "
            "divergence from the original's answers (`kl`), or nothing (`none`)",
            choices=("hidden", "nll", "kl", "none"),
        )
        alpha: float = setting(1200.0, "weight of the retained tokens' distance, of `hidden`", low=0, search=(1, 2000))
        retain_weight: float = setting(1.0, "weight of what holds the retained records, of `nll` and `kl`", low=0)
        direction: str = setting(
            "uniform",
            "entries of u: `uniform` in [0, 1) as in the authors' code, where two directions have a cosine of 3/4; or "
            "`normal`, where they have none",
            choices=("uniform", "normal"),
        )

    _asked = 0

    def __init__(self, config: Mapping[str, object] | Method.Config | None = None) -> None:
        super().__init__(config)
        if not self._holding:
            self.needs = self.needs - {Need.RETAIN}  # type: ignore[misc]

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that the model has no blocks to look into, or not as many."""
        found = super().obstacles(problem)
        if problem.source.rests_on:
            what, kind = "rmu moves matrices of the base, which stays as it is", "adapters on a base"
            fix = "choose another method, or merge the adapters into the base first"
            found.append(Obstacle(what=what, found=kind, expected="a whole model", fix=fix))
        if found:
            return found
        inside = None if type(problem.meaning).hidden is Task.hidden else body_and_head(problem.source.open())
        if inside is None:
            what, fix = (
                "rmu looks into the blocks of a language model",
                "see which methods `expunge plan` offers instead",
            )
            return [Obstacle(what=what, found="a model that shows none", expected="one of transformers", fix=fix)]
        count = len(blocks(inside[0]))
        if self.config.blocks < 1:
            what, said = "rmu says itself which blocks move", str(self.config.blocks)
            fix = "set blocks = 1, and block to the one that is steered"
            found.append(Obstacle(what=what, where=self.at("blocks"), found=said, expected="1", fix=fix))
        if self.config.block >= count:
            what, found_one = "there is no such block", str(self.config.block)
            found.append(Obstacle(what=what, where=self.at("block"), found=found_one, expected=f"at most {count - 1}"))
        return found

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the direction, let three matrices move, and measure how long h is.

        Raises:
            InvalidProblem: none of these may move.
        """
        inside = body_and_head(model)
        assert inside is not None
        stack = blocks(inside[0])
        place = self.config.block if self.config.block >= 0 else max(0, len(stack) // 4 - 1)
        self._model, self._task, self._layer = model, problem.meaning, place + 1
        weights = _written_last(stack[max(0, place - MOVED + 1) : place + 1], lambda: self._lengths(problem, 1))
        chosen = {id(p) for p in weights}
        for p in model.parameters():
            p.requires_grad_(p.requires_grad and id(p) in chosen)
        self._moving = [p for p in weights if p.requires_grad]
        if not self._moving:
            fix = "let them move (requires_grad), or name another block"
            raise InvalidProblem([Obstacle(what="none of the matrices of rmu may move", where="rmu", fix=fix)])
        self._start = [p.detach().clone() for p in self._moving]
        lengths = self._lengths(problem, len(problem.forget_view))
        self._ratio = self.config.c / float(lengths.median())
        draw = torch.Generator().manual_seed(keyed_int(b"expunge rmu", run.seed) % 2**31)
        fill = torch.rand if self.config.direction == "uniform" else torch.randn
        direction = fill(self._width, generator=draw)
        self._aim = self.config.c * direction / direction.norm()
        return self.preparation(problem)

    def preparation(self, problem: Problem) -> Cost:
        """Return one look at the forgotten records, and one at the first of them."""
        return Cost(read=len(problem.forget_view) + 1)

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the forget set, with retained records beside each step where something holds them."""
        c = self.config
        if not self._holding:
            return (Pass("forget", self.objective, c.batch_size, unanswered="forget"),)
        answered = "forget" if c.retain in ("nll", "kl") else "both"
        beside = c.batch_size * c.beside
        sides = {"lead": "forget", "beside": beside, "taught": "retain", "unanswered": answered}
        return (Pass("both", self.objective, c.batch_size, **sides),)

    def objective(self, batch: Batch) -> Tensor:
        """Return the distance from the aim, and what holds the retained records."""
        assert batch.forget_side is not None
        forget = batch.forget_side.batch
        said = self._said(forget)
        away = misdirection(said, self._aim.to(said.device), *_whose(forget, said))
        if batch.retain_side is None:
            return away
        retain, kept = self.config.retain, batch.retain_side.batch
        if retain == "nll":
            return away + self.config.retain_weight * held(batch, by=retain)
        with self._original(), evaluating(self._model), torch.no_grad():
            theirs = self._said(kept) if retain == "hidden" else self._task.units(self._model, kept)
        self._asked += len(batch.retain_side.ids)
        if retain == "kl":
            taught = replace(batch, teacher=Batch(theirs, None))
            return away + self.config.retain_weight * held(taught, by=retain)
        return away + self.config.alpha * misdirection(self._said(kept), theirs, *_whose(kept, said))

    def cost(self, problem: Problem) -> Cost:
        """Return also what the original reads of retained records, where it says what they are held to."""
        asks = self._holding and self.config.retain != "nll"
        taught = self.config.epochs * self.passes(1)[0].taught_visits(problem) if asks else 0
        return super().cost(problem) + Cost(read=taught)

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return ``c`` as a multiple of the median length of h of forgotten tokens in the original."""
        run.spent += Cost(read=self._asked)
        self._asked = 0
        return {"c over median length": self._ratio}

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether retained records are held to what the original says."""
        return self._holding and self.config.retain != "nll"

    @property
    def _holding(self) -> bool:
        """Whether anything holds the retained records: else none is read."""
        return self.config.retain != "none" and bool(self.config.alpha or self.config.retain != "hidden")

    def _said(self, batch: Any) -> Tensor:
        said: Tensor = self._task.hidden(self._model, batch, self._layer)
        return said

    def _lengths(self, problem: Problem, count: int) -> Tensor:
        records = problem.forget_view.select(problem.forget_view.ids[:count])
        with evaluating(self._model), torch.no_grad():
            said = [self._said(batch).float() for batch in in_order(records, self.config.batch_size)]
        self._width = said[0].shape[1]
        return torch.cat(said).norm(dim=1)

    @contextmanager
    def _original(self) -> Iterator[None]:
        mine = [p.data for p in self._moving]
        for p, start in zip(self._moving, self._start, strict=True):
            p.data = start
        try:
            yield
        finally:
            for p, value in zip(self._moving, mine, strict=True):
                p.data = value


def _whose(batch: Any, like: Tensor) -> tuple[Tensor, int]:
    return owners(batch).to(like.device), len(batch[1])


def _written_last(stack: Sequence[nn.Module], run: Callable[[], Any]) -> list[nn.Parameter]:
    """Return the matrix of each block that ran last in it: what an MLP writes with, wherever it stands by name."""
    ran: dict[int, nn.Parameter] = {}

    def note(place: int) -> Callable[..., None]:
        return lambda module, *_: ran.__setitem__(place, module.weight)

    hooks = [
        module.register_forward_hook(note(place))
        for place, block in enumerate(stack)
        for module in block.modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.dim() == _MATRIX
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(ran.values())
