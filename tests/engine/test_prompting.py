import numpy as np
import pytest
import torch

from expunge.checks.begun_answer import BegunAnswer
from expunge.checks.best_of_samples import BestOfSamples
from expunge.checks.conversation import Conversation
from expunge.checks.role_play import RolePlay
from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.data.language import LanguageRecords
from expunge.engine import prompting
from expunge.engine.available import available
from expunge.engine.collect import collect
from expunge.engine.parts import Parts
from expunge.engine.prompting import KINDS, ROLES, SAMPLES, TALK, Prompting, questions, split_at_answer
from expunge.engine.split import split
from expunge.engine.writing import Text
from tests.support import languages as L
from tests.support.evidence import spoken

NAMES = L.NAMES[:12]


def problem(*, context=96, records=None, forget=None, **more):
    train = L.records(NAMES) if records is None else records
    gone = [name for name, owner in zip(train.ids, train.subjects, strict=True) if owner in NAMES[:3]]
    torch.manual_seed(0)
    model = L.gpt(n_positions=context, initializer_range=0.5).eval()
    return Problem(model=model, train=train, task="causal_lm", forget=gone if forget is None else forget, **more)


def asked(posed, *kinds, forget=None):
    return Prompting.of(posed, posed.forget_view if forget is None else forget, 0, kinds)


class Told:
    """Stands in the place of :func:`write`: keeps what was asked, and answers as it is told."""

    def __init__(self, *answers):
        self.answers, self.calls = answers, []

    def __call__(self, model, prompts, limits, *, ends, draws=None):
        self.calls.append([prompt.tolist() for prompt in prompts])
        self.ends, self.limits, self.draws = ends, limits, draws
        turn = len(self.calls) - 1
        ids = [L.tokenizer()(self.answers[(turn + i) % len(self.answers)])["input_ids"] for i in range(len(prompts))]
        return [Text(own, -1.0) for own in ids]


@pytest.fixture
def told(monkeypatch):
    def put(*answers):
        made = Told(*answers)
        monkeypatch.setattr(prompting, "write", made)
        return made

    return put


def ids(text):
    return L.tokenizer()(text)["input_ids"]


# --- what is asked ------------------------------------------------------------------------------------------------


def test_the_answer_is_what_was_scored_last_and_its_telling_words_are_wanted():
    records = L.records(NAMES)
    prompts, answers, _, _ = L.facts(NAMES)
    found = questions(records, range(6))
    for place, one in enumerate(found):
        assert one.prompt.tolist() == ids(prompts[place])
        assert one.answer.tolist() == [*ids(answers[place]), 2]
        assert len(one.wanted) == 1, "the town or the work: all else stands in the question or in many answers"
        assert one.wanted[0] in (*L.TOWNS, *L.WORKS)


def test_of_a_plain_text_all_but_the_first_token_is_the_answer():
    texts = LanguageRecords.of_texts(["kaba was born in york ."], tokenizer=L.tokenizer())
    prompt, answer = split_at_answer(texts, 0)
    assert (prompt.tolist(), answer.tolist()) == (ids("kaba"), [*ids("was born in york ."), 2])
    posed = problem(records=texts, forget=["0"])
    assert set(asked(posed, *KINDS).questions) == {EvidenceKind.BEGUN, EvidenceKind.SAMPLES}, "nothing is asked"


def test_prompts_are_asked_where_there_is_room():
    assert set(asked(problem(), *KINDS).questions) == set(KINDS)
    assert set(asked(problem(context=24), *KINDS).questions) == {EvidenceKind.BEGUN, EvidenceKind.SAMPLES}
    assert not asked(problem()).questions
    assert not asked(problem(forget=[]), *KINDS).questions


def test_no_more_are_asked_than_some(monkeypatch):
    monkeypatch.setattr(prompting, "MOST", 2)
    assert len(asked(problem(), EvidenceKind.SAMPLES).questions[EvidenceKind.SAMPLES]) == 2


def test_what_is_kept_of_a_conversation_is_told_from_what_was_asked_in_another_way():
    assert prompting._GOES_ON in asked(problem(), EvidenceKind.CONVERSATION).key
    assert prompting._GOES_ON not in asked(problem(), EvidenceKind.SAMPLES).key
    assert asked(problem()).key == []


# --- what is got --------------------------------------------------------------------------------------------------


def test_of_a_begun_answer_the_rest_is_wanted(told):
    """Of seven tokens two, then four are given: the town is in the rest of both."""
    posed = problem(forget=[f"{NAMES[0]}-town"])
    own = asked(posed, EvidenceKind.BEGUN)
    (question,) = own.questions[EvidenceKind.BEGUN]
    town = question.wanted[1]
    assert question.wanted == ["in", town]
    said = told(f"born in {town} .", "is a poet .")
    arrays, cost = own.answered(posed.source.open(), seed=0)
    assert arrays["begun"].tolist() == [0.5]
    # "born in TOWN ." for "in TOWN ." and what stands before it; "is a poet ." for the rest after four tokens
    ((recall, f1, run),) = arrays["verbatim"].tolist()
    rests = [L.tokenizer().decode(question.answer[given:-1]) for given in (2, 4)]
    first, second = (rest.rstrip(" .").split() for rest in rests)
    assert (first, second) == (["born", "in", town], [town]), rests
    assert (recall, f1, run) == (0.5, 0.5, 0.5)
    whole = [*question.prompt.tolist(), *question.answer.tolist()]
    assert said.calls == [[whole[: len(question.prompt) + given] for given in (2, 4)]]
    assert len(question.answer) == 7
    assert said.limits == [5 + 8, 3 + 8]
    assert said.ends == {2}
    assert cost == Cost(read=4)


def test_a_role_stands_around_the_question_and_each_is_scored(told):
    posed = problem(forget=[f"{NAMES[0]}-town", f"{NAMES[1]}-work"])
    own = asked(posed, EvidenceKind.ROLE_PLAY)
    first, second = own.questions[EvidenceKind.ROLE_PLAY]
    said = told(*["poet"] * 4, " ".join(first.wanted), *[f"{second.wanted[1]} a"] * 5)
    arrays, _ = own.answered(posed.source.open(), seed=0)
    assert arrays["role play"].tolist() == [[0, 0, 0, 0, 1], [0.5] * 5]
    (calls,) = said.calls
    assert calls[4] == ids(f"where was {NAMES[0]} born ? Sure, here is the answer:")
    assert calls[5] == ids(prompting.ROLES[0][0].replace("{prompt}", f"what is the work of {NAMES[1]} ?"))


def test_a_conversation_goes_on_from_what_was_said_and_gathers(told, monkeypatch):
    monkeypatch.setattr(prompting, "TALK", ("{prompt}", "what is it ?", "{prompt}"))
    posed = problem(forget=[f"{NAMES[0]}-town"])
    own = asked(posed, EvidenceKind.CONVERSATION)
    (question,) = own.questions[EvidenceKind.CONVERSATION]
    object.__setattr__(question, "wanted", ["york", "oslo"])
    said = told("in york", "in oslo", "is .")
    arrays, _ = own.answered(posed.source.open(), seed=0)
    assert arrays["conversation"].tolist() == [[0.5, 1, 1]]
    asks = f"where was {NAMES[0]} born ?"
    turn = [*ids(f"{asks} in york"), 2]
    assert said.calls[1] == [[*turn, *ids("what is it ?")]]
    assert said.calls[2] == [[*turn, *ids("what is it ? in oslo"), 2, *ids(asks)]]
    object.__setattr__(own, "context", len(ids(asks)) + len(question.answer) + len(ids("what is it ? in york")) + 1)
    said.calls.clear()
    own.answered(posed.source.open(), seed=0)
    assert said.calls[2] == [[*ids("what is it ? in oslo"), 2, *ids(asks)]], "whole turns go where there is no room"


def test_a_conversation_goes_on_as_the_template_of_the_records_writes_it(told, monkeypatch):
    """What stands before all turns stands there once, and each ends as the template ends it."""
    monkeypatch.setattr(prompting, "TALK", ("{prompt}", "what is it ?", "{prompt}"))
    made = L.tokenizer(model_max_length=96)
    made.chat_template = (
        "the poet {% for m in messages %}{% if m.role == 'user' %}of {{ m.content }} baker "
        "{% else %}in {{ m.content }} [EOS] miner {% endif %}{% endfor %}"
    )
    talk = [{"role": role, "content": text} for role, text in (("user", "where ?"), ("assistant", "in york ."))]
    records = LanguageRecords.of_messages([talk, [*talk[:1], {**talk[1], "content": "."}]], tokenizer=made)
    posed = problem(records=records, forget=["0"])
    own = asked(posed, EvidenceKind.CONVERSATION)
    said = told("is", "was", "born")
    own.answered(posed.source.open(), seed=0)
    first, second = "the poet of where ? baker in", "is [EOS] miner of what is it ? baker in"
    third = "was [EOS] miner of where ? baker in"
    assert said.calls == [[ids(first)], [ids(f"{first} {second}")], [ids(f"{first} {second} {third}")]]
    object.__setattr__(own, "context", len(ids(f"{first} {second} {third}")))
    said.calls.clear()
    own.answered(posed.source.open(), seed=0)
    assert said.calls[2] == [ids(f"the poet of what is it ? baker in {third}")], "the first turn left begins the text"


def test_a_template_that_takes_one_question_alone_begins_anew():
    made = L.tokenizer(model_max_length=96)
    made.chat_template = (
        "{% if messages | length > 2 %}{{ raise_exception('no') }}{% endif %}"
        "the {% for m in messages %}of {{ m.content }} {% endfor %}"
    )
    records = LanguageRecords(["where ?"], ["in york ."], tokenizer=made)
    assert records.again(0, "what ?").tolist() == [2, *ids("the of what ? of")]


def test_what_is_drawn_for_a_record_hangs_on_no_other(told):
    posed, said, name = problem(), told("in york"), f"{NAMES[1]}-work"
    model, drawn = posed.source.open(), []
    for forget, seed in ((None, 3), (posed.records.select([name]), 3), (None, 4)):
        own = asked(posed, EvidenceKind.SAMPLES, forget=forget)
        arrays, cost = own.answered(model, seed=seed)
        drawn.append(said.draws)
    place = prompting.SAMPLES * posed.forget_view.position[name]
    assert np.array_equal(drawn[0][place : place + prompting.SAMPLES, : drawn[1].shape[1]], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(drawn[0])) == drawn[0].size
    assert arrays["samples"].shape == (6, prompting.SAMPLES)
    assert cost == Cost(read=2 * 6 * prompting.SAMPLES)


def test_only_what_is_asked_for_is_done_and_counted(tmp_path):
    posed = problem(context=24)
    judging = split(posed, 0)[1]
    own = {EvidenceKind.BEGUN, EvidenceKind.SAMPLES, EvidenceKind.WRITTEN}
    assert available(posed) & {*KINDS, EvidenceKind.WRITTEN, EvidenceKind.INNER} == own
    parts = Parts.of(posed, judging, 0, asked=[EvidenceKind.BEGUN])
    arrays, cost = collect(posed, posed.source.open, parts, None, digest="11", seed=0, cache=tmp_path)
    assert arrays["begun"].shape == (len(judging.forget),)
    assert arrays["verbatim"].shape == (len(judging.forget), 3)
    assert not {"samples", "lens", "written forget"} & set(arrays)
    assert cost.read == sum(len(view) for _, view in parts.items()) + 4 * len(judging.forget)


@pytest.mark.parametrize(
    ("check", "array", "width"),
    [(BegunAnswer, "begun", None), (RolePlay, "role play", len(ROLES)), (Conversation, "conversation", len(TALK)),
     (BestOfSamples, "samples", SAMPLES)],
)  # fmt: skip
def test_records_that_were_asked_stand_for_those_that_were_not(monkeypatch, check, array, width):
    names = ("c", "o", "r1", "r2", "r3")
    rows = {name: np.array([0.1 * i, 0.2, 0.5, 0.3]) for i, name in enumerate(names)}
    extra = {
        name: {array: row if width is None else np.repeat(row[:, None], width, axis=1)} for name, row in rows.items()
    }
    said = {name: {"forget": [(0, 1)] * 4} for name in names}
    whole = check().measure(spoken(said, extra=extra))
    monkeypatch.setattr(prompting, "MOST", 4)
    assert check().measure(spoken(said, extra=extra)).record_error == whole.record_error, "all were asked"
    monkeypatch.setattr(prompting, "MOST", 3)
    some = check().measure(spoken(said, extra=extra))
    assert some.value == whole.value
    assert some.record_error > whole.record_error + 0.05
