"""Trainers of transformers and TRL: what they train, that a replay gives a run from scratch, and what is refused."""

import pytest
import torch
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainingArguments

from expunge import Recorded, train
from expunge.core.errors import UsageError
from expunge.engine import replay
from expunge.engine.ledger import Ledger
from expunge.engine.recorder import timetable
from expunge.integrations.transformers import follow
from tests.support import languages

FEW = languages.NAMES[:5]
SETTINGS = {"output_dir": "unused", "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True}


# What peft and TRL still call of transformers.
outdated = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Trainers make the folder of their output, whether they write into it or not."""
    monkeypatch.chdir(tmp_path)


def arguments(**more):
    return TrainingArguments(**{**SETTINGS, "learning_rate": 1e-2, "warmup_steps": 2, "logging_strategy": "no", **more})


def plain(recorder, **more):
    """Train all weights."""
    return follow(recorder, Trainer(model=languages.based(), args=arguments(**more)))


PEAK = 0.5


def descending(recorder, **more):
    """Train all weights without moments, which make much of a gradient that is nothing but rounding."""
    return plain(recorder, optim="sgd", learning_rate=PEAK, **more)


def accumulated(recorder):
    """Train all weights with dropout, each step in three parts."""
    args = arguments(gradient_accumulation_steps=3, lr_scheduler_type="cosine")
    return follow(recorder, Trainer(model=languages.gpt(resid_pdrop=0.1, attn_pdrop=0.1), args=args))


def adapters(recorder):
    """Train adapters by peft on a frozen base, and merge them."""
    from peft import LoraConfig, get_peft_model

    base = languages.based()
    torch.manual_seed(recorder.seed)
    beside = LoraConfig(r=2, target_modules=["c_fc"], lora_dropout=0.1, fan_in_fan_out=True, task_type="CAUSAL_LM")
    return follow(recorder, Trainer(model=get_peft_model(base, beside), args=arguments())).merge_and_unload()


def supervised(recorder):
    """Train by TRL's trainer, whose dataset is never read."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(**SETTINGS, learning_rate=1e-2, logging_strategy="no", max_length=24)
    unread = Dataset.from_dict({"input_ids": [[3, 4]], "labels": [[3, 4]]})
    model, tokenizer = languages.gpt(resid_pdrop=0.1), languages.tokenizer()
    return follow(recorder, SFTTrainer(model, args, train_dataset=unread, processing_class=tokenizer))


def recorded(folder, loop, *, epochs=2, steps=4, names=FEW, **more):
    trainer = Recorded(loop=loop, epochs=epochs, steps=steps, **more)
    return trainer, train(trainer, languages.records(names), seed=3, ledger=folder), Ledger(folder)


@pytest.mark.parametrize("steps", [4, 9], ids=["", "with steps of no record"])
def test_it_trains_as_the_formulas_say(tmp_path, steps):
    """Mean loss of a step's tokens, gradients of norm 1 at most, a rate that rises for two steps and falls."""
    records = languages.records(FEW)
    _, model, ledger = recorded(tmp_path / "ledger", descending, steps=steps)
    own, total, losses, empty = languages.based(), 2 * steps, [], 0
    optimiser = torch.optim.SGD(own.parameters(), lr=PEAK)
    table = timetable(records, rule="drop", seed=3, steps=steps, enters=[0.0] * len(records), slots=None)
    for number in range(total):
        rate = rate_of(number, total, PEAK)
        here = table.epoch(number // steps)[number % steps].tolist()
        empty += not here
        losses.append(0.0)
        if here:
            inputs, labels = records.read(here)
            logits = own(**inputs).logits[:, :-1].flatten(0, 1)
            loss = functional.cross_entropy(logits, labels[:, 1:].flatten())
            losses[-1] = loss.item()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own.parameters(), 1.0)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
    assert [line.rate for line in ledger.lines()] == pytest.approx(
        [rate_of(step, total, PEAK) for step in range(total)]
    )
    assert empty or steps == 4
    assert [line.loss for line in ledger.lines()] == pytest.approx(losses, abs=1e-5)
    for one, other in zip(model.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_accumulated_gradients_are_those_of_the_whole_step(tmp_path):
    """Steps with fewer records than parts included: a part without a record adds nothing."""

    def parted(recorder):
        return descending(recorder, gradient_accumulation_steps=3)

    _, whole, plainly = recorded(tmp_path / "whole", descending, steps=6)
    _, parts, ledger = recorded(tmp_path / "parts", parted, steps=6)
    assert {line.count for line in ledger.lines()} & {1, 2}
    assert [line.loss for line in ledger.lines()] == pytest.approx([line.loss for line in plainly.lines()], abs=1e-5)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@outdated
@pytest.mark.parametrize("loop", [accumulated, adapters, supervised])
def test_a_replay_is_a_run_from_scratch(tmp_path, loop):
    """Parameters, optimiser and schedule, bit for bit, and the model that was made of them."""
    if loop is supervised:
        pytest.importorskip("trl")
    trainer, model, ledger = recorded(tmp_path / "ledger", loop)
    assert ledger.ends_with(model)
    assert replay.prove(trainer, languages.records(FEW), ledger, tmp_path / "work", tries=1)
    (replayed,) = (tmp_path / "work").iterdir()
    assert Ledger(replayed).head.model != ledger.head.model
    assert min(Ledger(replayed).checkpoints) == 0


@outdated
def test_only_adapters_stand_in_checkpoints(tmp_path):
    _, model, ledger = recorded(tmp_path / "ledger", adapters)
    base = dict(languages.based().named_parameters())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, base[name])}
    assert moved == {"transformer.h.0.mlp.c_fc.weight"}
    assert type(model) is type(languages.based())
    size = sum(p.numel() for p in base.values()) * 4
    assert all((path / "state.safetensors").stat().st_size < size / 2 for path in ledger.checkpoints.values())


def test_a_killed_run_goes_on(tmp_path):
    trainer, left = Recorded(loop=accumulated, epochs=2, steps=4), iter(range(5))

    def advance():
        if next(left, None) is None:
            raise KeyboardInterrupt

    folder, records = tmp_path / "ledger", languages.records(FEW)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, records, seed=3, ledger=folder, advance=advance)
    assert Ledger(folder).head.finished == ""
    train(trainer, records, seed=3, ledger=folder)
    assert Ledger(folder).head.finished == trainer.run(records, seed=3).state


def test_the_schedule_starts_anew_when_training_goes_on(tmp_path):
    recorded(tmp_path / "ledger", plain, epochs=1)
    trainer, _, ledger = recorded(tmp_path / "ledger", plain, epochs=3, names=languages.NAMES[:8])
    wanted = [rate_of(step, 4) for step in range(4)] + [rate_of(step, 8) for step in range(8)]
    assert [line.rate for line in ledger.lines()] == pytest.approx(wanted)
    assert replay.prove(trainer, languages.records(languages.NAMES[:8]), ledger, tmp_path / "work", tries=1)


def rate_of(step, steps, peak=1e-2):
    """The rate of transformers' linear schedule with two steps of warm-up."""
    return peak * (step / 2 if step < 2 else (steps - step) / (steps - 2))


class Stop(TrainerCallback):
    """Ends a training after its third step."""

    def on_step_end(self, args, state, control, **more):
        control.should_training_stop = state.global_step == 3


class Own(Trainer):
    """A trainer with a schedule of its own."""

    def create_scheduler(self, num_training_steps, optimizer=None):
        return super().create_scheduler(num_training_steps, optimizer)


def refused(kind=Trainer, callbacks=(), compute=None, **more):
    def loop(recorder):
        made = kind(languages.based(), arguments(**more), callbacks=[*callbacks], compute_loss_func=compute)
        return follow(recorder, made)

    return loop


def plateau(recorder):
    """Lower the rate when some figure stops falling, which no checkpoint knows of."""
    model = languages.based()
    optimiser = torch.optim.AdamW(model.parameters())
    falling = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser)
    return follow(recorder, Trainer(model, arguments(), optimizers=(optimiser, falling)))


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (refused(save_strategy="steps"), "outlive a deletion"),
        (refused(logging_strategy="epoch"), "where an epoch ends"),
        (refused(kind=Own), "not a function of the step"),
        (plateau, "not a function of the step"),
        (refused(gradient_accumulation_steps=2, compute=print), "counts for more in a smaller part"),
        (refused(callbacks=[Stop()]), "ended before the run did"),
    ],
)
def test_what_could_not_be_replayed_is_refused(loop, said):
    with pytest.raises(UsageError, match=said):
        Recorded(loop=loop, epochs=2, steps=4).run(languages.records(FEW), seed=0)


def test_a_table_of_slots_is_refused():
    with pytest.raises(UsageError, match="no empty slots"):
        Recorded(loop=plain, epochs=1, steps=2, rule="mask").run(languages.records(FEW), seed=0)
