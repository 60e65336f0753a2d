"""Units of language models of several makes against what the whole model says, position by position."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from expunge.data.language import LanguageRecords
from expunge.numerics.tokens import Head, Made
from expunge.tasks import causal_lm
from expunge.tasks.causal_lm import CausalLM, blocks, body_and_head
from tests.support import languages as L

SMALL = {
    "vocab_size": len(L.WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 2,
}


class Plain(nn.Module):
    """A module of one's own: what it says has ``.logits``, and nothing else is known of it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, **inputs):
        return self.inner(**inputs)


def made(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    if kind == "gemma, capped":
        return Gemma2ForCausalLM(Gemma2Config(**SMALL, final_logit_softcapping=0.2)).eval()
    if kind == "cohere, scaled":
        return CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.125)).eval()
    return L.untrained(seed) if kind == "gpt2, tied" else Plain(L.untrained(seed)).eval()


KINDS = ["gpt2, tied", "llama", "gemma, capped", "cohere, scaled", "of one's own"]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_the_whole_model(kind):
    model, batch = made(kind), L.records().read([0, 3, 8])
    inputs, labels = batch
    with torch.no_grad():
        logits = model(**inputs).logits
        units = CausalLM().units(model, batch)
    plain = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none", ignore_index=-100)
    wanted = plain.reshape(labels[:, 1:].shape)[labels[:, 1:] != -100]
    torch.testing.assert_close(units.loss, wanted, atol=1e-5, rtol=0)
    assert units.record.tolist() == (labels[:, 1:] != -100).nonzero()[:, 0].tolist()
    torch.testing.assert_close(units.logits, logits[:, :-1][labels[:, 1:] != -100], atol=1e-5, rtol=0)
    assert isinstance(getattr(units, "head", None), Made) == (kind == "of one's own")
    assert not CausalLM().examine(model, L.records(), where="trial")


def test_the_gradient_is_that_of_the_whole_model():
    batch = L.records().read([0, 3, 8])
    one, two = L.untrained(), L.untrained()
    CausalLM().units(one, batch).loss.mean().backward()
    logits = two(**batch[0]).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[1][:, 1:].flatten()).backward()
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def test_padding_on_the_left_is_read_as_it_stands():
    model, records = made("llama"), L.records()
    inputs, labels = records.read([0])
    pad = torch.zeros(1, 3, dtype=torch.long)
    left = {
        "input_ids": torch.cat([pad, inputs["input_ids"]], 1),
        "attention_mask": torch.cat([pad, inputs["attention_mask"]], 1),
    }
    with torch.no_grad():
        one = CausalLM().units(model, (inputs, labels)).loss
        two = CausalLM().units(model, (left, torch.cat([pad - 100, labels], 1))).loss
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_hidden_states_are_those_that_predict():
    model, batch = made("llama"), L.records().read([1, 4])
    last = CausalLM().hidden(model, batch, 2)
    _, head = body_and_head(model)
    with torch.no_grad():
        torch.testing.assert_close(head(last), CausalLM().units(model, batch).logits)
    assert CausalLM().hidden(model, batch, 0).shape == last.shape
    assert CausalLM().hidden(Plain(model), batch, 0) is None
    asked = batch[1][:, 1:] != -100
    for layer, states in enumerate(model.model(**batch[0], output_hidden_states=True).hidden_states):
        torch.testing.assert_close(CausalLM().hidden(model, batch, layer), states[:, :-1][asked])


def test_no_block_is_run_behind_the_layer_that_is_asked_for():
    model, ran = made("llama"), []
    for i, block in enumerate(blocks(model.model)):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    CausalLM().hidden(model, L.records().read([1, 4]), 1)
    assert ran == [0]
    assert not blocks(model.lm_head)


def test_records_of_like_words_lie_close():
    records = L.records()
    rows = CausalLM().inputs(records.read(range(4)))  # town, work, town, work
    apart = torch.cdist(rows, rows)
    assert apart[0, 2] < apart[0, 1]
    torch.testing.assert_close((rows**2).sum(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("model", "records", "what"),
    [
        (lambda: L.gpt(vocab_size=30).eval(), L.records, "tokenizer does not fit"),
        (lambda: L.gpt(n_positions=8).eval(), L.records, "longer than the model reads"),
        (lambda: nn.Linear(3, 3), L.records, "does not fit the task"),
        (lambda: _broken(float("nan")), L.records, "NaN"),
    ],
    ids=["tokenizer", "context", "no language model", "nan"],
)
def test_what_does_not_fit_is_told(model, records, what):
    found = CausalLM().examine(model(), records(), where="training records")
    assert len(found) == 1
    assert what in str(found[0])


def _broken(value):
    model = L.untrained()
    with torch.no_grad():
        model.transformer.wte.weight[:] = value
    return model


def test_a_head_that_does_more_is_told():
    class Twice(type(L.untrained())):
        def forward(self, *args, **more):
            said = super().forward(*args, **more)
            said.logits = 2 * said.logits
            return said

    model = L.untrained()
    model.__class__ = Twice
    found = CausalLM().examine(model, L.records(), where="training records")
    assert "more than one linear layer" in str(found[0])


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_cap_that_is_rounded_is_no_other_head_and_a_lost_one_is(kind, monkeypatch):
    model = made("gemma, capped").to(kind)
    assert not CausalLM().examine(model, L.records(), where="training records")
    body, head = body_and_head(model)
    monkeypatch.setattr(causal_lm, "body_and_head", lambda model: (body, Head(head.weight)))
    (found,) = CausalLM().examine(model, L.records(), where="training records")
    assert "more than one linear layer" in str(found)


def test_classes_in_the_place_of_tokens_are_told():
    from tests.support import texts

    found = CausalLM().examine(None, texts.records(5), where="training records")
    assert "no tokens with labels" in str(found[0])


class Packed(LanguageRecords):
    """Rows of two texts each, told apart as collators do: by places that begin again, a mask, or where they end."""

    def __init__(self, told):
        prompts, answers, *_ = L.facts(L.NAMES[:4])
        self._one = L.records(L.NAMES[:4])
        super().__init__(prompts[::2], answers[::2], tokenizer=L.tokenizer())
        self._told = told

    def read(self, indices):
        rows = []
        for index in indices:
            halves = [self._one.read([2 * index + side]) for side in (0, 1)]
            ids, labels = (torch.cat([of(half) for half in halves]) for of in (lambda h: h[0]["input_ids"][0], _labels))
            ends = [half[1].shape[1] for half in halves]
            rows.append(
                (ids, labels, torch.cat([torch.arange(n) for n in ends]), torch.tensor([1] * ends[0] + [2] * ends[1]))
            )
        ids, labels, places, parts = (
            torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in zip(*rows, strict=True)
        )
        whole = {"input_ids": ids, "attention_mask": (parts > 0).long()}
        return {**whole, **self._said(places, parts)}, labels

    def _said(self, places, parts):
        square = (parts[:, :, None] == parts[:, None]).tril()[:, None]
        return {
            "places": {"position_ids": places},
            "mask": {"attention_mask": parts},
            "square": {"attention_mask": square},
            "ends": {"cu_seq_lens_q": torch.tensor([0, 3, 6])},
            "nothing": {"position_ids": torch.arange(places.shape[1]).expand(places.shape)},
        }[self._told]


def _labels(half):
    return half[1][0]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("places", "position_ids that begin again in 4 of 4 rows"),
        ("mask", "attention_mask [4, "),
        ("square", "attention_mask [4, 1, "),
        ("ends", "cu_seq_lens_q"),
    ],
)
def test_rows_of_several_texts_are_refused(told, found):
    (said,) = CausalLM().examine(L.untrained(), Packed(told), where="training records")
    assert said.what == "several texts are packed into one row, which would be read and scored as one"
    assert found in said.found
    assert said.fatal


def test_places_that_go_on_through_a_row_are_those_of_one_text():
    assert not [each for each in CausalLM().examine(None, Packed("nothing"), where="training records") if each.fatal]


class Placed(LanguageRecords):
    """Facts with places beside them, as ``places`` makes them of the mask; ``left``: padded on that side."""

    def __init__(self, places, *, left=False):
        prompts, answers, *_ = L.facts(L.NAMES[:4])
        super().__init__(prompts, answers, tokenizer=L.tokenizer())
        self._places, self._left = places, left

    def read(self, indices):
        inputs, labels = super().read(indices)
        if self._left:
            ends = (labels.shape[1] - inputs["attention_mask"].sum(dim=1)).tolist()
            inputs = {name: self._pushed(part, ends) for name, part in inputs.items()}
            labels = self._pushed(labels, ends)
        return {**inputs, "position_ids": self._places(inputs["attention_mask"])}, labels

    @staticmethod
    def _pushed(rows, ends):
        return torch.stack([row.roll(end) for row, end in zip(rows, ends, strict=True)])


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("filling", [0, 1])
def test_places_that_begin_again_in_padding_are_those_of_one_text(filling, left):
    records = Placed(lambda mask: (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, filling), left=left)
    assert not CausalLM().examine(L.untrained(), records, where="training records")


@pytest.mark.parametrize(
    "places",
    [
        lambda mask: torch.arange(mask.shape[1]),
        lambda mask: torch.arange(mask.shape[1]).expand(3, *mask.shape),
        lambda mask: mask.tolist(),
    ],
    ids=["one row", "three of each token", "a list"],
)
def test_places_of_another_form_are_told_and_not_thrown(places):
    (said,) = CausalLM().examine(L.untrained(), Placed(places), where="training records")
    assert said.what == "the model does not fit the task"


def test_records_of_like_length_are_answered_together_and_come_back_in_order(monkeypatch):
    model, records, calls = made("llama"), L.records(), []
    long = LanguageRecords(["where was kaba born ?"], ["kaba was born in york . " * 2], tokenizer=L.tokenizer())
    inputs, labels = long.read([0])
    first, own = records.read([1, 2])
    wide = labels.shape[1]

    def pad(part, value):
        return torch.cat([part, part.new_full((2, wide - part.shape[1]), value)], dim=1)

    batch = (
        {name: torch.cat([pad(first[name], 0)[:1], inputs[name], pad(first[name], 0)[1:]]) for name in inputs},
        torch.cat([pad(own, -100)[:1], labels, pad(own, -100)[1:]]),
    )
    with torch.no_grad():
        together = CausalLM().units(model, batch)
        monkeypatch.setattr(causal_lm, "_CALL", 1.0)
        run = causal_lm._run
        monkeypatch.setattr(causal_lm, "_run", lambda *given: calls.append(given[1]["input_ids"].shape) or run(*given))
        apart = CausalLM().units(model, batch)
    assert len(calls) > 1
    assert sum(rows * width for rows, width in calls) < 3 * wide
    assert apart.record.tolist() == together.record.tolist()
    torch.testing.assert_close(apart.loss, together.loss, atol=1e-5, rtol=0)
