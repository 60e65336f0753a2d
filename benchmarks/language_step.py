"""A step of methods for language models beside the way research code takes it: time, peak memory, and equal losses.

The plain way holds two models, the one that is trained and a copy of the original, and calls each on every padded batch
whole, prompts and padding under the head as well: ``[batch, tokens, vocabulary]`` logits of every call. Ours asks the
original once before training where one number per record is enough, or by three matrices put back; runs the head at
scored tokens only, some at a time; answers records of like length together; and adds gradients of head and embedding
where they lie. Both take the same batches with the same optimiser, one thread. Memory is the peak up to the last step;
that of the whole run stands beside it, since ours opens the original once more at its end, to say what has changed.
Lengths are those of TOFU's questions and answers at 4.6 letters a token, tokens are drawn.

The written count of passes and bytes, and the targets that follow from it: see ``_count.py``. NPO with the loss of
retained answers is to take 1.7 times as many steps a second in 0.6 of the memory, which is more than its count says,
since heads and padding are saved as well; every other case is to gain as much beyond its own count.

On a device: a Llama of a billion drawn weights in bfloat16, which both sides train through copies in float32, adapters
as well, and more steps. Beside the rest stand tokens a second and the share of the device's matrix rate, which is that
of a plain product of large squares in the same process: of the products with weights that a step needs, the same for
both sides. Seconds are counted once the device is done, memory is the most that torch's tensors held there. That both
sides have equal losses is shown in float32 as well, by runs of their own. Ours keeps to kernels that add in one order,
as it does for its users.

    python benchmarks/language_step.py [--json] [--save FILE]        about 15 minutes on one core
    python benchmarks/language_step.py --device cuda --save FILE     the other one; taken by itself where there is CUDA
    python benchmarks/language_step.py --targets --save FILE         write targets anew, measure nothing
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import copy
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from _count import BYTES, CASES, COUNT, SHAPES, WHOLE, calls, network, operations, share, targets
from _device import Memory, clock, matrix_rate, option
from _table import Row, arguments, finish
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from expunge.core import registry
from expunge.core.errors import RunFailed
from expunge.core.memory import asked_for, ran_out
from expunge.core.problem import Problem
from expunge.data.language import NOT_SCORED, LanguageRecords
from expunge.engine.adapters import drawn
from expunge.engine.context import Context
from expunge.engine.device import called, placed, steady
from expunge.engine.masters import Masters
from expunge.engine.progress import Progress
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.split import Part
from expunge.models.huggingface import HuggingFaceModel

TOFU = Path(__file__).parents[2] / "shared" / "data" / "tofu" / "full.json"
LETTERS, BATCH, STEPS, LR, REFUSAL = 4.6, 8, 4, 1e-5, 8
MORE, WARM = 24, 4
"""Steps on a device, and how many of them are not counted: libraries choose there how to do what they meet first."""
TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-8}
"""How far losses may be apart. A number of bfloat16 has eight binary digits: what both sides compute in another order,
or of other batches, differs by a rounding of the last, which a mean of losses brings down and a difference does not."""


PLAINLY = {"device": "cpu", "network": "small", "precision": "float32", "steps": STEPS}
"""How it is measured on the processor, which a file of figures does not say."""


@dataclass(frozen=True)
class Run:
    """What one process measures.

    ``folder`` is where the network lies, drawn now where nothing lies there; without one it is drawn for this process.
    """

    case: str
    vocabulary: int
    who: str
    device: str = "cpu"
    precision: str = "float32"
    size: str = "small"
    steps: int = STEPS
    warm: int = 0
    folder: str = ""

    @property
    def where(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    @property
    def kind(self) -> torch.dtype:
        """The kind of numbers of the weights."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.precision]


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


def problem(run: Run, folder: Path) -> Problem:
    """Return records to forget, as many to keep, and a network with random weights, written into a folder."""
    rows, many = [json.loads(line) for line in TOFU.read_text().splitlines()], 2 * run.steps * BATCH
    some = [rows[i] for i in range(0, len(rows), len(rows) // many)][:many]
    lengths = [tuple(max(2, round(len(row[part]) / LETTERS)) for part in ("question", "answer")) for row in some]
    records = Drawn(lengths, run.vocabulary, "r-{}")
    refusals = Drawn([(question, REFUSAL) for question, _ in lengths], run.vocabulary, "r-{}#0")
    forget = list(records.ids[::2])
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        # As a user has it: in a directory.
        LlamaForCausalLM(network(run.vocabulary, run.size)).to(run.kind).save_pretrained(folder)
    return Problem(
        model=HuggingFaceModel(folder),
        task="causal_lm",
        train=records,
        forget=forget,
        variants={"alternative": refusals},
    )


def sides(made: Problem, case: str, step: Any) -> dict[str, Any]:
    """Return the batches of a step by set, inputs and labels of each."""
    found = {"forget": step.forget.batch, "retain": step.retain.batch}
    if CASES[case][0] == "alt_dpo":
        refusals = made.variant_records["alternative"]
        found["refusal"] = refusals.read([refusals.ids.index(f"{one}#0") for one in step.forget.ids])
    return found


def tokens(made: Problem, case: str, steps: Any) -> dict[str, tuple[float, float]]:
    """Return by set how many tokens a step reads, without padding, and how many of them are scored: means over all."""
    found: dict[str, list[tuple[int, int]]] = {}
    for step in steps:
        for name, (inputs, labels) in sides(made, case, step).items():
            scored = int((labels[:, 1:] != NOT_SCORED).sum())
            found.setdefault(name, []).append((int(inputs["attention_mask"].sum()), scored))
    return {name: (fmean(read for read, _ in rows), fmean(told for _, told in rows)) for name, rows in found.items()}


# --- our way ------------------------------------------------------------------------------------------------------


class Stops(Progress):
    """Notes when each step ended, and the peak memory until then."""

    def __init__(self, held: Memory, where: torch.device) -> None:
        self._held, self._where = held, where
        self.times: list[float] = []
        self.peak: float | None = None

    def advance(self, label: str = "", count: int = 1) -> None:
        """Note the time and the peak."""
        self.times.append(clock(self._where))
        self.peak = self._held.peak


def ours(made: Problem, case: str, stops: Stops) -> float:
    """Return the mean loss of all steps, of which is noted what there is to note."""
    name, more = CASES[case]
    run = Context(
        problem=made,
        seed=0,
        label=name,
        choosing=Part(made.records.select([]), None),
        choosing_models=list,
        progress=stops,
    )
    settings = {**more, "epochs": 1, "batch_size": BATCH, "lr": LR, "optimiser": "adamw"}
    with steady(made):
        outcome = registry.load("methods", name)(settings).unlearn(made, run)
    return outcome.history[0]["objective"]


# --- the plain way ------------------------------------------------------------------------------------------------


def sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed loss of every answer, [B]."""
    shifted = logits[:, :-1].float().transpose(1, 2)
    return F.cross_entropy(shifted, labels[:, 1:], reduction="none", ignore_index=NOT_SCORED).sum(dim=1)


def divergence(mine: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over scored tokens of KL(theirs || mine)."""
    said, told = (one[:, :-1].float().log_softmax(-1) for one in (mine, theirs))
    each = F.kl_div(said, told, log_target=True, reduction="none")
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
    each = ((h[:, :-1].float() - (aim if aim.dim() == 1 else aim[:, :-1])) ** 2).mean(dim=-1)
    return ((each * scored).sum(dim=1) / scored.sum(dim=1)).mean()


def plain(made: Problem, case: str, stops: Stops, where: torch.device) -> float:
    """Return the same of the plain way, on the batches that the method draws."""
    name, more = CASES[case]
    method = registry.load("methods", name)({**more, "epochs": 1, "batch_size": BATCH, "lr": LR})
    model = made.source.open().train()
    original = made.source.open()
    if name == "rmu":
        aim, moving = _of_rmu(made, method)
        aim = aim.to(where)
        for part in model.parameters():
            part.requires_grad_(False)
        for place in moving:
            model.model.layers[place].mlp.down_proj.weight.requires_grad_(True)
    elif "lora" in more:  # the same ones: what is drawn is no part of what is compared
        drawn(model, rank=more["lora"], alpha=method.config.lora_alpha, names=(), seed=0)
    masters = Masters([p for p in model.parameters() if p.requires_grad])  # for weights in half precision, as ours
    optimiser = torch.optim.AdamW(masters.trained, LR, weight_decay=0.0, fused=True)
    masters.follow(optimiser)
    losses = []
    for step in method.passes(1)[0].batches(made, seed=0, epoch=0):
        read = {which: _there(batch, where) for which, batch in sides(made, case, step).items()}
        (f, fl), (r, rl) = read["forget"], read["retain"]
        if name == "rmu":
            with torch.no_grad():
                theirs = states(original, r, more["block"])
            loss = misdirected(states(model, f, more["block"]), aim, fl)
            loss = loss + more["alpha"] * misdirected(states(model, r, more["block"]), theirs, rl)
        else:
            pairs = [read[which] for which in ("forget", "refusal") if which in read]
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
        model.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        stops.advance()
    return sum(losses) / len(losses)


def _there(batch: Any, where: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch on the device."""
    inputs, labels = batch
    return {name: part.to(where) for name, part in inputs.items()}, labels.to(where)


def _of_rmu(made: Problem, method: Any) -> tuple[Tensor, list[int]]:
    """Return direction and blocks as the method chooses them: they are no part of what is compared."""
    method = copy.copy(method)  # which keeps the model that it looks into
    run = Context(problem=made, seed=0, label="", choosing=Part(made.records.select([]), None), choosing_models=list)
    method.prepare(made.source.open(), made, run)
    place = method.config.block
    return method._aim, list(range(max(0, place - 2), place + 1))


# --- side by side -------------------------------------------------------------------------------------------------


def one(run: Run) -> dict[str, Any]:
    """Return seconds of the steps that count, loss and peak memory of one side, measured in this process.

    Where the memory did not suffice, that is all there is: ``exhausted``, with what was asked for.
    """
    single_thread()
    hold_memory()
    with _folder(run.folder) as folder:
        try:
            return _measured(run, folder)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, RunFailed) and error.__cause__ is not None else error
            if not ran_out(cause):
                raise
            return {"exhausted": f"{asked_for(cause)}more than there is"}


def _measured(run: Run, folder: Path) -> dict[str, Any]:
    made = problem(run, folder)
    weights = sum(p.numel() for p in made.source.open().parameters())
    made = placed(made, run.where)
    held = Memory(run.where)
    stops = Stops(held, run.where)
    loss = ours(made, run.case, stops) if run.who == "ours" else plain(made, run.case, stops, run.where)
    whole = held.peak
    times = [late - early for early, late in pairwise(stops.times)][run.warm :]
    found = {"times": times, "loss": loss, "peak": stops.peak, "whole": whole, "weights": weights}
    if run.where.type == "cpu":
        return found
    name, more = CASES[run.case]
    method = registry.load("methods", name)({**more, "epochs": 1, "batch_size": BATCH, "lr": LR})
    steps = list(method.passes(1)[0].batches(made, seed=0, epoch=0))
    found["tokens"] = tokens(made, run.case, steps[run.warm + 1 :])
    return {**found, "rate": matrix_rate(run.where, run.kind)}


@contextmanager
def _folder(given: str) -> Iterator[Path]:
    """Hold the folder that is given, or one of this process alone."""
    with nullcontext(given) if given else tempfile.TemporaryDirectory(prefix="language-step-") as folder:
        yield Path(folder)


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    where = option(parser)
    there = where.type != "cpu"
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--size", choices=SHAPES, default="1b" if there else "small", help="of the network")
    parser.add_argument("--precision", choices=TOLERANCE, default="bfloat16" if there else "float32")
    parser.add_argument("--steps", type=int, default=MORE if there else STEPS, help="of which the first do not count")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=list(SHAPES["small"]))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES) if there else WHOLE)
    parser.add_argument("--targets", action="store_true", help="write targets anew into the file of --save, no more")
    parser.add_argument("--one", help="internal: what to measure in this process")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(Run(**json.loads(given.one)))))
        return 0
    if given.targets:
        earlier = retargeted(json.loads(given.save.read_text()))
        given.save.write_text(json.dumps(earlier, indent=1, sort_keys=True, allow_nan=False) + "\n")
        return 0 if all(Row(**row).met != "MISSED" for row in earlier["results"]) else 1
    if not TOFU.is_file():
        print(f"skipped: no {TOFU.name}, whose lengths are those of the batches", file=sys.stderr)
        return 0
    how = {"device": called(where), "network": given.size, "precision": given.precision, "steps": given.steps}
    facts: dict[str, Any] = {} if how == PLAINLY else {"how": how}
    earlier = json.loads(given.save.read_text()) if given.save and given.save.exists() else None
    if earlier is not None and earlier.get("how") != facts.get("how"):
        sys.exit(f"{given.save} holds figures of another device, network or number of steps: choose another --save")
    load, rows, lacking = os.getloadavg()[0], [], {}
    for vocabulary in given.vocabularies:
        with tempfile.TemporaryDirectory(prefix="language-step-") as kept:
            for case in given.cases:
                run = Run(case, vocabulary, "", str(where), given.precision, given.size, given.steps)
                if there:  # drawn once for all: a billion numbers take longer than the steps
                    run = replace(run, warm=min(WARM, given.steps - 2), folder=str(Path(kept, given.precision)))
                found, short = side_by_side(run, given.repeats)
                rows, lacking = [*rows, *found], {**lacking, **short}
                print("; ".join(f"{row.name} {row.value:.3g}" for row in found), file=sys.stderr, flush=True)
    if facts:
        facts["counted"] = counted(given.cases, given.vocabularies, given.size, given.precision)
        facts["out of memory"] = lacking
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    told = written(list(dict.fromkeys([*WHOLE, *given.cases])), given.size)
    measured = [f"{case}, {vocabulary // 1000}k" for vocabulary in given.vocabularies for case in given.cases]
    more = {"repeats": given.repeats, "note": note, "measured": measured, **told, **facts}
    finish(rows, given, load_before=round(load, 2), **more)
    return 0 if not lacking and all(row.met != "MISSED" for row in rows) else 1


def retargeted(earlier: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured, as it was, beside the targets that the count gives now."""
    size = earlier.get("how", {}).get("network", "small")
    wanted = {}
    for case in CASES:
        for vocabulary in SHAPES[size]:
            title = f"{case}, {vocabulary // 1000}k words"
            wanted[title, "steps a second"], wanted[title, "peak memory"] = targets(case, vocabulary, size)
    rows = []
    for row in earlier["results"]:
        case, what = row["name"].split(" (")[0], row["name"].split(": ")[1]
        rows.append({**row, "target": wanted.get((case, what), row["target"])})
    cases = [case for case in CASES if case in WHOLE or any(row["name"].startswith(f"{case}, ") for row in rows)]
    return {**earlier, "results": rows, **written(cases, size)}


def written(cases: list[str], size: str) -> dict[str, Any]:
    """Return the written count of passes, and of bytes where weights and words are what is held."""
    count = {"count": {case: COUNT[case] for case in cases}}
    return {**count, "bytes": {case: BYTES[case] for case in cases}} if size == "small" else count


def counted(cases: list[str], vocabularies: list[int], size: str, precision: str) -> dict[str, dict[str, float]]:
    """Return what the count alone gives: times the plain way's steps a second, and of the bytes that are held."""
    found = {}
    for vocabulary in vocabularies:
        for case in cases:
            plain, ours = calls(case, network(vocabulary, size).num_hidden_layers)
            bytes_ = share(case, vocabulary, size, precision)
            title = f"{case}, {vocabulary // 1000}k words"
            found[title] = {"steps a second": round(plain / ours, 3), "peak memory": round(bytes_, 3)}
    return found


def both(run: Run, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Return what the processes of both sides measured, in turn."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        for who in found:
            words = [sys.executable, __file__, "--one", json.dumps(asdict(replace(run, who=who)))]
            done = subprocess.run(words, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{done.stderr}{run.case}, {who}: a process ended with {done.returncode}")
            found[who].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def side_by_side(run: Run, repeats: int) -> tuple[list[Row], dict[str, str]]:
    """Return speed, memory and agreement of one method at one vocabulary; and by side what memory did not suffice for.

    Where it did not, there are no figures of both sides.
    """
    found = both(run, repeats)
    title = f"{run.case}, {run.vocabulary // 1000}k words"
    exact: dict[str, list[dict[str, Any]]] = {}
    if run.where.type != "cpu" and run.precision != "float32":
        alike = {"precision": "float32", "steps": STEPS, "warm": 0}
        folder = run.folder and str(Path(run.folder).with_name("float32"))
        exact = {f"{who}, float32": runs for who, runs in both(replace(run, **alike, folder=folder), 1).items()}
    lacking = {
        f"{title}: {who}": one["exhausted"]
        for who, runs in {**found, **exact}.items()
        for one in runs
        if "exhausted" in one
    }
    for place, why in lacking.items():
        print(f"{place}: out of memory, {why}", file=sys.stderr, flush=True)
    there = {who: runs for who, runs in {**found, **exact}.items() if f"{title}: {who}" not in lacking}
    kind = "" if run.where.type == "cpu" else f", {run.precision}"
    numbers = next((runs[0]["weights"] for runs in there.values()), 0)
    rows = Rows(run, f"{title} ({numbers / 1e6:.0f}M weights{kind})", there)
    return [*rows.of_both(), *(rows.of_device() if kind else ())], lacking


@dataclass(frozen=True)
class Rows:
    """The figures of one case, of what the processes of each side measured."""

    run: Run
    title: str
    found: dict[str, list[dict[str, Any]]]

    def of_both(self) -> Iterator[Row]:
        """Yield those of both sides, where there are both."""
        if not {"ours", "plain"} <= set(self.found):
            return
        faster, smaller = targets(self.run.case, self.run.vocabulary, self.run.size)
        typical, fastest = self._typical, {who: min(self._times(who)) for who in ("ours", "plain")}
        times = "times the plain way's"
        yield self._row("steps a second", typical("plain") / typical("ours"), times, faster, better="higher")
        yield self._row("fastest step", fastest["plain"] / fastest["ours"], times, better="higher")
        for what, of, target in (("peak memory", "peak", smaller), ("peak memory of the whole run", "whole", None)):
            peak = {who: self._least(who, of) for who in ("ours", "plain")}
            if peak["ours"] is not None and peak["plain"] is not None:
                yield self._row(what, peak["ours"] / peak["plain"], "of the plain way's", target)
        yield self._row("loss apart", self._apart(""), "of the loss", TOLERANCE[self.run.precision])

    def of_device(self) -> Iterator[Row]:
        """Yield those that stand for themselves, of each side that there is."""
        if {"ours, float32", "plain, float32"} <= set(self.found):
            yield self._row("loss apart in float32", self._apart(", float32"), "of the loss", TOLERANCE["float32"])
        for who, of in (("ours", ""), ("plain", ", the plain way")):
            if who not in self.found:
                continue
            first, step = self.found[who][0], self._typical(who)
            read = sum(tokens for tokens, _ in first["tokens"].values())
            rate = median(one["rate"] for one in self.found[who])
            work = operations(self.run.case, self.run.vocabulary, self.run.size, first["tokens"])
            yield self._row(f"tokens a second{of}", read / step, "tokens a second", better="higher")
            yield self._row(f"share of the matrix rate{of}", work / step / rate, "of the rate", better="higher")
            yield self._row(f"matrix rate beside it{of}", rate / 1e12, "TFLOP a second", better="higher")
            peak = self._least(who, "peak")
            if peak is not None:
                yield self._row(f"held at the peak{of}", peak / 1024, "GiB")

    def _times(self, who: str) -> list[float]:
        return sorted(t for one in self.found[who] for t in one["times"])

    def _typical(self, who: str) -> float:
        times = self._times(who)
        return times[len(times) // 2]

    def _least(self, who: str, of: str) -> float | None:
        """Return the smallest of the peaks; None where the device does not tell."""
        known = [one[of] for one in self.found[who] if one[of] is not None]
        return min(known) if len(known) == len(self.found[who]) else None

    def _apart(self, kind: str) -> float:
        ours, plain_ = (self.found[f"{who}{kind}"][0]["loss"] for who in ("ours", "plain"))
        apart = abs(ours - plain_) / abs(plain_)
        assert math.isfinite(apart)
        return apart

    def _row(self, what: str, value: float, unit: str, target: float | None = None, *, better: str = "lower") -> Row:
        against = "two models, whole calls, full logits, padded batches"
        name, n = f"{self.title}: {what}", len(self._times(next(iter(self.found))))
        return Row(name=name, value=value, target=target, better=better, unit=unit, against=against, n=n)


if __name__ == "__main__":
    raise SystemExit(main())
