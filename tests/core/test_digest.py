import contextlib
import hashlib
import hmac
import json
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core import digest
from expunge.core.errors import Tampered
from tests.support.reports import TENSORS, digest_of, framed, safetensors

# --- Merkle trees -------------------------------------------------------------------------------------------

# Reference inputs and roots of Certificate Transparency (google/certificate-transparency, merkle_tree_test).
CT_INPUTS = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", CT_ROOTS)
def test_the_tree_is_that_of_rfc_6962(size):
    leaves = [digest.leaf(data, "") for data in CT_INPUTS[:size]]
    assert digest.merkle_levels(leaves)[-1][0].hex() == CT_ROOTS[size]


leaves_of = st.integers(0, 5).flatmap(
    lambda d: st.lists(st.binary(min_size=32, max_size=32), min_size=2**d, max_size=2**d)
)


@given(leaves_of, st.data())
def test_a_proof_opens_its_leaf_and_no_other(leaves, data):
    levels = digest.merkle_levels(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = digest.merkle_proof(levels, index), levels[-1][0]
    assert len(proof) == len(levels) - 1
    assert digest.merkle_check(leaves[index], index, proof, root)
    other = data.draw(st.binary(min_size=32, max_size=32).filter(lambda leaf: leaf != leaves[index]))
    assert not digest.merkle_check(other, index, proof, root)
    assert not digest.merkle_check(leaves[index], index + len(leaves), proof, root)
    assert not digest.merkle_check(leaves[index], index, [*proof, root], root)
    for place in range(len(proof)):
        assert not digest.merkle_check(leaves[index], index, proof[:place] + proof[place + 1 :], root)


@given(st.integers(0, 100))
def test_a_proof_holds_only_for_its_own_place(seed):
    leaves = [hashlib.sha256(struct.pack("<II", seed, i)).digest() for i in range(8)]
    levels = digest.merkle_levels(leaves)
    proof = digest.merkle_proof(levels, 3)
    assert [i for i in range(8) if digest.merkle_check(leaves[3], i, proof, levels[-1][0])] == [3]


@given(st.integers(0, 5000))
def test_bucket_is_the_next_power_of_two_from_sixteen(count):
    size = digest.bucket(count)
    assert size >= max(16, count)
    assert size & (size - 1) == 0
    assert size == 16 or size // 2 < count


entries = st.lists(st.tuples(st.text(max_size=5), st.text("0123456789abcdef", min_size=64, max_size=64)), max_size=20)
unique = entries.map(lambda pairs: list(dict(pairs).items()))


@given(unique, st.randoms())
def test_salted_trees_are_of_the_set_and_the_secret(pairs, random):
    levels = digest.salted_levels(b"secret", pairs)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert digest.salted_levels(b"secret", shuffled) == levels
    assert digest.salted_levels(b"another", pairs)[-1] != levels[-1]
    assert len(levels[0]) == digest.bucket(len(pairs))
    assert levels[0] == sorted(levels[0])
    for name, content in pairs:
        leaf = digest.leaf(digest.keyed(b"secret", "record", name), content)
        proof = digest.merkle_proof(levels, levels[0].index(leaf))
        assert digest.merkle_check(leaf, levels[0].index(leaf), proof, levels[-1][0])


def test_one_record_and_sixteen_look_alike():
    """A count of one is not visible, nor which leaves are padding."""
    one = digest.salted_levels(b"secret", [("a", "00" * 32)])
    sixteen = digest.salted_levels(b"secret", [(str(i), "00" * 32) for i in range(16)])
    assert [len(row) for row in one] == [len(row) for row in sixteen] == [16, 8, 4, 2, 1]
    assert len(set(one[0])) == 16


def test_padding_cannot_pose_as_a_record():
    """A record whose id is that of a padding leaf gets another salt."""
    assert digest.keyed(b"s", "record", 0) != digest.keyed(b"s", "padding", 0)


# --- keyed hashes -------------------------------------------------------------------------------------------


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_keyed_joins_unambiguously(parts, others):
    assert (digest.keyed(b"k", *parts) == digest.keyed(b"k", *others)) == (parts == others)


@given(st.binary(), st.text())
def test_keyed_int_fits_a_seed(key, part):
    assert 0 <= digest.keyed_int(key, part) < 2**63


def test_keyed_is_hmac():
    assert digest.keyed(b"key", "a", 1) == hmac.digest(b"key", b'["a","1"]', "sha256")


# --- files --------------------------------------------------------------------------------------------------


def test_file_digest_is_that_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 5000  # more than one chunk
    (tmp_path / "file").write_bytes(data)
    assert digest.file_digest(tmp_path / "file") == hashlib.sha256(data).hexdigest() == digest.sha256(data)


def test_tree_digests_names_every_file(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    assert digest.tree_digests(tmp_path) == {"a": digest.sha256(b"2"), "b/x": digest.sha256(b"1")}


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=6), st.randoms())
def test_combine_knows_no_order_but_counts(digests, random):
    shuffled = list(digests)
    random.shuffle(shuffled)
    assert digest.combine(shuffled) == digest.combine(digests)
    assert digest.combine([*digests, "00" * 32]) != digest.combine(digests)


# --- safetensors --------------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 3), max_size=3)


@st.composite
def tensor_sets(draw):
    """Up to five tensors of any name, type and shape, with their bytes."""
    tensors = {}
    for name in draw(st.lists(names, max_size=5, unique=True)):
        dtype, width = draw(st.sampled_from([("F32", 4), ("BF16", 2), ("I64", 8), ("BOOL", 1), ("F8_NEW", 3)]))
        shape = draw(shapes)
        size = width
        for part in shape:
            size *= part
        tensors[name] = (dtype, shape, draw(st.binary(min_size=size, max_size=size)))
    return tensors


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("weights") / "model.safetensors"


@given(tensor_sets(), st.randoms())
def test_weights_digest_is_that_of_the_tensors_in_any_order(path, tensors, random):
    for metadata in (None, {"format": "pt"}):
        order = list(tensors.items())
        random.shuffle(order)
        path.write_bytes(safetensors(dict(order), metadata=metadata))
        assert digest.weights_digest(path) == digest_of(tensors)


@given(tensor_sets().filter(bool), st.data())
def test_weights_digest_sees_name_type_shape_and_bytes(path, tensors, data):
    name = data.draw(st.sampled_from(sorted(tensors)))
    dtype, shape, content = tensors[name]
    changed = {
        "name": {f"{key}2" if key == name else key: value for key, value in tensors.items()},
        "type": {**tensors, name: ("F8_OTHER", shape, content)},
        "shape": {**tensors, name: (dtype, [*shape, 1], content)},
        "bytes": {**tensors, name: (dtype, shape, bytes(b ^ 1 for b in content))},
    }
    if not content:
        del changed["bytes"]
    path.write_bytes(safetensors(tensors))
    before = digest.weights_digest(path)
    for what, other in changed.items():
        path.write_bytes(safetensors(other))
        assert digest.weights_digest(path) != before, what


def test_weights_digest_of_tensors_larger_than_a_chunk(path):
    tensors = {"a": ("U8", [(1 << 21) + 3], bytes(range(256)) * (1 << 13) + b"abc"), "b": ("U8", [1], b"x")}
    path.write_bytes(safetensors(tensors))
    assert digest.weights_digest(path) == digest_of(tensors)


def test_model_digest_does_not_care_how_tensors_are_spread_over_files(tmp_path):
    for place, (name, parts) in enumerate(TENSORS.items()):
        (tmp_path / str(place)).mkdir()
        (tmp_path / str(place) / "x.safetensors").write_bytes(safetensors({name: parts}))
    (tmp_path / "notes.txt").write_text("no weights")
    assert digest.model_digest(tmp_path) == digest_of(TENSORS)
    (tmp_path / "more.safetensors").write_bytes(safetensors({"c": ("U8", [1], b"x")}))
    assert digest.model_digest(tmp_path) != digest_of(TENSORS)


@given(length=st.integers(0, 173))
def test_a_truncated_file_is_refused(path, length):
    whole = safetensors(TENSORS)
    assert len(whole) == 174
    path.write_bytes(whole[:length])
    with pytest.raises(Tampered, match="not a whole safetensors file"):
        digest.weights_digest(path)


def entry(start, stop, *, dtype="U8", shape=None):
    return {
        "dtype": dtype,
        "shape": [stop - start] if shape is None else shape,
        "data_offsets": [start, stop],
    }


BAD_HEADERS = {
    "empty file": b"",
    "length beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "length of nothing": struct.pack("<Q", 0),
    "not JSON": framed("{"),
    "not UTF-8": struct.pack("<Q", 1) + b"\xff",
    "not an object": framed([]),
    "nested too deeply": framed("[" * 100_000),
    "a tensor twice": framed(json.dumps({"a": entry(0, 1), "b": entry(0, 1)}).replace('"b"', '"a"'), b"x"),
    "tensors overlap": framed({"a": entry(0, 2), "b": entry(1, 3)}, b"xyz"),
    "tensors share bytes": framed({"a": entry(0, 2), "b": entry(0, 2)}, b"xy"),
    "a gap": framed({"a": entry(0, 1), "b": entry(2, 3)}, b"xyz"),
    "a gap at the start": framed({"a": entry(1, 2)}, b"xy"),
    "bytes left over": framed({"a": entry(0, 1)}, b"xy"),
    "data missing": framed({"a": entry(0, 2)}, b"x"),
    "turned offsets": framed({"a": entry(2, 0, shape=[0])}, b"xy"),
    "negative offsets": framed({"a": entry(-1, 1)}, b"xy"),
    "shape too large": framed({"a": entry(0, 2, shape=[3])}, b"xy"),
    "shape of another type": framed({"a": entry(0, 2, dtype="F32", shape=[2])}, b"xy"),
    "negative shape": framed({"a": entry(0, 1, shape=[-1])}, b"x"),
    "shape no list": framed({"a": entry(0, 1, shape="1")}, b"x"),
    "shape of truth": framed({"a": entry(0, 1, shape=[True])}, b"x"),
    "no type": framed({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"x"),
    "no shape": framed({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x"),
    "no offsets": framed({"a": {"dtype": "U8", "shape": [1]}}, b"x"),
    "three offsets": framed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, b"x"),
    "broken offsets": framed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1.0]}}, b"x"),
    "no entry": framed({"a": 1}, b"x"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_header_that_does_not_fit_is_refused(path, name):
    path.write_bytes(BAD_HEADERS[name])
    with pytest.raises(Tampered, match="not a whole safetensors file"):
        digest.weights_digest(path)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_with_one_error(path, data):
    path.write_bytes(struct.pack("<Q", min(len(data), 40)) + data)
    with contextlib.suppress(Tampered):
        digest.weights_digest(path)


def test_safetensors_itself_writes_what_is_read(path):
    """The library that everyone else uses agrees on the format."""
    numpy = pytest.importorskip("safetensors.numpy")
    import numpy as np

    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2, 3], dtype=np.int64)}
    numpy.save_file(arrays, path)
    tensors = {"a": ("F32", [2, 3], arrays["a"].tobytes()), "b": ("I64", [3], arrays["b"].tobytes())}
    assert digest.weights_digest(path) == digest_of(tensors)


# --- skops files ----------------------------------------------------------------------------------------------


def node(loader, **content):
    return {"__class__": content.pop("cls", "x"), "__module__": "m", "__loader__": loader, **content}


def skops(path, *, ids=0, name="a.npy", data=b"array", members=None, version="1", kinds=("p", "q"), step=1):
    """Write a file of the form of skops: a set of two texts and an array, in a mapping."""
    texts = [node("JsonNode", content=json.dumps(text), __id__=ids + n) for n, text in enumerate(kinds)]
    content = {
        "kinds": node("SetNode", cls="set", content=texts[::step], __id__=ids + 7),
        "file": node("NdArrayNode", type="numpy", file=name, __id__=ids + 8),
    }
    tree = node("DictNode", content=content, __id__=ids + 9) | {"_skops_version": version, "protocol": 2}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(tree))
        for member, value in (members or {name: data}).items():
            archive.writestr(member, value)
    return path


def test_what_changes_at_every_writing_is_no_part_of_the_digest_of_a_skops_file(tmp_path):
    one = digest.skops_digest(skops(tmp_path / "1.skops"))
    other = skops(tmp_path / "2.skops", ids=100, name="b.npy", version="2", step=-1)
    assert digest.skops_digest(other) == one
    with (tmp_path / "2.skops").open("rb") as file:
        assert digest.skops_digest(file) == one


@pytest.mark.parametrize("change", [{"data": b"arrav"}, {"kinds": ("p", "r")}])
def test_the_digest_of_a_skops_file_is_of_its_state(tmp_path, change):
    one, other = (digest.skops_digest(skops(tmp_path / n, **more)) for n, more in (("1", {}), ("2", change)))
    assert one != other


def test_a_key_of_the_users_own_is_part_of_the_state(tmp_path):
    """Only nodes have ids and members: a mapping may hold keys of these names."""
    files = []
    for value in ("1", "2"):
        tree = node("DictNode", content={"__id__": node("JsonNode", content=value)})
        files.append(tmp_path / f"{value}.skops")
        with zipfile.ZipFile(files[-1], "w") as archive:
            archive.writestr("schema.json", json.dumps(tree))
    assert digest.skops_digest(files[0]) != digest.skops_digest(files[1])


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b"no zip"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"array", b"arrax")),
        lambda path: skops(path, members={"other.npy": b"array"}),
        lambda path: skops(path, members={"a.npy": b"array", "hidden": b"rows"}),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
)
def test_a_skops_file_that_is_not_whole_is_refused(tmp_path, break_it):
    path = skops(tmp_path / "m.skops")
    break_it(path)
    with pytest.raises(Tampered, match="not a whole skops file"):
        digest.skops_digest(path)


def test_a_folder_is_digested_with_all_its_models(tmp_path):
    skops(tmp_path / "a.skops")
    alone = digest.model_digest(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(safetensors(TENSORS))
    assert digest.model_digest(tmp_path) not in (alone, digest_of(TENSORS))
    assert alone == digest.combine([digest.skops_digest(tmp_path / "a.skops")])


def test_adapters_are_digested_with_the_base_that_they_name(tmp_path):
    (tmp_path / "adapters.safetensors").write_bytes(safetensors(TENSORS))
    alone = digest.model_digest(tmp_path)
    assert digest.base_of(tmp_path) is None
    digests = set()
    for base in ("77" * 32, "88" * 32):
        (tmp_path / digest.BASE_FILE).write_text(json.dumps({"base": base}))
        assert digest.base_of(tmp_path) == base
        digests.add(digest.model_digest(tmp_path))
    assert len({alone, *digests}) == 3


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", '{"base": 7}', '{"base": "a", "base": "b"}'])
def test_what_names_no_base_is_told(tmp_path, said):
    (tmp_path / digest.BASE_FILE).write_text(said)
    with pytest.raises(Tampered, match="which base"):
        digest.base_of(tmp_path)
