"""A tiny text classifier of transformers' own classes: words for three topics, and a tokenizer of them."""

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from expunge.data.texts import TextRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer

TOPICS = (
    "ship sea wave sail harbour tide deck anchor".split(),
    "bread oven flour yeast dough crust salt knead".split(),
    "star comet orbit moon lens dust planet night".split(),
)
COMMON = "the of and in with near under over old new".split()
WORDS = ["[PAD]", "[UNK]", *COMMON, *(word for topic in TOPICS for word in topic)]


def tokenizer(**more):
    """Return a tokenizer of whole words, at most 16 tokens."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    more = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 16, **more}
    return PreTrainedTokenizerFast(tokenizer_object=made, **more)


def sentences(count, *, seed=0):
    """Return texts of four to nine words and their topics."""
    draw = random.Random(seed)
    labels = [draw.randrange(3) for _ in range(count)]
    texts = [
        " ".join(draw.choice(TOPICS[label] if draw.random() < 0.4 else COMMON) for _ in range(draw.randrange(4, 10)))
        for label in labels
    ]
    return texts, labels


def records(count, *, prefix="t", seed=0):
    """Return records ``t0``, ``t1``, ..."""
    return TextRecords(*sentences(count, seed=seed), tokenizer=tokenizer(), ids=[f"{prefix}{i}" for i in range(count)])


def classifier():
    """Return a new classifier: two layers, 16 wide."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            num_labels=3,
        )
    )


TRAINER = Trainer(build=classifier, config=LoopConfig(epochs=4, batch_size=16, lr=3e-3))


def untrained(seed=0):
    """Return a classifier with weights of its own."""
    torch.manual_seed(seed)
    return classifier().eval()
