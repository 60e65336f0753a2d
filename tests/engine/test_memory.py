"""Memory that does not suffice is told with what would need less, in figures that can be reckoned by hand."""

import pytest
import torch
from torch import nn

from expunge.core.errors import RunFailed
from expunge.engine import references, stacked
from expunge.engine.loop import LoopConfig
from expunge.engine.memory import sparing, sparing_again
from expunge.methods.finetune import Finetune
from expunge.methods.grad_diff import GradDiff
from expunge.methods.scrub import Scrub
from tests.support import toys

MODEL = nn.Linear(1024, 1024, bias=False)  # 4 MiB


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["device", "processor", "python"],
)
def test_what_would_need_less_is_said(error):
    with pytest.raises(RunFailed) as told, sparing(MODEL, Finetune({"batch_size": 64}).config):
        raise error
    obstacle = told.value.obstacles[0]
    assert "0.0039 GiB of weights, 0.012 GiB of gradients and moments" in obstacle.found
    assert obstacle.found.startswith("2 GiB asked for; " if "Tried" in str(error) else "0.0039")
    assert "batch_size = 32 halves" in obstacle.fix
    assert "lora = 8 saves nearly all of 0.012 GiB" in obstacle.fix
    assert '"sgd" saves 0.0039 GiB' in obstacle.fix


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((64, 512), "batch_size = 32 and forget_batch_size = 256 halve what"),
        ((1, 512), "forget_batch_size = 256 halves what"),
        ((64, 1), "batch_size = 32 halves what"),
    ],
)
def test_every_batch_that_a_method_reads_is_named(sizes, told):
    config = Scrub({"batch_size": sizes[0], "forget_batch_size": sizes[1]}).config
    with pytest.raises(RunFailed) as said, sparing(MODEL, config):
        raise MemoryError
    assert said.value.obstacles[0].fix.startswith(told)


def test_the_copy_that_a_relearner_holds_is_named():
    with pytest.raises(RunFailed) as told, sparing(MODEL, GradDiff({"relearner": 3}).config):
        raise MemoryError
    assert "relearner = 0 saves 0.0039 GiB" in told.value.obstacles[0].fix
    with pytest.raises(RunFailed) as told, sparing(MODEL, GradDiff().config):
        raise MemoryError
    assert "relearner" not in str(told.value)


def test_copies_in_float32_are_counted_where_weights_are_halves():
    with pytest.raises(RunFailed) as told, sparing(nn.Linear(1024, 1024, bias=False).bfloat16(), Finetune().config):
        raise MemoryError
    # 2 MiB of weights; 2 of gradients, 8 of moments, 4 of copies and 4 of the gradients of these.
    assert (
        "0.002 GiB of weights, 0.018 GiB of gradients, moments and copies in float32" in told.value.obstacles[0].found
    )
    assert '"sgd" saves 0.0039 GiB' in told.value.obstacles[0].fix


def test_settings_that_are_low_already_are_not_named():
    with pytest.raises(RunFailed) as told, sparing(MODEL, Finetune({"batch_size": 1, "lora": 4}).config):
        raise MemoryError
    assert "batch_size" not in str(told.value)
    assert "lora" not in str(told.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), sparing(MODEL, Finetune().config):
        raise RuntimeError("shapes cannot be multiplied")


def test_a_method_that_runs_out_says_so(monkeypatch):
    problem = toys.problem()
    real = type(problem.meaning).units

    def units(*given):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return real(*given)

    monkeypatch.setattr(type(problem.meaning), "units", units)
    with pytest.raises(RunFailed, match="memory does not suffice"):
        Finetune({"epochs": 1}).unlearn(problem, toys.context(problem))


def test_of_a_training_that_is_repeated_no_setting_is_named_that_makes_it_another():
    with pytest.raises(RunFailed) as told, sparing_again(MODEL, LoopConfig(batch_size=64)):
        raise MemoryError
    assert (
        told.value.obstacles[0].fix == "workers = 1 trains one after the other; each of them at a time takes 0.016 GiB"
    )
    with pytest.raises(RuntimeError, match="shapes"), sparing_again(MODEL, LoopConfig()):
        raise RuntimeError("shapes cannot be multiplied")


def test_smaller_parts_of_a_step_are_another_way_out():
    with pytest.raises(RunFailed) as told, sparing_again(MODEL, LoopConfig(batch_size=64), at_once=64):
        raise MemoryError
    assert told.value.obstacles[0].fix.endswith(
        "; or micro_batch = 32 makes the same steps, and halves what their records take"
    )
    with pytest.raises(RunFailed) as told, sparing_again(MODEL, LoopConfig(batch_size=64), at_once=1):
        raise MemoryError
    assert "micro_batch" not in str(told.value)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.Dropout(0.1), "micro_batch = 32 makes the same steps but for what dropout draws, and halves"),
        (nn.Dropout(0.0), "micro_batch = 32 makes the same steps, and halves"),
        (nn.BatchNorm1d(1024), ""),
    ],
    ids=["dropout", "none", "batch normalisation"],
)
def test_parts_are_not_said_to_make_the_same_steps_where_they_make_others(layer, told):
    with pytest.raises(RunFailed) as said, sparing_again(nn.Sequential(MODEL, layer), LoopConfig(), at_once=64):
        raise MemoryError
    fix = said.value.obstacles[0].fix
    assert told in fix if told else "micro_batch" not in fix


@pytest.mark.parametrize("seeds", [(1,), (1, 2)], ids=["one", "several as one"])
def test_references_that_run_out_say_so(monkeypatch, tmp_path, seeds):
    problem = toys.problem(trainer=toys.TRAINER)

    def exhausted(*given, **named):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4194304 bytes.")

    monkeypatch.setattr("expunge.engine.training.run_loop", exhausted)
    monkeypatch.setattr(stacked, "run_loop", exhausted)
    with pytest.raises(RunFailed, match="memory does not suffice") as told:
        references.train_some(problem, str(tmp_path), seeds)
    assert told.value.obstacles[0].found.startswith("0.0039 GiB asked for; ")
    assert "workers = 1" in told.value.obstacles[0].fix


def test_a_trainer_of_the_users_own_that_runs_out_is_not_said_to_break_its_contract(tmp_path):
    def trainer(records, *, seed):
        raise MemoryError

    with pytest.raises(RunFailed, match="memory does not suffice") as told:
        references.train_some(toys.problem(trainer=trainer), str(tmp_path), (1,))
    assert "workers = 1" in told.value.obstacles[0].fix
