"""A step of methods for language models beside the way research code takes it: time, peak memory, and equal losses.

The plain way holds two models, the one that is trained and a copy of the original, and calls each on every padded batch
whole, prompts and padding under the head as well: ``[batch, tokens, vocabulary]`` logits of every call. Ours asks the
original once before training where one number per record is enough, or by three matrices put back; runs the head at
scored tokens only, some at a time; answers records of like length together; and adds gradients of head and embedding
where they lie. Both take the same batches with the same optimiser, one thread. Memory is the peak up to the last step;
that of the whole run stands beside it, since ours opens the original once more at its end, to say what has changed.
Lengths are those of TOFU's questions and answers at 4.6 letters a token, tokens are drawn.

Count per step, in calls of the body on the batch's tokens (a backward pass counts two), of 8 forgotten and 8 retained:
see ``COUNT``; and in bytes that are held at once: see ``BYTES``. Targets follow from it: NPO with the loss of retained
answers is to take 1.7 times as many steps a second in 0.6 of the memory, which is more than its count says, since heads
and padding are saved as well; every other case is to gain as much beyond its own count.

    python benchmarks/language_step.py [--json] [--save FILE]        about 15 minutes on one core
    python benchmarks/language_step.py --targets --save FILE         write targets anew, measure nothing
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import math
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _table import Row, arguments, finish
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.core import registry
from expunge.core.problem import Problem
from expunge.data.language import NOT_SCORED, LanguageRecords
from expunge.engine.context import Context
from expunge.engine.progress import Progress
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.split import Part
from expunge.models.huggingface import HuggingFaceModel

TOFU = Path(__file__).parents[2] / "shared" / "data" / "tofu" / "full.json"
LETTERS, BATCH, STEPS, LR, REFUSAL = 4.6, 8, 4, 1e-5, 8
SIZES = {
    32_000: {"hidden_size": 384, "intermediate_size": 1024},
    128_000: {"hidden_size": 320, "intermediate_size": 864},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "npo, nll": ("npo", {"retain": "nll"}),
    "npo, kl": ("npo", {"retain": "kl"}),
    "dpo, nll": ("alt_dpo", {"retain": "nll", "retain_weight": 1.0}),
    "rmu": ("rmu", {"block": 3, "alpha": 1200.0}),
}
COUNT = {"npo, nll": (7, 6), "npo, kl": (8, 7), "dpo, nll": (11, 9), "rmu": (4.5, 3)}
"""Calls of the body per step: (the plain way, ours). NPO: 3 + 3 with gradients, 1 or 2 of the copy; ours saves that on
forgotten records. DPO, for which a refusal of eight tokens is preferred to each answer, as IdkDPO and AltPO do: 3 + 3
+ 3 with gradients, 2 of the copy, which ours saves. RMU: three calls, of which ours stops at the block (4 of 8); the
gradient of both ways reaches three blocks of two of these."""
BYTES: dict[str, tuple[int, dict[str, int], int]] = {
    "npo, nll": (20, {"forget": 12, "retain": 12}, 16),
    "npo, kl": (20, {"forget": 12, "retain": 20}, 20),
    "dpo, nll": (20, {"forget": 12, "refusal": 12, "retain": 12}, 16),
    "rmu": (8, {"retain": 4}, 4),
}
"""Bytes at once: the plain way's per weight, its per padded token and word of the vocabulary, ours per weight. Weights,
gradient and two moments are 16, a second model 4 (of RMU hardly any weight moves). Logits, their log-softmax and its
gradient are 12; those of the copy, for a divergence, 8 more; RMU makes some and needs none. Ours makes 16 MiB of them
at a time."""
TOKENS = {"forget": 558, "retain": 594, "refusal": 234}
"""Padded tokens of a batch, prompts included: means over the steps."""
FIRST, SPEED, MEMORY = "npo, nll", 1.7, 0.6
"""What was asked for of one case: what others are asked for follows from their counts beside its own."""
MADE = 2**24


class Drawn(LanguageRecords):
    """Records of random tokens with the lengths of TOFU's."""

    def __init__(self, lengths: list[tuple[int, int]], vocabulary: int, name: str) -> None:
        draw = torch.Generator().manual_seed(0)
        self._rows = [
            (torch.randint(1, vocabulary, (q + a,), generator=draw), torch.arange(q + a) >= q) for q, a in lengths
        ]
        self.ids = tuple(name.format(i) for i in range(len(lengths)))
        self.subjects = (None,) * len(lengths)
        self._pad, self.longest = 0, max(q + a for q, a in lengths)


def speed(case: str) -> float:
    """Return how many times the plain way's steps a second are to be made."""
    gains = {each: plain / ours for each, (plain, ours) in COUNT.items()}
    return round(SPEED * gains[case] / gains[FIRST], 2)


def memory(case: str, vocabulary: int) -> float:
    """Return which share of the plain way's peak memory is to do."""
    with torch.device("meta"):
        weights = sum(p.numel() for p in LlamaForCausalLM(network(vocabulary)).parameters())
    shares = {}
    for each, (plain, words, ours) in BYTES.items():
        logits = vocabulary * sum(TOKENS[which] * size for which, size in words.items())
        shares[each] = (ours * weights + MADE) / (plain * weights + logits)
    return round(MEMORY * shares[case] / shares[FIRST], 2)


def network(vocabulary: int) -> LlamaConfig:
    """Return the settings of the network."""
    return LlamaConfig(
        vocab_size=vocabulary,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        **SIZES[vocabulary],
    )


def problem(vocabulary: int, folder: Path) -> Problem:
    """Return records to forget, as many to keep, and a network with random weights, written into a folder."""
    rows = [json.loads(line) for line in TOFU.read_text().splitlines()]
    some = [rows[i] for i in range(0, len(rows), len(rows) // (2 * STEPS * BATCH))][: 2 * STEPS * BATCH]
    lengths = [tuple(max(2, round(len(row[part]) / LETTERS)) for part in ("question", "answer")) for row in some]
    records = Drawn(lengths, vocabulary, "r-{}")
    refusals = Drawn([(question, REFUSAL) for question, _ in lengths], vocabulary, "r-{}#0")
    torch.manual_seed(0)
    forget = list(records.ids[::2])
    LlamaForCausalLM(network(vocabulary)).save_pretrained(folder)  # as a user has it: in a directory
    return Problem(
        model=HuggingFaceModel(folder),
        task="causal_lm",
        train=records,
        forget=forget,
        variants={"alternative": refusals},
    )


# --- our way ------------------------------------------------------------------------------------------------------


class Stops(Progress):
    """Notes when each step ended, and the peak memory until then."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.peak = 0.0

    def advance(self, label: str = "", count: int = 1) -> None:
        """Note the time and the peak."""
        self.times.append(time.process_time())
        self.peak = _memory("VmHWM")


def ours(made: Problem, case: str) -> tuple[Stops, float]:
    """Return what was noted of the steps, and the mean loss of all of them."""
    name, more = CASES[case]
    stops = Stops()
    run = Context(
        problem=made,
        seed=0,
        label=name,
        choosing=Part(made.records.select([]), None),
        choosing_models=list,
        progress=stops,
    )
    settings = {**more, "epochs": 1, "batch_size": BATCH, "lr": LR, "optimiser": "adamw"}
    outcome = registry.load("methods", name)(settings).unlearn(made, run)
    return stops, outcome.history[0]["objective"]


# --- the plain way ------------------------------------------------------------------------------------------------


def sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed loss of every answer, [B]."""
    shifted = logits[:, :-1].float().transpose(1, 2)
    return F.cross_entropy(shifted, labels[:, 1:], reduction="none", ignore_index=NOT_SCORED).sum(dim=1)


def divergence(mine: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over scored tokens of KL(theirs || mine)."""
    each = F.kl_div(mine[:, :-1].log_softmax(-1), theirs[:, :-1].log_softmax(-1), log_target=True, reduction="none")
    scored = (labels[:, 1:] != NOT_SCORED).float()
    return (each.sum(dim=-1) * scored).sum() / scored.sum()


def states(model: Any, inputs: dict[str, Tensor], block: int) -> Tensor:
    """Return what a block says, by a hook on it; the whole model runs."""
    found: list[Tensor] = []
    hook = model.model.layers[block].register_forward_hook(
        lambda _, __, said: found.append(said[0] if isinstance(said, tuple) else said)
    )
    model(**inputs, use_cache=False)
    hook.remove()
    return found[0]


def misdirected(h: Tensor, aim: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over records of the mean over their scored tokens of the squared distance per number."""
    scored = (labels[:, 1:] != NOT_SCORED).float()
    each = ((h[:, :-1] - (aim if aim.dim() == 1 else aim[:, :-1])) ** 2).mean(dim=-1)
    return ((each * scored).sum(dim=1) / scored.sum(dim=1)).mean()


def plain(made: Problem, case: str) -> tuple[Stops, float]:
    """Return the same of the plain way, on the batches that the method draws."""
    name, more = CASES[case]
    method = registry.load("methods", name)({**more, "epochs": 1, "batch_size": BATCH, "lr": LR})
    model = made.source.open().train()
    original = made.source.open()
    if name == "rmu":
        aim, moving = _of_rmu(made, method)
        for part in model.parameters():
            part.requires_grad_(False)
        for place in moving:
            model.model.layers[place].mlp.down_proj.weight.requires_grad_(True)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], LR, weight_decay=0.0, fused=True)
    stops, losses = Stops(), []
    for step in method.passes(1)[0].batches(made, seed=0, epoch=0):
        (f, fl), (r, rl) = step.forget.batch, step.retain.batch
        if name == "rmu":
            with torch.no_grad():
                theirs = states(original, r, more["block"])
            loss = misdirected(states(model, f, more["block"]), aim, fl)
            loss = loss + more["alpha"] * misdirected(states(model, r, more["block"]), theirs, rl)
        else:
            pairs = [(f, fl)]
            if name == "alt_dpo":
                refusals = made.variant_records["alternative"]
                pairs.append(refusals.read([refusals.ids.index(f"{one}#0") for one in step.forget.ids]))
            with torch.no_grad():
                then = [sums(original(**x, use_cache=False).logits, y) for x, y in pairs]
            now = [sums(model(**x, use_cache=False).logits, y) for x, y in pairs]
            risen = [late - early for late, early in zip(now, then, strict=True)]
            loss = -2 / 0.1 * F.logsigmoid(0.1 * (risen[0] - sum(risen[1:]))).mean()
            if more["retain"] == "nll":
                loss = loss + model(**r, labels=rl, use_cache=False).loss
            else:
                with torch.no_grad():
                    theirs = original(**r, use_cache=False).logits
                loss = loss + divergence(model(**r, use_cache=False).logits, theirs, rl)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        stops.advance()
    return stops, sum(losses) / len(losses)


def _of_rmu(made: Problem, method: Any) -> tuple[Tensor, list[int]]:
    """Return direction and blocks as the method chooses them: they are no part of what is compared."""
    run = Context(problem=made, seed=0, label="", choosing=Part(made.records.select([]), None), choosing_models=list)
    method.prepare(made.source.open(), made, run)
    place = method.config.block
    return method._aim, list(range(max(0, place - 2), place + 1))


# --- side by side -------------------------------------------------------------------------------------------------


def one(case: str, vocabulary: int, who: str) -> dict[str, Any]:
    """Return CPU-seconds of the steps after the first, loss and peak memory of one side, measured in this process."""
    single_thread()
    hold_memory()
    with tempfile.TemporaryDirectory(prefix="language-step-") as folder:
        made = problem(vocabulary, Path(folder))
        weights = sum(p.numel() for p in made.source.open().parameters())
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is reckoned from here
        stops, loss = (ours if who == "ours" else plain)(made, case)
        times = [late - early for early, late in pairwise(stops.times)]
        whole = _memory("VmHWM")
    return {"times": times, "loss": loss, "peak": stops.peak - before, "whole": whole - before, "weights": weights}


def _memory(what: str) -> float:
    """Return a figure of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--keep", action="store_true", help="leave other cases as the file of --save has them")
    parser.add_argument("--targets", action="store_true", help="write targets anew into the file of --save, no more")
    parser.add_argument("--one", nargs=3, help="internal: case, vocabulary, side")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]), given.one[2])))
        return 0
    if given.targets:
        earlier = retargeted(json.loads(given.save.read_text()))
        given.save.write_text(json.dumps(earlier, indent=1, sort_keys=True, allow_nan=False) + "\n")
        return 0 if all(Row(**row).met != "MISSED" for row in earlier["results"]) else 1
    if not TOFU.is_file():
        print(f"skipped: no {TOFU.name}, whose lengths are those of the batches", file=sys.stderr)
        return 0
    load, rows = os.getloadavg()[0], []
    for vocabulary in given.vocabularies:
        for case in given.cases:
            rows += side_by_side(case, vocabulary, given.repeats)
            print("; ".join(f"{row.name} {row.value:.3g}" for row in rows[-4:]), file=sys.stderr, flush=True)
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    measured = [f"{case}, {vocabulary // 1000}k" for vocabulary in given.vocabularies for case in given.cases]
    if given.keep:
        rows = beside_earlier(rows, json.loads(given.save.read_text())["results"])
    finish(rows, given, load_before=round(load, 2), repeats=given.repeats, count=COUNT, note=note, measured=measured)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def beside_earlier(rows: list[Row], earlier: list[dict[str, Any]]) -> list[Row]:
    """Return the rows and those of other cases that were measured earlier, in the order of vocabularies and cases."""
    mine = {row.name for row in rows}
    order = [f"{case}, {vocabulary // 1000}k words" for vocabulary in SIZES for case in CASES]
    kept = [Row(**row) for row in earlier if row["name"] not in mine]
    return sorted([*rows, *kept], key=lambda row: order.index(row.name.partition(" (")[0]))


def retargeted(earlier: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured, as it was, beside the targets that the count gives now."""
    targets = {}
    for case in CASES:
        for vocabulary in SIZES:
            targets[f"{case}, {vocabulary // 1000}k words", "steps a second"] = speed(case)
            targets[f"{case}, {vocabulary // 1000}k words", "peak memory"] = memory(case, vocabulary)
    rows = []
    for row in earlier["results"]:
        case, what = row["name"].split(" (")[0], row["name"].split(": ")[1]
        rows.append({**row, "target": targets.get((case, what), row["target"])})
    return {**earlier, "results": rows, "count": COUNT, "bytes": BYTES}


def side_by_side(case: str, vocabulary: int, repeats: int) -> list[Row]:
    """Return speed, memory and agreement of one method at one vocabulary."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        for who in found:
            words = [sys.executable, __file__, "--one", case, str(vocabulary), who]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            found[who].append(json.loads(said.splitlines()[-1]))
    fastest = {who: min(t for one in runs for t in one["times"]) for who, runs in found.items()}
    middle = {who: sorted(t for one in runs for t in one["times"]) for who, runs in found.items()}
    typical = {who: times[len(times) // 2] for who, times in middle.items()}
    peak, whole = ({who: min(one[of] for one in runs) for who, runs in found.items()} for of in ("peak", "whole"))
    losses = {who: runs[0]["loss"] for who, runs in found.items()}
    against = "two models, whole calls, full logits, padded batches"
    size = found["ours"][0]["weights"] / 1e6
    title, n = f"{case}, {vocabulary // 1000}k words ({size:.0f}M weights)", len(middle["ours"])

    def row(what: str, value: float, target: float | None, better: str, unit: str) -> Row:
        return Row(name=f"{title}: {what}", value=value, target=target, better=better, unit=unit, against=against, n=n)

    apart = abs(losses["ours"] - losses["plain"]) / abs(losses["plain"])
    assert math.isfinite(apart)
    return [
        row("steps a second", typical["plain"] / typical["ours"], speed(case), "higher", "times the plain way's"),
        row("fastest step", fastest["plain"] / fastest["ours"], None, "higher", "times the plain way's"),
        row("peak memory", peak["ours"] / peak["plain"], memory(case, vocabulary), "lower", "of the plain way's"),
        row("peak memory of the whole run", whole["ours"] / whole["plain"], None, "lower", "of the plain way's"),
        row("loss apart", apart, 1e-5, "lower", "of the loss"),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
