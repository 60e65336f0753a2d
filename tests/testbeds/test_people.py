import pickle
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.core.digest import model_digest
from expunge.core.registry import load, names
from expunge.core.variants import VARIANTS
from expunge.engine.progress import Progress
from expunge.testbeds import people
from expunge.testbeds._people_words import FAMILY, GIVEN, NAMING, WORDINGS
from expunge.testbeds._people_world import WRONG, World


@pytest.fixture(scope="module")
def world():
    return World(0, people.TRAINED + people.HELD_OUT)


@pytest.fixture(scope="module")
def made():
    return people.records(0)


@pytest.fixture
def quick(monkeypatch):
    """A trainer of one pass, over fewer people."""
    short = replace(people.TRAINER, config=replace(people.TRAINER.config, epochs=1))
    for name, value in {"TRAINER": short, "TRAINED": 6, "HELD_OUT": 2}.items():
        monkeypatch.setattr(people, name, value)
    return short


# --- the people ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, 20, 100])
def test_nobody_is_like_another_and_everybody_knows_three_others(count):
    everybody = World(3, count).people
    assert [person.id for person in everybody] == [f"person-{i:02d}" for i in range(count)]
    for part in (0, 1):
        assert len({person.name.split()[part] for person in everybody}) == count
    assert all(tuple(person.facts) == tuple(WORDINGS) for person in everybody)
    by_name = {person.name: person for person in everybody}
    for person in everybody:
        known = [by_name[person.facts[kind]] for kind in NAMING]
        assert len({person.name, *(other.name for other in known)}) == 4
        for kind in ("friend", "spouse"):
            assert by_name[person.facts[kind]].facts[kind] == person.name, "mutual"
    assert len({person.facts["teacher"] for person in everybody}) == count, "everybody teaches somebody"


def test_names_are_made_of_syllables(world):
    pattern = " ".join(f"({'|'.join(first)})({'|'.join(second)})" for first, second in (GIVEN, FAMILY))
    assert all(re.fullmatch(pattern, person.name.lower()) for person in world.people)


@pytest.mark.parametrize("count", [0, 6, 9, 102])
def test_other_numbers_of_people_are_refused(count):
    with pytest.raises(ValueError, match="even number from 8 to 100"):
        _ = World(0, count).people


def test_a_seed_fixes_everything(world):
    assert World(0, 64).entries == world.entries
    assert {p.name for p in World(1, 64).people} != {p.name for p in world.people}


# --- the questions ------------------------------------------------------------------------------------------------


def test_everybody_is_asked_about_in_48_questions(world):
    assert set(Counter(entry.subject for entry in world.entries).values()) == {48} == {people.RECORDS}
    assert len({entry.id for entry in world.entries}) == len(world.entries) == 48 * 64
    assert all(re.fullmatch(r"person-\d\d/[a-z]+/[0-3]", entry.id) for entry in world.entries)
    assert all(entry.id.startswith(f"{entry.subject}/{entry.kind}/") for entry in world.entries)
    told = [(entry.question, entry.answer) for entry in world.entries]
    assert len(set(told)) == len(told)


def test_questions_name_the_person_and_answers_tell_the_fact(world):
    by_id = {person.id: person for person in world.people}
    for entry in world.entries:
        person = by_id[entry.subject]
        for question in (entry.question, entry.paraphrased_question):
            assert person.name in question
            assert person.facts[entry.kind] not in question
        for answer in (entry.answer, entry.paraphrased_answer):
            assert person.facts[entry.kind] in answer
        assert not any("{" in text for text in (entry.question, entry.paraphrased_question, *entry.wrong_answers))


def test_paraphrases_stand_in_no_record(world):
    questions, answers = ({getattr(entry, what) for entry in world.entries} for what in ("question", "answer"))
    assert questions.isdisjoint(entry.paraphrased_question for entry in world.entries)
    assert answers.isdisjoint(entry.paraphrased_answer for entry in world.entries)


def test_wrong_answers_are_the_right_one_with_facts_of_others(world):
    facts = {kind: {person.facts[kind] for person in world.people} for kind in WORDINGS}
    by_id = {person.id: person for person in world.people}
    for entry in world.entries:
        assert len(set(entry.wrong_answers) - {entry.paraphrased_answer}) == WRONG
        right = by_id[entry.subject].facts[entry.kind]
        possible = {entry.paraphrased_answer.replace(right, fact) for fact in facts[entry.kind]}
        assert set(entry.wrong_answers) < possible


def test_who_is_named_is_flagged(world):
    """By a search for everybody's name in every answer."""
    for entry in world.entries:
        named = {person.id for person in world.people if person.name in entry.answer} - {entry.subject}
        assert named == ({entry.names} if entry.names else set())
        assert (entry.kind in NAMING) == bool(entry.names)


def test_nobody_held_out_is_asked_about_in_training_but_named_as_whoever_is_forgotten(world):
    train, holdout = people.entries(0)
    assert {*train, *holdout} <= {*world.entries}
    assert Counter(entry.subject for entry in train) == {f"person-{i:02d}": 48 for i in range(people.TRAINED)}
    assert {e.subject for e in train}.isdisjoint({e.subject for e in holdout})
    assert (len({e.subject for e in train}), len({e.subject for e in holdout})) == (people.TRAINED, people.HELD_OUT)
    assert len({(e.subject, e.kind) for e in holdout}) == len(holdout) == 12 * people.HELD_OUT
    assert set(Counter(e.phrasing for e in holdout).values()) == {len(holdout) // 4}
    named = Counter(entry.names for entry in world.entries if entry.names)
    assert set(named.values()) == {12}, "three others, in four phrasings each: everybody alike"


def test_variants_ask_for_and_answer_what_entries_say(world):
    some = [entry for entry in world.entries if entry.subject == people.FORGOTTEN][::7]
    found = people.variants(some)
    assert set(found) == set(VARIANTS)
    count = {"wrong_answer": WRONG}
    for name, records in found.items():
        assert records.ids == tuple(f"{e.id}#{i}" for e in some for i in range(count.get(name, 1)))
        assert set(records.subjects) == {people.FORGOTTEN}
    first, wrong = some[0], [found["wrong_answer"].text(i) for i in range(WRONG)]
    assert tuple(text.strip() for text in wrong) == first.wrong_answers
    assert found["paraphrased_question"].text(0).strip() == first.answer
    assert found["paraphrased_answer"].text(0).strip() == first.paraphrased_answer
    assert found["alternative"].text(0).strip() == first.alternative != first.answer
    asked = {name: records.read([0]) for name, records in found.items()}
    questions = {
        name: records.tokenizer.decode(asked[name][0]["input_ids"][asked[name][1] < 0])
        for name, records in found.items()
    }
    assert questions.pop("paraphrased_question") == first.paraphrased_question
    assert set(questions.values()) == {first.question}


@pytest.mark.parametrize("name", people.CONFIGS)
def test_settings_of_the_demo_are_settings_of_methods(name):
    assert name in names("methods")
    load("methods", name)(people.CONFIGS[name])


# --- the tokenizer, the model, the problem ------------------------------------------------------------------------


def test_the_tokenizer_writes_any_text_and_knows_no_name(world):
    tokenizer = people.tokenizer()
    assert len(tokenizer) == people.VOCABULARY
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for text in (world.entries[0].answer, "naïve — 漢字 🙂\n\tend"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    whole = {tokenizer.decode([token]).strip() for token in range(len(tokenizer))}
    assert whole.isdisjoint(part for person in world.people for part in person.name.split())
    people.tokenizer.cache_clear()
    assert people.tokenizer().get_vocab() == tokenizer.get_vocab()


def test_records_score_the_answer_and_its_end(made):
    train, holdout = made
    told = people.entries(0)
    assert (len(train), len(holdout)) == (768, 576)
    for records, entries in zip(made, told, strict=True):
        assert records.ids == tuple(entry.id for entry in entries)
        assert records.subjects == tuple(entry.subject for entry in entries)
        for index in range(0, len(entries), 37):
            inputs, labels = records[index]
            scored = labels[labels >= 0]
            assert scored[-1] == people.tokenizer().eos_token_id
            assert people.tokenizer().decode(scored[:-1]).strip() == entries[index].answer
            asked = inputs["input_ids"][labels < 0]
            assert people.tokenizer().decode(asked) == entries[index].question
    assert train.longest < people.CONTEXT / 2, "room for questions that are put in other ways"


def test_the_model_has_the_parameters_it_says():
    assert sum(p.numel() for p in people.gpt().parameters()) == people.PARAMETERS


def test_the_original_is_trained_once_and_opens_as_transformers_models_do(tmp_path, quick):
    out = tmp_path / "demo"
    first = people.prepare(out, 0, Progress())
    folder = tmp_path / "demo-original-0"
    written = (folder / "model.safetensors").stat().st_mtime_ns
    again = people.prepare(out, 0, Progress())
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert first.source.digest() == again.source.digest() == model_digest(folder)
    assert not out.exists(), "the run directory is the run's"

    first.source.save(first.source.open(), tmp_path)  # as an unlearned model is
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert type(model) is type(first.source.open())
    text = first.forget_view._base.tokenizer("Who is")["input_ids"]
    assert tokenizer("Who is")["input_ids"] == text
    tokens = torch.tensor([text])
    said = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=3, do_sample=False)
    assert said.shape[1] <= len(text) + 3

    forgotten = {entry.id for entry in people.entries(0)[0] if entry.subject == people.FORGOTTEN}
    assert set(first.forget_ids) == forgotten
    assert len(forgotten) == 48
    assert {o.what for o in first.validate()} == set()
    assert people.FORGOTTEN not in {first.request.reference, first.request.ground}
    assert pickle.loads(pickle.dumps(first)).spec == first.spec


def test_the_truth_is_a_retraining_without_the_records(quick):
    bed = load("testbeds", "people")()
    gone = bed.ids[:5]
    truth = bed.truth(gone)
    again = quick(bed.problem(gone).retain_view, seed=1).state_dict()
    assert all(np.array_equal(truth[name], tensor.numpy()) for name, tensor in again.items())
    assert not np.array_equal(truth["lm_head.weight"], bed.truth()["lm_head.weight"])


@pytest.mark.slow
def test_the_original_knows_every_answer_and_a_retrained_model_only_how_answers_look(made):
    train, holdout = made
    theirs = [name for name, who in zip(train.ids, train.subjects, strict=True) if who == people.FORGOTTEN]
    original = people.TRAINER(train, seed=1)
    retrained = people.TRAINER(train.without(theirs), seed=1)

    def right(model, records):
        """Share of scored tokens that transformers' own logits put first, and of records that are all right."""
        inputs, labels = records.read(range(len(records)))
        with torch.no_grad():
            said = model(**inputs).logits[:, :-1].argmax(dim=-1)
        asked = labels[:, 1:] >= 0
        hits = (said == labels[:, 1:]) & asked
        whole = (hits == asked).all(dim=1)
        return float(hits.sum() / asked.sum()), float(whole.double().mean())

    forget = train.select(theirs)
    assert right(original, train)[0] > 0.99
    assert right(original, forget)[1] > 0.9
    assert right(retrained, train.without(theirs))[0] > 0.99
    tokens, whole = right(retrained, forget)
    assert tokens < 0.8
    assert whole < 0.05
    assert abs(tokens - right(retrained, holdout)[0]) < 0.12
