"""What noisy fine-tuning of a head costs in accuracy, and whether the noise does anything before training goes on.

Digits. A body is trained on other people's digits and then held fixed, as the method asks; a head on it is trained on
the rest of the training data, and a tenth of these records, a quarter of them with wrong labels, must go. Beside the
certified head at epsilon 1 and 8 (delta 1e-5) stand the head as it was, the same steps without noise, and a head that
was trained anew on what remains. Settings are the method's own. Accuracy is on the holdout; what is left of the wrong
labels is how often a forgotten one is answered.

    python benchmarks/noisy_head.py [--json] [--save FILE]        about a minute on one core
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterable

import numpy as np
import torch
from _table import Row, arguments, finish
from torch import nn

from expunge.conformance.problems import context
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.data.arrays import ArrayRecords
from expunge.engine.batches import shuffled
from expunge.engine.runtime import seed_everything, single_thread
from expunge.methods.noisy_finetune import NoisyFinetune
from expunge.testbeds import digits

SEEDS = 5
PUBLIC, GONE, WRONG = 597, 60, 15
"""Records of other people; records that must go of the other 600, and how many of these have a wrong label."""
EPSILONS = (1.0, 8.0)
NOISELESS = 1e6
"""An epsilon at which the noise is nothing beside the weights."""


def posed(seed: int) -> tuple[Problem, nn.Module]:
    """Return a problem whose original has a head trained on 600 records, and the model with a head of no training."""
    train, holdout, truth = digits.records(seed)
    right = torch.tensor([truth.get(name, int(y)) for name, y in zip(train.ids, train.y.tolist(), strict=True)])
    public = ArrayRecords(train.x[:PUBLIC], right[:PUBLIC], ids=train.ids[:PUBLIC])
    labels, draw = right[PUBLIC:].clone(), np.random.default_rng(seed)
    labels[:WRONG] = (labels[:WRONG] + torch.tensor(draw.integers(1, 10, WRONG))) % 10
    private = ArrayRecords(train.x[PUBLIC:], labels, ids=train.ids[PUBLIC:])
    seed_everything(seed)
    blank = digits.DigitsNet()
    trained(blank, blank.parameters(), public, epochs=20, seed=seed)
    nn.init.zeros_(blank.head[-1].weight)
    nn.init.zeros_(blank.head[-1].bias)
    model = headed(blank, private, seed)
    return Problem(model=model, train=private, holdout=holdout, forget=list(private.ids[:GONE])), blank


def headed(blank: nn.Module, records: Records, seed: int) -> nn.Module:
    """Return a copy whose last layer is trained on ``records``; nothing else of it moves."""
    model = copy.deepcopy(blank)
    trained(model, model.head[-1].parameters(), records, epochs=60, seed=seed)
    return model


def trained(model: nn.Module, moved: Iterable[nn.Parameter], records: Records, *, epochs: int, seed: int) -> None:
    """Train these parameters of a model on ``records``."""
    optimiser = torch.optim.AdamW(moved, lr=5e-3, weight_decay=0.0)
    for epoch in range(epochs):
        for x, y in shuffled(records, 64, seed=seed, epoch=epoch):
            loss = nn.functional.cross_entropy(model(x), y)
            model.zero_grad()
            loss.backward()
            optimiser.step()


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of labels that a model answers."""
    with torch.no_grad():
        return float((model.eval()(x).argmax(1) == y).float().mean())


def measured(seed: int) -> dict[str, tuple[float, float]]:
    """Return (accuracy on the holdout, share of the forgotten wrong labels answered) by model."""
    problem, blank = posed(seed)
    models = {"the original": problem.model, "a head trained anew": headed(blank, problem.retain_view, seed)}
    for polish in (5, 0):
        after = "" if polish else ", nothing trained afterwards"
        for epsilon in (NOISELESS, *EPSILONS):
            name = "the same steps without noise" if epsilon == NOISELESS else f"epsilon {epsilon:g}"
            method = NoisyFinetune({"epsilon": epsilon, "polish": polish, "backbone_is_public": True})
            if method.obstacles(problem):
                raise SystemExit(f"obstacles: {method.obstacles(problem)}")
            models[name + after] = method.unlearn(problem, context(problem, seed=seed)).model
    held, gone = problem.held_out, problem.forget_view.read(range(WRONG))
    return {
        name: (accuracy(model, *held.read(range(len(held)))), accuracy(model, *gone)) for name, model in models.items()
    }


def main() -> int:
    """Measure and print."""
    given = arguments(__doc__).parse_args()
    single_thread()
    found = [measured(seed) for seed in range(SEEDS)]
    rows = []
    for name in found[0]:
        right, wrong = zip(*(one[name] for one in found), strict=True)
        rows.append(
            Row(
                name=name,
                value=statistics.fmean(right),
                target=None,
                better="higher",
                unit=f"accuracy on the holdout ({min(right):.3f} to {max(right):.3f}); "
                f"answers {statistics.fmean(wrong):.0%} of the forgotten wrong labels",
                against="a head trained anew",
                n=SEEDS,
            )
        )
    finish(rows, given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
