"""What is written with a cache, many at a time, is what a model says that is asked for every token anew."""

import numpy as np
import pytest
import torch

from expunge.conformance import _language
from expunge.engine import writing
from expunge.engine.writing import write
from tests.support import languages as L

WIDE = {"initializer_range": 0.6}
"""Weights so large that an untrained model has something to say."""


def models():
    for made in (lambda: L.gpt(n_positions=32, **WIDE), _language.llama, _language.Recurrent):
        torch.manual_seed(3)
        model = made()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(3.0)
        yield model.train()


def prompts(vocabulary=28, lengths=(3, 9, 3, 6, 1)):
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(4, vocabulary, (n,), generator=draw) for n in lengths]


def logits(model, ids):
    said = model(input_ids=ids[None])
    return getattr(said, "logits", said)[0, -1].detach()


def by_hand(model, prompt, limit, ends=()):
    """Return the likeliest tokens one after the other, and their mean log-probability."""
    text, logs = prompt, []
    for _ in range(limit):
        log_probs = logits(model.eval(), text).log_softmax(0)
        token = int(log_probs.argmax())
        logs.append(float(log_probs[token]))
        text = torch.cat([text, torch.tensor([token])])
        if token in ends:
            return text[len(prompt) : -1].tolist(), np.mean(logs)
    return text[len(prompt) :].tolist(), np.mean(logs)


@pytest.mark.parametrize("together", [1, writing.TOGETHER])
def test_many_with_a_cache_are_what_one_is_without(monkeypatch, together):
    monkeypatch.setattr(writing, "TOGETHER", together)
    limits = [7, 4, 1, 7, 12]
    for model in models():
        expected = [by_hand(model, *pair) for pair in zip(prompts(), limits, strict=True)]
        model.train()
        found = write(model, prompts(), limits, ends=())
        assert [text.tokens for text in found] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([text.log_prob for text in found], [log for _, log in expected], rtol=1e-4)
        assert model.training, "as it came"


def test_a_text_ends_where_the_model_ends_it():
    model = next(models())
    free = write(model, prompts(), [8] * 5, ends=())
    end = free[0].tokens[2]
    expected = [by_hand(model, prompt, 8, {end}) for prompt in prompts()]
    found = write(model, prompts(), [8] * 5, ends={end})
    assert [text.tokens for text in found] == [tokens for tokens, _ in expected]
    assert end not in found[0].tokens
    assert found[0].log_prob == pytest.approx(expected[0][1], rel=1e-4), "the end counts"


def test_a_text_that_is_as_long_as_the_model_reads_waits_for_the_others():
    torch.manual_seed(0)
    model = L.gpt(**WIDE).eval()
    long, short = prompts(lengths=(20, 4))
    found = write(model, [long, short], [4, 20], ends=())
    assert found[0].tokens == by_hand(model, long, 4)[0]
    assert found[1].tokens == by_hand(model, short, 20)[0]


def test_drawn_tokens_lie_where_their_number_does():
    model = next(models()).eval()
    draws = np.random.default_rng(0).random((5, 6))
    for text, prompt, row in zip(write(model, prompts(), [6] * 5, ends=(), draws=draws), prompts(), draws, strict=True):
        said = prompt
        for token, uniform in zip(text.tokens, row, strict=True):
            upper = logits(model, said).double().softmax(0).cumsum(0)
            assert token == int((upper <= uniform * upper[-1]).sum())
            said = torch.cat([said, torch.tensor([token])])


def test_draws_have_the_probabilities_of_the_model():
    model = next(models()).eval()
    prompt = prompts()[1]
    draws = ((np.arange(2000) + 0.5) / 2000)[:, None]
    found = [text.tokens[0] for text in write(model, [prompt] * 2000, [1] * 2000, ends=(), draws=draws)]
    share = np.bincount(found, minlength=len(L.WORDS)) / 2000
    np.testing.assert_allclose(share, logits(model, prompt).softmax(0).numpy(), atol=1e-3)
