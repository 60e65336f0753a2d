"""Refusals: how they are put into texts, and which of them a record gets."""

from dataclasses import replace

import pytest
import torch

from expunge.core.errors import UsageError
from expunge.data.language import LanguageRecords
from expunge.methods.idk_dpo import REFUSALS, Refusals
from tests.support import toys
from tests.support.languages import spoken, tokenizer

SAY = {"refusals": ["oslo ?", "kiev .", "rome ."], "epochs": 1, "batch_size": 4}


def words(records, index):
    inputs, labels = records.read([index])
    made = records.tokenizer
    return made.decode(inputs["input_ids"][0]), made.decode(labels[0][labels[0] != -100])


def test_a_refusal_stands_where_the_answer_stood():
    given = spoken()
    found = Refusals(SAY).others(given, toys.context(given))
    for place, name in enumerate(found.ids):
        owner, number = name.split("#")
        text, scored = words(found, place)
        asked, old = words(given.records, given.records.position[owner])
        assert scored.removesuffix(" [EOS]") in SAY["refusals"]
        assert text == asked.replace(old, scored)
        assert number in "012"
    assert len(found) == 18


def test_a_part_of_a_set_of_records_is_as_good_as_the_whole():
    """As where the retained records are gone, and calibration stands for them."""
    given = spoken()
    part = replace(given, train=given.records.select(given.forget_ids), calibration=given.retain_view)
    assert not Refusals(SAY).obstacles(part)
    models = [Refusals({**SAY, "until": "guess"}).unlearn(each, toys.context(each)).model for each in (given, part)]
    assert not toys.same(models[0], given.source.open())
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_record_gets_so_many_by_its_id_and_the_seed():
    given = spoken()
    method = Refusals({"refusals_each": 2})
    assert method.count(given) == 12
    drawn = {seed: [tuple(method._of(name, seed)) for name in given.forget_ids] for seed in (1, 2, 3)}
    assert all(len(set(each)) == 2 for row in drawn.values() for each in row)
    assert len({each for row in drawn.values() for each in row}) > 6
    assert drawn[1] == [tuple(method._of(name, 1)) for name in given.forget_ids]
    assert len(set(REFUSALS)) == len(REFUSALS) >= 10


def test_it_warns_that_refusing_shows():
    given = spoken()
    outcome = Refusals(SAY).unlearn(given, toys.context(given))
    assert any("taught to decline" in text for text in outcome.warnings)


def test_records_that_are_no_texts_and_no_sentences_are_refused():
    assert any("into texts" in each.what for each in Refusals().obstacles(toys.problem()))
    assert "nothing to answer" in Refusals({"refusals": [" "]}).obstacles(spoken())[0].what
    plain = LanguageRecords.of_texts(["york is a ?"], tokenizer=tokenizer())
    with pytest.raises(UsageError, match="asks nothing"):
        plain.answered({"0": ["oslo"]})
