"""The language problem: words that count on, and small models with all that goes wrong in public code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from expunge.data.language import LanguageRecords

WORDS = 24
ENDS = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
"""Padding has a number of its own, which stands in no record: a row is known whatever it is padded to."""
SIZES = {"vocab_size": WORDS + 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, **ENDS}
CONTEXT = 64


class Talk(LanguageRecords):
    """Records that remember which ids were read: four words as the prompt, and two to five that follow on them."""

    def __init__(self, count: int, *, prefix: str, seed: int) -> None:
        draw = np.random.default_rng(seed)
        asked = draw.integers(0, WORDS, (count, 4))
        lengths = draw.integers(2, 6, count)
        said = [(row[0] + 1 + np.arange(n)) % WORDS for row, n in zip(asked, lengths, strict=True)]
        super().__init__(
            [" ".join(f"w{i}" for i in row) + " ?" for row in asked],
            [" ".join(f"w{i}" for i in row) for row in said],
            tokenizer=tokenizer(),
            ids=[f"{prefix}{i}" for i in range(count)],
        )
        self.seen: Counter[str] = Counter()

    def read(self, indices: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the batch, and remember its records."""
        self.seen.update(self.ids[i] for i in indices)
        return super().read(indices)

    def text(self, index: int) -> str:
        """Return the answer, and remember its record."""
        self.seen[self.ids[index]] += 1
        return super().text(index)

    def said(self, index: int) -> tuple[str, ...]:
        """Return what is answered, and remember the record."""
        self.seen[self.ids[index]] += 1
        return super().said(index)

    def alternatives(self) -> LanguageRecords:
        """Return the same questions, with an answer that none of them has."""
        return self.answered({name: ["w3 w1 w2"] for name in self.ids})

    def held(self) -> list[tuple[Tensor, Tensor]]:
        """Return the tensors of every record: tokens, and which are scored."""
        return list(self._rows)

    def spoil(self, ids: Sequence[str]) -> None:
        """Change what these records say."""
        for name in ids:
            tokens = self._rows[self.position[name]][0]
            tokens.copy_(4 + (tokens + 1) % WORDS)


@cache
def tokenizer() -> Any:
    """Return a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[EOS]", "?", *(f"w{i}" for i in range(WORDS))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=CONTEXT, **special)


def gpt() -> nn.Module:
    """Return a GPT-2 with dropout; its head is its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_positions=CONTEXT, **SIZES))


def llama() -> nn.Module:
    """Return a Llama: other norms, gates, no dropout, and a head of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"intermediate_size": 24, "max_position_embeddings": CONTEXT, "tie_word_embeddings": False}
    return LlamaForCausalLM(LlamaConfig(**SIZES, **sizes))


class Recurrent(nn.Module):
    """A model of nobody's library, which makes all its logits itself."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(SIZES["vocab_size"], 16)
        self.memory = nn.GRU(16, 16, batch_first=True)
        self.score = nn.Linear(16, SIZES["vocab_size"])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return logits [B, T, V]."""
        logits: Tensor = self.score(self.memory(self.words(input_ids))[0])
        return logits


def renamed() -> nn.Module:
    """Return the model of :func:`gpt` with body and head under names that say something else."""
    from transformers import GPT2Config

    return _renamed_class()(GPT2Config(n_positions=CONTEXT, **SIZES))


@cache
def _renamed_class() -> Callable[[Any], nn.Module]:
    from transformers import GPT2Model, GPT2PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    class Renamed(GPT2PreTrainedModel):
        base_model_prefix = "bn"
        _tied_weights_keys: Any = {"fc.weight": "bn.wte.weight"}  # noqa: RUF012  transformers' own form

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bn = GPT2Model(config)
            self.fc = nn.Linear(config.n_embd, config.vocab_size, bias=False)
            self.post_init()

        def get_output_embeddings(self) -> nn.Linear:
            return self.fc

        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> CausalLMOutput:
            states = self.bn(input_ids, attention_mask=attention_mask, **more).last_hidden_state
            return CausalLMOutput(logits=self.fc(states))

    return Renamed
