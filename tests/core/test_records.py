import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.digest import sha256
from expunge.core.errors import UsageError
from expunge.core.records import Manifest, Records, View, WatchedView, check_names


class Words(Records):
    """Records whose example is a word."""

    def __init__(self, words, *, ids=None, subjects=None):
        self.words = list(words)
        self.ids = tuple(ids if ids is not None else (f"id-{i}" for i in range(len(self.words))))
        self.subjects = tuple(subjects or [None] * len(self.ids))

    def __getitem__(self, index):
        return self.words[index]

    def read(self, indices):
        return [self.words[i] for i in indices]

    def content(self, index):
        return sha256(self.words[index].encode())


LETTERS = Words("abcdef", subjects=["anna", "ben", None, "anna", None, "ben"])


def test_records_are_a_sequence_with_ids():
    assert len(LETTERS) == 6
    assert list(LETTERS) == list("abcdef")
    assert LETTERS.position["id-3"] == 3


def test_select_keeps_the_order_asked_for():
    view = LETTERS.select(["id-4", "id-0"])
    assert (list(view), view.ids, view.subjects) == (["e", "a"], ("id-4", "id-0"), (None, "anna"))
    assert view.read([1, 0]) == ["a", "e"]
    assert view.content(0) == LETTERS.content(4)


def test_without_keeps_the_rest_in_order():
    view = LETTERS.without(["id-1", "id-2"])
    assert (list(view), view.subjects) == (list("adef"), ("anna", "anna", None, "ben"))


@given(st.data())
def test_a_view_of_a_view_is_a_view_of_the_records(data):
    first = data.draw(st.lists(st.integers(0, 5), min_size=1, unique=True))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), unique=True))
    nested = View(View(LETTERS, first), second)
    assert list(nested) == [LETTERS[first[i]] for i in second]
    assert nested.ids == tuple(LETTERS.ids[first[i]] for i in second)
    assert nested.read(range(len(second))) == list(nested)


def test_select_and_without_part_the_records():
    gone = ["id-5", "id-1"]
    parts = {*LETTERS.select(gone).ids}, {*LETTERS.without(gone).ids}
    assert parts[0] | parts[1] == {*LETTERS.ids}
    assert not parts[0] & parts[1]


# --- manifests ----------------------------------------------------------------------------------------------


def test_the_manifest_is_of_ids_and_contents():
    entries = LETTERS.select(["id-1"]).manifest.entries
    assert entries == (("id-1", sha256(b"b")),)


@given(st.permutations(range(6)))
def test_the_manifest_digest_knows_no_order(order):
    assert View(LETTERS, order).manifest.digest == LETTERS.manifest.digest


def test_the_manifest_digest_sees_id_content_and_number():
    digests = {
        Words("ab").manifest.digest,
        Words("ba").manifest.digest,
        Words("a").manifest.digest,
        Words("").manifest.digest,
        Words("ab", ids=["id-0", "id-2"]).manifest.digest,
        Words("aa").manifest.digest,
    }
    assert len(digests) == 6


def test_records_of_a_manifest_are_read_once_whatever_parts_are_asked_for():
    read = []

    class Told(Words):
        def content(self, index):
            read.append(index)
            return super().content(index)

    whole = Told("abcd")
    assert whole.select(["id-3", "id-1"]).manifest.entries == whole.select(["id-3", "id-1"]).manifest.entries
    assert read == [3, 1, 3, 1]
    assert whole.manifest.digest == View(whole, [2, 0, 1, 3]).manifest.digest
    assert read[4:] == [0, 1, 2, 3]
    assert whole.select(["id-3"]).manifest.entries == LETTERS.select(["id-3"]).manifest.entries


def test_a_second_reading_finds_what_changes():
    class Unsteady(Words):
        reads = 0

        def content(self, index):
            self.reads += 1
            return sha256(f"{self.words[index]} {self.reads if index % 3 == 0 else 0}".encode())

    some = Unsteady("abcdef").select([f"id-{i}" for i in range(6)])
    assert (some.reread, some.reread, some._base.reads) == ((2, 6), (2, 6), 12), "once for a view"
    assert LETTERS.reread == (0, 6)
    assert Words("a" * 700).reread == (0, 350)


def test_records_that_are_changed_after_a_first_look_are_found_by_the_next():
    records = Words(["a", "b"])
    assert records.reread == (0, 2)
    records.words[1] = "c"
    assert records.reread == (1, 2)


def test_an_id_cannot_pose_as_two_records():
    one = Manifest((("a\n" + "0" * 64 + "\nb", "1" * 64),))
    two = Manifest((("a", "0" * 64), ("b", "1" * 64)))
    assert one.digest != two.digest


# --- what a trainer saw -------------------------------------------------------------------------------------


def test_reads_are_counted():
    view = WatchedView(LETTERS, [5, 1, 3])
    assert (view.passes, view.unread) == (0, 3)
    assert view[0] == "f"
    assert view.read([0, 1]) == ["f", "b"]
    assert view.reads == [2, 1, 0]
    assert (view.passes, view.unread) == (1.0, 1)


def test_a_loop_counts_every_record_once():
    view = WatchedView.over(LETTERS)
    assert list(view) == list("abcdef")
    assert view.reads == [1] * 6


@pytest.mark.parametrize(
    "part", [lambda v: v.select(["id-1", "id-3"]), lambda v: v.without(["id-5"]), lambda v: View(v, [1, 2])]
)
def test_what_is_read_through_a_part_counts(part):
    """A trainer that splits off a validation set reads it all the same."""
    view = WatchedView(LETTERS, [5, 1, 3])
    inner = part(view)
    assert list(inner) == ["b", "d"]
    assert inner.read([0]) == ["b"]
    assert view.reads == [0, 2, 1]


def test_a_watched_view_sees_only_its_records():
    view = WatchedView.over(LETTERS.without(["id-0", "id-5"]))
    assert list(view) == list("bcde")
    with pytest.raises(IndexError):
        view[4]


# --- what is wrong ------------------------------------------------------------------------------------------


def test_double_ids_are_named_by_position_and_never_by_name():
    (obstacle,) = Words("abcd", ids=["x", "secret", "y", "secret"]).examine()
    assert obstacle.where == "records, first at position 1"
    assert "secret" not in str(obstacle)
    assert LETTERS.examine() == []


def test_ids_are_strings_one_per_record():
    assert check_names(["a", "b"], 2, where="train") == ("a", "b")
    with pytest.raises(UsageError, match=r"differ in number \(train\)\n  found: 2\n  expected: 3"):
        check_names(["a", "b"], 3, where="train")
    with pytest.raises(UsageError, match=r"must be strings \(train, position 1\)\n  found: int"):
        check_names(["a", 7], 2, where="train")


def test_records_of_one_kind_adopt_nothing_unless_they_say_so():
    assert not Records.accepts([1])
    with pytest.raises(TypeError, match="Words adopts nothing"):
        Words.adopt([1])


def test_what_is_no_text_says_none_and_a_view_says_what_its_records_say():
    class Told(Words):
        def text(self, index):
            return self.words[index]

    assert LETTERS.text(0) is None
    assert LETTERS.select(["id-2"]).text(0) is None
    assert Told("abc").select(["id-2", "id-0"]).text(0) == "c"
