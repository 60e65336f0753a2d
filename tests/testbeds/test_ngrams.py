import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from expunge.core.errors import UsageError
from expunge.core.registry import load
from expunge.testbeds import ngrams


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "ngrams")()


def remaining(bed, gone):
    return [bed.documents[i] for i in bed.kept(gone)]


def test_the_counts_are_those_of_scikit_learn_after_any_deletion(bed, subsets):
    for gone in subsets(bed, least=1, count=8):
        peer = CountVectorizer(ngram_range=(1, 3), token_pattern=r"(?u)\w+")
        counts = np.asarray(peer.fit_transform(remaining(bed, gone)).sum(axis=0)).ravel()
        truth = bed.truth(gone)
        order = np.argsort(truth["ngrams"])
        assert np.array_equal(truth["ngrams"][order], np.sort(peer.get_feature_names_out()))
        assert np.array_equal(truth["counts"][order], counts[np.argsort(peer.get_feature_names_out())]), (
            "counts and names are aligned"
        )


def triples(text):
    words = ngrams.split(text)
    return list(zip(words, words[1:], words[2:], strict=False))


def test_the_perplexity_is_that_of_additive_smoothing(bed, subsets):
    # A multinomial naive Bayes whose classes are contexts smooths each context's words just so.
    for gone in subsets(bed, least=2, count=4):
        texts = remaining(bed, gone)
        words = sorted({word for text in texts for word in ngrams.split(text)})
        place = {word: i for i, word in enumerate(words)}
        seen = [run for text in texts for run in triples(text)]
        contexts = {context: i for i, context in enumerate(sorted({run[:2] for run in seen}))}
        asked = [run for text in bed.held_out for run in triples(text)]
        wanted = {run[:2] for run in asked} & set(contexts)
        used = [run for run in seen if run[:2] in wanted] or seen[:2]
        rows = sparse.csr_matrix(
            (np.ones(len(used)), (range(len(used)), [place[run[2]] for run in used])), (len(used), len(words) + 1)
        )
        labels = [contexts[run[:2]] for run in used]
        peer = MultinomialNB(alpha=bed.smoothing).fit(rows, labels)
        row = {label: i for i, label in enumerate(peer.classes_.tolist())}
        logs = [
            peer.feature_log_prob_[row[contexts[run[:2]]], place.get(run[2], len(words))]
            if run[:2] in wanted
            else -np.log(len(words) + 1)
            for run in asked
        ]
        assert_allclose(bed.truth(gone)["perplexity"], np.exp(-np.mean(logs)), rtol=1e-10)


def test_a_run_that_is_gone_is_not_there_with_zero(bed):
    whole = bed.truth()
    gone = list(bed.ids[:39])
    some = bed.truth(gone)
    assert (some["counts"] > 0).all()
    assert set(some["ngrams"].tolist()) < set(whole["ngrams"].tolist())
    alone = [name for name in whole["ngrams"].tolist() if name not in set(some["ngrams"].tolist())]
    assert len(alone) + len(some["ngrams"]) == len(whole["ngrams"])


def test_counts_of_disjoint_parts_add_up(bed):
    def table(gone):
        truth = bed.truth(gone)
        return dict(zip(truth["ngrams"].tolist(), truth["counts"].tolist(), strict=True))

    one, two = table(bed.ids[:17]), table(bed.ids[17:])
    assert table([]) == {name: one.get(name, 0) + two.get(name, 0) for name in {*one, *two}}


def test_perplexity_by_hand():
    bed = load("testbeds", "ngrams")()
    bed.documents, bed.held_out = ("A b c, a b d.",) * 3 + ("z",) * 37, ("a b c x",)
    # V = 5 (a b c d z), so 6 with the unknown; a b c: 3 of 6 continuations of a b; b c x: 0 of 3 of b c.
    expected = ((3 + 0.1) / (6 + 0.6) * (0 + 0.1) / (3 + 0.6)) ** -0.5
    assert_allclose(bed.truth()["perplexity"], expected, rtol=1e-12)
    # Without any of them nothing is known: one of V = 1 and the unknown, with equal chances.
    assert_allclose(bed.truth(bed.ids[:3])["perplexity"], 2, rtol=1e-12)


def test_no_run_crosses_documents():
    assert ngrams.runs(["a", "b"], [3]) == []
    assert ngrams.runs(["a", "b", "c"], [2]) == [("a", "b"), ("b", "c")]
    assert ngrams.split("Don't  stop_me: NOW 2.") == ["don", "t", "stop_me", "now", "2"]


def test_documents_are_real_and_held_out_ones_are_others(bed):
    assert (len(bed.documents), len(bed.held_out)) == (40, 5)
    assert not set(bed.documents) & set(bed.held_out)
    assert max(len(ngrams.split(text)) for text in bed.documents) == bed.words


def test_one_document_is_enough_and_none_is_not(bed):
    assert len(bed.truth(bed.ids[1:])["counts"]) > 30
    with pytest.raises(UsageError, match="0 of 40 remain"):
        bed.truth(bed.ids)
