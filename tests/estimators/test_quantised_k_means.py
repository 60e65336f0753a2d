import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError

from expunge.estimators import ForgettingQuantisedKMeans
from tests.support.tables import frame

X, _ = make_blobs(1400, 2, centers=4, random_state=0)


def fresh(made, kept):
    return ForgettingQuantisedKMeans(**made.get_params()).fit(X[kept], sample_ids=kept)


def test_after_a_thousand_deletions_it_is_a_fresh_run_and_few_were_run_again():
    made = ForgettingQuantisedKMeans(4, random_state=5).fit(X)
    order = np.random.default_rng(1).permutation(1400)
    for start in range(0, 100):
        made.forget(order[start : start + 1])
    assert made.n_runs_ < 3 + 3 * 100 / 4  # of three runs for each of a hundred deletes
    for start in range(100, 1000, 60):
        made.forget(order[start : start + 60])
    kept = np.sort(order[1000:])
    again = fresh(made, kept)
    assert made.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    assert made.fingerprint() == again.fingerprint()
    assert made.what_remains_.rows == 400
    assert all(step.counts.sum() == 400 for run in made._runs for step in run.steps)  # P-45
    assert all(step.counts.min() >= 0 for run in made._runs for step in run.steps)


def test_every_cluster_is_looked_at_again_for_the_threshold_moves_with_n():  # P-47
    draw = np.random.default_rng(3)
    settings = {"n_clusters": 5, "balance": 1.0, "lattice": 0.02, "max_iter": 3, "n_init": 1, "random_state": 2}
    made = ForgettingQuantisedKMeans(**settings).fit(X[:200])
    held = list(range(200))
    moved = 0
    for _ in range(60):
        gone = held.pop(int(draw.integers(len(held))))
        step = made._runs[0].steps[0]
        before, own = made._runs[0].steps[1].centres, None
        if gone not in made._runs[0].seeds:
            row = np.ldexp(X[gone], made._grid[0])
            own = int(((step.centres - row) ** 2).sum(1).argmin())
        made.forget([gone])
        assert made.fingerprint() == fresh(made, held).fingerprint()
        after = made._runs[0].steps[1].centres
        if own is not None and len(after) == len(before):
            moved += bool((np.delete(after, own, 0) != np.delete(before, own, 0)).any())
    assert moved > 5  # a centre moved whose cluster lost nothing: to look at the row's own alone would miss it


def test_a_seed_that_goes_is_drawn_again():
    made = ForgettingQuantisedKMeans(4, random_state=5).fit(X)
    seeds = sorted(set.union(*(run.seeds for run in made._runs)))
    made.forget(seeds)
    assert made.fingerprint() == fresh(made, np.setdiff1d(np.arange(1400), seeds)).fingerprint()


def test_sums_of_squares_are_near_scikit_learns():
    made = ForgettingQuantisedKMeans(4, random_state=0).fit(X)
    assert made.inertia_ < 1.1 * KMeans(4, n_init=3, random_state=0).fit(X).inertia_
    assert (made.labels_ == made.predict(X)).all()
    phase = made.cluster_centers_ / made.lattice_
    assert np.allclose((phase - phase[0]) % 1 % 1, 0, atol=1e-9) or np.allclose(
        np.minimum((phase - phase[0]) % 1, 1 - (phase - phase[0]) % 1), 0, atol=1e-9
    )


def test_the_lattice_follows_the_rows_that_are_held():
    far = np.concatenate([X, [[1e6, 0.0]]])
    made = ForgettingQuantisedKMeans(4, random_state=0).fit(far)
    wide = made.lattice_
    made.forget([1400])
    assert made.lattice_ < wide
    assert made.fingerprint() == ForgettingQuantisedKMeans(4, random_state=0).fit(X).fingerprint()
    assert ForgettingQuantisedKMeans(4, lattice=0.3).fit(X).lattice_ == 0.25


def test_rows_that_are_all_the_same_and_rows_far_from_zero():
    made = ForgettingQuantisedKMeans(3, random_state=0).fit(np.full((5, 2), 7.0))
    assert made.cluster_centers_.shape == (1, 2)
    assert np.abs(made.cluster_centers_ - 7).max() <= made.lattice_ / 2
    made = ForgettingQuantisedKMeans(2, random_state=0).fit([[1e12], [1e12 + 1], [1e12 + 8], [1e12 + 9]])
    assert sorted(made.predict([[1e12], [1e12 + 9]])) == [0, 1]


def test_forgetting_all_rows_leaves_nothing():
    made = ForgettingQuantisedKMeans(2, random_state=0).fit(X).forget(range(1400))
    with pytest.raises(NotFittedError):
        made.predict(X)
    assert not hasattr(made, "cluster_centers_")
    assert made.partial_fit(X[:50], sample_ids=range(50)).fingerprint() == fresh(made, range(50)).fingerprint()


@pytest.mark.parametrize(("setting", "value"), [("balance", 2.0), ("lattice", 0.0), ("max_iter", 0), ("n_init", 0)])
def test_settings_that_mean_nothing_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        ForgettingQuantisedKMeans(**{setting: value}).fit(X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in(kind):
    made = ForgettingQuantisedKMeans(2, random_state=0).fit(
        frame(kind, X[:50]), sample_ids=[f"r{i}" for i in range(50)]
    )
    assert made.forget(["r3"]).predict(frame(kind, X[:9])).shape == (9,)
