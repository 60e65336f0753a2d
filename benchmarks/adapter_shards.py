"""What adapters in shards and slices lose against one adapter on all records, and what deleting a person costs.

A small GPT knows other people of the fictitious kind; adapters on it learn sixteen new ones by heart: one for all, one
per shard (which vote evenly, or by how sure they are), and per slice of a shard, entering one after the other, all
layers at a time or one part of them (S3T).
Of each ensemble the share of answer tokens said right (about what was trained on, asked in other words, and of people
whom nothing was trained on), and the work of deleting one person in percent of training it, the mean over all people.

Beside it, of small classifiers in shards, the accuracy on digits that none of them was trained on under either vote.

    python benchmarks/adapter_shards.py [--json] [--save FILE] [--seeds 3]        about 10 minutes on one core
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from _table import Row, arguments, finish, over_seeds
from sklearn.datasets import load_digits
from torch import nn

import expunge
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.engine.batches import in_order
from expunge.engine.ensemble import VOTES, Ensemble, ShardedTrainer
from expunge.engine.loop import LoopConfig, evaluating
from expunge.engine.runtime import single_thread
from expunge.methods.sharded import Sharded
from expunge.testbeds import people
from expunge.testbeds.digits import DigitsNet

EPOCHS, RATE, RANK, STEPS = 24, 5e-3, 16, 48
"""Of the adapters: enough for one to say nearly all right. Steps of an epoch over all records, of 16 each."""
WORLD, OTHERS = 11, 97
"""Seeds of the people whom adapters learn, and of those whom the base knows."""


@dataclass(frozen=True)
class Plan:
    """How the records are divided."""

    shards: int
    slices: int = 1
    by_layer: bool = False
    vote: str = "even"

    def __str__(self) -> str:
        one = "one adapter" if self.shards == 1 else f"{self.shards} shards"
        if self.slices == 1:
            return one + (", a vote by sureness" if self.vote == "sure" else "")
        return f"{one} of {self.slices} slices{', a part of the layers each' if self.by_layer else ''}"

    def trainer(self) -> ShardedTrainer:
        """Return the trainer; steps are of as many records in every plan."""
        config = LoopConfig(epochs=EPOCHS, lr=RATE, schedule="one_cycle")
        member = expunge.recorded(base, config=config, steps=STEPS // self.shards, task="causal_lm", lora=RANK)
        return ShardedTrainer(
            member=member, shards=self.shards, slices=self.slices, by_layer=self.by_layer, vote=self.vote
        )


PLANS = (
    Plan(1),
    *(Plan(shards, vote=vote) for shards in (2, 4, 8) for vote in ("even", "sure")),
    Plan(1, 2),
    Plan(1, 2, by_layer=True),
    Plan(4, 2),
    Plan(4, 2, by_layer=True),
)
_WEIGHTS: dict[str, torch.Tensor] = {}


def base() -> nn.Module:
    """Return the model that adapters are put on."""
    model = people.gpt()
    model.load_state_dict(_WEIGHTS)
    return model


def right(problem: Problem, model: nn.Module, records: Records) -> float:
    """Return the share of answer tokens that the model says right, in percent."""
    said = []
    with evaluating(model), torch.no_grad():
        for batch in in_order(records, 64):
            said.append(problem.meaning.units(model, batch).correct)
    return 100 * float(torch.cat(said).double().mean())


def measured(plan: Plan, seed: int, folder: Path) -> dict[str, float]:
    """Train an ensemble; return what it says right, and what deletions cost."""
    told, strangers = people.entries(WORLD + seed)
    records, trainer = people.asked(told), plan.trainer()
    asked = {
        "right of what was learnt": records,
        "right asked in other words": people.variants(told)["paraphrased_question"],
        "right of people it never met": people.asked(strangers),
    }
    ensemble = expunge.train(trainer, records, seed=seed, ledger=folder)
    people_told = tuple(dict.fromkeys(records.subjects))
    posed = [_problem(trainer, ensemble, records, folder, name) for name in people_told]
    found = {what: right(posed[0], ensemble, each) for what, each in asked.items()}
    whole = trainer.passes * len(records)
    found["work of deleting a person"] = 100 * fmean(Sharded().cost(one).trained for one in posed) / whole
    staying = posed[0].retain_view
    found["right of the others as trained"] = right(posed[0], ensemble, staying)
    if plan.shards > 1:
        off = trainer.switched_off(ensemble, records, posed[0].forget_ids, seed=seed)
        found["right of the others once a person is switched off"] = right(posed[0], off, staying)
    return found


def _problem(trainer: ShardedTrainer, ensemble: nn.Module, records: Records, ledger: Path, name: str) -> Problem:
    """Return the problem of forgetting one person."""
    return Problem(
        model=ensemble,
        task="causal_lm",
        train=records,
        trainer=trainer,
        ledger=ledger,
        request=Request(subjects=(name,)),
    )


def digits_right(shards: int, seed: int) -> dict[str, float]:
    """Return the accuracy of classifiers in shards on 600 digits that they never met, in percent, by how they vote."""
    data = load_digits()
    x, y = (data.images[:, None] / 16).astype(np.float32), data.target
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[:1197], order[1197:]
    config = LoopConfig(epochs=36, lr=1e-2, schedule="one_cycle", optimiser="adamw")
    member = expunge.recorded(DigitsNet, config=config, steps=13 // shards + 1)
    records = expunge.ArrayRecords(x[train], y[train], ids=[f"digit-{place}" for place in train])
    ensemble = ShardedTrainer(member=member, shards=shards)(records, seed=seed).eval()
    said = {}
    for vote in VOTES:
        voting = Ensemble(list(ensemble.members), ensemble.weights.tolist(), vote=vote).eval()
        with torch.no_grad():
            said[vote] = 100 * float((voting(torch.from_numpy(x[test])).argmax(1).numpy() == y[test]).mean())
    return said


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    single_thread()
    _WEIGHTS.update(people.TRAINER(people.records(OTHERS)[0], seed=1).state_dict())
    rows = []
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as folder:
            each = [measured(plan, seed, Path(folder) / str(seed)) for seed in range(options.seeds)]
        for what in each[0]:
            cost = what.startswith("work")
            rows.append(
                Row(
                    name=f"{plan}: {what}",
                    target=None,
                    better="lower" if cost else "higher",
                    unit="% of training the ensemble" if cost else "% of answer tokens",
                    against="training all of it" if cost else "one adapter on all records",
                    **over_seeds([one[what] for one in each]),
                )
            )
            print(rows[-1].name, round(rows[-1].value, 1), file=sys.stderr, flush=True)
    for shards in (5, 10):
        found = [digits_right(shards, seed) for seed in range(options.seeds)]
        rows += [
            Row(
                name=f"digits, {shards} shards, {vote} vote: accuracy on others",
                target=None,
                better="higher",
                unit="%",
                against="the other vote",
                **over_seeds([one[vote] for one in found]),
            )
            for vote in VOTES
        ]
    finish(rows, options, epochs=EPOCHS, rank=RANK, records=len(people.records(WORLD)[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
