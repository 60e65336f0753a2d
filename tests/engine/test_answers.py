"""What a regressor said stands for a normal law whose deviation is the typical error; nats and bits by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from expunge.core.check import EvidenceKind
from expunge.engine.answers import Answers, Outputs, Spoken, typical_error
from expunge.engine.evidence import EXACT, Evidence
from expunge.numerics.divergences import normal_jensen_shannon

DRAW = np.random.default_rng(0)


def answers(*said, target=(1.0, 2.0, 3.0), scale=0.5):
    return Answers(np.array(said), np.array(target), scale)


def test_losses_are_those_of_a_normal_law():
    one = answers(1.0, 2.6, 1.0)
    law = stats.norm(one.answer, 0.5)
    np.testing.assert_allclose(one.loss, stats.norm(0, 0.5).logpdf(0) - law.logpdf(one.target))
    np.testing.assert_allclose(one.confidence, -one.loss)


def test_right_is_within_one_typical_error():
    assert answers(1.5, 2.51, 2.5).correct.tolist() == [1.0, 0.0, 1.0]
    assert answers(1.0, 2.0, 3.0).predicts(np.array([1.4, 3.0, 3.0])).tolist() == [1.0, 0.0, 1.0]
    assert answers(1.0, 2.0, 3.0).classes is None


def test_one_answer_to_all_is_constant():
    assert answers(2.0, 2.0, 2.0 + 1e-7).constant
    assert not answers(2.0, 2.0, 2.0 + 1e-3).constant
    assert Outputs(np.zeros((3, 2)), np.zeros(3, dtype=np.int64)).constant


def test_divergences_are_of_the_two_laws():
    one, other = answers(1.0, 2.0, 3.0), answers(1.0, 2.5, 5.0)
    np.testing.assert_allclose(one.divergence(other), normal_jensen_shannon(np.array([0.0, 1.0, 4.0])))


def test_the_typical_error_is_that_of_a_normal_law_and_outliers_do_not_move_it():
    target = DRAW.normal(size=4000)
    said = [target + 3.0 * DRAW.normal(size=4000) for _ in range(4)]
    assert typical_error(said, target) == pytest.approx(3.0, rel=0.03)
    far = [row.copy() for row in said]
    for row in far:
        row[:40] = 1e9
    assert typical_error(far, target) == pytest.approx(3.0, rel=0.06)
    assert math.isnan(typical_error([target], target))


def evidence(*, original=0.0, references=0.3, **more):
    """Return evidence of a regressor: candidate and references as far off as they are told, in turn up and down."""
    target = {"forget": np.arange(20.0), "retain": np.arange(30.0), "holdout": np.arange(40.0)}
    off = {"candidate": original, "original": original, "one": references, "two": -references, "three": references}
    arrays = {
        name: {part: (row + by * (1 + 0.1 * (np.arange(len(row)) % 5)))[:, None] for part, row in target.items()}
        for name, by in off.items()
    }
    for name in arrays:
        arrays[name]["around"] = np.stack([target["forget"] + off[name], target["forget"]])
        arrays[name]["relearned"] = np.stack([target["forget"] + off[name], target["forget"]])
    return Evidence(
        arrays,
        target,
        **{"candidate": "candidate", "original": "original", "references": ("one", "two", "three")} | more,
        alpha=0.05,
        corrections=None,
    )


def test_the_typical_error_is_that_of_references_on_the_holdout():
    """Never of the model under audit: a bad one would make every error typical."""
    for own in (0.0, 1e6):
        assert evidence(original=own).scale == pytest.approx(0.3 * 1.2 / stats.norm.ppf(0.75))
    assert evidence(references=0.1, original=5.0).outputs("original", "forget").correct.tolist() == [0.0] * 20


def test_what_was_kept_of_a_regressor_is_measured_by_it():
    found = evidence()
    scale = found.scale
    np.testing.assert_allclose(found.around("one"), [-((0.3 / scale) ** 2) / 4] * 20, atol=1e-12)
    for arrays in found._arrays.values():
        arrays["exchanged"] = arrays.pop("around")
    np.testing.assert_allclose(found.around("one"), [0.0] * 20, atol=1e-12)  # the surest of such copies
    assert found.relearned("one").tolist() == [[1.0] * 20] * 2
    assert evidence(references=0.1).scale < 0.2


def test_models_without_error_leave_nothing_to_measure_by():
    found = evidence(references=0.0)
    assert found.lacks("forget") == EXACT
    assert np.isnan(found.outputs("one", "forget").loss).all()


def test_checks_of_classes_say_that_there_are_none():
    from expunge.core.registry import load

    found = evidence()
    for name in ("worst_class_accuracy", "representation"):
        check = load("checks", name)
        for model in ("candidate", "original", "one", "two", "three"):
            for part in ("forget", "retain"):
                found._arrays[model][f"features {part}"] = np.ones((len(found._targets[part]), 3))
        assert "numbers" in check().measure(found).because
    accuracy = load("checks", "holdout_accuracy")
    assert accuracy.needs == {EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES}
    assert "typical error" in next(iter(accuracy().measure(found).details))


# --- tokens ------------------------------------------------------------------------------------------------------


def spoken(log_probs, target=((9, 4, -100), (9, 5, 6)), right=(1.0, 0.0, 1.0)):
    """Return what a model says of two records: one scored token, and two (the first token of a record never is)."""
    said = np.stack([np.array(log_probs), np.array(right), np.full(3, -1.0), np.ones(3)], axis=1)
    return Spoken(said, np.array(target))


def test_of_a_record_the_mean_over_its_tokens_is_told():
    one = spoken(np.log([0.5, 0.2, 0.8]))
    assert one.record.tolist() == [0, 1, 1]
    np.testing.assert_allclose(one.loss, [-math.log(0.5), -math.log(0.16) / 2])
    np.testing.assert_allclose(one.correct, [1.0, 0.5])
    np.testing.assert_allclose(one.confidence, [0.0, (math.log(0.2 / 0.8) + math.log(0.8 / 0.2)) / 2], atol=1e-12)
    assert one.classes is None


def test_tokens_that_are_certain_have_finite_confidence():
    assert np.isfinite(spoken([0.0, 0.0, -800.0]).confidence).all()


def test_divergence_of_tokens_is_that_of_coins():
    one, other = spoken(np.log([0.5, 0.2, 0.8])), spoken(np.log([0.25, 0.2, 0.9]))

    def coins(p, q):
        half = (p + q) / 2
        return (
            stats.entropy([half, 1 - half], base=2)
            - (stats.entropy([p, 1 - p], base=2) + stats.entropy([q, 1 - q], base=2)) / 2
        )

    wanted = [coins(0.5, 0.25), (coins(0.2, 0.2) + coins(0.8, 0.9)) / 2]
    np.testing.assert_allclose(one.divergence(other), wanted, atol=1e-12)


def test_a_model_that_says_one_thing_of_every_token_is_constant():
    alike = spoken(np.log([0.1, 0.2, 0.7]))
    assert alike.constant
    varied = alike.said.copy()
    varied[:, 2] = [-1.0, -1.5, -2.0]
    assert not Spoken(varied, alike.target).constant


def test_extraction_is_what_is_right_to_the_end():
    """Records of 4, 1 and 2 scored tokens: 1 0 1 1, 0 and 1 1."""
    right = np.array([1.0, 0, 1, 1, 0, 1, 1])
    said = np.stack([np.full(7, -0.5), right, np.full(7, -0.6), np.full(7, 0.1)], axis=1)
    target = np.array([[-100, 3, 3, 3, 3], [-100, -100, -100, 3, -100], [3, 3, 3, -100, -100]])
    assert Spoken(said, target).extraction.tolist() == [0.5, 0.0, 1.0]
