"""From tables to codes: order, categories, missing values, and no list that would have to forget."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from expunge.estimators import ForgettingForestClassifier
from expunge.estimators._forest_columns import category_codes, number_codes
from expunge.estimators._forest_kernels import MISSING

HOW = {"n_estimators": 10, "trees_per_row": 5, "random_state": 0}


def frame(n=80):
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": draw.normal(50, 9, n),
            "town": draw.choice(["Rome", "Oslo", "Lima", "Bern"], n),
            "kind": pd.Categorical(draw.choice(["a", "b"], n)),
            "member": draw.random(n) < 0.5,
        }
    )
    return table, (table["town"].isin(["Oslo", "Lima"]) ^ table["member"]).astype(int).to_numpy()


def test_codes_keep_the_order_of_numbers():
    numbers = np.array([-3e38, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.nextafter(np.float32(1), 2), 3e38])
    codes = number_codes(numbers[:, None])[:, 0]
    assert codes[3] == codes[4]
    assert (np.diff(np.delete(codes, 4).astype(np.int64)) > 0).all()
    assert number_codes(np.array([[np.nan]]))[0, 0] == MISSING < codes.min()


def test_numbers_beyond_single_precision_name_their_column():
    with pytest.raises(ValueError, match=r"columns \[1\]"):
        number_codes(np.array([[1.0, 1e39]]))


def test_equal_categories_have_one_code_and_missing_ones_too():
    assert len(set(category_codes([1, 1.0, True, np.int64(1), np.float32(1)]).tolist())) == 1
    assert len(set(category_codes([None, np.nan, pd.NA, pd.NaT]).tolist())) == 1
    assert len(set(category_codes(["1", 1, "text 1", None, "missing", ""]).tolist())) == 6
    with pytest.raises(TypeError, match="string or a number"):
        category_codes([b"bytes"])


def test_frames_of_pandas_and_polars_and_declared_columns_give_one_forest():
    table, y = frame()
    made = ForgettingForestClassifier(**HOW).fit(table, y)
    assert made.is_categorical_.tolist() == [False, True, True, False]
    assert made.feature_names_in_.tolist() == list(table.columns)
    others = (
        ForgettingForestClassifier(**HOW).fit(table.assign(town=table["town"].astype("category")), y),
        ForgettingForestClassifier(**HOW).fit(pl.from_pandas(table), y),
    )
    for other in others:
        assert other.fingerprint() == made.fingerprint()
    plain = table.to_numpy(dtype=object)
    for declared in ([1, 2], np.array([False, True, True, False])):
        other = ForgettingForestClassifier(**HOW, categorical_features=declared).fit(plain, y)
        assert np.array_equal(other.predict_proba(plain), made.predict_proba(table))
    named = ForgettingForestClassifier(**HOW, categorical_features=["town", "kind"]).fit(table, y)
    assert np.array_equal(named.predict_proba(table), made.predict_proba(table))


def test_categories_and_missing_values_are_learnt():
    table, _ = frame(400)
    y = table["town"].isin(["Oslo", "Lima"]).astype(int).to_numpy()
    made = ForgettingForestClassifier(**HOW, max_features=None).fit(table[:300], y[:300])
    assert (made.predict(table[300:]) == y[300:]).all()
    table.loc[y == 1, "town"] = None
    made = ForgettingForestClassifier(**HOW, max_features=None).fit(table[:300], y[:300])
    assert (made.predict(table[300:]) == y[300:]).all()
    X = np.where(y[:, None] == 1, np.nan, np.random.default_rng(0).normal(size=(400, 3)))
    made = ForgettingForestClassifier(**HOW).fit(X[:300], y[:300])
    assert (made.predict(X[300:]) == y[300:]).all()


def test_a_category_of_forgotten_rows_alone_is_unknown_after():
    table, y = frame()
    table.loc[:4, "town"] = "Atlantis"
    made = ForgettingForestClassifier(**HOW).fit(table, y).forget(range(5))
    assert category_codes(["Atlantis"])[0] not in made._t.block  # P-11, before anything is grown again
    fresh = ForgettingForestClassifier(**HOW).fit(table[5:], y[5:], sample_ids=range(5, 80))
    assert made.fingerprint() == fresh.fingerprint()
    strange = table[:5].assign(town=["Paris", None, "Rome", "", "Nice"])
    assert np.array_equal(made.predict_proba(strange), fresh.predict_proba(strange))


def test_text_where_numbers_were_is_refused():
    table, y = frame()
    made = ForgettingForestClassifier(**HOW).fit(table, y)
    with pytest.raises(ValueError, match="text where numbers are expected"):
        made.predict(table.assign(age="old"))
    with pytest.raises(ValueError, match="feature names"):
        made.predict(table.rename(columns={"age": "years"}))
    with pytest.raises(ValueError, match="no column"):
        ForgettingForestClassifier(categorical_features=["city"]).fit(table, y)
