import pytest
import torch

from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.data.texts import TextRecords
from tests.support import texts


def test_a_batch_is_what_the_tokenizer_itself_makes():
    words, labels = texts.sentences(20)
    made, records = texts.tokenizer(), texts.records(20)
    batch, target = records.read([3, 11, 7])
    wanted = made([words[i] for i in (3, 11, 7)], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], wanted["input_ids"])
    assert torch.equal(batch["attention_mask"], wanted["attention_mask"])
    assert target.tolist() == [labels[i] for i in (3, 11, 7)]
    one, label = records[11]
    assert one["input_ids"].tolist() == made(words[11])["input_ids"]
    assert int(label) == labels[11]


def test_padding_changes_no_answer():
    model, records = texts.untrained(), texts.records(40)
    with torch.no_grad():
        together = model(**records.read(range(40))[0]).logits
        alone = torch.cat([model(**records.read([i])[0]).logits for i in range(40)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_content_is_that_of_tokens_and_label():
    words, labels = ["sea bread", "sea bread", "sea bread", "sea"], [0, 0, 1, 0]
    records = TextRecords(words, labels, tokenizer=texts.tokenizer())
    contents = [records.content(i) for i in range(4)]
    assert contents[0] == contents[1]
    assert len({contents[0], contents[2], contents[3]}) == 3
    assert records.ids == ("0", "1", "2", "3")


def test_a_request_by_text_finds_the_records_of_a_classifier_and_those_that_hold_them():
    words = ["sea bread", "good sea bread and salt", "sea salt", "old bread"]
    records = TextRecords(words, [0, 1, 0, 1], tokenizer=texts.tokenizer(), subjects=["bread", None, None, None])
    asked = Problem(model=texts.untrained(), train=records, request=Request(texts=("Sea bread",)))
    assert asked.forget_ids == ("0", "1")
    missing = Problem(model=texts.untrained(), train=records, request=Request(texts=("sea bed",)))
    assert "the request names texts that no record holds" in str(missing.validate())
    named = Problem(model=texts.untrained(), train=records, request=Request(subjects=("bread",)))
    assert "2 " in next(each.found for each in named.validate() if "stay" in each.what or "name" in each.what)


def test_nothing_is_cut_off_unasked():
    long = " ".join(["sea"] * 17)
    with pytest.raises(UsageError, match=r"1 of 2 records, up to 17 tokens") as refused:
        TextRecords(["sea", long], [0, 1], tokenizer=texts.tokenizer())
    assert "sea" not in str(refused.value)
    cut = TextRecords(["sea", long], [0, 1], tokenizer=texts.tokenizer(), truncate=True)
    assert cut.read([1])[0]["input_ids"].shape == (1, 16)
    shorter = TextRecords(["sea", long], [0, 1], tokenizer=texts.tokenizer(), truncate=True, max_length=3)
    assert len(shorter[1][0]["input_ids"]) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"texts": ["sea", "  "]}, "without a token"),
        ({"labels": [0]}, "labels differ in number"),
        ({"subjects": ["a"]}, "subjects differ in number"),
        ({"ids": ["a"]}, "differ in number"),
        ({"tokenizer": texts.tokenizer(pad_token=None), "texts": ["sea", "sea salt"]}, "no pad token"),
    ],
)
def test_what_cannot_be_read_is_said(wrong, said):
    arguments = {"texts": ["sea", "salt"], "labels": [0, 1], "tokenizer": texts.tokenizer(), **wrong}
    with pytest.raises(UsageError, match=said):
        TextRecords(arguments.pop("texts"), arguments.pop("labels"), **arguments)
