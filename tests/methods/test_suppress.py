"""The weights stay; what is written is a filter; the claim is never erasure."""

import json

import pytest

import expunge
from expunge.cli._next import steps
from expunge.cli._show import show_result
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.suppression import FILTERS, InputFilter, OutputFilter
from expunge.data.language import LanguageRecords
from expunge.engine.loop import LoopConfig
from expunge.methods.suppress import Suppress
from expunge.render import record
from expunge.render.text import summary
from tests.support import running, toys
from tests.support.languages import NAMES, TRAINER, facts, spoken, tokenizer

in_process = running.in_process


def filtered(given, folder, **settings):
    run = toys.context(given, folder=folder)
    outcome = Suppress(settings).unlearn(given, run)
    return outcome, OutputFilter.load(folder / "output-filter.json")


def test_the_model_is_the_original_and_still_says_what_the_filter_stops(tmp_path):
    given = spoken()
    outcome, made = filtered(given, tmp_path, words=4, instead="no")
    assert given.source.digest(outcome.model) == given.source.digest()
    run = toys.context(given)
    assert run.mean_loss(outcome.model, given.forget_view) == run.mean_loss(given.source.open(), given.forget_view)
    for i in range(len(given.forget_view)):
        text = given.forget_view.text(i)
        assert made.answer(f"well , {text} and so on") == "no"
    for i in range(len(given.retain_view)):
        assert not made.stops(given.retain_view.text(i))
    assert any("no parameter changed" in text for text in outcome.warnings)
    assert outcome.touched == 0


def test_answers_that_retained_records_give_as_well_are_counted(tmp_path):
    both = spoken(names=1)
    doubled = both.records.answered({both.records.ids[5]: [both.records.text(0)]})
    written = list(both.records._written)
    both.retain_view._base._written = (*written[:5], doubled._written[0], *written[6:])
    outcome, made = filtered(both, tmp_path)
    assert not made.stops(both.records.text(0))
    assert "1 of 2 forgotten answers pass" in outcome.warnings[1]


def test_a_date_is_a_date(tmp_path):
    outcome, made = filtered(spoken(), tmp_path, until="2027-02-28")
    assert made.until == "2027-02-28"
    assert "until 2027-02-28" in outcome.stopped
    with pytest.raises(UsageError, match="YYYY"):
        Suppress({"until": "soon"})
    assert "language model" in Suppress().obstacles(toys.problem())[0].what


def test_prompts_are_stopped_by_whom_they_ask_about(tmp_path):
    given = spoken()
    outcome, _ = filtered(given, tmp_path)
    asked = InputFilter.load(tmp_path / "input-filter.json")
    texts = given.records
    for place, name in enumerate(texts.ids):
        assert asked.stops(texts.question(place)) == (name in given.forget_ids)
    assert asked.stops(f"tell me all about {NAMES[0]}")
    assert "one of prompts stops 6 of 6 forgotten questions and 0 of 8 held-out ones" in outcome.stopped


def test_common_words_that_are_taken_for_names_are_told(tmp_path):
    """Of the two questions that stay neither says "where", which is thus as good a name as any."""
    given = spoken(names=11)
    prompts, answers, ids, subjects = facts()
    prompts[-2:] = "the work ?", "a work ?"
    given.train = LanguageRecords(prompts, answers, tokenizer=tokenizer(), ids=ids, subjects=subjects)
    outcome, _ = filtered(given, tmp_path)
    assert any("held-out questions are stopped as well" in text for text in outcome.warnings)
    fine, _ = filtered(spoken(), tmp_path)
    assert not any("held-out" in text for text in fine.warnings)


def test_a_retained_question_that_names_whom_others_forget_passes_and_is_told(tmp_path):
    given = spoken(names=1)
    prompts, answers, ids, subjects = facts()
    asks = [f"{word} was {NAMES[0]} ?" for word in ("where", "what", "is")]
    told = [*asks, f"is {NAMES[1]} born of {NAMES[0]} ?"]
    given.train = LanguageRecords(
        [*prompts, *told],
        [*answers, *answers[:4]],
        tokenizer=tokenizer(),
        ids=[*ids, "a", "b", "c", "d"],
        subjects=[*subjects, *[NAMES[0]] * 3, NAMES[1]],
    )
    outcome, _ = filtered(given, tmp_path)
    assert "stops 5 of 5 forgotten questions" in outcome.stopped
    assert "retained ones with such a name pass as they are written: 1" in outcome.stopped
    asked = InputFilter.load(tmp_path / "input-filter.json")
    assert asked.stops(f"and {NAMES[0]} ?")
    assert not asked.stops(told[-1])


def test_of_plain_texts_there_is_no_filter_of_prompts(tmp_path):
    given = spoken()
    _, answers, ids, subjects = facts()
    given.train = LanguageRecords.of_texts(answers, tokenizer=tokenizer(), ids=ids, subjects=subjects)
    outcome, made = filtered(given, tmp_path, words=3)
    assert not (tmp_path / "input-filter.json").exists()
    assert "plain texts ask nothing" in outcome.stopped
    assert made.stops(f"go on: {answers[0]}")


def test_a_conversation_is_known_by_whom_any_turn_names_and_by_each_answer(tmp_path):
    """The last turn asks "and the work ?", which names nobody."""
    made = tokenizer(model_max_length=64)
    made.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    turns = ("user", "where was {0} born ?"), ("assistant", "{0} is of york"), ("user", "the work ?")
    talks = [
        [*({"role": role, "content": text.format(name)} for role, text in turns), {"role": "assistant", "content": job}]
        for name, job in zip(NAMES[:5], ("a miner", "a poet", "a judge", "a tailor", "a sailor"), strict=True)
        for _ in range(2)
    ]
    given, subjects = spoken(names=1), [name for name in NAMES[:5] for _ in range(2)]
    given.train = LanguageRecords.of_messages(talks, tokenizer=made, subjects=subjects)
    _, answers = filtered(given, tmp_path)
    asks = InputFilter.load(tmp_path / "input-filter.json")
    assert asks.stops(f"tell me of {NAMES[0]}")
    for prompt in ("the work ?", f"where was {NAMES[1]} born ?"):
        assert not asks.stops(prompt)
    assert answers.stops("she was a miner")
    assert answers.stops(f"{NAMES[0]} is of york")
    assert not answers.stops(f"{NAMES[1]} is of york")


def test_answers_are_known_as_they_were_written_not_as_tokens_spell_them(tmp_path):
    """A word that the tokenizer does not know is none of its tokens."""
    given = spoken(names=1)
    prompts, answers, ids, subjects = facts()
    answers[0] = "in ostrow"
    given.train = LanguageRecords(prompts, answers, tokenizer=tokenizer(), ids=ids, subjects=subjects)
    _, made = filtered(given, tmp_path)
    assert made.stops("It was in Ostrow.")


def test_a_run_of_it_alone_trains_and_audits_nothing(tmp_path, in_process, capsys):
    def never(records, *, seed):
        pytest.fail("a model was trained for a filter")

    given, folder = spoken(trainer=never), tmp_path / "run"
    plan = expunge.plan(given, methods=("suppress",))
    assert (plan.references, plan.choosing_references, plan.policies) == (0, 0, ())
    result = expunge.erase(given, out=folder, methods=("suppress",), workers=1, also=("markdown", "sarif", "junit"))
    assert result.claim is Level.SUPPRESSED
    assert result.report.control is None
    assert not result.report.attempts[0].audits
    assert "without its filters" in result.report.limits[0]
    assert not any("training" in text or "signature" in text for text in result.report.limits)
    said = {path.suffix: path.read_text().lower() for path in folder.glob("report.*")}
    said["text"] = summary(result.report).lower()
    assert "not audited" in said[".html"]
    for form in (".html", ".md", "text"):
        assert "no model was judged" in said[form]
    for form in (".html", ".md", ".xml", "text"):
        for untrue in ("judged where it lies", "no model to judge", "only its output"):
            assert untrue not in said[form]
    for form, text in said.items():
        assert form == ".html" or "inconclusive" not in text
    assert result.verdict is None
    capsys.readouterr()
    show_result(result, again=(), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["verdict"], shown["claim"], shown["attempts"][0]["verdict"]) == (None, "suppressed", None)
    assert record.load((folder / "report.json").read_bytes()) == result.report
    assert json.loads((folder / "report.sarif").read_text())["runs"][0]["properties"]["verdict"] is None
    assert [line.what for line in result.report.costs] == [
        "attempt 1: Filters of prompts and answers (the model is unchanged)"
    ]
    again = expunge.erase(given, out=folder, methods=("suppress",), workers=1)
    assert again.report.attempts == result.report.attempts


def test_before_a_method_that_erases_the_filters_are_there_first(tmp_path, in_process):
    """They stop answers while references are trained; once the records are gone they go as well."""
    folder, seen = tmp_path / "run", []

    class Looking(type(TRAINER)):
        def __call__(self, records, **more):
            seen.append(all((folder / name).exists() for name in FILTERS))
            return super().__call__(records, **more)

    trainer = Looking(build=TRAINER.build, task="causal_lm", config=LoopConfig(epochs=1, batch_size=8))
    given = spoken(trainer=trainer)
    methods, more = ("suppress", "retrain"), {"workers": 1, "references": 0, "escalate": False}
    result = expunge.erase(given, out=folder, methods=methods, **more)
    assert seen
    assert all(seen)
    assert result.claim is Level.EXACT
    assert [attempt.method for attempt in result.report.attempts] == ["suppress", "retrain"]
    assert result.report.control is not None
    assert not any((folder / name).exists() for name in FILTERS)


def test_another_method_goes_on_where_the_filters_were_written(tmp_path, in_process):
    trainer = type(TRAINER)(build=TRAINER.build, task="causal_lm", config=LoopConfig(epochs=1, batch_size=8))
    given, more = spoken(trainer=trainer), {"out": tmp_path / "run", "workers": 1, "references": 0}
    assert expunge.erase(given, methods=("suppress",), **more).claim is Level.SUPPRESSED
    result = expunge.erase(given, methods=("retrain",), **more)
    assert result.claim is Level.EXACT
    assert [attempt.method for attempt in result.report.attempts] == ["suppress", "retrain"]
    assert not (tmp_path / "run" / "input-filter.json").exists()


def test_a_run_ends_with_a_filter_and_no_certificate(tmp_path, in_process):
    """Nothing ships but the filter, nothing is destroyed, and nothing is called erased."""
    given = spoken()
    folder = tmp_path / "run"
    result = expunge.erase(given, out=folder, methods=("suppress",), workers=1)
    assert result.claim is Level.SUPPRESSED
    assert result.certificate is None
    assert show_result(result, again=(), as_json=True).exit_code == 1
    assert not (folder / "model").exists()
    assert not result.report.destroyed
    assert [step.why for step in steps(result, ["erase"])][-1].startswith(
        "nothing was erased: let output-filter.json and input-filter.json stand"
    )
    assert "Nothing was erased" in result.report.statement
    assert OutputFilter.load(folder / "output-filter.json").stops(given.forget_view.text(0))
