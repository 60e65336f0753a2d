import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.data.language import LanguageRecords
from expunge.data.texts import TextRecords
from expunge.engine.copies import NEAR, PATH, Pair, find, notes, write
from tests.support import languages as L
from tests.support import texts as T
from tests.support import toys


def problem_of(change):
    """60 records, r0 to r11 to forget; ``change`` puts copies among the others."""
    x, y = toys.points(60)
    change(x, y)
    return toys.problem(train=toys.Witness(x, y, ids=[f"r{i}" for i in range(60)]), trainer=None)


def exact(x, y):
    x[20], y[20] = x[3], y[3]


def other_label(x, y):
    x[20], y[20] = x[3], (y[3] + 1) % 3


def rounded(x, y):
    x[20], y[20] = (x[3] * 256).round() / 256, y[3]


def test_nothing_is_a_copy_of_nothing():
    problem = problem_of(lambda x, y: None)
    assert find(problem) == []
    assert notes(problem, []) == []


def test_exact_copies_are_the_problems_own_note():
    problem = problem_of(exact)
    pairs = find(problem)
    assert pairs == [Pair("r3", "r20", 0.0, True)]
    assert notes(problem, pairs) == []
    assert any("exact copies" in obstacle.what for obstacle in problem.check())


@pytest.mark.parametrize("change", [other_label, rounded])
def test_near_copies_are_counted(change):
    problem = problem_of(change)
    (pair,) = find(problem)
    assert (pair.forgotten, pair.retained, pair.exact) == ("r3", "r20", False)
    (told,) = notes(problem, [pair])
    assert isinstance(told, Obstacle)
    assert not told.fatal
    assert told.found.startswith("1 of 12 forgotten ones")
    assert "r3" not in str(told), "no ids"


def test_far_from_zero_small_distances_are_still_small():
    x, y = toys.points(60, dtype=torch.float64)
    x += 1e7
    x[20] = x[3] + 1e-4
    problem = toys.problem(train=toys.Witness(x, y, ids=[f"r{i}" for i in range(60)]), trainer=None)
    (pair,) = find(problem)
    assert pair.distance == pytest.approx(2e-4, rel=1e-2)  # four columns


def test_distances_are_those_between_inputs():
    problem = problem_of(rounded)
    (pair,) = find(problem)
    assert pair.distance == pytest.approx(
        float((problem.records.x[3] - problem.records.x[20]).double().norm()), rel=1e-6
    )


def test_what_is_near_is_a_share_of_what_is_typical():
    """The typical distance, by hand: the median over retained records of that to the next retained one."""
    x = problem_of(lambda x, y: None).records.x[12:].double()
    apart = torch.cdist(x, x).fill_diagonal_(torch.inf).min(dim=1).values.median()

    def beside(factor):
        def change(x, y):
            x[20] = x[3]
            x[20, 0] += factor * NEAR * float(apart)

        return change

    assert len(find(problem_of(beside(0.8)))) == 1
    assert find(problem_of(beside(1.25))) == []


def test_where_most_records_have_copies_nothing_is_far_below():
    def doubled(x, y):
        x[36:], y[36:] = x[12:36], y[12:36]
        x[3] = x[13] + 1e-6

    assert find(problem_of(doubled)) == []


# --- texts ------------------------------------------------------------------------------------------------------

TEXTS = {
    "f-long": ("where was kaba born ?", "kaba was born in york ."),
    "f-short": ("what is the work of kaba ?", "a poet ."),
    "other question": ("is kado a miner ?", "kaba was born in york ."),
    "longer": ("is kado a miner ?", "kado is a miner . Kaba  was born in York . what is a poet ?"),
    "other words": ("where was kaba born ?", "kaba was born in oslo ."),
    "short answer": ("is kado a poet ?", "a poet ."),
    "short whole": ("a", "what is the work of kaba ? a poet . is a miner ."),
    "exact": ("where was kaba born ?", "kaba was born in york ."),
    "joined": ("is a", "kaba was born in yorkbonn ."),
}


def spoken(**more):
    prompts, answers = zip(*TEXTS.values(), strict=True)
    records = LanguageRecords(prompts, answers, tokenizer=L.tokenizer(model_max_length=40), ids=list(TEXTS), **more)
    return Problem(model=L.untrained(), train=records, task="causal_lm", forget=("f-long", "f-short"))


def test_texts_that_hold_a_forgotten_one_are_told():
    problem = spoken()
    pairs = find(problem)
    assert [(p.forgotten, p.retained) for p in pairs if p.exact] == [("f-long", "exact")]
    assert [(p.forgotten, p.retained) for p in pairs if p.held] == [
        ("f-long", "other question"),
        ("f-long", "longer"),
        ("f-short", "short whole"),
    ], "answers of five words or more; of a shorter one the whole record, with its question"
    (told,) = [each for each in notes(problem, pairs) if "hold" in each.what]
    assert told.found == "3 of 7 retained"
    assert not told.fatal
    assert not any(word in str(told) for word in ("kaba", "york", "longer")), "no text and no id"


def test_every_turn_of_a_conversation_is_looked_for():
    made = L.tokenizer(model_max_length=60)
    made.chat_template = "{% for m in messages %}{{ m.content }} [EOS] {% endfor %}"

    def talk(*turns):
        return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]

    talks = [talk("a ?", "kaba was born in york .", "is a ?", "kado was born in bonn ."), talk("a ?", "is a .")]
    talks += [talk("what ?", f"{said} is a .") for said in ("kaba was born in york .", "kado was born in bonn .")]
    records = LanguageRecords.of_messages(talks, tokenizer=made)
    problem = Problem(model=L.untrained(), train=records, task="causal_lm", forget=("0",))
    assert [pair.retained for pair in find(problem) if pair.held] == ["2", "3"]


def test_texts_of_a_classifier_may_be_of_any_lengths():
    """The longest text of what must go is seldom as long as the longest of what stays."""
    said = ["ab cd", "x y", *(" ".join("efgh"[: 1 + i % 4]) + f" w{i}" for i in range(30)), "ab cd i"]
    words = sorted({word for text in said for word in text.split()})
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[PAD]", *words])}))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    records = TextRecords(
        said,
        [i % 2 for i in range(len(said))],
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", model_max_length=9),
    )
    assert records.read([0, 1])[0]["input_ids"].shape[1] < records.read(range(33))[0]["input_ids"].shape[1]
    problem = Problem(model=T.untrained(), train=records, forget=["0", "1"])
    assert all(pair.forgotten in ("0", "1") for pair in find(problem))


def test_short_texts_of_other_words_are_no_copies():
    """Tokens are counted in 256 places: of thousands of texts of two words some fall on one row."""
    words = [f"w{i}" for i in range(1200)]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[PAD]", *words])}))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    said = ["w1 w2", "w257 w258", "w2 w1", *(f"w{i} w{i + 1}" for i in range(300, 1000, 7))]
    records = TextRecords(
        said,
        [i % 2 for i in range(len(said))],
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", model_max_length=9),
    )
    task = Problem(model=T.untrained(), train=records, forget=["0"]).meaning
    assert torch.equal(*(task.inputs(records.read([place])) for place in (0, 1)))
    assert find(Problem(model=T.untrained(), train=records.without(["2"]), forget=["0"])) == []
    (pair,) = find(Problem(model=T.untrained(), train=records.without(["1"]), forget=["0"]))
    assert pair.retained == "2", "the same words"


def test_the_list_is_private(tmp_path):
    (tmp_path / "private").mkdir()
    write(
        tmp_path,
        [Pair("r3", "r20", 0.0, True), Pair("r4", "r21", 0.00125, False), Pair("r5", "r22", 0.0, False, held=True)],
    )
    path = tmp_path / PATH
    assert path.read_text() == (
        "forgotten,retained,distance,exact,held\nr3,r20,0,1,0\nr4,r21,0.00125,0,0\nr5,r22,0,0,1\n"
    )
    assert path.stat().st_mode & 0o077 == 0
