"""How many tokens of a batch are padding, and what packing records into one row could still save.

Batches are of 8 records of TOFU's lengths (all 4,000, in the order in which training reads them; letters divided as in
``language_step.py``), as the forgotten and the retained half of a step each are. They are padded whole, or in groups of
like length as ``tasks/causal_lm`` runs them, where a group is one more call. Packed, a batch would be one call without
padding: what that saves is counted in tokens, and in work, a call as many tokens as the task takes it for. Attention is
not in the count; to keep packed records apart in it is more work, not less, unless there is a kernel for it.

    python benchmarks/padding.py [--json] [--save FILE]        some seconds
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
from _count import network
from _table import Row, arguments, finish, over_seeds
from language_step import BATCH, LETTERS, TOFU
from transformers import LlamaForCausalLM

from expunge.engine.batches import bounds, order
from expunge.tasks import causal_lm

SEEDS = range(3)
VOCABULARY = 32_000
WHERE = {
    "a small network on the processor": ("small", causal_lm._CALL),
    "a billion weights on the processor": ("1b", causal_lm._CALL),
    "a billion weights on a device": ("1b", causal_lm._CALL_OF_A_DEVICE),
}
"""Size of the network, and the multiplications that a call is worth there."""


def batches(seed: int) -> Iterator[torch.Tensor]:
    """Yield the lengths in tokens of the records of every batch of an epoch, [8]."""
    rows = [json.loads(line) for line in TOFU.read_text().splitlines()]
    tokens = torch.tensor(
        [sum(max(2, round(len(row[part]) / LETTERS)) for part in ("question", "answer")) for row in rows]
    )
    drawn = order([f"r-{place}" for place in range(len(rows))], seed=seed, epoch=0)
    return (tokens[drawn[start:stop]] for start, stop in bounds(len(drawn), BATCH))


def body(size: str) -> int:
    """Return how many weights of a network every token is multiplied with, embeddings and head apart."""
    with torch.device("meta"):
        model = LlamaForCausalLM(network(VOCABULARY, size))
    return sum(p.numel() for p in model.model.parameters()) - model.get_input_embeddings().weight.numel()


def epoch(seed: int, call: float) -> dict[str, float]:
    """Return what an epoch comes to where a call is worth so many tokens; shares in percent."""
    read = whole = run = calls = count = 0
    for lengths in batches(seed):
        groups = causal_lm._groups(lengths, 1 / call)
        read, whole = read + int(lengths.sum()), whole + len(lengths) * int(lengths.max())
        run += sum(len(group) * int(lengths[group].max()) for group in groups)
        calls, count = calls + len(groups), count + 1
    return {
        "padding where batches are padded whole": 100 * (1 - read / whole),
        "padding in groups": 100 * (1 - read / run),
        "calls of a batch in groups": calls / count,
        "work that groups save": 100 * (1 - (run + call * calls) / (whole + call * count)),
        "work that packing would save of that": 100 * (1 - (read + call * count) / (run + call * calls)),
    }


def main() -> int:
    """Count and print."""
    options = arguments(__doc__).parse_args()
    if not TOFU.is_file():
        print(f"skipped: no {TOFU.name}, whose lengths are those of the batches", file=sys.stderr)
        return 0
    rows, calls = [], {}
    for where, (size, worth) in WHERE.items():
        calls[where] = worth / body(size)
        found = [epoch(seed, calls[where]) for seed in SEEDS]
        for what in found[0]:
            if what.startswith("calls"):
                facts: dict[str, Any] = {"unit": "calls", "against": "one"}
            else:
                facts = {"unit": "% of tokens" if what.startswith("padding") else "% of work", "against": "none"}
            values = over_seeds([one[what] for one in found])
            rows.append(Row(name=f"{where}: {what}", target=None, better="lower", **facts, **values))
    finish(rows, options, tokens_of_a_call=calls, batch=BATCH)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
