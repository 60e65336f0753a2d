import zlib

import numpy as np
import pytest
from scipy import stats

from expunge.checks.token_membership import TokenMembership
from expunge.conformance.token_law import TokenLaw
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")


def drawn(seed=0):
    """Return log-probabilities by model and part, 3 to 8 tokens a record."""
    draw = np.random.default_rng(seed)
    lengths = {part: draw.integers(3, 9, 40) for part in ("forget", "holdout")}
    return {
        name: {part: [-draw.exponential(1.0, n) - 0.01 for n in many] for part, many in lengths.items()}
        for name in NAMES
    }


def evidence(log_probs, **more):
    right = {m: {part: [row > -0.7 for row in rows] for part, rows in parts.items()} for m, parts in log_probs.items()}
    return spoken(right, log_probs=log_probs, **more)


def auc(score, log_probs, model="c"):
    members, strangers = ([score(row) for row in log_probs[model][part]] for part in ("forget", "holdout"))
    return stats.mannwhitneyu(members, strangers).statistic / (len(members) * len(strangers))


def min_k(row):
    return np.sort(row)[: max(1, int(0.4 * len(row)))].mean()


def test_the_auc_is_that_of_the_least_likely_tokens():
    log_probs = drawn()
    found = TokenMembership().measure(evidence(log_probs))
    assert found.value == pytest.approx(auc(min_k, log_probs))
    assert found.references[1] == pytest.approx(auc(min_k, log_probs, "r2"))
    assert found.details["AUC of the mean loss"].startswith(f"{auc(np.mean, log_probs):.3f} ")
    assert not any("zlib" in name for name in found.details), "these texts are not known"


def test_texts_are_packed_where_they_are_known():
    log_probs = drawn()
    draw = np.random.default_rng(1)
    texts = {part: ["".join(draw.choice(list("ab "), 5 + i)) for i in range(40)] for part in ("forget", "holdout")}
    found = TokenMembership().measure(evidence(log_probs, texts=texts))
    sizes = {part: [len(zlib.compress(text.encode())) for text in texts[part]] for part in texts}
    scores = [[row.mean() / size for row, size in zip(log_probs["c"][p], sizes[p], strict=True)] for p in texts]
    expected = stats.mannwhitneyu(*scores).statistic / 1600
    assert found.details["AUC of the loss per byte that zlib makes of an answer"].startswith(f"{expected:.3f} ")


def test_the_reference_attack_takes_the_other_retrained_models_for_its_reference():
    log_probs = drawn()
    found = TokenMembership().measure(evidence(log_probs))

    def beyond(model, beside):
        rows = {
            part: [
                row.mean() - np.mean([log_probs[name][part][i].mean() for name in beside])
                for i, row in enumerate(log_probs[model][part])
            ]
            for part in ("forget", "holdout")
        }
        return stats.mannwhitneyu(rows["forget"], rows["holdout"]).statistic / 1600

    own = np.mean([beyond("c", pair) for pair in (("r2", "r3"), ("r1", "r3"), ("r1", "r2"))])
    alone = [beyond("r1", ("r2", "r3")), beyond("r2", ("r1", "r3")), beyond("r3", ("r1", "r2"))]
    said = found.details["AUC of the loss beyond that of retrained models"]
    assert said == f"{own:.3f} (references {min(alone):.3f} to {max(alone):.3f})"


def test_the_reference_attack_sees_what_is_known_by_heart_and_nothing_in_a_retrained_model():
    law = TokenLaw()
    name = "AUC of the loss beyond that of retrained models"
    knows, clean = (TokenMembership().measure(law.evidence(law.model(7, memory=m))).details[name] for m in (6.0, 0.0))
    assert float(knows.split()[0]) > 0.99
    low, high = (float(word.strip(")")) for word in clean.split()[2::2])
    assert low - 0.05 < float(clean.split()[0]) < high + 0.05


def test_single_precision_above_zero_is_a_probability_of_one():
    law = TokenLaw()
    model = law.model(7, memory=40.0)
    model["forget"][:, 0] = 3e-8
    assert TokenMembership().measure(law.evidence(model)).value == pytest.approx(1.0, abs=0.05)
