import datetime

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AddedToken, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from expunge.core.errors import UsageError
from expunge.data.language import NOT_SCORED, LanguageRecords
from tests.support import languages as L

CHAT = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% if m.role == 'assistant' %}[EOS] {% endif %}{% endfor %}"
)


def letters(*pairs, **more):
    """Return a tokenizer of single bytes, which never joins anything but ":A" and these pairs; "Ċ" ends a line."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(["[EOS]", *alphabet, ":A", *pairs])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(pair) for pair in (":A", *pairs)]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="[EOS]", **{"model_max_length": 64, **more})


def scored(records, index):
    """Return the scored tokens of a record."""
    labels = records[index][1]
    return labels[labels != NOT_SCORED].tolist()


def test_the_answer_and_the_end_are_scored_and_nothing_else():
    records, made = L.records(), L.tokenizer()
    prompts, answers, ids, subjects = L.facts()
    for i, answer in enumerate(answers):
        assert scored(records, i) == [*made(answer)["input_ids"], made.eos_token_id]
        tokens = records[i][0]["input_ids"].tolist()
        assert tokens == [*made(f"{prompts[i]} {answer}")["input_ids"], made.eos_token_id]
        assert records.answer(i) == answer
    assert records.ids == tuple(ids)
    assert records.subjects == tuple(subjects)


def test_a_batch_is_padded_on_the_right():
    records = LanguageRecords(["a", "where was"], ["is a ?", "is"], tokenizer=L.tokenizer())
    inputs, labels = records.read([0, 1])
    for place in range(2):
        alone, own = records.read([place])
        n = own.shape[1]
        assert torch.equal(inputs["input_ids"][place, :n], alone["input_ids"][0])
        assert torch.equal(labels[place, :n], own[0])
        assert inputs["attention_mask"][place].tolist() == [1] * n + [0] * (labels.shape[1] - n)
        assert (labels[place, n:] == NOT_SCORED).all()


def test_padding_with_the_end_token_masks_no_real_end():
    made = letters()
    assert made.pad_token_id is None
    records = LanguageRecords(["Q", "Q"], ["long one", "x"], tokenizer=made)
    inputs, labels = records.read([0, 1])
    assert inputs["attention_mask"].sum(dim=1).tolist() == [1 + 9 + 1, 1 + 2 + 1]
    assert (labels != NOT_SCORED).sum(dim=1).tolist() == [10, 3]  # the blank before it belongs to the answer


def test_plain_text_is_scored_but_for_its_first_token():
    records = LanguageRecords.of_texts(["ab", "abc"], tokenizer=letters(), ids=["x", "y"])
    assert [len(scored(records, i)) for i in range(2)] == [2, 3]
    bos = letters(bos_token="[EOS]")
    bos.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[EOS] $A", special_tokens=[("[EOS]", 0)]
    )
    with_start = LanguageRecords.of_texts(["ab"], tokenizer=bos)
    assert with_start[0][0]["input_ids"].tolist().count(0) == 2  # one begins, one ends
    assert len(scored(with_start, 0)) == 3


def test_of_a_conversation_what_the_assistant_says_is_scored():
    made = L.tokenizer(model_max_length=40)
    made.chat_template = CHAT
    talk = [
        {"role": "user", "content": "where was kaba born ?"},
        {"role": "assistant", "content": "in oslo ."},
        {"role": "user", "content": "in oslo ."},
        {"role": "assistant", "content": "is a ?"},
    ]
    records = LanguageRecords.of_messages([talk], tokenizer=made)
    words = made.convert_ids_to_tokens(scored(records, 0))
    assert words == ["in", "oslo", ".", "[EOS]", "is", "a", "?", "[EOS]"]
    pair = LanguageRecords(["where was kaba born ?"], ["in oslo ."], tokenizer=made)
    assert made.convert_ids_to_tokens(scored(pair, 0)) == ["in", "oslo", ".", "[EOS]"]
    tokens = pair[0][0]["input_ids"].tolist()
    assert tokens.count(made.eos_token_id) == 1


TURNS = [
    {"role": "user", "content": "where was kaba born ?"},
    {"role": "assistant", "content": "in oslo ."},
    {"role": "user", "content": "is a ?"},
    {"role": "assistant", "content": "in york ."},
]
SAID = ["in oslo .", "in york ."]


@pytest.mark.parametrize(
    ("template", "closed"),
    [
        # ChatML and Gemma: a token of their own closes every turn, and the line's end after it is nobody's.
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
            ["<|im_end|>"] * 2,
        ),
        ("{% for m in messages %}<turn>{{ m.content }}\n<end_of_turn>\n{% endfor %}", ["\n<end_of_turn>"] * 2),
        # Llama 2: the end of a text closes a turn, the start of one opens the next.
        (
            "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST] "
            "{% else %}{{ m.content }} </s>{% endif %}{% endfor %}",
            [" </s>"] * 2,
        ),
        # Phi 3: a token that takes the blanks after it along, and one more at the very end.
        ("{% for m in messages %}<turn>{{ m.content }}<|end|>\n{% endfor %}<|im_end|>", ["<|end|>\n"] * 2),
        # Only the last turn is closed; nothing is, and a turn's end is seen by the header of the next alone.
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}<|im_end|>", ["", "\n<|im_end|>"]),
        ("{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}", ["", ""]),
        ("{% for m in messages %}<turn>{{ m.role }} {{ m.content }}{% endfor %}", ["", ""]),
    ],
    ids=["chatml", "gemma", "llama", "phi", "last", "none", "header"],
)
@pytest.mark.parametrize("after", [0, 1], ids=["assistant last", "user last"])
def test_a_turn_ends_with_the_token_that_its_template_ends_it_with(template, closed, after):
    made = letters(model_max_length=400)
    added = ["<|im_start|>", "<|im_end|>", "<end_of_turn>", "<turn>", "<s>", "</s>", AddedToken("<|end|>", rstrip=True)]
    made.add_tokens(added, special_tokens=True)
    made.chat_template = template
    closed = [closed[0], closed[0]] if after else closed
    talk = TURNS + [{"role": "user", "content": "a ?"}] * after
    records = LanguageRecords.of_messages([talk], tokenizer=made)
    expected = "".join(said + end for said, end in zip(SAID, closed, strict=True))
    assert scored(records, 0) == made(expected)["input_ids"]
    again = records.answered({"0": ["at lima"]})
    assert scored(again, 0) == made(f"at lima{closed[-1]}")["input_ids"]


def test_an_unknown_word_of_the_template_ends_no_turn():
    made = L.tokenizer(model_max_length=40)
    made.chat_template = "{% for m in messages %}{{ m.content }} stop [EOS] {% endfor %}"
    records = LanguageRecords(["a ?"], ["in oslo ."], tokenizer=made)
    assert made.convert_ids_to_tokens(scored(records, 0)) == ["in", "oslo", ".", "[UNK]", "[EOS]"]


@pytest.mark.parametrize("answer", ["assistant", "user", "EOS", "a", "is", "where was"])
def test_words_of_the_template_are_no_answer(answer):
    made = L.tokenizer(model_max_length=40)
    made.chat_template = CHAT
    records = LanguageRecords(["where was a born ?"], [answer], tokenizer=made)
    labels = records[0][1]
    count, own = len(labels), len(made(answer)["input_ids"])
    assert (labels != NOT_SCORED).nonzero()[:, 0].tolist() == list(range(count - own - 1, count))  # and the end


def test_a_template_that_strips_texts_is_followed():
    made = L.tokenizer(model_max_length=40)
    made.chat_template = CHAT.replace("m.content", "m.content.strip()")
    records = LanguageRecords([" where was a born ? "], ["  in oslo . "], tokenizer=made)
    assert made.convert_ids_to_tokens(scored(records, 0)) == ["in", "oslo", ".", "[EOS]"]


@pytest.mark.parametrize(
    "talk",
    [
        [],
        [{"from": "user", "value": "a"}],
        [{"role": "assistant", "content": None}],
        [{"role": "user", "content": ["a"]}],
        ["hi"],
        [None],
        "hi",
        None,
        {"role": "user", "content": "a"},
    ],
    ids=["empty", "other names", "nothing", "parts", "texts", "none", "a text", "no turns", "one turn"],
)
def test_conversations_of_another_form_are_told(talk):
    made = L.tokenizer()
    made.chat_template = CHAT
    with pytest.raises(UsageError, match="no list of messages"):
        LanguageRecords.of_messages([talk], tokenizer=made)


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        ({"role": "assistant", "content": None}, "turn 2: no content"),
        ({"role": "assistant", "content": [{"type": "text", "text": "york"}]}, "turn 2: content is list"),
        ({"content": "york"}, "turn 2: no role"),
        ("york", "turn 2: a str"),
    ],
)
def test_the_turn_that_is_none_is_named(turn, found):
    made = L.tokenizer()
    made.chat_template = CHAT
    with pytest.raises(UsageError) as told:
        LanguageRecords.of_messages([[{"role": "user", "content": "who"}, turn]], tokenizer=made)
    assert told.value.obstacles[0].found == found


def test_a_template_that_refuses_is_told_without_its_text():
    made = L.tokenizer()
    made.chat_template = "{{ raise_exception('roles of ' + messages[0].content) }}"
    with pytest.raises(UsageError, match="refuses a conversation") as told:
        LanguageRecords(["ada"], ["is"], tokenizer=made)
    assert "ada" not in str(told.value)


# Begins with an empty line and blanks before a block, which transformers leaves out: what is put before must not.
DATED = "\n   {% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}of {{ day }}\n" + CHAT


def put_today(monkeypatch, day):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(day)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


def dated(kind, template, **more):
    made = letters(model_max_length=200)
    made.chat_template = template
    if kind == "talks":
        return LanguageRecords.of_messages([TURNS], tokenizer=made, **more)
    return LanguageRecords(["where ?"], ["in york"], tokenizer=made, **more)


@pytest.mark.parametrize("kind", ["pairs", "talks"])
def test_a_template_reads_the_day_that_is_named_and_no_clock(kind, monkeypatch):
    found = set()
    for today in ("2026-11-23", "2026-11-24"):
        put_today(monkeypatch, today)
        records = dated(kind, DATED, date="2024-07-26")
        found.add(records.manifest.digest)
        assert found.isdisjoint({dated(kind, DATED, date="2024-07-27").manifest.digest})
    assert len(found) == 1
    put_today(monkeypatch, "2024-07-26")
    made, pair = records.tokenizer, [("user", "where ?"), ("assistant", "in york")]
    talk = TURNS if kind == "talks" else [{"role": role, "content": text} for role, text in pair]
    assert records.words(0) == made.apply_chat_template(talk, tokenize=False)
    assert "of 26 Jul 2024" in records.words(0)


@pytest.mark.parametrize("kind", ["pairs", "talks"])
def test_a_template_that_writes_the_date_wants_it_named(kind):
    with pytest.raises(UsageError, match="today's date"):
        dated(kind, DATED)
    with pytest.raises(UsageError, match="not a day"):
        dated(kind, DATED, date="26 Jul 2024")
    asleep = "{% if False %}{{ strftime_now('%Y') }}{% endif %}" + CHAT
    plain = dated(kind, CHAT).manifest
    assert plain == dated(kind, asleep).manifest == dated(kind, CHAT, date="2024-07-26").manifest


@pytest.mark.parametrize(
    ("prompts", "answers", "more", "message"),
    [
        ("ab", "ab", {}, "no list of texts"),
        ([None], ["is"], {}, "no list of texts"),
        (["a"], [3], {}, "no list of texts"),
        (["a"], ["is"], {"max_length": 0}, "as short as that"),
        (["a"], ["is"], {"max_length": -4}, "as short as that"),
    ],
)
def test_what_is_no_text_is_told(prompts, answers, more, message):
    with pytest.raises(UsageError, match=message):
        LanguageRecords(prompts, answers, tokenizer=L.tokenizer(), **more)


def test_a_token_over_the_border_is_told():
    with pytest.raises(UsageError, match="end of a prompt") as told:
        LanguageRecords(["Q:"], ["Answer"], tokenizer=letters(), template="{prompt}{answer}")
    assert "Answer" not in str(told.value)
    apart = LanguageRecords(["Q:"], ["Answer"], tokenizer=letters(), template="{prompt}\n{answer}")
    assert len(scored(apart, 0)) == 7


@pytest.mark.parametrize(
    ("answer", "template", "wanted"),
    [
        ("me.", "{prompt}\nA {answer}\n", " me.\n"),  # the line's end goes with the full stop
        ("me.", '{prompt}\nA {answer}" x', ' me."'),
        ("me ", "{prompt}\nA {answer}x", " me"),  # a blank that begins what comes next is none of the answer
        ("me.", "{prompt}\nA {answer} x", " me."),
    ],
    ids=["line", "mark", "next word", "apart"],
)
def test_a_last_token_that_takes_the_template_along_is_scored(answer, template, wanted):
    made = letters(".Ċ", '."', "Ġx")
    records = LanguageRecords(["who"], [answer], tokenizer=made, template=template)
    assert scored(records, 0) == [*made(wanted)["input_ids"], made.eos_token_id]


def test_a_turn_whose_last_token_takes_the_end_of_its_line_along_is_scored_whole():
    made = letters(".Ċ")
    made.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"
    talk = [{"role": role, "content": "it is me."} for role in ("user", "assistant", "user")]
    said = LanguageRecords.of_messages([talk], tokenizer=made)
    assert scored(said, 0) == made("it is me.\n")["input_ids"]


def test_nothing_is_cut_off_unasked():
    with pytest.raises(UsageError, match="longer than the model reads"):
        LanguageRecords(["a"], ["a " * 40], tokenizer=L.tokenizer())
    cut = LanguageRecords(["a"], ["a " * 40], tokenizer=L.tokenizer(), truncate=True)
    assert cut.longest == 24
    assert cut.cut == {0}
    some = LanguageRecords(["a"] * 3, ["is", "a " * 40, "is"], tokenizer=L.tokenizer(), truncate=True, ids="xyz")
    assert (some.cut, some.select(["z", "y"]).cut, some.select(["z"]).cut) == ({1}, {1}, frozenset())
    with pytest.raises(UsageError, match="without a scored token"):
        LanguageRecords(["a " * 40], ["is"], tokenizer=L.tokenizer(), truncate=True)


@pytest.mark.parametrize(
    ("limit", "question", "said", "instead"),
    [
        (20, "where was kaba born ?", SAID[:1], ["at", "lima", ".", "[EOS]"]),
        (25, "is a ?", SAID, ["at"]),  # of the second answer one token is left
        (28, "is a ?", SAID, ["at", "lima", ".", "[EOS]"]),
    ],
    ids=["between", "within", "whole"],
)
def test_of_a_conversation_that_is_cut_the_last_answer_is_the_last_one_left(limit, question, said, instead):
    made = L.tokenizer(model_max_length=limit)
    made.add_tokens(["at"])
    made.chat_template = CHAT
    records = LanguageRecords.of_messages([TURNS], tokenizer=made, truncate=True)
    assert (records.question(0), list(records.said(0))) == (question, said)
    tokens, labels = records[0]
    gaps = (labels == NOT_SCORED).nonzero()[:, 0]
    first = int(gaps[gaps < (labels != NOT_SCORED).nonzero().max()].max()) + 1
    assert records.prompt(0).tolist() == tokens["input_ids"][:first].tolist()
    other = records.answered({"0": ["at lima ."]})
    assert made.convert_ids_to_tokens(scored(other, 0)) == instead
    assert other.longest == limit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageRecords(["a"], ["is", "a"], tokenizer=L.tokenizer()), "differ in number"),
        (lambda: LanguageRecords(["a", "a"], ["is", " "], tokenizer=L.tokenizer()), "empty answers"),
        (lambda: LanguageRecords(["a"], ["is"], tokenizer=L.tokenizer(), template="{answer} {prompt}"), "template"),
        (lambda: LanguageRecords(["a"], ["is"], tokenizer=L.tokenizer(), subjects=["x", "y"]), "differ in number"),
        (
            lambda: LanguageRecords.of_messages([[{"role": "user", "content": "a"}]], tokenizer=L.tokenizer()),
            "no template of conversations",
        ),
        (lambda: LanguageRecords.of_texts(["a"], tokenizer=L.tokenizer(eos_token=None)), "without a scored token"),
        (lambda: LanguageRecords.of_texts([""], tokenizer=L.tokenizer()), "without a scored token"),
        (
            lambda: LanguageRecords.of_texts(["a is"], tokenizer=L.tokenizer(eos_token=None, pad_token=None)),
            "no pad token",
        ),
    ],
    ids=["numbers", "empty", "order", "subjects", "no template", "one token", "no token", "no pad"],
)
def test_bad_input_is_told(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_an_assistant_that_says_nothing_is_told():
    made = L.tokenizer()
    made.chat_template = CHAT
    with pytest.raises(UsageError, match="says nothing"):
        LanguageRecords.of_messages([[{"role": "user", "content": "a"}]], tokenizer=made)
    made.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(UsageError, match="does not write what was said"):
        LanguageRecords.of_messages([[{"role": "assistant", "content": "is a"}]], tokenizer=made)


def test_content_is_that_of_tokens_and_of_what_is_scored():
    one = LanguageRecords(["a", "a", "a is", "b"], ["is a", "is a", "a", "is a"], tokenizer=L.tokenizer())
    contents = [one.content(i) for i in range(4)]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]  # the same tokens, another border
    again = LanguageRecords(["a"], ["is a"], tokenizer=L.tokenizer())
    assert again.content(0) == contents[0]


@pytest.mark.parametrize("kind", ["plain", "template", "chat"])
def test_another_answer_is_written_as_if_it_had_been_given(kind):
    """The same tokens and marks as of records that were made with it."""
    made = letters()
    if kind == "chat":
        made.chat_template = CHAT
    more = {
        "tokenizer": made,
        "ids": ["a", "b"],
        **({"template": "Q: {prompt}\nA: {answer} !"} if kind == "template" else {}),
    }
    prompts = ["who is it ?", "where ?"]
    records = LanguageRecords(prompts, ["me .", "in york"], **more)
    found = records.answered({"b": [" here ", "there"], "a": ["you"]})
    assert found.ids == ("b#0", "b#1", "a#0")
    for place, (row, answer) in enumerate(((1, "here"), (1, "there"), (0, "you"))):
        wanted = LanguageRecords([prompts[row]], [answer], **{**more, "ids": None})
        assert found.content(place) == wanted.content(0)


def test_a_plain_text_and_one_that_becomes_too_long_have_no_other_answer():
    plain = LanguageRecords.of_texts(["york is a town"], tokenizer=L.tokenizer())
    with pytest.raises(UsageError, match="asks nothing"):
        plain.answered({"0": ["oslo"]})
    with pytest.raises(UsageError, match="longer than the model reads"):
        L.records().answered({L.records().ids[0]: ["york " * 30]})


@pytest.mark.parametrize("kind", ["pair", "template", "chat"])
def test_a_prompt_is_what_stands_before_the_answer(kind):
    """As it was written, in other words, and with the answer begun: what the whole text has there."""
    made, more = L.tokenizer(), {}
    if kind == "chat":
        made.chat_template = CHAT
    if kind == "template":
        more = {"template": "of {prompt} is {answer} ."}
    prompts, answers, _, _ = L.facts()
    records = LanguageRecords(prompts, answers, tokenizer=made, **more)
    reworded = LanguageRecords([f"what is {p} a ?" for p in prompts], answers, tokenizer=made, **more)
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens, labels = records[i]
        first = int((labels != NOT_SCORED).nonzero()[0])
        assert records.prompt(i).tolist() == tokens["input_ids"][:first].tolist()
        assert records.prompt(i, "what is {prompt} a ?").tolist() == reworded.prompt(i).tolist()
        begun = answer.split()[0]
        assert records.prompt(i, begun=begun).tolist() == tokens["input_ids"][: first + 1].tolist()
        assert records.question(i) == prompt


def test_of_a_conversation_the_last_question_is_asked():
    made = L.tokenizer(model_max_length=64)
    made.chat_template = CHAT
    said = [("user", "where was kaba born ?"), ("assistant", "york ."), ("user", "is a poet ?"), ("assistant", "was .")]
    records = LanguageRecords.of_messages([[{"role": r, "content": c} for r, c in said]], tokenizer=made)
    assert records.question(0) == "is a poet ?"
    text = made.decode(records.prompt(0, "what is {prompt}"))
    assert text.startswith(made.decode(made("<user> where was kaba born ? <assistant> york . [EOS]")["input_ids"]))
    assert "what is is a poet ?" in text


def test_a_plain_text_asks_nothing():
    records = LanguageRecords.of_texts(["kaba was born ."], tokenizer=L.tokenizer())
    assert records.question(0) == ""
    with pytest.raises(UsageError, match="asks nothing"):
        records.prompt(0)


def test_a_tokenizer_that_ends_every_text_does_not_end_a_prompt():
    made = L.tokenizer()
    made._tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    records = LanguageRecords(["where was"], ["york ."], tokenizer=made)
    assert records.prompt(0).tolist() == L.tokenizer()("where was")["input_ids"]
