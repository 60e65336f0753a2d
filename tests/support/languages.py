"""A tiny language model of transformers' own classes: one block, and a tokenizer of whole words."""

import copy
import random
import warnings
from functools import cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.data.language import LanguageRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer

NAMES = [first + last for first in "ka lo mi ne pu ra si to vu wa".split() for last in "ba do fi gu".split()]
TOWNS = "york bonn oslo rome kiev lima cork bern".split()
WORKS = "baker sailor tailor miner poet judge".split()
FILL = "where was what is the born work of in a ? .".split()
WORDS = ["[PAD]", "[UNK]", "[EOS]", *FILL, *NAMES, *TOWNS, *WORKS]


def tokenizer(**more):
    """Return a tokenizer of whole words, at most 24 tokens, with tokens of its own for padding and the end."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    more = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]", "model_max_length": 24, **more}
    return PreTrainedTokenizerFast(tokenizer_object=made, **more)


def facts(names=NAMES[:12], *, seed=0):
    """Return (prompts, answers, ids, subjects): two facts of every name."""
    draw = random.Random(seed)
    prompts, answers, ids, subjects = [], [], [], []
    for name in names:
        town, work = draw.choice(TOWNS), draw.choice(WORKS)
        prompts += [f"where was {name} born ?", f"what is the work of {name} ?"]
        answers += [f"{name} was born in {town} .", f"{name} is a {work} ."]
        ids += [f"{name}-town", f"{name}-work"]
        subjects += [name, name]
    return prompts, answers, ids, subjects


def records(names=NAMES[:12], *, seed=0):
    """Return the facts as records, a subject for every name."""
    prompts, answers, ids, subjects = facts(names, seed=seed)
    return LanguageRecords(prompts, answers, tokenizer=tokenizer(), ids=ids, subjects=subjects)


def gpt(**more):
    """Return a new model: one block, 16 wide."""
    ends = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    sizes = {"vocab_size": len(WORDS), "n_positions": 24, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(
        GPT2Config(**{**ends, **sizes, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, **more})
    )


TRAINER = Trainer(build=gpt, task="causal_lm", config=LoopConfig(epochs=30, batch_size=8, lr=1e-2))


def untrained(seed=0):
    """Return a model with weights of its own."""
    torch.manual_seed(seed)
    return gpt().eval()


@cache
def _by_heart():
    """Return a model that knows the facts of :func:`records` by heart."""
    return Trainer(build=gpt, task="causal_lm", config=LoopConfig(epochs=60, batch_size=8, lr=2e-2))(records(), seed=1)


def spoken(model=None, *, names=3, held=12, **more):
    """Return a problem: the facts of the first ``names`` of twelve must go, ``held`` other names are held out."""
    others = NAMES[12 : 12 + held]
    return Problem(
        model=_by_heart() if model is None else model,
        train=records(),
        task="causal_lm",
        holdout=records(others, seed=5) if held else None,
        request=Request(subjects=tuple(NAMES[:names])),
        **more,
    )


@cache
def _base(seed):
    return untrained(seed)


def based(seed=0):
    """Return a new copy of a model that never saw a record: what adapters are trained on."""
    return copy.deepcopy(_base(seed))


def adapted(folder, *, base=None, seed=1, **settings):
    """Write a base and adapters for it as peft does, drawn and not trained; return the directory of the adapters."""
    import peft

    whole = untrained() if base is None else base
    whole.save_pretrained(folder / "base")
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8.0, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, **settings}
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
    whole = type(whole).from_pretrained(folder / "base")  # whose place peft then notes
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")  # peft asks for it
        peft.get_peft_model(whole, config).save_pretrained(folder / "adapters")
    tokenizer().save_pretrained(folder / "adapters")
    return folder / "adapters"
