"""Language models that predict the next token: one record, one unit for every scored token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.data.language import NOT_SCORED, LanguageRecords
from expunge.numerics.tokens import Head, Made, Tokens
from expunge.numerics.vocabulary import by_rows
from expunge.tasks._pairs import beside, counted, is_pair, unreadable, unstable

_BATCH = 64
_CALL, _CALL_OF_A_DEVICE = 1e9, 1e12
"""Multiplications in the time that one more call of a body costs: some 20 ms on a core and the slower products of fewer
tokens, 10 ms of launches on a device."""
_ALIKE, _ROUNDED = 1e-4, 4
"""How far logits that are made from hidden states may lie from the model's own, of the largest: so much, or so many
times the precision of these (a cap in bfloat16 rounds three times; ours is in float32)."""


class CausalLM(Task):
    """A model that maps tokens [B, T] to logits [B, T, V]: transformers', or any other whose output has ``.logits``.

    Labels [B, T] name the tokens that are scored; the unit of each is predicted from all tokens before it. Of models of
    transformers the body alone is run on all tokens, and the head on scored ones: ``[tokens, vocabulary]`` is never
    held, and what is padded, or asked but not answered, costs nothing there. Records are padded on the right, where a
    model that looks back sees no padding.
    """

    title = "Causal language modelling"
    scored = True

    def units(self, model: Any, batch: Any) -> Tokens:
        """Return one unit per scored token, record after record; its loss is the cross entropy."""
        inputs, labels = batch
        asked = labels[:, 1:] != NOT_SCORED
        record = owners(batch)
        target = labels[:, 1:][asked]
        parts = body_and_head(model)
        if parts is None:
            logits = _logits(model, inputs)[:, :-1][asked]
            return Tokens(
                logits, Made(logits.shape[1]), target.to(logits.device), record.to(logits.device), len(labels)
            )
        body, head = parts
        lengths = inputs["attention_mask"].sum(dim=1)
        # Processes that share a body call it equally often, however long their records are.
        groups = [torch.arange(len(labels))] if _shared(body) else _groups(lengths, _weight(body))
        found = [_predicting(body, _rows(inputs, group), asked[group]) for group in groups]
        hidden = torch.cat(found)
        if len(groups) > 1:  # back into the order of the records
            hidden = hidden[torch.cat([_places(record, group) for group in groups]).argsort()]
        return Tokens(hidden, head, target.to(hidden.device), record.to(hidden.device), len(labels))

    def inputs(self, batch: Any) -> Tensor:
        """Return how often each token occurs, [B, 256], float64, roots of shares: records of like words lie close."""
        return counted(batch[0])

    def hidden(self, model: Any, batch: Any, layer: int) -> Tensor | None:
        """Return what ``layer`` (0: the embeddings) says where scored tokens are predicted, [N, H].

        Nothing behind that layer is run; the last one's is what the norm behind it makes of it. None for a model that
        is none of transformers'.
        """
        parts = body_and_head(model)
        if parts is None:
            return None
        inputs, labels = batch
        stack = blocks(parts[0])
        # A run that ends early would leave the other processes of a shared body in the middle of theirs.
        if 0 < layer < len(stack) and not _shared(parts[0]):
            said = _until(stack[layer - 1], lambda: _run(parts[0], inputs))
        else:
            said = _run(parts[0], inputs, output_hidden_states=True).hidden_states[layer]
        return said[:, :-1][(labels[:, 1:] != NOT_SCORED)]

    def examine(self, model: Any, records: Records, *, where: str) -> list[Obstacle]:
        """Return unstable reading, tokens that the model does not have, records too long for it, a head that lies."""
        found = [*unstable(records, where), *unreadable(records, where)]
        if any(each.fatal for each in found):
            return found
        vocabulary, context = limits(model)
        bad: dict[str, list[int]] = {"strange": [], "long": [], "silent": []}
        for start in range(0, len(records), _BATCH):
            batch = records.read(range(start, min(start + _BATCH, len(records))))
            wrong = _misread(batch)
            if wrong is not None:
                return [*found, Obstacle(where=where, **wrong)]
            inputs, labels = batch
            ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
            here = {
                "strange": (((ids < 0) | (ids >= vocabulary)) & mask).any(dim=1),
                "long": mask.sum(dim=1) > context,
                "silent": ~(labels[:, 1:] != NOT_SCORED).any(dim=1),
            }
            for kind, rows in here.items():
                bad[kind] += (rows.nonzero()[:, 0] + start).tolist()
        told = {
            "strange": {
                "what": "the tokenizer does not fit the model",
                "expected": f"tokens from 0 to {vocabulary - 1}",
                "fix": "use the tokenizer that the model was trained with",
            },
            "long": {
                "what": "records are longer than the model reads",
                "expected": f"at most {context} tokens",
                "fix": "split them, or give max_length with truncate=True: what is cut off is not forgotten",
            },
            "silent": {
                "what": "records without a scored token",
                "expected": f"a label other than {NOT_SCORED} after the first token",
                "fix": "drop them: nothing of them is learnt",
            },
        }
        for kind, places in bad.items():
            if places:
                at, count = f"{where}, first at position {places[0]}", f"{len(places)} of {len(records)} records"
                found.append(Obstacle(where=at, found=count, **told[kind]))
        if model is not None and not found and len(records):
            found += self._answered(model, records, where)
        return found

    def _answered(self, model: Any, records: Records, where: str) -> list[Obstacle]:
        batch = records.read(range(0, len(records), max(1, len(records) // 8))[:8])
        try:
            with torch.no_grad():
                loss = self.units(model, batch).loss
                apart, allowed = _apart(model, batch)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
            # The type alone: the text of an error from user code could hold data.
            return [
                Obstacle(
                    what="the model does not fit the task",
                    where=f"{self.title.lower()} of the {where}",
                    found=f"{type(e).__name__} on a batch of {len(batch[1])}",
                    expected="a model that maps tokens to logits over its vocabulary",
                    fix="name the right task, or give a causal language model of transformers",
                )
            ]
        if not bool(torch.isfinite(loss).all()):
            return [
                Obstacle(
                    what="the model answers with NaN or infinite numbers",
                    where=f"{self.title.lower()} of the {where}",
                    found=f"{int((~torch.isfinite(loss)).sum())} of {len(loss)} tokens that were asked",
                    expected="finite losses of all tokens",
                    fix="restore the model from an intact checkpoint, or mend what overflows in it",
                )
            ]
        if apart > allowed:
            return [
                Obstacle(
                    what="the head of this model is more than one linear layer",
                    where=f"{self.title.lower()} of the {where}",
                    found=f"logits {apart:.1g} of the largest away from the model's own",
                    expected="logits that are its output embeddings times the last hidden state",
                    fix="wrap the model in a module of your own that returns .logits: it is then run as it stands",
                )
            ]
        return []

    def trial(self, seed: int) -> tuple[nn.Module, Records]:
        """Return a network of one block, 23 tokens and 16 numbers wide, and 13 records of 3 to 9 tokens."""
        from transformers import GPT2Config, GPT2LMHeadModel

        draw = torch.Generator().manual_seed(seed)
        settings = GPT2Config(
            vocab_size=23, n_positions=12, n_embd=16, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None
        )
        model = GPT2LMHeadModel(settings)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(0.3 * torch.randn(p.shape, generator=draw))
        return model.eval(), _Drawn(draw)


class _Drawn(LanguageRecords):
    """Records of tokens that stand for nothing, for a trial: no tokenizer is needed."""

    def __init__(self, draw: torch.Generator) -> None:
        lengths = torch.randint(3, 10, (13,), generator=draw).tolist()
        rows = [torch.randint(23, (length,), generator=draw) for length in lengths]
        self.ids, self.subjects = tuple(f"trial-{i}" for i in range(13)), (None,) * 13
        self._rows = [(row, torch.arange(len(row)) >= len(row) // 2) for row in rows]
        self._pad, self.longest = 0, max(lengths)


def owners(batch: Any) -> Tensor:
    """Return the place in the batch of the record of every scored token, [N], ascending."""
    return (batch[1][:, 1:] != NOT_SCORED).nonzero()[:, 0]


def body_and_head(model: Any) -> tuple[Any, Head] | None:
    """Return what turns tokens into hidden states, and the head over them; None where a model does not tell.

    Adapters stay in place: they are layers of the body.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    find = getattr(inner, "get_output_embeddings", None)
    last = find() if find is not None else None
    body = getattr(inner, "base_model", inner)
    if not isinstance(last, nn.Linear) or body is inner:
        return None
    config = inner.config.get_text_config()
    divided, times = getattr(config, "logits_scaling", None), getattr(config, "logit_scale", None)
    scale = (times if isinstance(times, float) else 1.0) / (divided if divided else 1.0)
    bias = None if last.bias is None else _whole(last.bias)
    return body, Head(_whole(last.weight), bias, scale=scale, cap=getattr(config, "final_logit_softcapping", None))


def _shared(body: Any) -> bool:
    """Return whether several processes hold parts of this body (``engine/spread``)."""
    return hasattr(next(body.parameters()), "full_tensor")


def _whole(weight: Tensor) -> Tensor:
    """Return a weight as one of which several processes hold parts; its gradient is the sum of what theirs add."""
    if not hasattr(weight, "full_tensor"):
        return weight
    from torch.distributed.tensor import Partial

    found: Tensor = weight.full_tensor(grad_placements=[Partial()] * weight.device_mesh.ndim)  # type: ignore[attr-defined]
    return found


def following(model: Any, ids: Tensor) -> Tensor:
    """Return the most likely next token [R] of texts of one length [R, T]; the lowest number wins a tie."""
    return predicting(model, ids).argmax(dim=-1)


def predicting(model: Any, ids: Tensor) -> Tensor:
    """Return the logits [R, V] of what comes after texts of one length [R, T]."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    parts = body_and_head(model)
    if parts is None:
        return _logits(model, inputs)[:, -1]
    return parts[1](_run(parts[0], inputs).last_hidden_state[:, -1])


def blocks(body: nn.Module) -> list[nn.Module]:
    """Return the blocks that a body is a stack of, first to last: its longest list of modules of one class."""
    lists = [m for m in body.modules() if isinstance(m, nn.ModuleList) and len({type(each) for each in m}) == 1]
    return list(max(lists, key=len, default=nn.ModuleList()))


def inner(model: Any, batch: Any) -> list[Tensor] | None:
    """Return what each inner block says where scored tokens are predicted, [N, H] each, as the head is used to get it.

    That is after the norm behind the last block, the last of them what this block itself says. One forward pass. None
    for a model of one block, of which several processes hold parts, or of which it is not known what stands between the
    last block and the head.
    """
    parts = body_and_head(model)
    stack = [] if parts is None else blocks(parts[0])
    if parts is None or len(stack) < 2 or _shared(parts[0]):
        return None
    inputs, labels = batch
    asked = labels[:, 1:] != NOT_SCORED
    said: dict[int, Tensor] = {}
    behind: list[tuple[nn.Module, Tensor]] = []

    def keep(block: int) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            said[block] = output[0] if isinstance(output, tuple) else output

        return hook

    def follows(module: nn.Module, given: Any, output: Any) -> None:
        if given and given[0] is said.get(len(stack) - 1) and isinstance(output, Tensor):
            behind.append((module, output))

    within = {id(module) for block in stack for module in block.modules()}
    hooks = [block.register_forward_hook(keep(place)) for place, block in enumerate(stack)]
    hooks += [m.register_forward_hook(follows) for m in parts[0].modules() if id(m) not in within]
    try:
        last = _run(parts[0], inputs).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    norm = next((module for module, output in behind if _alike(output, last)), None)
    if norm is None and not _alike(said[len(stack) - 1], last):
        return None
    found = [said[place][:, :-1][asked] for place in range(len(stack) - 1)]
    return [*(found if norm is None else map(norm, found)), last[:, :-1][asked]]


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values: a model that says NaN has blocks as well."""
    return one is other or (one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True))


class _Reached(Exception):
    """What was asked for is known, and what comes after it need not be run."""


def _until(block: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Return what ``block`` says, [B, T, H], in a run that ends there."""
    said: list[Tensor] = []

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        said.append(output[0] if isinstance(output, tuple) else output)
        raise _Reached

    hook = block.register_forward_hook(end)
    try:
        run()
    except _Reached:
        return said[0]
    finally:
        hook.remove()
    raise RuntimeError("the block was never run")


def _run(body: Any, inputs: Any, **more: Any) -> Any:
    """Return what the body says, without a cache.

    Padding on the right is no business of one that looks back: nothing is masked then, which is the fast way.
    """
    mask = inputs["attention_mask"]
    given = {"input_ids": inputs["input_ids"], "attention_mask": mask}
    if bool((mask[:, 1:] > mask[:, :-1]).any()):
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp_min(0)
    else:
        given["attention_mask"] = torch.ones_like(mask)
    with nullcontext() if _shared(body) else by_rows(body.get_input_embeddings()):
        return body(use_cache=False, **beside(body, given), **more)


def _predicting(body: Any, inputs: Any, asked: Tensor) -> Tensor:
    """Return the last hidden states where scored tokens are predicted, [N, H]; ``asked`` [B, T - 1]."""
    found: Tensor = _run(body, inputs).last_hidden_state[:, :-1][asked[:, : inputs["input_ids"].shape[1] - 1]]
    return found


def _rows(inputs: Any, group: Tensor) -> dict[str, Tensor]:
    """Return some records of a batch, without the columns that are padding in all of them."""
    mask = inputs["attention_mask"][group]
    used = mask.any(dim=0)
    width = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
    return {name: part[group][:, :width] for name, part in inputs.items()}


def _places(record: Tensor, group: Tensor) -> Tensor:
    """Return where the units of some records stand among those of all, in the order of ``group``."""
    return torch.cat([(record == one).nonzero()[:, 0] for one in group])


def _groups(lengths: Tensor, weight: float) -> list[Tensor]:
    """Return records of like length together, as indices in ascending order, where that saves more than it costs.

    ``lengths`` [B] in tokens; a group of its own is worth one call of the model, or 1 / ``weight`` tokens.
    """

    def cut(part: Tensor) -> list[Tensor]:
        own = lengths[part]
        saved = torch.arange(len(part) - 1, 0, -1) * (own[0] - own[1:]).cpu()
        if not len(saved) or float(saved.max()) * weight <= 1:
            return [part.sort().values]
        best = int(saved.argmax()) + 1
        return cut(part[:best]) + cut(part[best:])

    return cut(lengths.argsort(descending=True, stable=True))


def _weight(body: Any) -> float:
    """Return what a token costs in the body, in calls of it that do nothing."""
    inside = sum(p.numel() for p in body.parameters()) - body.get_input_embeddings().weight.numel()
    return inside / (_CALL if next(body.parameters()).device.type == "cpu" else _CALL_OF_A_DEVICE)


def _logits(model: Any, inputs: Any) -> Tensor:
    said = model(**beside(model, inputs))
    logits: Tensor = getattr(said, "logits", said)
    return logits


def _apart(model: Any, batch: Any) -> tuple[float, float]:
    """Return how far logits of some units lie from those of the whole model, of the largest, and how far they may."""
    inputs, labels = batch
    parts = body_and_head(model)
    if parts is None:
        return 0.0, _ALIKE
    asked = labels[:, 1:] != NOT_SCORED
    own = _logits(model, inputs)[:, :-1][asked]
    allowed = max(_ALIKE, _ROUNDED * torch.finfo(own.dtype).eps)
    made = parts[1](_run(parts[0], inputs).last_hidden_state[:, :-1][asked]).float()
    own = own.float()
    return float((made - own).abs().max() / own.abs().max().clamp_min(1e-12)), allowed


def limits(model: Any) -> tuple[float, float]:
    """Return the size of the vocabulary and of the context; infinite where the model does not say."""
    config = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    rows = getattr(text, "vocab_size", None)
    return rows or math.inf, getattr(text, "max_position_embeddings", None) or math.inf


def _misread(batch: Any) -> dict[str, str] | None:
    """Return how a batch is none of a language model's."""
    fits = is_pair(batch) and isinstance(batch[1], Tensor) and batch[1].dim() == 2
    if packed := _packed(batch[0]) if fits and isinstance(batch[0], Mapping) else "":
        return {
            "what": "several texts are packed into one row, which would be read and scored as one",
            "found": packed,
            "expected": "a row for each record, which is padded where it is shorter",
            "fix": "give each text as a record of its own (packing=False where TRL made the rows): only what is a "
            "record can be forgotten, and records of like length are run together here",
        }
    if fits and not batch[1].is_floating_point() and {"input_ids", "attention_mask"} <= set(batch[0]):
        return None
    return {
        "what": "records are no tokens with labels",
        "found": f"{type(batch).__name__} in a batch",
        "expected": "({input_ids, attention_mask} [B, T], labels [B, T])",
        "fix": "give texts as expunge.data.language.LanguageRecords",
    }


def _packed(inputs: Any) -> str:
    """Return by what the inputs of a batch say that a row holds several texts; empty where each holds one."""
    said = sorted(name for name in map(str, inputs) if name.startswith(("cu_seq_len", "cu_seqlen", "seq_idx")))
    if said:
        return f"{said[0]} in a batch"
    mask, places = inputs.get("attention_mask"), inputs.get("position_ids")
    if mask is not None and (mask.dim() != 2 or bool((mask > 1).any())):
        return f"an attention_mask {list(mask.shape)} that tells parts of a row apart"
    if not isinstance(places, Tensor):
        return ""
    real = torch.ones_like(places) if mask is None else mask
    if places.dim() != 2 or places.shape != real.shape:
        return ""  # no place for every token of a row: whether the model reads that, it says itself
    again = ((places[:, 1:] <= places[:, :-1]) & (real[:, 1:] > 0) & (real[:, :-1] > 0)).any(dim=1)
    return f"position_ids that begin again in {int(again.sum())} of {len(again)} rows" if bool(again.any()) else ""
