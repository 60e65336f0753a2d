"""What weight decay leaves alone is what transformers' Trainer leaves alone, and the steps are torch's."""

import copy

import pytest
import torch
import transformers
from torch import nn

from expunge.engine.checkpoint import Checkpoints
from expunge.engine.decay import SPARED, norms
from expunge.engine.loop import LoopConfig, Steps, run_loop
from tests.support import toys

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "vocab_size": 31}
KINDS = {
    "llama": transformers.LlamaConfig(**SMALL),
    "qwen3": transformers.Qwen3Config(**SMALL, head_dim=8),
    "gpt2": transformers.GPT2Config(n_embd=16, n_head=2, n_layer=2, vocab_size=31),
    "phi": transformers.PhiConfig(**SMALL),
}


@pytest.mark.parametrize("kind", KINDS)
def test_biases_and_norms_are_those_of_transformers(kind, tmp_path):
    model = transformers.AutoModelForCausalLM.from_config(KINDS[kind])
    trainer = transformers.Trainer(model=model, args=transformers.TrainingArguments(output_dir=tmp_path, use_cpu=True))
    decayed = set(trainer.get_decay_parameter_names(model))
    assert norms(model) == {name for name, _ in model.named_parameters()} - decayed
    assert norms(model)


@pytest.mark.parametrize(("no_decay", "same"), [("norms", True), ("none", False)])
def test_a_training_with_weight_decay_ends_where_that_of_transformers_does(no_decay, same, tmp_path):
    tokens = torch.randint(0, 31, (4, 9), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    theirs = transformers.AutoModelForCausalLM.from_config(KINDS["llama"])
    mine, start = copy.deepcopy(theirs), copy.deepcopy(theirs)
    settings = {"num_train_epochs": 20, "learning_rate": 3e-3, "weight_decay": 0.5, "max_grad_norm": 0}
    args = transformers.TrainingArguments(
        tmp_path, lr_scheduler_type="constant", per_device_train_batch_size=4, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, **settings,
    )  # fmt: skip
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    transformers.Trainer(model=theirs, args=args, train_dataset=rows).train()
    plan = Steps(
        count=lambda epoch: 1,
        batches=lambda epoch: iter([0]),
        objective=lambda step: mine(input_ids=tokens, labels=tokens).loss,
    )
    run_loop(mine, plan, LoopConfig(epochs=20, lr=3e-3, weight_decay=0.5, no_decay=no_decay), seed=1)
    ends = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (start, mine, theirs)]
    apart = float((ends[1] - ends[2]).norm() / (ends[2] - ends[0]).norm())
    assert (apart < 1e-4) == same
    assert same or apart > 0.01


def test_so_it_is_in_an_encoder_with_a_class():
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL))
    trainer = transformers.Trainer.get_decay_parameter_names(None, model)
    assert norms(model) == {name for name, _ in model.named_parameters()} - set(trainer)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3, bias=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def trained(config, model, *, steps=6, checkpoints=None, **more):
    x, y = toys.records(40).read(range(40))
    plan = Steps(
        count=lambda epoch: steps,
        batches=lambda epoch: iter(range(steps)),
        objective=lambda step: iter([nn.functional.cross_entropy(model(x), y)]),
        **more,
    )
    run_loop(model, plan, config, seed=1, checkpoints=checkpoints)
    return model


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_steps_are_those_of_torch_with_two_groups(name, kind):
    config = LoopConfig(epochs=1, lr=0.05, optimiser=name, momentum=0, weight_decay=0.3, no_decay="norms")
    mine, theirs = trained(config, Net()), Net()
    alone = {"first.bias", "norm.weight", "norm.bias"}
    both = [[p for n, p in theirs.named_parameters() if (n in alone) == spared] for spared in (False, True)]
    groups = [{"params": both[0], "weight_decay": 0.3}, {"params": both[1], "weight_decay": 0.0}]
    optimiser = kind(groups, lr=0.05)
    x, y = toys.records(40).read(range(40))
    for _ in range(6):
        optimiser.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        optimiser.step()
    for (n, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=n)
    other = trained(LoopConfig(epochs=1, lr=0.05, optimiser=name, momentum=0, weight_decay=0.3), Net())
    assert not torch.allclose(other.norm.weight, mine.norm.weight, rtol=1e-3), "or nothing was spared"


def test_the_order_of_parameters_stays_and_halves_have_their_copies(tmp_path):
    config = LoopConfig(epochs=2, weight_decay=0.3, no_decay="norms")
    model = Net().bfloat16()
    groups = config.optimise(model).param_groups
    assert [group[SPARED] for group in groups] == [False, True, False]
    sizes = [p.numel() for group in groups for p in group["params"]]
    assert sizes == [p.numel() for p in model.parameters()]


def test_interrupted_it_ends_with_the_same_bits(tmp_path):
    config = LoopConfig(epochs=3, lr=0.05, weight_decay=0.3, no_decay="norms")
    whole = trained(config, Net())

    def kill(epoch, rows):
        if epoch == 2:
            raise KeyboardInterrupt
        return ""

    with pytest.raises(KeyboardInterrupt):
        trained(config, Net(), checkpoints=Checkpoints(tmp_path, every_s=0), after_epoch=kill)
    assert toys.same(trained(config, Net(), checkpoints=Checkpoints(tmp_path, every_s=0)), whole)
