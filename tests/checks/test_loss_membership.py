import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from expunge.checks.loss_membership import LossMembership
from expunge.conformance.law import Law
from expunge.core.chart import FEWEST, Role
from expunge.core.check import Direction, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.equivalence import beyond_seeds, seed_error
from expunge.numerics.membership import ranking, tpr_at, tpr_null


def evidence(members, strangers, *, references=3, seed=0, reference=0.0):
    """Two classes; the confidence of the label is the difference of the logits. Candidate first, then references."""
    draw = np.random.default_rng(seed)

    def arrays(shift):
        phi = {"forget": draw.normal(shift, 1, members), "holdout": draw.normal(0, 1, strangers)}
        return {part: np.stack([values, np.zeros(len(values))], 1) for part, values in phi.items()}

    names = tuple(f"r{k}" for k in range(references))
    models = {"c": arrays(1.0), "o": arrays(2.0), **{name: arrays(reference) for name in names}}
    labels = {"forget": np.zeros(members, int), "holdout": np.zeros(strangers, int)}
    return models, Evidence(models, labels, candidate="c", original="o", references=names, alpha=0.05, corrections=None)


def test_the_value_is_sklearns_auc_of_the_labels_probability():
    models, given = evidence(60, 80)
    found = LossMembership().measure(given)
    for name, value in {"c": found.value, "o": found.original, "r1": found.references[1]}.items():
        p = np.concatenate([softmax(models[name][part], 1)[:, 0] for part in ("forget", "holdout")])
        assert value == pytest.approx(roc_auc_score([1] * 60 + [0] * 80, p))
    assert (found.n, found.unit, found.better) == (140, "AUC", Direction.LOWER)
    assert LossMembership.question is Question.GONE


def test_closed_forms_of_gaussians():
    _, given = evidence(20_000, 20_000)
    found = LossMembership().measure(given)
    assert found.value == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.01)
    assert found.original == pytest.approx(stats.norm.cdf(2 / math.sqrt(2)), abs=0.01)
    assert found.references == pytest.approx((0.5,) * 3, abs=0.01)


def test_the_whole_error_is_that_of_differences_over_draws_of_records():
    values, errors = [], []
    for seed in range(120):
        _, given = evidence(50, 70, seed=seed)
        found = LossMembership().measure(given)
        values.append(found.value - np.mean(found.references))
        errors.append(math.hypot(seed_error(found.references), found.record_error))
    ratio = np.mean(np.square(errors)) / np.var(values, ddof=1)
    assert 0.9 < ratio < 1.6, "three references say little of seeds; with records counted twice it is 2"


def test_strangers_of_one_subject_go_together():
    models, _ = evidence(50, 60)
    names = tuple(name for name in models if name.startswith("r"))
    labels = {"forget": np.zeros(50, int), "holdout": np.zeros(60, int)}
    whose = [f"subject {i // 5}" for i in range(60)]

    def measured(**subjects):
        given = Evidence(
            models,
            labels,
            candidate="c",
            original="o",
            references=names,
            alpha=0.05,
            corrections=None,
            subjects=subjects,
        )
        return LossMembership().measure(given).record_error

    ranks = {name: ranking(*(m[part][:, 0] for part in ("forget", "holdout"))) for name, m in models.items()}

    def left(side, size):
        """What seeds do not explain, of means over groups of ``size``."""
        rows = {name: getattr(rank, side).reshape(-1, size).mean(axis=1) for name, rank in ranks.items()}
        away = {name: rows[name] - np.mean([rows[o] for o in names if o != name], axis=0) for name in ("c", *names)}
        return beyond_seeds({name: stats.sem(row) for name, row in away.items()}, names)["c"]

    assert left("stranger", 5) != left("stranger", 1)
    by_subject = math.hypot(left("stranger", 5), math.sqrt(3) / 12)
    assert measured(holdout=whose) == pytest.approx(math.hypot(left("member", 1), by_subject))
    by_record = math.hypot(left("stranger", 1), math.sqrt(3) / 60)
    assert measured() == pytest.approx(math.hypot(left("member", 1), by_record))
    assert measured(forget=["one person"] * 50) == measured()


def at(rate, details):
    (text,) = [text for name, text in details.items() if rate in name.split()]
    return text


def test_rates_that_the_sample_cannot_resolve_are_not_printed():
    law = Law(sizes={"forget": 50, "retain": 5, "neighbours": 5, "holdout": 250})
    details = LossMembership().measure(law.evidence(law.model(7), references=3)).details
    assert at("1%", details) == "not resolvable with 250 holdout records; needs 1000 or more"
    assert not at("5%", details).endswith("imprecise: 250 holdout records")
    assert "95% below" in at("5%", details)
    few = Law(sizes={"forget": 50, "retain": 5, "neighbours": 5, "holdout": 60})
    details = LossMembership().measure(few.evidence(few.model(7), references=3)).details
    assert at("10%", details).endswith("imprecise: 60 holdout records")


def test_the_yardstick_is_what_retrained_models_have_and_not_a_half():
    _, given = evidence(400, 400, references=10, reference=1.0)
    found = LossMembership().measure(given)
    assert found.value > 0.7
    assert found.interval.low < 0 < found.interval.high


# --- charts ---------------------------------------------------------------------------------------------------


def drawn(members, strangers):
    _, given = evidence(members, strangers)
    return {"roc" if chart.log else "losses": chart for chart in LossMembership().measure(given).charts}


def test_the_histogram_counts_every_record_of_every_model_in_common_bins():
    models, given = evidence(60, 80)
    chart = next(chart for chart in LossMembership().measure(given).charts if chart.histogram)
    assert [line.role for line in chart.series] == [Role.SUBJECT, Role.ORIGINAL, Role.REFERENCES]
    assert len({line.x for line in chart.series}) == 1
    for line, name in zip(chart.series, ("c", "o"), strict=False):
        loss = -np.log(softmax(models[name]["forget"], 1)[:, 0])
        expected = np.histogram(np.minimum(loss, line.x[-1]), bins=line.x)[0] / 60
        assert line.y == pytest.approx(expected, abs=1e-4)
        assert sum(line.y) == pytest.approx(1, abs=1e-3)
    assert chart.n == 60


def test_the_curve_is_drawn_only_where_the_holdout_resolves_it():
    chart = drawn(60, 200)["roc"]
    assert [line.role for line in chart.series] == [Role.SUBJECT, Role.ORIGINAL, Role.REFERENCES, Role.NULL]
    for line in chart.series:
        assert line.x[0] == 0.05, "10 false alarms of 200"
        assert (line.x[-1], line.y[-1]) == (1.0, 1.0)
    assert "Nothing is drawn below 5 % false alarms: 200 holdout records" in chart.note
    null = chart.series[-1]
    assert null.y[0] == pytest.approx(tpr_null(0.05, 60, 200)[0], abs=1e-4)


def test_the_curve_is_that_of_the_attack():
    models, given = evidence(60, 200)
    chart = next(chart for chart in LossMembership().measure(given).charts if chart.log)
    phi = {part: np.subtract(*models["c"][part].T) for part in ("forget", "holdout")}
    expected = [tpr_at(phi["forget"], phi["holdout"], rate) for rate in chart.series[0].x]
    assert chart.series[0].y == pytest.approx(expected, abs=1e-4)


def test_a_holdout_that_resolves_nothing_is_said_and_not_drawn():
    chart = drawn(60, 19)["roc"]
    assert chart.series == ()
    assert chart.note == "Not drawn: 19 holdout records resolve no rate of false alarms; it takes 20 or more."
    assert drawn(60, 20)["roc"].series


@pytest.mark.parametrize(("members", "strangers", "which"), [(9, 60, set()), (60, 9, {"losses"}), (9, 9, set())])
def test_no_chart_over_a_handful(members, strangers, which):
    assert set(drawn(members, strangers)) == which
    assert FEWEST == 10


def test_the_original_is_not_drawn_beside_itself():
    models, _ = evidence(60, 80)
    labels = {"forget": np.zeros(60, int), "holdout": np.zeros(80, int)}
    names = ("r0", "r1", "r2")
    control = Evidence(models, labels, candidate="o", original="o", references=names, alpha=0.05, corrections=None)
    for chart in LossMembership().measure(control).charts:
        assert Role.ORIGINAL not in [line.role for line in chart.series]
