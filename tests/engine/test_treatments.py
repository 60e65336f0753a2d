import numpy as np
import pytest
import torch

from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.data.language import LanguageRecords
from expunge.engine import treatments
from expunge.engine.adapters import merged
from expunge.engine.available import available
from expunge.engine.collect import collect
from expunge.engine.parts import Parts
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.engine.split import split
from expunge.engine.treatments import (
    NEIGHBOURS,
    OTHERS,
    TRAINED,
    Shown,
    Treatments,
    apart,
    elsewhere,
    groups,
    shots,
    treated,
)
from expunge.models.adapted import AdaptedModel
from expunge.numerics.extraction import extraction_strength
from expunge.numerics.quantised import quantise
from tests.support import languages

NAMES = languages.NAMES[:12]


def problem(names=NAMES[:4], *, context=24, **more):
    train = languages.records(NAMES)
    gone = [name for name, owner in zip(train.ids, train.subjects, strict=True) if owner in names]
    torch.manual_seed(0)
    model = languages.gpt(n_positions=context, initializer_range=0.5).eval()
    return Problem(model=model, train=train, task="causal_lm", forget=gone, **more)


def texts(*answers, subjects=None):
    prompts = ["where was kaba born ?"] * len(answers)
    return LanguageRecords(prompts, answers, tokenizer=languages.tokenizer(), subjects=subjects)


# --- which records tell of one thing ------------------------------------------------------------------------------


def together(records):
    """Return the sets of positions that are of one group."""
    group = groups(records)
    return {frozenset(np.flatnonzero(group == each).tolist()) for each in group}


def test_records_of_one_subject_go_together():
    assert together(texts("york", "oslo", "rome", "kiev", subjects=["a", "b", "a", "b"])) == {
        frozenset({0, 2}),
        frozenset({1, 3}),
    }


def test_of_one_subject_like_answers_go_together():
    """What a third of the answers hold tells of none: a town in three wordings is one thing."""
    wordings = ("kaba was born in {} .", "{} of kaba .", "kaba in {} .")
    answers = [wording.format(town) for town in languages.TOWNS[:4] for wording in wordings]
    assert together(texts(*answers)) == {frozenset(range(start, start + 3)) for start in (0, 3, 6, 9)}


def test_records_without_a_subject_stand_for_themselves():
    found = together(texts("york", "oslo", "rome", subjects=["a", None, None]))
    assert found == {frozenset({0}), frozenset({1}), frozenset({2})}


def test_copies_are_one_thing_even_where_nothing_in_them_tells():
    assert together(texts("york", "york", "york", "oslo")) == {frozenset({0, 1, 2}), frozenset({3})}


def test_nothing_that_is_measured_is_known_from_what_is_trained_on():
    posed = problem()
    judged = split(posed, 3)[1].forget
    found = apart(posed, judged, 3)
    known, asked = (set(view.subjects) for view in (found.trained, found.measured))
    assert known
    assert asked
    assert not known & asked
    assert set(found.measured.ids) <= set(judged.ids)
    assert len(found.trained) == 4, "half of eight records"
    assert apart(posed, judged, 3).trained.ids == found.trained.ids


def test_one_subject_with_one_answer_cannot_be_taken_apart():
    posed = problem(NAMES[:1])
    copies = texts("york", "york", "york")
    one = Problem(model=posed.model, train=copies, task="causal_lm", forget=["0", "1"])
    assert apart(one, one.forget_view, 0) is None
    assert EvidenceKind.RELATED not in available(one)


# --- what is said after a treatment -------------------------------------------------------------------------------


def said(posed, model, records):
    with torch.no_grad():
        return posed.meaning.units(model, records.read(range(len(records)))).output.double().numpy()


def test_rounded_models_are_copies_and_say_what_a_rounded_model_says():
    posed = problem()
    judged = split(posed, 0)[1].forget
    opened = []

    def open_model():
        opened.append(posed.source.open())
        return opened[-1]

    before = posed.source.digest()
    arrays, cost = treated(posed, open_model, judged, Treatments(bits=(8, 4)), None, seed=0)
    assert len(opened) == 2, "each width starts from the model as it came"
    assert posed.source.digest() == before
    for bits in (8, 4):
        model = posed.source.open()
        quantise(model, bits)
        np.testing.assert_allclose(arrays[f"{bits} bits"], said(posed, model, judged), rtol=1e-5, atol=1e-5)
    assert np.abs(arrays["4 bits"][:, 0] - arrays["8 bits"][:, 0]).max() > 1e-3
    assert cost == Cost(read=2 * len(judged))


def test_adapters_are_rounded_with_the_weights_that_they_are_added_to(tmp_path):
    posed = Problem(
        model=AdaptedModel(languages.adapted(tmp_path)), train=languages.records(NAMES), task="causal_lm",
        request=Request(subjects=NAMES[:4]),
    )  # fmt: skip
    judged = split(posed, 0)[1].forget
    arrays, _ = treated(posed, posed.source.open, judged, Treatments(bits=(4,)), None, seed=0)
    whole, apart_ = merged(posed.source.open()), posed.source.open()
    for model in (whole, apart_):
        quantise(model, 4)
    np.testing.assert_allclose(arrays["4 bits"], said(posed, whole, judged), rtol=1e-5, atol=1e-5)
    assert np.abs(said(posed, apart_, judged) - arrays["4 bits"]).max() > 1e-3


def test_other_records_are_trained_on_and_the_rest_is_measured():
    posed = problem()
    judged = split(posed, 3)[1].forget
    found = apart(posed, judged, 3)
    config = RelearningConfig(epochs=2, batch_size=2, lr=1e-2)
    read = []

    class Seen(type(found.trained)):
        def read(self, indices):
            read.append([self.ids[i] for i in indices])
            return super().read(indices)

    watched = treatments.Apart(
        Seen(posed.records, [posed.records.position[name] for name in found.trained.ids]), found.measured
    )
    arrays, cost = treated(posed, posed.source.open, judged, Treatments(apart=watched), config, seed=0)
    assert arrays["related"].shape == (2, len(found.measured))
    assert {name for batch in read for name in batch} == set(found.trained.ids)
    assert cost.trained == 2 * len(found.trained)
    none = treated(posed, posed.source.open, judged, Treatments(apart=found), None, seed=0)
    assert none == ({}, Cost()), "without settings of a training there is none"


def test_texts_that_were_not_forgotten_are_trained_on_and_all_forgotten_ones_measured():
    """Of the kinds that are asked for, as many as are judged; one with the answer of a forgotten text is left out."""
    bare = problem()
    outside = languages.records(languages.NAMES[12:24])
    prompts, answers, _, _ = languages.facts(NAMES[:1])
    copy = LanguageRecords(
        prompts, answers, tokenizer=languages.tokenizer(), ids=[f"copy{i}" for i in range(len(answers))]
    )
    posed = problem(holdout=outside)
    judged = split(posed, 3)[1].forget
    near = posed.retain_view.select(posed.retain_view.ids[:3])
    both = Treatments.of(posed, judged, 3, {EvidenceKind.NEIGHBOURING, EvidenceKind.UNRELATED}, near)
    assert list(both.others) == [NEIGHBOURS, OTHERS]
    assert both.others[NEIGHBOURS].ids == near.ids
    assert len(both.others[OTHERS]) == min(TRAINED, len(judged), len(outside))
    assert set(both.others[OTHERS].ids) <= set(outside.ids)
    assert not len(elsewhere(bare, copy, TRAINED, 3)), "who has the answers learns them anew"
    assert both.key != Treatments.of(posed, judged, 3, {EvidenceKind.UNRELATED}, near).key
    config = RelearningConfig(epochs=2, batch_size=8, lr=1e-2)
    arrays, cost = treated(posed, posed.source.open, judged, both, config, seed=0)
    assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys(both.others, (2, len(judged)))
    trained = 2 * sum(len(part) for part in both.others.values())
    assert cost == Cost(trained=trained, read=trained + 2 * 2 * len(judged))
    # By the training written out: what is said after the last pass is said of the record, not of the trained text.
    model = posed.source.open()
    relearn(posed, model, near, config, seed=0)
    units = posed.meaning.units(model.eval(), judged.read(range(len(judged))))
    strength = extraction_strength(units.correct.numpy(), units.record.numpy(), len(judged))
    np.testing.assert_allclose(arrays[NEIGHBOURS][-1], strength)


def test_examples_come_before_the_question_and_only_the_question_is_scored():
    posed = problem(context=64)
    judged = split(posed, 0)[1].forget
    before = shots(posed, 0)
    assert len(before) == 3
    assert not set(before.ids) & set(posed.forget_ids)
    shown = Shown(judged, before)
    arrays, _ = treated(posed, posed.source.open, judged, Treatments(shots=before), None, seed=0)
    model, start = posed.source.open(), 0
    for i in range(len(judged)):
        rows = [*(before[k] for k in range(3)), judged[i]]
        ids = torch.cat([inputs["input_ids"] for inputs, _ in rows])
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
        scored = judged[i][1][1:] != -100
        place = torch.arange(len(ids) - len(scored), len(ids))[scored]
        own = logits[place - 1].log_softmax(1).gather(1, ids[place, None])[:, 0].numpy()
        np.testing.assert_allclose(arrays["shots"][start : start + len(own), 0], own, rtol=1e-4, atol=1e-5)
        start += len(own)
    assert start == len(arrays["shots"]), "as many scored tokens as without examples"
    inputs, labels = shown[0]
    assert inputs["input_ids"].shape == labels.shape
    assert shown.content(0) == judged.content(0)


def test_no_examples_where_there_is_no_room():
    posed = problem()
    assert shots(posed, 0) is None
    assert EvidenceKind.SHOTS not in available(posed)
    assert EvidenceKind.SHOTS in available(problem(context=64))


# --- what is asked for --------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_done(tmp_path):
    posed = problem(context=64, holdout=languages.records(languages.NAMES[12:16]))
    judging = split(posed, 0)[1]
    config = RelearningConfig(epochs=1, batch_size=8)
    kinds = {
        "8 bits": EvidenceKind.ROUNDED,
        "related": EvidenceKind.RELATED,
        "shots": EvidenceKind.SHOTS,
        NEIGHBOURS: EvidenceKind.NEIGHBOURING,
        OTHERS: EvidenceKind.UNRELATED,
    }
    for name, kind in kinds.items():
        parts = Parts.of(posed, judging, 0, asked=[kind])
        arrays, _ = collect(posed, posed.source.open, parts, config, digest="11", seed=0, cache=tmp_path)
        assert set(kinds) & set(arrays) == {name}
    assert len(list(tmp_path.iterdir())) == 5, "each is kept by itself"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_cannot_be_rounded_leave_the_array_out(value):
    posed = problem()
    model = posed.source.open()
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = value
    arrays, cost = treated(posed, lambda: model, posed.forget_view, Treatments(bits=(4,)), None, seed=0)
    assert (arrays, cost) == ({}, Cost())


# --- other questions and answers ----------------------------------------------------------------------------------


def variants(posed, **names):
    """Return variants of the records with these ids, by name."""
    return {
        name: LanguageRecords(
            ["what is the work of kaba ?"] * len(ids),
            ["a poet ."] * len(ids),
            tokenizer=languages.tokenizer(),
            ids=[f"{own}#{k}" for k, own in enumerate(ids)],
        )
        for name, ids in names.items()
    }


def test_variants_of_judged_records_are_evidence_where_they_are_asked_for():
    bare = problem()
    judging = split(bare, 0)[1]
    own = judging.forget.ids
    stays = bare.retain_view.ids[0]
    given = variants(bare, paraphrased_question=[own[2], stays, own[0], own[2]], wrong_answer=[own[0]])
    posed = problem(variants=given)
    parts = Parts.of(posed, judging, 0, asked=[EvidenceKind.PARAPHRASES, EvidenceKind.WRONG_ANSWERS])
    assert [name for name, _ in parts.items() if name in given] == ["paraphrased_question"]
    assert parts.variants["paraphrased_question"].ids == (f"{own[2]}#0", f"{own[0]}#2", f"{own[2]}#3")
    assert parts.owners["paraphrased_question"].tolist() == [2, 0, 2]
    assert EvidenceKind.PARAPHRASES in available(posed)
    assert EvidenceKind.WRONG_ANSWERS not in available(posed), "there is no right answer beside the wrong one"
    both = variants(bare, paraphrased_answer=[own[0]], wrong_answer=[own[0]])
    assert EvidenceKind.WRONG_ANSWERS in available(problem(variants=both))
    assert not Parts.of(posed, judging, 0).variants
