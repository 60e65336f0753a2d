import math

import numpy as np
import pytest
import torch

from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.data.language import LanguageRecords
from expunge.engine import written
from expunge.engine.parts import Parts
from expunge.engine.split import Part
from expunge.engine.writing import Text
from expunge.engine.written import Composed, Writing
from tests.support import languages as L

ANSWERS = {
    "kaba": ("kaba was born in york .", "kaba is a poet ."),
    "kado": ("kado was born in oslo .", "kado is a judge ."),
    "kafi": ("kafi was born in rome .", "kafi is a miner ."),
    "kagu": ("kagu was born in kiev .", "kagu is a baker ."),
    "loba": ("loba was born in york .", "loba is a sailor ."),
    "lodo": ("lodo was born in cork .", "lodo is a tailor ."),
    "lofi": ("lofi was born in bern .", "lofi is a poet ."),
}


def records(*names):
    rows = [
        (f"{name}{i}", name, prompt.format(name), answer)
        for name in names
        for i, (prompt, answer) in enumerate(
            zip(("where was {} born ?", "what is the work of {} ?"), ANSWERS[name], strict=True)
        )
    ]
    ids, subjects, prompts, answers = zip(*rows, strict=True)
    return LanguageRecords(prompts, answers, tokenizer=L.tokenizer(), ids=ids, subjects=subjects)


@pytest.fixture
def posed():
    names = list(ANSWERS)
    train = records(*names[:6])
    return Problem(
        model=L.untrained(), train=train, forget=["kaba0", "kaba1"], task="causal_lm", holdout=records("lofi")
    )


def parts(posed):
    return {"forget": posed.forget_view, "retain": posed.retain_view, "holdout": posed.held_out}


def test_answers_are_looked_at_word_by_word(posed, monkeypatch):
    """Of a person who is a poet of york: a right answer, one of another's words, one of nobody's, a stammer."""
    made = Writing.of(posed, {name: part for name, part in parts(posed).items() if name != "holdout"}, 0)
    said = {
        "kaba0": "kaba was born in oslo .",
        "kaba1": "kaba is a poet of york .",
        "kado0": "kado was born in bonn .",
    }

    def write(model, prompts, limits, *, ends):
        asked = [L.tokenizer().decode(prompt) for prompt in prompts]
        names = [f"{text.split()[-2]}{int('work' in text)}" for text in asked]
        names = [name if "born" not in text else f"{text.split()[2]}0" for name, text in zip(names, asked, strict=True)]
        assert limits == [15 if name.endswith("0") else 14 for name in names], "eight more than the answer"
        return [Text(L.tokenizer()(said.get(name, "is is is is"))["input_ids"], -0.25) for name in names]

    monkeypatch.setattr(written, "write", write)
    arrays, cost = made.written(posed.source.open())
    gone, stays = (Composed.of(arrays[f"written {part}"]) for part in ("forget", "retain"))
    assert gone.recall.tolist() == [4 / 5, 1.0]
    assert gone.f1.tolist() == pytest.approx([4 / 5, 2 * 4 / (4 + 6)])
    assert gone.elsewhere.tolist() == [1, 0], "oslo is another's; york is as well, and true of the person"
    assert gone.log_prob.tolist() == [-0.25, -0.25]
    assert gone.bigrams.tolist() == pytest.approx([math.log2(5), math.log2(6)])
    assert gone.trigrams.tolist() == pytest.approx([math.log2(4), math.log2(5)])
    assert gone.refusal.tolist() == [0, 0]
    assert stays.elsewhere[0] == 0, "no retained answer knows of bonn"
    assert stays.bigrams[1:].tolist() == [0] * 9
    assert cost == Cost(read=2 * 12)


def test_words_of_many_subjects_are_nobodys(posed):
    made = Writing.of(posed, parts(posed), 0)
    assert {"oslo", "kado", "judge", "sailor"} <= made.known
    assert not {"was", "born", "in", "is", "a"} & made.known
    assert not {"poet", "lofi"} & made.known, "they stand in no retained answer"


def test_refusals_are_none_where_the_truth_is_one(posed, monkeypatch):
    made = Writing.of(posed, parts(posed), 0)
    monkeypatch.setattr(written, "refuses", lambda text: "york" in text)
    said = Text(L.tokenizer()("york")["input_ids"], -1.0)
    rows = [made._row(posed.records, place, answer, said, {}) for place, answer in ((0, "york ."), (0, "oslo ."))]
    assert [row[-2] for row in rows] == [0.0, 1.0]


def test_some_of_many_are_asked_and_always_the_same(posed, monkeypatch):
    monkeypatch.setattr(written, "MOST", 4)
    made, again, other = (Writing.of(posed, parts(posed), seed) for seed in (0, 0, 1))
    assert {name: len(chosen) for name, chosen in made.chosen.items()} == {"forget": 2, "retain": 4, "holdout": 2}
    assert made.key == again.key != other.key
    chosen = made.parts["retain"]
    assert [posed.retain_view.ids[i] for i in chosen.chosen] == chosen.ids
    assert np.all(np.diff(chosen.chosen) > 0)


def test_plain_texts_and_numbers_are_asked_nothing():
    from tests.support import toys

    texts = LanguageRecords.of_texts(["kaba was born in york ."] * 2, tokenizer=L.tokenizer(), ids=["a", "b"])
    torch.manual_seed(0)
    posed = Problem(model=L.gpt(), train=texts, forget=["a"], task="causal_lm")
    for problem in (posed, toys.problem()):
        assert not Writing.of(problem, {"forget": problem.forget_view, "retain": problem.retain_view}, 0).parts


def test_wrong_answers_of_those_that_are_asked_are_evidence(posed):
    """By the place of their record in its part; of records that are not asked there are none."""
    names = {"paraphrased_answer": ["lofi1#0", "kado1#0", "loba0#0"], "wrong_answer": ["lofi1#0", "lofi1#1", "kado1#0"]}
    given = {
        name: LanguageRecords(["is ?"] * len(ids), ["a miner ."] * len(ids), tokenizer=L.tokenizer(), ids=ids)
        for name, ids in names.items()
    }
    posed = Problem(
        model=posed.model,
        train=posed.records,
        forget=["kaba0"],
        task="causal_lm",
        holdout=posed.held_out,
        variants=given,
    )
    whole = Part(posed.forget_view, posed.held_out.select(posed.held_out.ids))
    parts = Parts.of(posed, whole, 0, near=False, asked=[EvidenceKind.WRITTEN])
    assert set(parts.variants) == {f"{name} of {part}" for name in names for part in ("retain", "holdout")}
    assert parts.owners["wrong_answer of holdout"].tolist() == [1, 1]
    places = [parts.retain.ids.index(name) for name in ("kado1", "loba0")]
    assert sorted(parts.owners["paraphrased_answer of retain"].tolist()) == sorted(places)
    assert not Parts.of(posed, whole, 0, near=False, asked=[EvidenceKind.WRONG_ANSWERS]).variants
