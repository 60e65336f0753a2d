import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from expunge.checks.truth_ratio import FORMS, TruthRatio, distances
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
N, WRONG = 30, 3
OWNERS = {"paraphrased_answer": np.arange(N), "wrong_answer": np.repeat(np.arange(N), WRONG)}
LOGS = Path(__file__).parents[3] / "shared" / "data" / "tofu" / "authors_eval_llama2_7b.json"


def evidence(known=2.0, seed=0, forgotten=N):
    """Return losses (right, wrong) by model, one token an answer, and the evidence; ``c`` and ``o`` know by so much."""
    draw = np.random.default_rng(seed)
    losses = {
        name: (draw.gamma(4.0, 0.5, N) + (2.0 - known) * (name in "co"), draw.gamma(4.0, 0.5, (N, WRONG)) + 2.0)
        for name in NAMES
    }
    log_probs = {
        name: {
            "forget": np.full((forgotten, 1), -1.0),
            "paraphrased_answer": -right[:, None],
            "wrong_answer": -wrong.reshape(-1, 1),
        }
        for name, (right, wrong) in losses.items()
    }
    right = {m: {part: np.zeros_like(rows) for part, rows in parts.items()} for m, parts in log_probs.items()}
    return losses, spoken(right, log_probs=log_probs, owners=OWNERS)


def test_the_distance_is_scipys_and_of_geometric_ratios():
    losses, given = evidence()
    found = TruthRatio().measure(given)
    ratio = {m: np.exp(-wrong.mean(axis=1)) / np.exp(-right) for m, (right, wrong) in losses.items()}

    def distance(one, other):
        return stats.ks_2samp(ratio[one], ratio[other]).statistic

    assert found.value == pytest.approx(np.mean([distance("c", r) for r in ("r1", "r2", "r3")]))
    assert found.references[0] == pytest.approx((distance("r1", "r2") + distance("r1", "r3")) / 2)
    assert found.details["which form decides"] == "the geometric truth ratio"
    assert "forget quality p = " in found.details["geometric truth ratio, against the reference in the middle"]


def test_the_arithmetic_form_stands_beside_it_by_name():
    losses, given = evidence()
    found = TruthRatio().measure(given)
    ratio = {m: np.exp(-wrong).mean(axis=1) / np.exp(-right) for m, (right, wrong) in losses.items()}
    far = sorted(stats.ks_2samp(ratio["c"], ratio[r]).statistic for r in ("r1", "r2", "r3"))
    said = found.details["arithmetic truth ratio, against the reference in the middle"]
    assert any(said.startswith(f"distance {value:.3f} (") for value in far)
    even = {m: np.minimum(row, 1 / row).mean() for m, row in ratio.items()}
    said = found.details["arithmetic truth ratio R, mean of min(R, 1/R)"]
    assert said.startswith(f"{even['c']:.3f} (references {min(even[r] for r in ('r1', 'r2', 'r3')):.3f} to ")
    assert said != found.details["geometric truth ratio R, mean of min(R, 1/R)"]


def test_a_wrong_answer_that_is_all_but_impossible_leaves_both_forms_numbers():
    _, given = evidence()
    given._arrays["c"]["wrong_answer"][:, 0] = -1e4
    found = TruthRatio().measure(given)
    assert not any("nan" in said for said in found.details.values())


def test_the_error_is_the_spread_over_drawn_records():
    """Against a bootstrap of its own: other draws, distribution functions written out."""
    losses, given = evidence()
    found = TruthRatio().measure(given)
    ratio = {m: np.exp(right - wrong.mean(axis=1)) for m, (right, wrong) in losses.items()}
    draw, rows = np.random.default_rng(99), []
    places = np.concatenate(list(ratio.values()))
    for _ in range(150):
        pick = draw.integers(N, size=N)
        at = {name: (ratio[name][pick, None] <= places).mean(axis=0) for name in ratio}
        far = {
            (one, other): np.abs(at[one] - at[other]).max() for one, other in combinations(("c", "r1", "r2", "r3"), 2)
        }
        own = np.mean([d for pair, d in far.items() if "c" in pair])
        rows.append(own - np.mean([d for pair, d in far.items() if "c" not in pair]))
    assert found.record_error == pytest.approx(np.std(rows, ddof=1), rel=0.25)


def test_some_of_the_forgotten_records_stand_for_all_of_them():
    """Half of them without answers of both kinds: three in N of these could differ and go unseen."""
    all_of_them, half = (TruthRatio().measure(evidence(forgotten=n)[1]) for n in (N, 2 * N))
    assert half.value == all_of_them.value
    assert half.n == all_of_them.n == N
    assert half.record_error == pytest.approx(np.hypot(all_of_them.record_error, np.sqrt(3) / N))


def test_ties_are_passed_together():
    one, other = np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0, 3.0])
    times = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 0, 4, 0]])
    wanted = [stats.ks_2samp(np.repeat(one, row), np.repeat(other, row)).statistic for row in times]
    np.testing.assert_allclose(distances(one, other, times), wanted)


@pytest.mark.skipif(not LOGS.exists(), reason="needs the published logs of TOFU, which are not part of the project")
def test_the_published_distance():
    sets = json.loads(LOGS.read_text())["models"]
    ratio = {
        name: np.exp(np.asarray(s["forget"]["paraphrased"]) - np.asarray(s["forget"]["perturbed"]).mean(axis=1))
        for name, s in ((name, sets[name].get("sets", sets[name])) for name in ("full", "retain90"))
    }
    found = distances(ratio["full"], ratio["retain90"], np.ones((1, 300), dtype=np.int64))[0]
    assert found == pytest.approx(119 / 300)


@pytest.mark.skipif(not LOGS.exists(), reason="needs the published logs of TOFU, which are not part of the project")
def test_the_published_figures_of_both_forms_stand_in_the_details():
    """The authors' original against their retrained model: D = 0.397 and p = 1.83e-21, or 0.410 and 6.03e-23."""
    models = json.loads(LOGS.read_text())["models"]
    of = {"c": "full", "o": "full", "r1": "retain90", "r2": "retain90", "r3": "retain90"}
    log_probs = {
        name: {
            "forget": np.full((300, 1), -1.0),
            "paraphrased_answer": -np.asarray(models[model]["forget"]["paraphrased"])[:, None],
            "wrong_answer": -np.asarray(models[model]["forget"]["perturbed"]).reshape(-1, 1),
        }
        for name, model in of.items()
    }
    right = {m: {part: np.zeros_like(rows) for part, rows in parts.items()} for m, parts in log_probs.items()}
    owners = {"paraphrased_answer": np.arange(300), "wrong_answer": np.repeat(np.arange(300), 5)}
    found = TruthRatio().measure(spoken(right, log_probs=log_probs, owners=owners))
    assert found.value == pytest.approx(119 / 300)
    said = {form: found.details[f"{form} truth ratio, against the reference in the middle"] for form in FORMS}
    assert said["geometric"].startswith("distance 0.397 (")
    assert said["geometric"].endswith("forget quality p = 1.83e-21")
    assert said["arithmetic"].startswith("distance 0.410 (")
    assert said["arithmetic"].endswith("forget quality p = 6.03e-23")


def test_without_answers_of_both_kinds_it_is_not_measured():
    found = TruthRatio().measure(spoken({name: {"forget": [(1, 1)]} for name in NAMES}))
    assert isinstance(found, NotMeasured)
