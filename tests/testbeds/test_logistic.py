import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from expunge.core.errors import UsageError
from expunge.core.registry import load


@pytest.fixture(scope="module", params=[2, 3], ids=["binary", "three classes"])
def bed(request):
    return load("testbeds", "logistic")(classes=request.param)


def peer(bed, keep):
    model = LogisticRegression(
        C=1 / bed.penalty, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=200
    )
    return model.fit(bed.x[keep], bed.y[keep]).coef_


def test_it_equals_scikit_learn_after_any_deletion(bed, subsets):
    tried = 0
    for gone in subsets(bed, least=3):
        keep = bed.kept(gone)
        if len(set(bed.y[keep].tolist())) < bed.classes:
            continue  # scikit-learn fits fewer classes then
        tried += 1
        truth = bed.truth(gone)
        assert_allclose(truth["weight"], peer(bed, keep), rtol=1e-6, atol=1e-8)
        assert truth["gradient_norm"] <= 1e-10
    assert tried > 20


def test_it_minimises_the_objective_that_it_states(bed):
    keep = bed.kept(bed.ids[:100])

    def objective(flat):
        weight = flat.reshape(-1, 6)
        logits = bed.x[keep] @ weight.T
        if bed.classes == 2:
            logits = np.column_stack([np.zeros(len(keep)), logits])
        fit = -log_softmax(logits, axis=1)[np.arange(len(keep)), bed.y[keep]].sum()
        return fit + bed.penalty / 2 * (flat**2).sum()

    best = bed.truth(bed.ids[:100])["weight"].ravel()
    assert np.abs(approx_fprime(best, objective)).max() < 1e-4
    draw = np.random.default_rng(0)
    assert all(objective(best + 0.01 * draw.normal(size=len(best))) > objective(best) for _ in range(20))


def test_it_converges_from_few_and_one_sided_records(bed):
    for left in (1, 2, 5):
        truth = bed.truth(bed.ids[left:])
        assert truth["gradient_norm"] <= 1e-10
    one_sided = [name for name, label in zip(bed.ids, bed.y, strict=True) if label != 0]
    assert bed.truth(one_sided)["weight"].shape == ((3, 6) if bed.classes == 3 else (1, 6))
    with pytest.raises(UsageError, match="0 of 180 remain"):
        bed.truth(bed.ids)


def distance(model, truth):
    weight = model.weight.detach().numpy()
    return np.linalg.norm(weight - truth["weight"]) / np.linalg.norm(truth["weight"])


def test_trained_models_are_near_the_truth_of_their_records(bed):
    gone = [name for name, label in zip(bed.ids, bed.y, strict=True) if label == 1][:40]
    whole, without = bed.truth(), bed.truth(gone)
    for seed in (1, 2):
        trained, retrained = bed.trainer(bed.records, seed=seed), bed.trainer(bed.records.without(gone), seed=seed)
        assert distance(trained, whole) < 0.03
        assert distance(retrained, without) < 0.03
        assert distance(trained, without) > 2 * distance(trained, whole), "which records were there is seen"


def test_the_penalty_of_the_trainer_does_not_grow_as_records_go(bed):
    # A weight decay fixed at 180 records would be off by 80 of them here.
    gone = bed.ids[80:]
    assert distance(bed.trainer(bed.records.without(gone), seed=1), bed.truth(gone)) < 0.03


def test_the_model_of_the_problem_answers_as_the_trainer_trained_it(bed):
    problem = bed.problem(bed.ids[:10])
    assert distance(problem.model, bed.truth()) < 0.03
    inputs, labels = problem.records.read(range(180))
    units = problem.meaning.units(problem.model, (inputs, labels))
    assert units.logits.shape == (180, bed.classes)
    assert float(units.correct.double().mean()) > 0.85
