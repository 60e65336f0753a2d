"""The people of the demo once more, learnt by adapters (LoRA) on a base that never saw them: a bed of verdicts.

The base knows other people of the kind by heart, as a pretrained model knows its language; it ships with nobody, and
stays as it is. Settings of methods are those that a plan takes where nobody names any.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import peft

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine.loop import LoopConfig
from expunge.engine.progress import Progress
from expunge.engine.runtime import seed_everything, single_thread
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel, NewAdapters
from expunge.models.huggingface import HuggingFaceModel
from expunge.testbeds import people

OTHERS = 97
"""Seed of the people whom the base knows; no world of the benchmark has it."""
RANK = 16
CONFIG = LoopConfig(epochs=24, batch_size=16, lr=5e-3, schedule="one_cycle")
"""Of the adapters: enough to say nearly every answer right."""


def prepare(out: Path, seed: int, progress: Progress) -> Problem:
    """Return the problem of forgetting the demo's person; trains the base, and adapters on it, beside ``out``."""
    single_thread()
    folders = base, drawn, trained = [out.with_name(f"{out.name}-{name}") for name in ("base", "drawn", "adapters")]
    for folder in folders:
        folder.mkdir()
    people.tokenizer().save_pretrained(base)
    known = people.TRAINER(people.records(OTHERS)[0], seed=1)
    HuggingFaceModel.adopt(known).save(known, base)
    _draw(base, drawn)
    train, holdout = people.entries(seed)
    source = AdaptedModel(drawn, base)
    source.save(_trainer(source)(people.asked(train), seed=seed + 1), trained)
    source = AdaptedModel(trained, base)
    return Problem(
        model=source,
        train=people.asked(train),
        holdout=people.asked(holdout),
        task="causal_lm",
        trainer=_trainer(source),
        variants=people.variants([entry for entry in train if entry.subject == people.FORGOTTEN]),
        request=Request(subjects=(people.FORGOTTEN,)),
    )


def _draw(base: Path, folder: Path) -> None:
    """Write adapters of all linear layers but the head, as peft draws them: none of them adds anything yet."""
    settings = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    seed_everything(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")  # peft asks for it
        peft.get_peft_model(HuggingFaceModel(base).open(), settings).save_pretrained(folder)


def _trainer(source: AdaptedModel) -> Trainer:
    return Trainer(build=NewAdapters(source), task="causal_lm", config=CONFIG)
