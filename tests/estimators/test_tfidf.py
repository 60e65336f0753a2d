import zipfile

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB

from expunge.estimators import ForgettingPipeline, ForgettingTfidf

WORDS = ["oak", "ash", "elm", "yew", "fir", "box", "ivy", "larch", "the", "and"]
DRAW = np.random.default_rng(0)
TEXTS = [" ".join(DRAW.choice(WORDS[: 4 + i % 7], 1 + i % 9)) + (f" only{i}" if i % 5 == 0 else "") for i in range(80)]
GONE = [int(i) for i in DRAW.permutation(80)[:35]]
KEPT = [i for i in range(80) if i not in GONE]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_df": 3, "max_df": 0.5},
        {"min_df": 0.1, "ngram_range": (1, 2)},
        {"sublinear_tf": True, "norm": "l1", "smooth_idf": False},
        {"use_idf": False, "binary": True, "norm": None},
        {"stop_words": "english", "dtype": np.float32},
        {"analyzer": "char", "lowercase": False},
        {"vocabulary": ["ash", "oak", "palm"]},
    ],
)
def test_every_setting_means_what_it_means_there(settings):
    made = ForgettingTfidf(**settings).fit(TEXTS).forget(GONE)
    plain = TfidfVectorizer(**settings).fit([TEXTS[i] for i in KEPT])
    assert made.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    out, expected = made.transform(TEXTS), plain.transform(TEXTS)
    assert out.dtype == expected.dtype
    assert np.allclose(out.toarray(), expected.toarray(), rtol=1e-12 if out.dtype == np.float64 else 1e-6)


def test_the_most_frequent_tokens_are_kept_and_ties_go_by_alphabet():
    made = ForgettingTfidf(max_features=2, token_pattern=r"\w").fit(["b b c", "a c", "c d d", "d"])
    assert sorted(made.vocabulary_) == ["c", "d"]
    assert sorted(made.forget([3]).vocabulary_) == ["b", "c"]


def test_a_token_of_forgotten_texts_alone_is_gone(tmp_path):  # P-11, P-04
    made = ForgettingTfidf().fit(["oak and ash", "oak", "quince and oak"], sample_ids=list("pqr")).forget(["r"])
    assert sorted(made.vocabulary_) == ["and", "ash", "oak"]
    assert made.transform(["quince"]).nnz == 0
    made.save(tmp_path / "made.skops")
    with zipfile.ZipFile(tmp_path / "made.skops") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"quince" not in content
    assert b"ash" in content
    opened = ForgettingTfidf.load(tmp_path / "made.skops")
    assert opened.forget(["p"]).fingerprint() == made.forget(["p"]).fingerprint()
    assert sorted(opened.vocabulary_) == ["oak"]


def test_texts_without_tokens():
    with pytest.raises(ValueError, match="empty vocabulary"):
        ForgettingTfidf().fit(["a", "!"])
    made = ForgettingTfidf().fit(["oak", ""])
    assert made.transform([""]).nnz == 0
    with pytest.raises(NotFittedError, match="no token"):
        made.forget([0]).transform(["oak"])
    assert made.what_remains_.rows == 1
    assert made.partial_fit(["elm"]).vocabulary_ == {"elm": 0}
    with pytest.raises(NotFittedError):
        made.forget([1, 2]).transform(["oak"])
    with pytest.raises(ValueError, match="string object"):
        made.fit("oak")


def test_saved_with_one_text_that_has_no_tokens(tmp_path):
    made = ForgettingTfidf().fit(["oak", ""]).forget([0])
    made.save(tmp_path / "made.skops")
    assert ForgettingTfidf.load(tmp_path / "made.skops").forget([1]).what_remains_.rows == 0


def test_in_a_pipeline_columns_of_lost_tokens_are_gone_in_the_classifier_too():
    y = [i % 2 for i in range(80)]
    made = ForgettingPipeline([("weigh", ForgettingTfidf()), ("classify", MultinomialNB())]).fit(TEXTS, y).forget(GONE)
    plain = TfidfVectorizer().fit([TEXTS[i] for i in KEPT])
    rows = made["weigh"].transform([TEXTS[i] for i in KEPT])
    expected = MultinomialNB().fit(rows, [y[i] for i in KEPT])
    assert made["classify"].feature_log_prob_.shape == (2, len(plain.vocabulary_))
    assert made["classify"].feature_log_prob_.tobytes() == expected.feature_log_prob_.tobytes()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_columns_of_frames_are_texts(kind):
    module = pytest.importorskip(kind)
    series = module.Series(TEXTS)
    made = ForgettingPipeline([("weigh", ForgettingTfidf())]).fit(series).forget(GONE)
    assert made.transform(series).shape == (80, len(TfidfVectorizer().fit([TEXTS[i] for i in KEPT]).vocabulary_))
