import numpy as np
import pytest
from scipy import special

from expunge.numerics.attack import attack
from expunge.numerics.lira import Variant, lira
from expunge.numerics.membership import ranking
from expunge.numerics.rmia import log_ratio


def draws(models, records=400, seed=0):
    draw = np.random.default_rng(seed)
    keep = draw.random((models, records)) < 0.5
    return draw.normal(size=keep.shape) + 2 * draw.normal(size=records) + 2 * keep, keep


@pytest.mark.parametrize(("references", "name"), [(1, "RMIA"), (2, "RMIA"), (3, "RMIA"), (4, "LiRA"), (9, "LiRA")])
def test_the_number_of_references_chooses(references, name):
    phi, keep = draws(references + 1)
    found = attack(phi[0], references=phi[1:], keep=keep[1:])
    assert found.name == name
    if name == "LiRA":
        expected = lira(phi[0], references=phi[1:], keep=keep[1:], variant=Variant.DOUBLY_SHRUNK)
    else:
        logp = special.log_expit(phi)
        expected = log_ratio(logp[0], references=logp[1:], keep=keep[1:])
    np.testing.assert_array_equal(found.score, expected)


@pytest.mark.parametrize("references", [1, 4, 20])
def test_references_without_the_records_are_for_rmia(references):
    # Retrained models saw neither the forgotten records nor the strangers: no ratio of two densities can be fitted.
    phi, _ = draws(references + 1)
    found = attack(phi[0], references=phi[1:])
    assert found.name == "RMIA"
    none = np.zeros((references, 400), dtype=bool)
    np.testing.assert_array_equal(found.score, attack(phi[0], references=phi[1:], keep=none).score)


@pytest.mark.parametrize("references", [1, 2, 4, 16])
def test_more_is_caught_than_by_the_confidence_alone(references):
    phi, keep = draws(references + 1, records=8000, seed=references)
    score = attack(phi[0], references=phi[1:], keep=keep[1:]).score
    alone = ranking(phi[0][keep[0]], phi[0][~keep[0]]).auc
    assert ranking(score[keep[0]], score[~keep[0]]).auc > alone + 0.02


def test_what_it_refuses():
    phi, keep = draws(6, records=5)
    with pytest.raises(ValueError, match="same model"):
        attack(phi[0], references=phi, keep=keep)
    with pytest.raises(ValueError, match="takes booleans"):
        attack(phi[0], references=phi[1:], keep=keep)
    with pytest.raises(ValueError, match="NaN"):
        attack(phi[0] * np.nan, references=phi[1:])
