"""The one training loop: epochs of steps, seeded per epoch, checkpointed, stopped when something diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from expunge.core.config import Config, setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Diverged, InvalidProblem, Obstacle, UsageError
from expunge.engine import ranks
from expunge.engine.checkpoint import Checkpoints, Stateful
from expunge.engine.decay import SPARED, norms, spare
from expunge.engine.masters import HALF, Masters
from expunge.engine.runtime import seed_everything
from expunge.numerics.vocabulary import adding_up


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Config):
    """Settings of every loop."""

    epochs: int = setting(5, "passes over the records that drive the loop", low=0)
    batch_size: int = setting(64, "records per step", low=1)
    lr: float = setting(1e-3, "peak learning rate", above=0)
    schedule: str = setting(
        "constant", "learning rate over steps", choices=("constant", "one_cycle", "step", "cosine", "linear")
    )
    decay: tuple[int, ...] = setting((), "epochs after each of which the rate is a tenth, of schedule step")
    optimiser: str = setting("adamw", "optimiser", choices=("adamw", "sgd"))
    momentum: float = setting(0.9, "momentum, of sgd", low=0, high=1)
    weight_decay: float = setting(0.0, "decoupled for adamw, L2 for sgd", low=0)
    no_decay: str = setting(
        "none",
        "what weight_decay leaves alone: none, or norms, biases and norms as transformers' Trainer does",
        choices=("none", "norms"),
        later=True,
    )
    warmup: float = setting(
        0.0,
        "share of the steps in which the rate first rises from nothing; of schedules constant, cosine and linear",
        low=0,
        high=1,
        later=True,
    )
    clip: float = setting(
        0.0, "norm that the gradient of a step, of all weights together, is cut to; 0: as it is", low=0, later=True
    )

    def __post_init__(self) -> None:
        """Refuse a rise that the schedule does not make."""
        super().__post_init__()
        if self.warmup and self.schedule in ("one_cycle", "step"):
            raise UsageError(
                "a schedule without a warm-up that could be set",
                where=f"{type(self).__qualname__}.warmup",
                found=f"{self.warmup:g} with schedule {self.schedule}",
                expected="0 with it: one_cycle rises by itself, and step does not",
                fix="leave warmup out, or choose the schedule constant, cosine or linear",
            )

    def optimise(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser over the parameters of ``model`` that may move; of half precision, over copies of them.

        Gradients are to be cleared by ``model.zero_grad()``: those of halves are the model's own.

        Raises:
            InvalidProblem: none may.
        """
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        moving = list(named.values())
        if not moving:
            raise InvalidProblem(
                [
                    Obstacle(
                        what="nothing of the network may move that should be trained",
                        where="the model",
                        found="requires_grad = False in all of it",
                        expected="weights that may move",
                        fix="call requires_grad_(True) on the layers that this trains, or choose another method",
                    )
                ]
            )
        masters = Masters(moving)
        optimiser = self._over(masters.trained, model)
        if self.no_decay == "norms":
            spare(optimiser, named, norms(model))
        masters.follow(optimiser)
        return optimiser

    def _over(self, parameters: list[nn.Parameter], model: nn.Module) -> torch.optim.Optimizer:
        # Fused reads and writes each number once, not once per term; it knows no sparse gradients.
        fused = not any(getattr(layer, "sparse", False) for layer in model.modules())
        if self.optimiser == "sgd" and any(hasattr(p, "full_tensor") for p in parameters):
            fused = False  # torch has none for weights of which each process holds a part
        more = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": fused}
        if self.optimiser == "sgd":
            optimiser = torch.optim.SGD(parameters, momentum=self.momentum, **more)
            if self.momentum and fused and not any(map(nn.parameter.is_lazy, parameters)):
                # Torch's fused step fails where one parameter has its first gradient later than another (a layer that
                # the first batch left out). From zeros the first step is the same: 0 * momentum + gradient.
                for p in parameters:
                    optimiser.state[p]["momentum_buffer"] = torch.zeros_like(p)
            return optimiser
        return torch.optim.AdamW(parameters, **more)

    def rate(self, step: int, steps: int, *, epoch: int = 1) -> float:
        """Return the learning rate of step ``step`` of ``steps`` over all epochs; it lies in ``epoch`` (1, 2, ...).

        ``cosine``: half a wave from ``lr`` down to nothing (Loshchilov and Hutter 2017, arXiv 1608.03983, without
        restarts); ``linear``: a line down to nothing; ``one_cycle``: cosine up to ``lr`` over the first 30% and down to
        nothing (Smith and Topin 2018, arXiv 1708.07120). With ``warmup`` a line up comes first, and the rest in what
        is left of the steps, as transformers' schedules of these names have it.
        """
        if self.schedule == "step":
            return self.lr * 0.1 ** sum(epoch > last for last in self.decay)
        if self.schedule == "one_cycle":
            top = 0.3 * steps
            if step < top:
                return self.lr * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / top)))
            return self.lr * 0.5 * (1 + math.cos(math.pi * (step - top) / max(1.0, steps - top)))
        warm = math.ceil(steps * self.warmup)
        if step < warm:
            return self.lr * step / warm
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        return self.lr if self.schedule == "constant" else self.lr * (steps - step) / max(1, steps - warm)

    def cut(self, model: nn.Module) -> None:
        """Scale the gradients of ``model`` by one factor where their norm, all together, is above ``clip``.

        Source: Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063, algorithm 1.
        """
        if not self.clip:
            return
        found = [p.grad for p in model.parameters() if p.grad is not None]
        # A norm of halves is rounded to three digits, or overflows.
        numbers = (g.coalesce().values() if g.is_sparse else g for g in found)
        length = ranks.norm(g.float() if g.dtype in HALF else g for g in numbers)
        factor = self.clip / (length + 1e-6)  # torch's clip_grad_norm_ adds as much
        if factor < 1:
            for g in found:
                g.mul_(factor)


def batch_sizes(config: Config) -> dict[str, int]:
    """Return by name the settings that say how many records a step reads: a set may have one of its own."""
    return {each.name: getattr(config, each.name) for each in fields(config) if each.name.endswith("batch_size")}


@dataclass
class Steps:
    """What an epoch is made of.

    Attributes:
        count: ``epoch -> number of steps``; epochs are 0, 1, ... here.
        batches: ``epoch -> one item per step``.
        objective: ``item -> scalars``, with gradients, whose sum is minimised; each is let go before the next is made.
        name: ``item -> name`` under which the history keeps the mean objective of an epoch's items.
        rate: ``item -> factor`` on the learning rate of its step.
        moments: ``item -> name``: steps of one name share what the optimiser remembers, those of another have other.
        weight_decay: ``item -> weight decay`` of its step; None for that of the settings.
        before_epoch: ``(epoch, optimiser)``, epochs 1, 2, ...; may change the model.
        before_update / after_update: around the optimiser's step, ``(step, steps)`` counted over all epochs; what is
            changed between the gradients and the step, and after it.
        after_epoch: ``(epoch, history) -> reason to stop``, empty to go on; may evaluate.
        advance: called after every step, for progress.
        keep_statistics: hold batch normalisation to the running statistics it has, and leave these as they are.
        still: modules that stay in evaluation mode, each without what is inside it.
        notes: where there is a list, batch normalisation rests in steps of a single row (:func:`alone`), and the list
            says so, of a resumed loop as well. Without one torch refuses such a step, as it does elsewhere.
    """

    count: Callable[[int], int]
    batches: Callable[[int], Iterator[Any]]
    objective: Callable[[Any], Tensor | Iterable[Tensor]]
    name: Callable[[Any], str] = field(default=lambda item: "objective")
    rate: Callable[[Any], float] = field(default=lambda item: 1.0)
    moments: Callable[[Any], str] = field(default=lambda item: "")
    weight_decay: Callable[[Any], float | None] = field(default=lambda item: None)
    before_epoch: Callable[[int, torch.optim.Optimizer], None] = field(default=lambda epoch, optimiser: None)
    before_update: Callable[[int, int], None] = field(default=lambda step, steps: None)
    after_update: Callable[[int, int, torch.optim.Optimizer], None] = field(default=lambda step, steps, optimiser: None)
    after_epoch: Callable[[int, list[dict[str, float]]], str] = field(default=lambda epoch, history: "")
    advance: Callable[[], None] = field(default=lambda: None)
    keep_statistics: bool = False
    still: Sequence[nn.Module] = ()
    notes: list[str] | None = None


def run_loop(
    model: nn.Module,
    steps: Steps,
    config: LoopConfig,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
    saved: Stateful | None = None,
    optimiser: torch.optim.Optimizer | None = None,
) -> tuple[list[Mapping[str, float]], str]:
    """Train ``model`` in place; return (history with one mapping per epoch, why it stopped).

    Resumed from its latest checkpoint it gives the same bits as uninterrupted. ``saved`` is what checkpoints hold in
    the place of the whole model, where no more of it can change. ``optimiser`` is what the settings make of the model
    (:meth:`LoopConfig.optimise`), given by who asks it afterwards for its copies in float32.

    Raises:
        Diverged: an objective or a parameter became NaN or infinite.
    """
    optimiser = config.optimise(model) if optimiser is None else optimiser
    state: Stateful = model if saved is None else saved
    earlier = checkpoints.restore(state, optimiser) if checkpoints else None
    history: list[dict[str, float]] = list(earlier["history"]) if earlier else []
    reason = str(earlier["reason"]) if earlier else ""
    if steps.notes is not None and earlier:
        steps.notes[:] = earlier.get("notes", [])
    loose = ranks.loose(model)
    counts = [steps.count(epoch) for epoch in range(config.epochs)]
    for epoch in range(len(history), config.epochs):
        if reason:
            break
        seed_everything(keyed_int(b"expunge epoch", seed, epoch) % 2**31)
        steps.before_epoch(epoch + 1, optimiser)
        train_mode(model, keep_statistics=steps.keep_statistics)
        for layer in steps.still:
            layer.training = False
        values: dict[str, list[float]] = {}
        with nullcontext() if steps.notes is None else alone(model, steps.notes):
            for index, item in zip(range(counts[epoch]), steps.batches(epoch), strict=False):
                place = sum(counts[:epoch]) + index
                for group in optimiser.param_groups:
                    group["lr"] = config.rate(place, sum(counts), epoch=epoch + 1) * steps.rate(item)
                    decay = steps.weight_decay(item)
                    decay = config.weight_decay if decay is None else decay
                    group["weight_decay"] = 0.0 if group.get(SPARED) else decay
                _recall(optimiser, steps.moments(item))
                model.zero_grad(set_to_none=True)
                value = _descend(steps.objective(item))
                ranks.add_up(loose)
                steps.before_update(place, sum(counts))
                config.cut(model)
                optimiser.step()
                steps.after_update(place, sum(counts), optimiser)
                values.setdefault(steps.name(item), []).append(value)
                steps.advance()
        history.append({"epoch": epoch + 1, **{name: sum(each) / len(each) for name, each in values.items()}})
        _finite(model, sum(map(sum, values.values())), epoch)
        reason = steps.after_epoch(epoch + 1, history)
        if checkpoints:
            facts = {"epoch": epoch + 1, "history": history, "reason": reason, "notes": steps.notes or []}
            checkpoints.offer(state, optimiser, facts)
    model.eval()
    model.zero_grad(set_to_none=True)  # a model that comes back carries nothing of the last batch
    return [dict(row) for row in history], reason or f"after {len(history)} epochs"


def _descend(objective: Tensor | Iterable[Tensor]) -> float:
    """Add up the gradients of all terms, one after the other, and return their sum."""
    total = 0.0
    for term in [objective] if isinstance(objective, Tensor) else objective:
        with adding_up():
            term.backward()  # type: ignore[no-untyped-call]
        total += float(term.detach())
    return total


def train_mode(model: nn.Module, *, keep_statistics: bool = False) -> None:
    """Put ``model`` in training mode, but for layers whose parameters are all frozen: their batch statistics stay.

    Statistics without parameters rest with the layer before them; in front of all layers, with the first.
    With ``keep_statistics`` those of all other layers stay as well, and are what these normalise by.
    """
    model.train()
    before: bool | None = None
    waiting: list[nn.Module] = []
    for layer in model.modules():
        own = list(layer.parameters(recurse=False))
        # A frozen number of the model's own (a class token) puts none of its layers to rest: eval() would reach them.
        frozen = bool(own) and not any(p.requires_grad for p in layer.parameters())
        counts = getattr(layer, "running_mean", None) is not None
        if own and next(layer.children(), None) is None:
            if before is None and frozen:
                for each in waiting:
                    each.eval()
            before = frozen
        elif counts and before is None:
            waiting.append(layer)
        if frozen or (counts and (keep_statistics or (not own and before))):
            layer.eval()


@contextmanager
def alone(model: nn.Module, said: list[str]) -> Iterator[None]:
    """Let batch normalisation keep the statistics it has where it is asked for those of one value a channel.

    One row of a table has no mean and no spread of its own, and torch refuses to take them. As soon as that was so
    ``said`` holds :data:`ALONE`.
    """

    def rest(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = given[0] if given else named["input"]
        if layer.training and values.ndim > 1 and values.numel() == values.shape[1]:
            layer.training = False
            resting.append(layer)
            if ALONE not in said:
                said.append(ALONE)

    def go_on(layer: nn.Module, *_: Any) -> None:
        if layer in resting:
            resting.remove(layer)
            layer.training = True

    resting: list[nn.Module] = []
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    hooks = [layer.register_forward_pre_hook(rest, with_kwargs=True) for layer in layers]
    hooks += [layer.register_forward_hook(go_on, always_call=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


ALONE = "batch normalisation kept the statistics it had in steps of a single record, which has none of its own"


def ready(model: Any) -> Any:
    """Return ``model`` in evaluation mode; what is no network has no other."""
    return model.eval() if isinstance(model, nn.Module) else model


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Hold ``model`` in evaluation mode; every layer gets its own mode back."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def _recall(optimiser: torch.optim.Optimizer, name: str) -> None:
    """Let the optimiser go on with the moments of ``name``, and keep those it had for when their name comes again."""
    group = optimiser.param_groups[0]
    last = group.get("moments", "")
    if name == last:
        return
    for state in optimiser.state.values():
        for slot in [slot for slot in state if "/" not in slot]:
            value = state[f"{last}/{slot}"] = state[slot]
            mine = state.pop(f"{name}/{slot}", None)
            state[slot] = torch.zeros_like(value) if mine is None else mine.to(value.dtype)
    group["moments"] = name


def forget_moments(optimiser: torch.optim.Optimizer) -> None:
    """Set all that the optimiser remembers to nothing, as in a new one."""
    for state in optimiser.state.values():
        for value in state.values():
            value.zero_()


def _finite(model: nn.Module, total: float, epoch: int) -> None:
    bad = not math.isfinite(total) or not all(bool(ranks.whole(torch.isfinite(p).all())) for p in model.parameters())
    if bad:
        raise Diverged(
            "training diverged: the objective or a weight is NaN or infinite",
            where=f"epoch {epoch + 1}",
            fix="lower the learning rate, or fewer epochs",
        )
