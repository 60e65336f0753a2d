"""Scores of texts from their tokens: a fixture by hand, loops per record, and the constants of MUSE."""

import zlib

import numpy as np
import pytest

from expunge.numerics.membership import ranking
from expunge.numerics.token_membership import (
    loss_score,
    min_k_plus_score,
    min_k_score,
    privleak,
    privleak_ceiling,
    reference_score,
    s_score,
    zlib_score,
)

# Four classes at three places, the true ones 0, 2 and 1.
LOGITS = np.array([[2, 0, -1, 0.5], [0, 1, 3, -1], [1, 1, 0, 0]])
LOG_PROBS = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
TRUE = LOG_PROBS[np.arange(3), [0, 2, 1]]
MEAN = (np.exp(LOG_PROBS) * LOG_PROBS).sum(axis=1)
DEVIATION = np.sqrt((np.exp(LOG_PROBS) * LOG_PROBS**2).sum(axis=1) - MEAN**2)
ONE = np.zeros(3, dtype=int)

DRAW = np.random.default_rng(0)
LENGTHS = [1, 2, 3, 4, 5, 17, 100]
RECORD = np.repeat(np.arange(7), LENGTHS)
LOGP = -DRAW.exponential(size=len(RECORD)).round(1)  # with ties


def per_record(values):
    return np.split(values, np.cumsum(LENGTHS)[:-1])


def test_three_tokens():
    assert loss_score(TRUE, ONE, 1)[0] == pytest.approx(-0.511314, abs=1e-6)
    assert min_k_score(TRUE, ONE, 1)[0] == pytest.approx(-1.006409, abs=1e-6)
    z = [min_k_plus_score(TRUE[[i]], [0], 1, mean=MEAN[[i]], deviation=DEVIATION[[i]])[0] for i in range(3)]
    assert z == pytest.approx([0.610011, 0.432641, 0.606531], abs=1e-6)
    assert min_k_plus_score(TRUE, ONE, 1, mean=MEAN, deviation=DEVIATION)[0] == pytest.approx(0.432641, abs=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.29, 1.0])
def test_the_lowest_of_every_record(share):
    count = [max(1, int(share * length + 1e-6)) for length in LENGTHS]
    by_hand = [np.sort(values)[:k].mean() for values, k in zip(per_record(LOGP), count, strict=True)]
    np.testing.assert_allclose(min_k_score(LOGP, RECORD, 7, share=share), by_hand)
    assert {0.4: 40, 0.29: 29}.get(share, count[-1]) == count[-1]


def test_all_of_a_record_is_its_loss():
    np.testing.assert_allclose(min_k_score(LOGP, RECORD, 7, share=1.0), loss_score(LOGP, RECORD, 7))
    np.testing.assert_allclose(loss_score(LOGP, RECORD, 7), [values.mean() for values in per_record(LOGP)])


def test_a_text_that_compresses_well_has_a_lower_score_for_the_same_loss():
    texts = ["a" * 60, "Hina Ameen, b. 1975, wrote of quartz, feldspar & jade; who?"]
    sizes = [len(zlib.compress(text.encode())) for text in texts]
    found = zlib_score([-1.0, -3.0, -2.0], [0, 0, 1], texts)
    assert found == pytest.approx([-2.0 / sizes[0], -2.0 / sizes[1]])
    assert found[0] < found[1]
    assert zlib_score([-1.0], [0], ["é"])[0] == pytest.approx(-1 / len(zlib.compress("é".encode())))
    with pytest.raises(ValueError, match="1 of 2 texts are empty, the first of them number 1"):
        zlib_score([-1.0, -1.0], [0, 1], ["a", ""])


def test_a_reference_is_subtracted_per_token():
    other = LOGP - 0.5
    np.testing.assert_allclose(reference_score(LOGP, RECORD, 7, reference=other), 0.5)
    with pytest.raises(ValueError, match=r"takes integers \[131\]"):
        reference_score(LOGP, RECORD, 7, reference=other[1:])


def test_members_score_higher_under_every_score():
    """A model that knows the texts of even numbers: their tokens are likelier, all scores say so."""
    record = np.repeat(np.arange(60), 12)
    value = -DRAW.exponential(np.where(record % 2 == 0, 0.5, 1.5))
    texts = ["".join(map(chr, DRAW.integers(97, 123, 40))) for _ in range(60)]
    flat = np.full(720, -1.0)
    for found in (
        loss_score(value, record, 60),
        zlib_score(value, record, texts),
        min_k_score(value, record, 60),
        min_k_plus_score(value, record, 60, mean=flat, deviation=-flat),
        reference_score(value, record, 60, reference=flat),
    ):
        assert ranking(found[::2], found[1::2]).auc > 0.9
        assert ranking(found[1::2], found[::2]).auc == pytest.approx(1 - ranking(found[::2], found[1::2]).auc)


def test_a_sure_model_gives_no_infinite_z():
    found = min_k_plus_score([0.0, -1e-9], [0, 1], 2, mean=[0.0, -1e-12], deviation=[0.0, 1e-9])
    assert np.abs(found).max() < 1e-5


@pytest.mark.parametrize("score", [loss_score, min_k_score])
def test_losses_in_the_place_of_log_probabilities_are_refused(score):
    with pytest.raises(ValueError, match="a loss is minus one"):
        score(-LOGP, RECORD, 7)
    with pytest.raises(ValueError, match="NaN"):
        score([np.nan], [0], 1)
    with pytest.raises(ValueError, match="no scored token"):
        score(LOGP, RECORD, 8)


def test_settings_out_of_range_are_refused():
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share is in"):
            min_k_score(LOGP, RECORD, 7, share=share)
    with pytest.raises(ValueError, match="deviation is 0 or more"):
        min_k_plus_score([-1.0], [0], 1, mean=[-1.0], deviation=[-1.0])
    with pytest.raises(ValueError, match="of 1, 2 and 1 tokens"):
        min_k_plus_score([-1.0], [0], 1, mean=[-1.0, -1.0], deviation=[1.0])


# --- beside the reference ---------------------------------------------------------------------------------------


def test_privleak_of_a_known_case():
    assert privleak(0.9, reference=0.5) == pytest.approx(-80)
    assert privleak(1.0, reference=0.5) == -100, "the original"
    for reference in (0.2, 0.5, 0.5228):
        assert privleak(reference, reference=reference) == pytest.approx(0, abs=1e-12)
        assert privleak(0.0, reference=reference) == pytest.approx(privleak_ceiling(reference)), "forgotten too well"


@pytest.mark.parametrize(("strangers_below", "ceiling"), [(0.4772, 109.6), (0.5393, 85.4)])
def test_ceilings_are_those_of_the_published_constants(strangers_below, ceiling):
    """MUSE states the chance that a stranger's loss is lower; it is 1 less the AUC."""
    assert privleak_ceiling(1 - strangers_below) == pytest.approx(ceiling, abs=0.05)
    for auc in (0.1, 0.5, 0.9):
        expected = 100 * ((1 - auc) - strangers_below) / strangers_below
        assert privleak(auc, reference=1 - strangers_below) == pytest.approx(expected)


def test_the_best_s_score_is_the_references_own_auc_and_not_a_half():
    assert s_score(0.38, reference=0.38) == 1.0
    assert s_score(0.5, reference=0.38) == pytest.approx(1 - 0.12 / 0.38)
    assert s_score(0.26, reference=0.38) == pytest.approx(s_score(0.5, reference=0.38)), "too little is as revealing"
    assert s_score(0.9, reference=0.38) == 0.0


@pytest.mark.parametrize("call", [privleak, s_score])
def test_what_is_no_auc_is_refused(call):
    for auc, reference in ((1.1, 0.5), (0.5, -0.1), (np.nan, 0.5)):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            call(auc, reference=reference)
    with pytest.raises(ValueError, match="reference's AUC is"):
        call(0.5, reference=1.0 if call is privleak else 0.0)
