from itertools import permutations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from expunge.estimators import ForgettingKMeans
from expunge.estimators._clustering import race
from expunge.estimators._keyed import first_by_weight, row_keys, uniforms
from tests.support.tables import frame

X, WHERE = make_blobs(1400, 3, centers=4, random_state=0)
POINTS = np.array([0.0, 1.0, 3.0, 7.0, 12.0])


def test_after_a_thousand_deletions_it_is_a_fresh_run():
    made = ForgettingKMeans(4, n_buckets=8, random_state=5).fit(X)
    order = np.random.default_rng(1).permutation(1400)
    for start in range(0, 1000, 40):
        made.forget(order[start : start + 40])
    kept = np.sort(order[1000:])
    fresh = ForgettingKMeans(4, n_buckets=8, random_state=5).fit(X[kept], sample_ids=kept)
    assert made.cluster_centers_.tobytes() == fresh.cluster_centers_.tobytes()
    assert made.fingerprint() == fresh.fingerprint()
    assert made.what_remains_.rows == 400
    assert sum(part.weights.sum() for part in made._buckets.values()) == 400  # P-45: as many as there are, no more


def test_no_row_becomes_a_point_at_the_origin():  # P-45
    made = ForgettingKMeans(3, random_state=0).fit(X + 1000).forget(range(1300))
    assert (made.cluster_centers_ > 900).all()


@pytest.mark.parametrize("n_buckets", [1, 8, 16])
def test_sums_of_squares_are_near_scikit_learns(n_buckets):
    digits = load_digits().data
    made = ForgettingKMeans(10, n_buckets=n_buckets, random_state=0).fit(digits)
    plain = KMeans(10, n_init=3, random_state=0).fit(digits)
    assert made.inertia_ < 1.08 * plain.inertia_
    assert -made.score(digits) == pytest.approx(made.inertia_)
    assert made.transform(digits).shape == (len(digits), 10)


def test_clusters_that_are_apart_are_found():
    made = ForgettingKMeans(4, random_state=1)
    assert adjusted_rand_score(WHERE, made.fit_predict(X)) > 0.9
    assert np.array_equal(made.labels_, made.predict(X))
    made.forget(range(100))
    assert np.array_equal(made.labels_, made.predict(X[list(made.sample_ids_)]))


def test_only_the_bucket_of_the_row_is_run_again(monkeypatch):
    made = ForgettingKMeans(4, n_buckets=8, random_state=5).fit(X)
    ran = []
    run = ForgettingKMeans._run
    monkeypatch.setattr(ForgettingKMeans, "_run", lambda self, b, *rest: ran.append(b) or run(self, b, *rest))
    made.forget([17])
    assert ran == made._which([17]).tolist()


def law(points, k, first=()):
    """Chances of k-means++ choosing these ordered seeds, exactly; after ``first`` seeds that are given."""
    found = {}
    for seeds in permutations(range(len(points)), k):
        if seeds[: len(first)] != tuple(first):
            continue
        chance = 1.0
        for step in range(len(first), k):
            near = [min(((p - points[s]) ** 2 for s in seeds[:step]), default=1.0) for p in points]
            chance *= near[seeds[step]] / sum(near)
        found[tuple(points[s] for s in seeds)] = chance
    return found


def distance(one, other):
    return sum(abs(one.get(s, 0) - other.get(s, 0)) for s in {*one, *other}) / 2


def unlearned(points, k, gone, redraw):
    """The law after ``gone`` is deleted, where ``redraw`` says how many seeds before it are kept."""
    left, found = [p for p in points if p != gone], {}
    for seeds, chance in law(points, k).items():
        if gone not in seeds:
            found[seeds] = found.get(seeds, 0) + chance
            continue
        kept = [left.index(p) for p in seeds[: redraw(seeds.index(gone))]]
        for again, share in law(left, k, kept).items():
            found[again] = found.get(again, 0) + chance * share
    return found


def test_seeds_redrawn_from_the_lost_one_on_have_the_law_of_a_fresh_draw():  # P-46
    retrained = law([0.0, 1.0, 7.0, 12.0], 3)
    as_sets = {}
    for seeds, chance in retrained.items():
        as_sets[frozenset(seeds)] = as_sets.get(frozenset(seeds), 0) + chance
    assert distance(unlearned(list(POINTS), 3, 3.0, lambda step: step), retrained) < 1e-12
    assert distance(unlearned(list(POINTS), 3, 3.0, lambda step: 0), retrained) > 0.02  # all redrawn: another law


def test_the_race_redraws_from_the_lost_seed_on_and_has_the_law_of_k_means_plus_plus():  # P-46
    counts, keys = {}, row_keys(0, range(5))
    left = np.array([0, 1, 3, 4])
    for seed in range(1500):
        chosen = race(POINTS[:, None], np.ones(5), keys, 3, seed)
        without = [int(left[i]) for i in race(POINTS[left][:, None], np.ones(4), keys[left], 3, seed)]
        before = chosen.index(2) if 2 in chosen else 3
        assert without[:before] == chosen[:before]
        counts[tuple(POINTS[chosen])] = counts.get(tuple(POINTS[chosen]), 0) + 1
    exact = law(list(POINTS), 3)
    for seeds, chance in exact.items():
        error = np.sqrt(chance * (1 - chance) / 1500)
        assert abs(counts.get(seeds, 0) / 1500 - chance) < 5 * error + 1e-9, seeds


def test_keyed_numbers_are_uniform_and_know_nothing_of_each_other():
    keys = row_keys(1, range(4000))
    u, v = uniforms(keys, 1, "a"), uniforms(keys, 1, "b")
    assert np.abs(np.sort(u) - np.linspace(0, 1, 4000)).max() < 0.03  # Kolmogorov's distance, 1% at 0.026
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.06
    assert row_keys(1, ["1"]) != row_keys(1, [1])
    assert first_by_weight(np.zeros(3), keys[:3], 1, "a") == -1


def test_fewer_rows_than_clusters_are_their_own_centres():
    made = ForgettingKMeans(8, random_state=0).fit([[0.0], [0.0], [5.0], [9.0]])
    assert sorted(made.cluster_centers_[:, 0]) == [0, 5, 9]
    assert sorted(made.forget([3]).cluster_centers_[:, 0]) == [0, 5]
    with pytest.raises(NotFittedError):
        made.forget(range(4)).predict([[0.0]])
    assert not hasattr(made, "cluster_centers_")
    assert not hasattr(made, "labels_")


def test_a_secret_seed_is_kept_and_said_to_be_key_material(tmp_path):
    made = ForgettingKMeans(4).fit(X)
    made.save(tmp_path / "made.skops")
    opened = ForgettingKMeans.load(tmp_path / "made.skops")
    assert opened.forget(range(9)).fingerprint() == made.forget(range(9)).fingerprint()
    assert made.fingerprint() != ForgettingKMeans(4).fit(X[9:], sample_ids=range(9, 1400)).fingerprint()
    assert "key material" in made.what_remains_.notes[0]


@pytest.mark.parametrize(("setting", "value"), [("n_clusters", 0), ("n_buckets", 2.5), ("n_init", 0), ("max_iter", 0)])
def test_settings_that_mean_nothing_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        ForgettingKMeans(**{setting: value}).fit(X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_values_that_cannot_be_squared_are_refused_and_change_nothing(bad):
    made = ForgettingKMeans(2, random_state=0).fit(X)
    before = made.fingerprint()
    with pytest.raises(ValueError, match=r"NaN|infinity|overflow"):
        made.partial_fit([[bad, 0.0, 0.0]])
    assert made.fingerprint() == before


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    table = frame(kind, X[:50])
    made = ForgettingKMeans(2, random_state=0).set_output(transform=kind).fit(table).forget([1])
    out = made.transform(table)
    assert list(out.columns) == ["forgettingkmeans0", "forgettingkmeans1"]
    assert made.predict(table).shape == (50,)
