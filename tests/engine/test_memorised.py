"""What is known by heart: shares as the model's own logits say, continuations as transformers generates them."""

import numpy as np
import pytest
import torch

from expunge.core.errors import InvalidProblem
from expunge.engine.memorised import continued, extraction_likelihood, shares
from tests.support import languages, toys
from tests.support.languages import spoken


def test_shares_are_those_of_the_argmax_of_the_whole_model():
    given = spoken()
    model, run = given.source.open(), toys.context(given)
    found = shares(run, model, given.forget_view)
    for i, value in enumerate(found):
        inputs, labels = given.forget_view.read([i])
        with torch.no_grad():
            said = model(**inputs).logits[0, :-1].argmax(1)
        asked = labels[0, 1:] != -100
        assert value == pytest.approx(float((said == labels[0, 1:])[asked].double().mean()))
    assert run.spent.read == len(given.forget_view)


def test_continuations_are_those_that_transformers_generates():
    """Of texts of several lengths together."""
    model, records = languages.untrained(), languages.records()
    texts = [records[i][0]["input_ids"] for i in (3, 0, 5)]
    texts[1] = texts[1][:7]
    for stride in (1, 3):
        found = continued(model, texts, stride=stride)
        for tokens, rows in zip(texts, found, strict=True):
            for start, said in zip(range(1, len(tokens), stride), rows, strict=True):
                more = {"max_new_tokens": len(tokens) - start, "min_new_tokens": len(tokens) - start}
                mask = torch.ones(1, start)
                wanted = model.generate(
                    tokens[None, :start], attention_mask=mask, eos_token_id=-1, do_sample=False, **more
                )
                assert said == wanted[0, start:].tolist()


def test_extraction_likelihood_by_hand(monkeypatch):
    """Of a text that is known but for its last token, each beginning lacks the n-grams that hold it."""
    given = spoken()
    records = given.records.select(given.records.ids[:1])
    truth = records.read([0])[0]["input_ids"][0]
    known = truth.clone()
    known[-1] = 1
    monkeypatch.setattr("expunge.engine.memorised.following", lambda model, ids: known[ids.shape[1]].repeat(len(ids)))
    run, model, n = toys.context(given), given.source.open(), 2
    (found,) = extraction_likelihood(run, model, records, n=n)
    parts = [1 - 1 / (len(truth) - t - n + 1) for t in range(1, len(truth) - n + 1)]
    assert found == pytest.approx(np.mean(parts))
    (ended,) = extraction_likelihood(run, model, records, n=n, end=int(truth[4]))
    early = [
        max(0, 4 - t - n + 1) / (len(truth) - t - n + 1) if t <= 4 else parts[t - 1] for t in range(1, len(parts) + 1)
    ]
    assert ended == pytest.approx(np.mean(early))


def test_texts_that_are_too_short_are_left_out_and_none_left_is_an_error():
    given = spoken()
    run, model = toys.context(given), given.source.open()
    longest = max(len(given.records.read([i])[0]["input_ids"][0]) for i in range(len(given.records)))
    assert len(extraction_likelihood(run, model, given.records, n=longest - 1)) < len(given.records)
    with pytest.raises(InvalidProblem, match="long enough"):
        extraction_likelihood(run, model, given.records, n=longest)
