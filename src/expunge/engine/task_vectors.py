"""Task vectors: where fine-tuning on the forgotten records leads, taken away from the original."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.method import Cost, Method, Need
from expunge.core.problem import Problem
from expunge.core.task import Task
from expunge.engine.anatomy import deciding
from expunge.engine.context import Context
from expunge.engine.edits import Edit, Edited
from expunge.engine.forgetting import held
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.engine.masters import HALF
from expunge.engine.memory import sparing
from expunge.engine.visits import Batch, Pass, Step
from expunge.numerics.losses import mean_loss
from expunge.numerics.masks import agreed

History = list[Mapping[str, float]]


class Negated(Edit):
    """Fine-tune the original on the forgotten records, once or more often, and go the other way by ``scale``.

    Of several fine-tunings the mean of those coordinates is taken on whose sign all agree. Buffers, as batch
    statistics, are the original's in the end. Of weights in half precision the way is that of their copies in float32,
    and only where it ends is rounded.

    Retained records can be held while it is tuned, by their divergence from the original's answers. At the original
    that divergence is least, so near it one step costs what the step the other way costs: a way that leaves these
    answers alone leaves them alone when it is gone backwards. Their loss is no such hold: it is not least there, so the
    way would lead down, and backwards up. Held so it is tuned without dropout, since the original answers without.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(LoopConfig):
        """Settings; those of the loop are of the fine-tuning."""

        epochs: int = setting(5, "passes over the forget set in each fine-tuning", low=0, search=(1, 10))
        lr: float = setting(1e-3, "peak learning rate", above=0, search=(1e-5, 1e-2))
        scale: float = setting(1.0, "how far to go, of the way that fine-tuning went", low=0, search=(0.1, 3))
        retain: str = setting(
            "none",
            "what holds the retained records while it is tuned: nothing (`none`), or the divergence from the answers "
            "of the original (`kl`; it keeps a second model)",
            choices=("kl", "none"),
        )
        retain_weight: float = setting(1.0, "weight of what holds the retained records", low=0)
        beside: int = setting(1, "retained records that are read for each forgotten one, where they are held", low=1)

    def __init__(self, config: Mapping[str, object] | Method.Config | None = None) -> None:
        super().__init__(config)
        if self._holds:
            self.needs = self.needs | {Need.RETAIN}  # type: ignore[misc]

    @abstractmethod
    def rates(self) -> Sequence[float]:
        """Return a factor on the learning rate for every fine-tuning."""

    def work(self, problem: Problem) -> Cost:
        """Return the visits of all passes of all fine-tunings."""
        over, times = self._over(), len(self.rates()) * self.config.epochs
        taught = over.taught_visits(problem) if self._holds else 0
        return Cost(trained=times * over.visits(problem), read=times * taught)

    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Change the parameters that may move; the rest stays or is put back."""
        start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        ways, histories, warnings = [], [], list[str]()
        for place, rate in enumerate(self.rates()):
            model.load_state_dict(start)
            history, ended, notes = self._tuned(model, problem, run, place, rate)
            warnings += [note for note in notes if note not in warnings]
            histories.append(history)
            ways.append({name: p.detach() - _wide(start[name]) for name, p in zip(names, ended, strict=True)})
        way = agreed(ways)
        model.load_state_dict(start)
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).copy_(_wide(start[name]) - self.config.scale * way[name])
        run.spent += self.work(problem)
        share = sum(int((value != 0).sum()) for value in way.values()) / max(1, sum(v.numel() for v in way.values()))
        done = f"after {self.config.epochs} epochs, taken away {self.config.scale:g} times"
        if len(ways) > 1:
            done += f"; {len(ways)} fine-tunings agree on {share:.0%} of the weights"
        rows = tuple(_joined(rows) for rows in zip(*histories, strict=True))
        return Edited(done, history=rows, warnings=tuple(warnings))

    def _tuned(
        self, model: nn.Module, problem: Problem, run: Context, place: int, rate: float
    ) -> tuple[History, list[nn.Parameter], list[str]]:
        """Fine-tune the model; return also what the optimiser moved, in order (of halves their copies), and notes."""
        over, original = self._over(), problem.source.open().eval() if self._holds else None
        seed = run.seed if place == 0 else keyed_int(b"expunge fine-tuning", run.seed, place) % 2**31
        steps = Steps(
            count=lambda epoch: over.steps(problem),
            batches=lambda epoch: over.batches(problem, seed=seed, epoch=epoch),
            objective=lambda step: self._terms(step, problem.meaning, model, original),
            rate=lambda step: rate,
            still=deciding(model) if self._holds else (),
            notes=(notes := []),
        )
        checkpoints = run.checkpoints.inside(f"fine-tuning-{place}") if run.checkpoints is not None else None
        with sparing(model, self.config):
            optimiser = self.config.optimise(model)
            history, _ = run_loop(model, steps, self.config, seed=seed, checkpoints=checkpoints, optimiser=optimiser)
        return history, [p for group in optimiser.param_groups for p in group["params"]], notes

    @property
    def _holds(self) -> bool:
        return bool(self.config.retain == "kl")

    def _over(self) -> Pass:
        size, beside = self.config.batch_size, self.config.batch_size * self.config.beside
        over = "both" if self._holds else "forget"
        return Pass(over, self._sides, size, lead="forget", beside=beside, taught="retain")

    @property
    def _sides(self) -> dict[str, Callable[[Batch], Tensor]]:
        return {"forget": _loss, "retain": self._held} if self._holds else {"forget": _loss}

    def _terms(self, step: Step, task: Task, model: nn.Module, original: nn.Module | None) -> Iterator[Tensor]:
        """Yield what is minimised on one step, set by set: then one graph is held at a time."""
        for name, value in self._sides.items():
            part, taught = step.among(name), None
            if original is not None and name == "retain":
                with torch.no_grad():
                    taught = part.units(task, original, original)
            yield value(part.units(task, model, model, taught))

    def _held(self, batch: Batch) -> Tensor:
        return self.config.retain_weight * held(batch, by=self.config.retain)


def _wide(tensor: Tensor) -> Tensor:
    """Return numbers in which a small step does not vanish: of a half in float32."""
    return tensor.float() if tensor.dtype in HALF else tensor


def _loss(batch: Batch) -> Tensor:
    assert batch.forget is not None
    return mean_loss(batch.forget)


def _joined(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return an epoch of all fine-tunings: their mean objective."""
    return {"epoch": rows[0]["epoch"], "objective": sum(row["objective"] for row in rows) / len(rows)}
