import numpy as np
import pytest
from scipy import stats

from expunge.checks.loss_membership import LossMembership
from expunge.checks.record_membership import RecordMembership
from expunge.conformance.law import Law
from expunge.core.check import NotMeasured
from expunge.engine.evidence import Evidence
from expunge.numerics.attack import attack


def evidence(memory, *, records=400, references=20, hardness=4.0, seed=0):
    """Two classes; a record is as hard as it is in every model, and what is remembered is added to the forgotten."""
    draw = np.random.default_rng(seed)
    hard = {part: draw.normal(1.0, hardness, records) for part in ("forget", "holdout")}

    def arrays(by):
        phi = {part: mean + draw.normal(0, 1, records) + by * (part == "forget") for part, mean in hard.items()}
        return {part: np.stack([row, np.zeros(records)], 1) for part, row in phi.items()}

    names = tuple(f"r{k}" for k in range(references))
    models = {"c": arrays(memory), "o": arrays(4.0), **{name: arrays(0.0) for name in names}}
    labels = {part: np.zeros(records, int) for part in hard}
    given = Evidence(models, labels, candidate="c", original="o", references=names, alpha=0.025, corrections=None)
    return models, given


def test_scores_are_those_of_the_chosen_attack_and_a_reference_is_left_out_of_its_own():
    models, given = evidence(1.0, records=30, references=5)
    found = RecordMembership().measure(given)
    phi = {name: np.concatenate([np.subtract(*said[part].T) for part in said]) for name, said in models.items()}

    def auc(name, others):
        score = attack(phi[name], references=np.stack([phi[other] for other in others])).score
        return stats.mannwhitneyu(score[:30], score[30:]).statistic / 900

    names = [f"r{k}" for k in range(5)]
    assert found.value == pytest.approx(auc("c", names))
    assert found.references[2] == pytest.approx(auc("r2", [name for name in names if name != "r2"]))
    assert found.original == pytest.approx(auc("o", names))
    assert found.details["attack"].startswith("RMIA with 5 references")


def test_it_sees_what_hard_records_hide_from_one_threshold():
    """Records of which some are hard: one threshold has nearly nothing, the calibrated attack the memory itself."""
    _, given = evidence(1.0)
    plain, calibrated = LossMembership().measure(given), RecordMembership().measure(given)
    assert calibrated.difference > 1.4 * plain.difference
    assert calibrated.interval.low > 0


def test_lira_stands_beside_it():
    """With the law of every record known, its AUC is Phi(memory / (s sqrt(2 (1 + 1/K))))."""
    _, given = evidence(1.0, records=4000)
    name = "AUC of LiRA (offline, shrunk variance)"
    found = float(RecordMembership().measure(given).details[name].split()[0])
    assert found == pytest.approx(stats.norm.cdf(1.0 / np.sqrt(2 * (1 + 1 / 20))), abs=0.015)


def test_a_model_that_is_a_copy_of_a_reference_is_not_attacked_with_it():
    law = Law()
    found = RecordMembership().measure(law.evidence(law.model(100)))
    assert isinstance(found, NotMeasured)
    assert "they are one" in found.because
