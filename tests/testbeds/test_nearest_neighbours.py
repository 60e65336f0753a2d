import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from expunge.core.errors import UsageError
from expunge.core.registry import load


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "nearest_neighbours")()


def distances(bed, keep):
    """Squared distances [40, n], and the same with ties broken by id: less than 1 is added, and they are integers."""
    plain = ((bed.q[:, None] - bed.x[keep]) ** 2).sum(2)
    rank = np.argsort(np.argsort(np.array(bed.ids)[keep]))
    return plain, plain + rank / 1000


def test_it_equals_scikit_learn_after_any_deletion(bed, subsets):
    for gone in subsets(bed, least=bed.neighbours):
        keep = bed.kept(gone)
        _, broken = distances(bed, keep)
        peer = KNeighborsClassifier(bed.neighbours, metric="precomputed").fit(np.zeros((len(keep),) * 2), bed.y[keep])
        truth = bed.truth(gone)
        assert np.array_equal(truth["labels"], peer.predict(broken))
        nearest = peer.kneighbors(broken, return_distance=False)
        assert np.array_equal(truth["neighbours"], np.array(bed.ids)[keep][nearest])


def test_where_nothing_ties_scikit_learn_needs_no_help(bed):
    peer = KNeighborsClassifier(bed.neighbours).fit(bed.x, bed.y)
    plain = np.sort(distances(bed, bed.kept([]))[0], axis=1)
    clear = plain[:, bed.neighbours - 1] < plain[:, bed.neighbours]
    assert 5 <= clear.sum() <= 35, "both kinds of queries are wanted"
    assert np.array_equal(bed.truth()["labels"][clear], peer.predict(bed.q)[clear])


def test_places_of_records_decide_nothing(bed):
    other = type(bed)()
    turned = np.arange(90)[::-1]
    other.rows.ids = tuple(np.array(bed.ids)[turned].tolist())
    other.x, other.y = bed.x[turned], bed.y[turned]
    one, two = bed.truth(bed.ids[:20]), other.truth(bed.ids[:20])
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert list(bed.ids) != sorted(bed.ids)


def test_what_was_no_neighbour_changes_no_answer(bed):
    whole = bed.truth()
    idle = sorted(set(bed.ids) - set(whole["neighbours"].ravel().tolist()))
    assert idle
    assert np.array_equal(bed.truth(idle)["neighbours"], whole["neighbours"])
    busy = str(whole["neighbours"][0, 0])
    assert busy not in bed.truth([busy])["neighbours"]


def test_a_tie_of_votes_goes_to_the_smallest_class(bed):
    whole = bed.truth()
    labels = dict(zip(bed.ids, bed.y.tolist(), strict=True))
    votes = np.array([np.bincount([labels[n] for n in row], minlength=3) for row in whole["neighbours"].tolist()])
    tied = (votes == votes.max(1, keepdims=True)).sum(1) > 1
    assert tied.any()
    assert np.array_equal(whole["labels"][tied], votes[tied].argmax(1))


def test_fewer_than_five_are_refused(bed):
    assert set(bed.truth(bed.ids[5:])["neighbours"].ravel().tolist()) == set(bed.ids[:5])
    with pytest.raises(UsageError, match="4 of 90 remain") as caught:
        bed.truth(bed.ids[4:])
    assert caught.value.obstacles[0].expected == "at least 5"
