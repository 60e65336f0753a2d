"""Scores of a record are of that record alone: not of its neighbours, their order, or the padding between them."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.numerics import extraction, token_membership

LENGTHS = [1, 9, 4, 2, 17, 3]
TEXTS = ["one", "two words", "three", "4", "a fifth text, longer", "six"]


def scores(correct, log_prob, mean, deviation, reference, record, texts):
    """Return every score [n] of the records, by name."""
    n = len(texts)
    given = log_prob, record
    return {
        "extraction strength": extraction.extraction_strength(correct, record, n),
        "with the floor": extraction.extraction_strength_openunlearning(correct, record, n),
        "exact memorisation": extraction.exact_memorisation(correct, record, n),
        "loss": token_membership.loss_score(*given, n),
        "zlib": token_membership.zlib_score(*given, texts),
        "min-k": token_membership.min_k_score(*given, n),
        "min-k 1.0": token_membership.min_k_score(*given, n, share=1.0),
        "min-k++": token_membership.min_k_plus_score(*given, n, mean=mean, deviation=deviation),
        "reference": token_membership.reference_score(*given, n, reference=reference),
    }


def drawn():
    """Return the values of every record: correct, log_prob, mean, deviation, reference, each [T]."""
    draw = np.random.default_rng(0)
    return [
        (
            draw.random(t) < 0.7,
            *(-draw.exponential(size=t) for _ in range(2)),
            draw.random(t),
            -draw.exponential(size=t),
        )
        for t in LENGTHS
    ]


def together(records, order):
    flat = [np.concatenate(parts) for parts in zip(*(records[i] for i in order), strict=True)]
    record = np.repeat(np.arange(len(order)), [len(records[i][0]) for i in order])
    return scores(*flat, record, [TEXTS[i] for i in order])


@pytest.mark.parametrize("order", [[5, 3, 1, 0, 2, 4], [4, 1], [0]])
def test_other_records_and_their_order_change_no_bit(order):
    everything, some = together(drawn(), range(6)), together(drawn(), order)
    for name, found in some.items():
        assert found.tolist() == everything[name][order].tolist(), name


def said(model, ids, lengths):
    """Return what the model says at the scored places, as flat arrays, and the record of each."""
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        logp = model(ids, attention_mask=mask.long()).logits[:, :-1].log_softmax(dim=-1)
    scored = mask[:, 1:]
    true, rows = ids[:, 1:][scored], logp[scored].double()
    mean = (rows.exp() * rows).sum(dim=1)
    deviation = ((rows.exp() * rows**2).sum(dim=1) - mean**2).sqrt()
    log_prob = rows.gather(1, true[:, None])[:, 0]
    values = rows.argmax(dim=1) == true, log_prob, mean, deviation, 2 * log_prob
    return [v.numpy() for v in values], scored.nonzero()[:, 0].numpy()


def test_neither_padding_nor_what_stands_in_it_changes_a_score():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=24, n_embd=16, n_layer=2, n_head=2)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # far from a uniform answer
    draw = torch.Generator().manual_seed(1)
    lengths = [t + 1 for t in LENGTHS]
    texts = [torch.randint(0, 7, (length,), generator=draw) for length in lengths]
    alone = [said(model, text[None], [len(text)]) for text in texts]
    expected = [scores(*values, record, [TEXTS[i]]) for i, (values, record) in enumerate(alone)]
    for width in (18, 24):
        ids = torch.randint(0, 7, (6, width), generator=draw)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = text
        values, record = said(model, ids, lengths)
        for name, found in scores(*values, record, TEXTS).items():
            assert found == pytest.approx([one[name][0] for one in expected], abs=1e-5), name
