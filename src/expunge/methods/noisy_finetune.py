"""Noisy fine-tuning of a head: clipped, noisy steps on the retained records until nobody can say where it started."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.config import Config, setting
from expunge.core.digest import combine, keyed, sha256
from expunge.core.errors import Obstacle, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.serial import canonical
from expunge.engine.batches import bounds, shuffled
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.engine.memory import sparing
from expunge.engine.passes import touched
from expunge.numerics.losses import mean_loss
from expunge.numerics.privacy import gaussian_mu, noisy_finetuning_sigma

MOST = 10_000
"""Numbers that may move: noise drowns what is larger (reference: arXiv 2601.05134)."""
_SECRET = secrets.token_bytes(32)
"""What noise is derived from beside the seed, which certificates show: whoever knew it all could take the noise off."""


class NoisyFinetune(Method):
    """Clip the head, take noisy clipped steps on the retained records, then train it on them without noise.

    The steps bring the run and one that started from a model that never saw the records within mu of each other
    (:func:`expunge.numerics.privacy.noisy_finetuning_mu`); what comes afterwards reads retained records alone and
    cannot undo it. The reference is *some* model that never saw the records, not a retrained one: a useless model can
    be certified in this sense, and what does not move must never have seen them.
    """

    title = "Noisy fine-tuning of the head"
    source = "Koloskova et al. 2025, arXiv 2506.06985, algorithm 1; accounting in expunge.numerics.privacy"
    guarantee = Level.CERTIFIED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    trial: ClassVar[Mapping[str, object]] = {"steps": 6, "polish": 1, "backbone_is_public": True}

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of noisy fine-tuning."""

        epsilon: float = setting(1.0, "bound on the log-ratio of probabilities, for the released model", above=0)
        delta: float = setting(1e-5, "chance at which that bound may fail", above=0, high=0.5)
        backbone_is_public: bool = setting(
            False, "you declare that what does not move was never trained on the forgotten records"
        )
        parameters: tuple[str, ...] = setting((), "names or patterns of what moves; none: the last layer with weights")
        steps: int = setting(20, "noisy steps", low=1)
        clip_model: float = setting(1.0, "norm to which what moves is cut at the start", above=0)
        clip_gradient: float = setting(1.0, "norm to which every gradient is cut", above=0)
        lr: float = setting(0.01, "rate of the noisy steps", above=0)
        weight_decay: float = setting(
            50.0, "pull to zero in the noisy steps; lr * weight_decay is 1 at the most", low=0
        )
        polish: int = setting(5, "passes over the retain set without noise, afterwards", low=0)
        polish_lr: float = setting(0.1, "rate of these", above=0)
        batch_size: int = setting(64, "records per step", low=1)

        def __post_init__(self) -> None:
            """Check that a step contracts."""
            super().__post_init__()
            if self.lr * self.weight_decay > 1:
                raise UsageError(
                    "a noisy step would expand",
                    where=f"{type(self).__qualname__}.lr",
                    found=f"lr * weight_decay = {self.lr * self.weight_decay:g}",
                    expected="1 or less",
                    fix="lower one of them",
                )

        @property
        def mu(self) -> float:
            """The distance that epsilon and delta allow."""
            return gaussian_mu(self.epsilon, self.delta)

        @property
        def sigma(self) -> float:
            """Noise per step and coordinate."""
            return noisy_finetuning_sigma(
                clip_model=self.clip_model,
                clip_gradient=self.clip_gradient,
                lr=self.lr,
                decay=self.weight_decay,
                steps=self.steps,
                mu=self.mu,
            )

        @property
        def left(self) -> float:
            """Standard deviation of the noise in a coordinate after the last noisy step."""
            return self.sigma * float(np.linalg.norm((1 - self.lr * self.weight_decay) ** np.arange(self.steps)))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also what would break the assumptions: too much that moves, or what does not move but remembers."""
        found = super().obstacles(problem)
        model = problem.source.open()
        if not isinstance(model, nn.Module):
            return [*found, Obstacle(what="noisy_finetune needs a network", found=type(model).__name__)]
        chosen = self._chosen(model)
        numbers = sum(p.numel() for p in chosen.values())
        if not numbers or numbers > MOST:
            found.append(
                Obstacle(
                    what="noisy_finetune moves too much" if numbers else "noisy_finetune has nothing to move",
                    where=self.at("parameters"),
                    found=f"{numbers} numbers",
                    expected=f"1 to {MOST}: the noise drowns more",
                    fix="name a smaller head or adapter that may move in `parameters`",
                )
            )
        if any(_statistics(layer) and _moves(layer, chosen.values()) for layer in model.modules()):
            found.append(
                Obstacle(
                    what="noisy_finetune cannot hide batch statistics",
                    where=self.at("parameters"),
                    found="a normalisation with running statistics among what moves",
                    fix="leave it out of `parameters`",
                )
            )
        rest = {**dict(model.named_parameters()), **dict(model.named_buffers())}.keys() - chosen.keys()
        if rest and not self.config.backbone_is_public:
            found.append(
                Obstacle(
                    what="nobody declared that what does not move never saw the forgotten records",
                    where=self.at("backbone_is_public"),
                    found=f"{len(rest)} tensors that stay as they are",
                    expected="public or earlier weights",
                    fix="set backbone_is_public = true if that is so; otherwise choose another method",
                )
            )
        return found

    def advice(self, problem: Problem) -> tuple[str, ...]:
        """Return the size of the noise beside that of what it is added to."""
        return (self._size(sum(p.numel() for p in self._chosen(problem.source.open()).values())),)

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of the noisy steps and of the passes after them."""
        sizes = self._sizes(problem)
        whole, part = divmod(self.config.steps, len(sizes)) if sizes else (0, 0)
        return Cost(trained=float((whole + self.config.polish) * sum(sizes) + sum(sizes[:part])))

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the model with a head that is certified."""
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        moved, before = self._chosen(model), {name: p.detach().clone() for name, p in model.named_parameters()}
        free = [p for p in model.parameters() if p.requires_grad]
        for parameter in free:
            parameter.requires_grad_(any(parameter is p for p in moved.values()))
        config, sizes = self.config, self._sizes(problem)
        total = config.steps + config.polish * len(sizes)
        loop = _Loop(epochs=math.ceil(total / len(sizes)), settings=config, key=self._key(problem, model, run.seed))
        left = [min(len(sizes), total - epoch * len(sizes)) for epoch in range(loop.epochs)]

        def batches(epoch: int) -> Iterator[Any]:
            return shuffled(problem.retain_view, config.batch_size, seed=run.seed, epoch=epoch)

        def after(epoch: int, history: list[dict[str, float]]) -> str:
            history[-1]["trained"] = sum(sum(sizes[:count]) for count in left[:epoch])
            return f"after {config.steps} noisy steps and {config.polish} passes" if epoch == loop.epochs else ""

        steps = Steps(
            count=lambda epoch: left[epoch],
            batches=batches,
            objective=lambda batch: mean_loss(problem.meaning.units(model, batch)),
            after_epoch=after,
            advance=lambda: run.progress.advance(run.label),
        )
        run.progress.start(run.label, total)
        with sparing(model, loop):
            history, stopped = run_loop(model, steps, loop, seed=run.seed, checkpoints=run.checkpoints)
        run.progress.finish(run.label)
        for parameter in free:
            parameter.requires_grad_(True)
        share, numbers = touched(before, model), sum(p.numel() for p in moved.values())
        drowned = config.left > config.clip_model and not config.polish
        return Outcome(
            model=model,
            cost=Cost(trained=history[-1]["trained"]),
            history=tuple(history),
            touched=share,
            stopped=stopped,
            warnings=(f"the noise drowns the head: {self._size(numbers)}",) if drowned else (),
            evidence=self._evidence(numbers),
        )

    def _evidence(self, numbers: int) -> tuple[str, ...]:
        c = self.config
        return (
            f"epsilon = {c.epsilon:g} at delta = {c.delta:g}, for this one release; releases compose, each with noise "
            "of its own",
            "reference: some run of the same steps on the retained records that started from a model which never saw "
            "the forgotten ones; this is weaker than closeness to a retrained model",
            f"accountant: {c.steps} steps x <- x - {c.lr:g} (clip(g, {c.clip_gradient:g}) + {c.weight_decay:g} x) + "
            f"N(0, {c.sigma:.6g}^2) from a start cut to norm {c.clip_model:g} are {c.mu:.4g}-GDP by shifted "
            "interpolation; only the last point is released",
            self._size(numbers),
            "training on retained records without noise afterwards is post-processing"
            if c.polish
            else "nothing was trained after the noise",
            "assumption, declared by the user and not checked: what does not move was never trained on the forgotten "
            "records"
            if c.backbone_is_public
            else "everything that the model holds has moved",
            "assumption: noise is secret (drawn from a key that is not stored, beside the seed) and taken for "
            "continuous; steps and clipping are computed in float64",
            "assumption: batches, dropout and settings do not depend on the forgotten records",
        )

    def _size(self, numbers: int) -> str:
        c = self.config
        return (
            f"noise of {c.sigma:.3g} per step on {numbers} numbers has norm {c.sigma * math.sqrt(numbers):.3g} "
            f"({c.left * math.sqrt(numbers):.3g} after the last step), beside {c.clip_model:g} to which the head is cut"
        )

    def _chosen(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return what moves, by name."""
        free = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if self.config.parameters:
            return {
                name: p for name, p in free.items() if any(fnmatchcase(name, like) for like in self.config.parameters)
            }
        last = [layer for layer in model.modules() if any(True for _ in layer.parameters(recurse=False))][-1:]
        own = {id(p) for layer in last for p in layer.parameters(recurse=False)}
        return {name: p for name, p in free.items() if id(p) in own}

    def _sizes(self, problem: Problem) -> list[int]:
        """Return the number of records of each step of a pass."""
        return [
            stop - start for start, stop in bounds(len(problem.retain_view), self.config.batch_size) if stop > start
        ]

    def _key(self, problem: Problem, model: nn.Module, seed: int) -> str:
        """Return what noise is drawn from: another for other records, weights, seed, settings, or another process."""
        gone, kept = (
            combine([sha256(name.encode()) for name in ids]) for ids in (problem.forget_ids, problem.retain_view.ids)
        )
        weights = hashlib.sha256()
        for tensor in model.state_dict().values():
            weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return keyed(_SECRET, seed, gone, kept, weights.hexdigest(), sha256(canonical(self.config))).hex()


@dataclass(frozen=True, kw_only=True)
class _Loop(LoopConfig):
    """The engine's loop with steps of our own."""

    settings: Any = None
    key: str = ""

    def optimise(self, model: nn.Module) -> torch.optim.Optimizer:
        return _NoisySteps([p for p in model.parameters() if p.requires_grad], self.settings, self.key)


class _NoisySteps(torch.optim.Optimizer):
    """Noisy, clipped steps, then plain ones; the point is kept in float64, for the bound is on exact arithmetic.

    Key, place and point lie in the group, so that a checkpoint holds them: interrupted, it ends the same.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Any, key: str) -> None:
        point = _flat(p.detach() for p in parameters)
        point = _cut(point, settings.clip_model)
        super().__init__(parameters, {"lr": settings.lr, "key": key, "taken": 0, "point": point.tolist()})
        self._settings, self._sigma = settings, settings.sigma
        self._write(point)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group, s = self.param_groups[0], self._settings
        x = torch.tensor(group["point"], dtype=torch.float64)
        g = _flat(torch.zeros_like(p) if p.grad is None else p.grad for p in group["params"])
        if group["taken"] < s.steps:
            entropy = int.from_bytes(keyed(bytes.fromhex(group["key"]), group["taken"]), "big")
            noise = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).normal(size=len(x))
            x = x - s.lr * (_cut(g, s.clip_gradient) + s.weight_decay * x) + self._sigma * torch.from_numpy(noise)
        else:
            x = x - s.polish_lr * g
        group["taken"] += 1
        group["point"] = x.tolist()
        self._write(x)

    def _write(self, point: Tensor) -> None:
        parameters = self.param_groups[0]["params"]
        with torch.no_grad():
            for parameter, part in zip(parameters, point.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.to("cpu", torch.float64).flatten() for part in parts])


def _cut(x: Tensor, norm: float) -> Tensor:
    """Return ``x`` scaled to ``norm`` where it is longer."""
    return x * min(1.0, norm / max(float(x.norm()), 1e-300))


def _statistics(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._NormBase) and layer.running_mean is not None


def _moves(layer: nn.Module, chosen: Iterable[nn.Parameter]) -> bool:
    """Return whether training would move the statistics of a layer: it has no weights of its own, or some that move."""
    own, among = list(layer.parameters(recurse=False)), {id(p) for p in chosen}
    return not own or any(id(p) in among for p in own)
