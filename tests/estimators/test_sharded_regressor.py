"""Sharded regressors: the weighted mean of members, and forgetting as for classifiers."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from expunge.estimators import ShardedRegressor

ROWS, Y = load_diabetes(return_X_y=True)


def made(rows=ROWS, y=Y, **more):
    return ShardedRegressor(Ridge(alpha=0.01), n_shards=5, random_state=0).fit(rows, y, **more)


def test_forgetting_is_a_fresh_fit():
    found = made().forget(list(range(20)))
    fresh = made(ROWS[20:], Y[20:], sample_ids=range(20, len(Y)))
    assert found.fingerprint() == fresh.fingerprint()
    np.testing.assert_array_equal(found.predict(ROWS), fresh.predict(ROWS))


def test_it_is_the_mean_of_members_fitted_by_hand():
    found = made()
    assert found.score(ROWS, Y) > 0.4
    shard = found._where[:, 0]
    parts = [
        (shard == s).mean() * Ridge(alpha=0.01).fit(ROWS[shard == s], Y[shard == s]).predict(ROWS) for s in range(5)
    ]
    np.testing.assert_allclose(found.predict(ROWS), sum(parts), rtol=1e-9)
