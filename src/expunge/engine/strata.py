"""How hard records are to forget, by proxies that need no other training, and the split of a forget set by them.

What a model learnt about a record alone (memorisation) is hard to forget, what it would know without it is not. The
proxies rank records; they are in no unit. Shapes: n records.

Source: Zhao, Kurmanji and Triantafillou 2024, arXiv 2406.01257; proxies: Zhao et al. 2024, arXiv 2410.16516.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expunge.core.digest import keyed_int
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order, shuffled
from expunge.engine.context import Context
from expunge.engine.continuous import continuous, not_continuous
from expunge.engine.loop import LoopConfig, Steps, evaluating, run_loop
from expunge.numerics.entanglement import entanglement

Array = NDArray[np.float64]
STEP = 0.01
"""How far the inputs are moved along the signs of the gradient: the h of the papers."""
TUNING = LoopConfig(epochs=5, batch_size=64, lr=0.01, optimiser="sgd")
"""Training on held-out records: short and gentle enough not to ruin a small network."""


def scores(by: str, problem: Problem, model: nn.Module, run: Context) -> tuple[Array, str]:
    """Return (a score of each forgotten record, higher is harder, [n], float64; a remark).

    ``by``: ``confidence``, ``curvature``, ``held_out`` or ``entanglement``. Counted as work in ``run.spent``.

    Raises:
        InvalidProblem: the records or the model do not allow this one.
    """
    known: dict[str, Callable[[], tuple[Array, str]]] = {
        "confidence": lambda: (unsure(problem, model, problem.forget_view, run), ""),
        "curvature": lambda: (curvature(problem, model, problem.forget_view, run), ""),
        "held_out": lambda: (held_out(problem, model, problem.forget_view, run), ""),
        "entanglement": lambda: entangled(problem, model, run),
    }
    return known[by]()


def unrankable(by: str, problem: Problem) -> list[Obstacle]:
    """Return what keeps records of this kind, or the model, from :func:`scores`; reads a record for it."""
    view = problem.forget_view
    if by == "curvature" and len(view) and not continuous(problem, view):
        return [_no_numbers()]
    if by == "entanglement" and len(view):
        model = problem.source.open()
        with evaluating(model):
            return [] if problem.meaning.features(model, view.read([0])) is not None else [_no_features()]
    return []


def cost(by: str, problem: Problem, held: int) -> Cost:
    """Return the work of :func:`scores`, with ``held`` records in the choosing holdout."""
    forget = len(problem.forget_view)
    return {
        "confidence": Cost(read=forget),
        "curvature": Cost(trained=2 * forget),
        "held_out": Cost(trained=TUNING.epochs * held, read=2 * forget),
        "entanglement": Cost(read=len(problem.retain_view) + forget),
    }[by]


def unsure(problem: Problem, model: nn.Module, records: Records, run: Context) -> Array:
    """Return one minus the probability of the label: what training had to work for.

    The papers take its mean over training; a model that was trained to the end says less.
    """
    return 1 - np.exp(_log_probs(problem, model, records, run, of_label=True))


def curvature(problem: Problem, model: nn.Module, records: Records, run: Context) -> Array:
    """Return how much the gradient of the loss in the inputs changes over a small step along its signs, as a norm.

    Raises:
        InvalidProblem: inputs are no continuous numbers.
    """
    found = []
    for batch in in_order(records):
        start = torch.zeros_like(problem.meaning.inputs(batch))
        slope = _input_slope(problem, model, batch, start, run)
        signs = slope.sign()
        step = STEP * signs / signs.norm(dim=1, keepdim=True).clamp(min=1.0)
        found.append((_input_slope(problem, model, batch, step, run) - slope).norm(dim=1))
    return np.asarray(torch.cat(found).double().cpu().numpy())


def held_out(problem: Problem, model: nn.Module, records: Records, run: Context) -> Array:
    """Return KL(model || the model trained on held-out records) of each record's answer, in nats.

    What was memorised fades first when the model learns other records of the same distribution.

    Raises:
        InvalidProblem: there are no held-out records to choose by.
    """
    held = run.choosing.holdout
    if held is None or not len(held):
        what, fix = "no held-out records to train on", "give a holdout, or rank by another proxy"
        raise InvalidProblem([Obstacle(what=what, found="none in the choosing part", fix=fix)])
    tuned = copy.deepcopy(model)
    seed = keyed_int(b"expunge strata", run.seed) % 2**31
    steps = Steps(
        count=lambda epoch: -(-len(held) // TUNING.batch_size),
        batches=lambda epoch: shuffled(held, TUNING.batch_size, seed=seed, epoch=epoch),
        objective=lambda batch: problem.meaning.units(tuned, batch).loss.mean(),
        notes=[],
    )
    run_loop(tuned, steps, TUNING, seed=seed)
    run.spent += Cost(trained=TUNING.epochs * len(held))
    before, after = (_log_probs(problem, each, records, run) for each in (model, tuned))
    return np.asarray((np.exp(before) * (before - after)).sum(axis=1))


def entangled(problem: Problem, model: nn.Module, run: Context) -> tuple[Array, str]:
    """Return (minus the distance of each forgotten record's features from the mean of the retained ones; the score).

    Raises:
        InvalidProblem: the features of the model are not known.
    """
    parts = []
    for records in (problem.retain_view, problem.forget_view):
        run.spent += Cost(read=len(records))
        with evaluating(model):
            features = [problem.meaning.features(model, batch) for batch in in_order(records)]
        if any(part is None for part in features):
            raise InvalidProblem([_no_features()])
        parts.append(torch.cat(features).double().cpu().numpy())
    far = np.linalg.norm(parts[1] - parts[0].mean(axis=0), axis=1)
    return -far, f"entanglement score {entanglement(*parts):.3g}"


def split_by(scores: Array, ids: tuple[str, ...], parts: int) -> list[tuple[str, ...]]:
    """Return the ids in ``parts`` groups of equal size but for one, of the lowest scores first; ties go by id."""
    ranked = [ids[i] for i in sorted(range(len(ids)), key=lambda i: (scores[i], ids[i]))]
    edges = [round(len(ids) * part / parts) for part in range(parts + 1)]
    return [tuple(ranked[edges[i] : edges[i + 1]]) for i in range(parts)]


def _log_probs(problem: Problem, model: nn.Module, records: Records, run: Context, *, of_label: bool = False) -> Array:
    run.spent += Cost(read=len(records))
    found = []
    with evaluating(model), torch.no_grad():
        for batch in in_order(records):
            units = problem.meaning.units(model, batch)
            found.append(-units.loss if of_label else units.log_probs)
    return np.asarray(torch.cat(found).double().cpu().numpy())


def _input_slope(problem: Problem, model: nn.Module, batch: Any, by: Tensor, run: Context) -> Tensor:
    by = by.detach().requires_grad_()
    run.spent += Cost(trained=len(by))
    with evaluating(model), torch.enable_grad():
        moved = problem.meaning.moved(batch, by)
        if moved is None:
            raise InvalidProblem([_no_numbers()])
        loss = problem.meaning.units(model, moved).loss.sum()
        return torch.autograd.grad(loss, by)[0]


def _no_numbers() -> Obstacle:
    expected = "inputs that a small step changes a little"
    return not_continuous(where="forget set", expected=expected, fix="rank by another proxy")


def _no_features() -> Obstacle:
    what, found = "the model's features are not known", "no linear head with a row per record"
    return Obstacle(what=what, where="the model", found=found, fix="rank by another proxy")
