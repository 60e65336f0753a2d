"""What several processes come to, beside one: run by ``torchrun``, it writes how far apart they are as JSON.

torchrun --standalone --nproc-per-node 2 tests/support/together.py OUT
"""

import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from expunge.core import registry
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine import ranks, spread
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig
from expunge.engine.split import split
from expunge.numerics.quantised import quantise
from tests.support import languages as L

SHORT = dataclasses.replace(L.TRAINER, config=LoopConfig(epochs=1, batch_size=8, lr=1e-3))
BESIDE = dataclasses.replace(
    SHORT, build=L.based, config=LoopConfig(epochs=1, batch_size=8, lr=1e-2, clip=0.5), lora=2, micro_batch=3
)
METHODS = {
    "npo": {"retain": "kl"},
    "undial": {},
    "idk_dpo": {},
    "whp": {"reinforce_epochs": 1},
    "finetune": {"optimiser": "sgd", "clip": 0.5},
    "kl_min": {"lora": 2, "lr": 1e-2},
    "wga": {"relearner": 2},
    "grad_diff": {"lora": 2, "lr": 1e-2, "relearner": 2},
}


def problem():
    """Return a problem whose batches no two processes can share evenly."""
    return Problem(
        model=L.untrained(3),
        train=L.records(),
        task="causal_lm",
        holdout=L.records(L.NAMES[12:16], seed=5),
        request=Request(subjects=tuple(L.NAMES[:3])),
        trainer=SHORT,
    )


def apart(one, other):
    """Return how far two models are apart, and None in a process that holds none of the second."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def unlearned(where, name, config, checkpoints=None):
    """Return what a method makes of a problem."""
    run = Context(
        problem=where,
        seed=3,
        label="",
        choosing=split(where, 0)[0],
        choosing_models=list,
        checkpoints=checkpoints,
    )
    return registry.load("methods", name)({"epochs": 1, "batch_size": 3, "lr": 1e-3, **config}).unlearn(where, run)


def methods(alone, together):
    """Return of every method how far several processes are from one, and how far the method moved the model."""
    found = {}
    for name, config in METHODS.items():
        one, several = unlearned(alone, name, config), unlearned(together, name, config)
        made = spread.gathered(together, several.model)
        if ranks.leads():
            told = abs(one.history[-1]["objective"] - several.history[-1]["objective"])
            same = one.touched == several.touched and one.stopped == several.stopped
            found[name] = [apart(one.model, made), apart(one.model, alone.source.open()), told, same]
    return found


def units(alone, together):
    """Return how far the units of one record, of fewer than there are processes, and their slopes are apart."""
    batch, model = alone.records.read([4]), alone.source.open()
    one = alone.meaning.units(model, batch)
    one.loss.sum().backward()
    part = together.source.open()
    several = together.meaning.units(part, batch)
    several.loss.sum().backward()
    slope = ranks.whole(part.transformer.wte.weight.grad)
    gap = (one.loss - several.loss).detach().abs().max()
    return [float(gap), float((model.transformer.wte.weight.grad - slope).abs().max())]


def rounded(alone, together):
    """Return how far a model is apart whose weights were rounded in parts."""
    one, part = alone.source.open(), together.source.open()
    quantise(one, 4)
    quantise(part, 4)
    made = spread.gathered(together, part)
    return apart(one, made) if ranks.leads() else None


def resumed(together, folder):
    """Return how far a run that was resumed is from one that was not, and what files it was resumed from."""
    places = Checkpoints(folder, every_s=0)
    whole = spread.gathered(together, unlearned(together, "finetune", {"epochs": 2}).model)
    unlearned(together, "finetune", {"epochs": 1}, places)
    ranks.meet()
    files = sorted(path.name for path in folder.glob("[0-9]*"))
    ranks.meet()
    again = spread.gathered(together, unlearned(together, "finetune", {"epochs": 2}, places).model)
    return [apart(whole, again), files] if ranks.leads() else None


def main(out):
    """Compare, and let the first process write."""
    torch.set_num_threads(1)
    ranks.join()
    if not ranks.leads():
        from expunge.core import storage

        storage.only_read()
    alone = problem()
    together = spread.spread(alone)
    trained, part = SHORT(alone.records, seed=1), together.trainer(together.records, seed=1)
    digest = together.source.digest(part)
    made = spread.gathered(together, part)
    beside = dataclasses.replace(alone, trainer=BESIDE)
    one, several = BESIDE(alone.records, seed=1), spread.spread(beside).trainer(together.records, seed=1)
    merged = spread.gathered(together, several)
    found = {
        "adapted": None if merged is None else [apart(one, merged), apart(one, L.based())],
        "methods": methods(alone, together),
        "units": units(alone, together),
        "rounded": rounded(alone, together),
        "resumed": resumed(together, out.parent / "checkpoints"),
        "trained": None if made is None else apart(trained, made),
        "digest": made is None or digest == alone.source.digest(made),
    }
    if ranks.leads():
        out.write_text(json.dumps(found))
    ranks.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
