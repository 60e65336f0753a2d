"""What a step of ``language_step.py`` is made of, and the written count of passes and bytes, with its targets."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

RANK = 8
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "npo, nll": ("npo", {"retain": "nll"}),
    "npo, kl": ("npo", {"retain": "kl"}),
    "dpo, nll": ("alt_dpo", {"retain": "nll", "retain_weight": 1.0}),
    "rmu": ("rmu", {"block": 3, "alpha": 1200.0}),
    "npo, nll, lora": ("npo", {"retain": "nll", "lora": RANK}),
    "npo, kl, lora": ("npo", {"retain": "kl", "lora": RANK}),
    "dpo, nll, lora": ("alt_dpo", {"retain": "nll", "retain_weight": 1.0, "lora": RANK}),
}
WHOLE = [case for case, (_, more) in CASES.items() if "lora" not in more]
"""Those whose own weights move; adapters are measured on a device, unless they are asked for."""
_BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
SHAPES: dict[str, dict[int, dict[str, int]]] = {
    "small": {
        32_000: {"hidden_size": 384, "intermediate_size": 1024},
        128_000: {"hidden_size": 320, "intermediate_size": 864},
    },
    "1b": {32_000: _BILLION, 128_000: _BILLION},
}
"""What a network of some size has for a vocabulary; beside it stands what all have. 1b: that of a Llama 3.2."""
COUNT = {
    "npo, nll": (7, 6),
    "npo, kl": (8, 7),
    "dpo, nll": (11, 9),
    "rmu": (4.5, 3),
    "npo, nll, lora": (5, 4),
    "npo, kl, lora": (6, 5),
    "dpo, nll, lora": (8, 6),
}
"""Calls of the body per step: (the plain way, ours). NPO: 3 + 3 with gradients, 1 or 2 of the copy; ours saves that on
forgotten records. DPO, for which a refusal of eight tokens is preferred to each answer, as IdkDPO and AltPO do: 3 + 3
+ 3 with gradients, 2 of the copy, which ours saves. RMU: three calls, of which ours stops at the block (4 of 8); the
gradient of both ways reaches three blocks of two of these. With adapters 2 with gradients, since those of the weights
are not made."""
BYTES: dict[str, tuple[int, dict[str, int], int]] = {
    "npo, nll": (20, {"forget": 12, "retain": 12}, 16),
    "npo, kl": (20, {"forget": 12, "retain": 20}, 20),
    "dpo, nll": (20, {"forget": 12, "refusal": 12, "retain": 12}, 16),
    "rmu": (8, {"retain": 4}, 4),
    "npo, nll, lora": (8, {"forget": 12, "retain": 12}, 4),
    "npo, kl, lora": (8, {"forget": 12, "retain": 20}, 4),
    "dpo, nll, lora": (8, {"forget": 12, "refusal": 12, "retain": 12}, 4),
}
"""Bytes at once: the plain way's per weight, its per padded token and word of the vocabulary, ours per weight. Weights,
gradient and two moments are 16, a second model 4 (of RMU hardly any weight moves, with adapters none). Logits, their
log-softmax and its gradient are 12; those of the copy, for a divergence, 8 more; RMU makes some and needs none. Ours
makes 16 MiB of them at a time."""
HALVES: dict[str, tuple[int, dict[str, int], int]] = {
    "npo, nll": (18, {"forget": 10, "retain": 10}, 16),
    "npo, kl": (18, {"forget": 10, "retain": 16}, 18),
    "dpo, nll": (18, {"forget": 10, "refusal": 10, "retain": 10}, 16),
    "rmu": (4, {"retain": 2}, 2),
    "npo, nll, lora": (4, {"forget": 10, "retain": 10}, 2),
    "npo, kl, lora": (4, {"forget": 10, "retain": 16}, 2),
    "dpo, nll, lora": (4, {"forget": 10, "refusal": 10, "retain": 10}, 2),
}
"""The same in bfloat16: weights and gradient are 4, a copy in float32 that the optimiser moves and two moments 12, a
second model 2; logits 2, their log-softmax and its gradient in float32 8."""
_WIDER = 2
"""What a gradient grows by, per weight, while the optimiser reads it in float32: no logits are there then."""
TOKENS = {"forget": 558, "retain": 594, "refusal": 234}
"""Padded tokens of a batch, prompts included: means over the steps."""
FIRST, SPEED, MEMORY = "npo, nll", 1.7, 0.6
"""What was asked for of one case: what others are asked for follows from their counts beside its own."""
MADE = 2**24


def network(vocabulary: int, size: str = "small") -> LlamaConfig:
    """Return the settings of the network."""
    shape = {
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        **SHAPES[size][vocabulary],
    }
    return LlamaConfig(
        vocab_size=vocabulary, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, **shape
    )


def weights(vocabulary: int, size: str = "small") -> int:
    """Return how many numbers the network has."""
    with torch.device("meta"):
        return sum(p.numel() for p in LlamaForCausalLM(network(vocabulary, size)).parameters())


# --- passes -------------------------------------------------------------------------------------------------------


def needed(case: str, layers: int) -> dict[str, float]:
    """Return by set the calls of the body that a step needs, a backward pass as two, or as one with adapters."""
    name, more = CASES[case]
    if name == "rmu":  # forward up to the block, of retained records twice; backward through three of two calls
        reached = more["block"] + 1
        return {"forget": (reached + 6) / layers, "retain": (2 * reached + 6) / layers}
    each = 2 if "lora" in more else 3
    found = {"forget": each, "retain": each + (more["retain"] == "kl")}
    return {**found, "refusal": each} if name == "alt_dpo" else found


def calls(case: str, layers: int) -> tuple[float, float]:
    """Return the calls of the body per step of a network of so many blocks: (the plain way, ours)."""
    ours = sum(needed(case, layers).values())
    plain, small = COUNT[case]
    return (3 + 12 / layers if CASES[case][0] == "rmu" else ours + plain - small), ours


def operations(case: str, vocabulary: int, size: str, tokens: dict[str, tuple[float, float]]) -> float:
    """Return multiplications and additions that a step needs, of matrices of weights: those of attention left out.

    ``tokens``: by set those that are read, and those that are scored, whose logits are made. Padding, a second reading
    of what is known, and logits that are made twice are not needed.
    """
    settings = network(vocabulary, size)
    head = vocabulary * settings.hidden_size
    body = weights(vocabulary, size) - head
    scored = 0 if CASES[case][0] == "rmu" else head
    times = needed(case, settings.num_hidden_layers)
    return 2 * sum(each * (body * tokens[which][0] + scored * tokens[which][1]) for which, each in times.items())


# --- targets ------------------------------------------------------------------------------------------------------


def speed(case: str) -> float:
    """Return how many times the plain way's steps a second are to be made."""
    gains = {each: plain / ours for each, (plain, ours) in COUNT.items()}
    return round(SPEED * gains[case] / gains[FIRST], 2)


def share(case: str, vocabulary: int, size: str = "small", precision: str = "float32") -> float:
    """Return which share of the bytes of the plain way ours holds, by the count."""
    numbers, halves = weights(vocabulary, size), precision == "bfloat16"
    plain, words, ours = (HALVES if halves else BYTES)[case]
    logits = vocabulary * sum(TOKENS[which] * bytes_ for which, bytes_ in words.items())
    wider = _WIDER * numbers if halves and case in WHOLE and case != "rmu" else 0
    return max(ours * numbers + MADE, ours * numbers + wider) / (plain * numbers + max(logits, wider))


def memory(case: str, vocabulary: int) -> float:
    """Return which share of the plain way's peak memory is to do."""
    return round(MEMORY * share(case, vocabulary) / share(FIRST, vocabulary), 2)


def targets(case: str, vocabulary: int, size: str) -> tuple[float, float | None]:
    """Return the targets of speed and memory.

    The small network's follow from what was asked of one case. Of a large one, where weights are most of what is held
    and of what is computed, that case has what was asked, and others the speed of their own count; none has a target of
    memory, since what layers keep for their gradients is in no count.
    """
    if size == "small":
        return speed(case), memory(case, vocabulary)
    if case == FIRST:
        return SPEED, MEMORY
    plain, ours = calls(case, network(vocabulary, size).num_hidden_layers)
    return round(plain / ours, 2), None
