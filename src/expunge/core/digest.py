"""Digests of files, weights and record manifests; keyed hashes. Standard library only.

The model digest is over tensors (name, dtype, shape, bytes), or over the state that a skops file holds, not over the
file, so it survives a change of layout. The Merkle tree is that of RFC 6962 section 2.1 (leaf prefix 0x00, node prefix
0x01), over salted leaves padded to a power of two.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from expunge.core.errors import Tampered
from expunge.core.serial import parse

_CHUNK = 1 << 20
# Real headers are kilobytes to a few megabytes; a larger length field is an attack or a truncated file.
_MAX_HEADER = 100 * (1 << 20)
# Bytes per element, in safetensors' words; the size of a tensor of another type is not checked.
_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below ``folder``, by POSIX path relative to it, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def tensor_digest(name: str, dtype: str, shape: Sequence[int], data: bytes | memoryview) -> str:
    """Return the digest of one tensor; ``dtype`` in safetensors' words (``F32``, ...), data little-endian."""
    digest = hashlib.sha256(_tensor_head(name, dtype, shape))
    digest.update(data)
    return digest.hexdigest()


def _tensor_head(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    head = json.dumps([name, dtype, list(shape)], separators=(",", ":")).encode()
    return struct.pack("<Q", len(head)) + head


def combine(digests: Sequence[str]) -> str:
    """Return one digest over hex digests, independent of their order."""
    return sha256("\n".join(sorted(digests)).encode())


class TensorEntry(NamedTuple):
    """One line of a safetensors header; ``start`` and ``stop`` count bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_safetensors_header(path: Path) -> tuple[dict[str, TensorEntry], int]:
    """Return (tensor entries by name, offset of the data) of a safetensors file.

    Raises:
        Tampered: the header is not valid, or the tensors do not fill the file exactly.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            raise _not_safetensors(path, "the length of its header does not fit the file")
        try:
            header = parse(file.read(length))
        except ValueError as error:
            raise _not_safetensors(path, f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise _not_safetensors(path, "its header is not an object")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, entry) for name, entry in header.items()}
    _check_layout(path, sorted((entry.start, entry.stop) for entry in entries.values()), size - 8 - length)
    return entries, 8 + length


def _entry(path: Path, entry: object) -> TensorEntry:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise _not_safetensors(path, "a tensor has no type")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(shape, list) and all(type(part) is int and part >= 0 for part in shape)):
        raise _not_safetensors(path, "a tensor has no valid shape")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(part) is int for part in offsets)):
        raise _not_safetensors(path, "a tensor has no valid offsets")
    width = _SIZES.get(entry["dtype"])
    if width is not None and math.prod(shape) * width != offsets[1] - offsets[0]:
        raise _not_safetensors(path, "the shape of a tensor does not fit its size")
    return TensorEntry(entry["dtype"], tuple(shape), offsets[0], offsets[1])


def _check_layout(path: Path, spans: Sequence[tuple[int, int]], size: int) -> None:
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise _not_safetensors(path, "its tensors overlap or leave gaps")
        end = stop
    if end != size:
        raise _not_safetensors(path, f"it holds {size} bytes of data, its header speaks of {end}")


def _not_safetensors(path: Path, why: str) -> Tampered:
    return Tampered(
        "not a whole safetensors file",
        where=path.name,
        found=why,
        expected="a header, and as many bytes of data as it speaks of",
        fix="restore the file from where it came, or save the model again",
    )


def tensor_digests(path: Path) -> list[str]:
    """Return the digest of every tensor of a safetensors file, read in chunks.

    Raises:
        Tampered: not a whole safetensors file.
    """
    entries, data = read_safetensors_header(path)
    digests = []
    with path.open("rb") as file:
        for name, entry in entries.items():
            digest = hashlib.sha256(_tensor_head(name, entry.dtype, entry.shape))
            file.seek(data + entry.start)
            for offset in range(entry.start, entry.stop, _CHUNK):
                digest.update(file.read(min(_CHUNK, entry.stop - offset)))
            digests.append(digest.hexdigest())
    return digests


def weights_digest(path: Path) -> str:
    """Return the model digest of a safetensors file: over its tensors, whatever their order in the file."""
    return combine(tensor_digests(path))


_SCHEMA = "schema.json"
_SETS = ("set", "frozenset")


def skops_digest(file: Path | IO[bytes], *, name: str = "") -> str:
    """Return the digest of the state in a skops file, which its writer gives other ids and member names every time.

    Format: a zip of ``schema.json``, a tree of nodes, and of the arrays and byte strings that nodes name. Left out are
    ids (addresses in the memory of the writer), the writer's version, and the order of sets; a member's name is
    replaced by the SHA-256 of its bytes.

    Args:
        file: the file, or one open for reading.
        name: what it is called in errors, where it has no name of its own.

    Raises:
        Tampered: not a whole skops file, or one with members that its state does not name.
    """
    name = file.name if isinstance(file, Path) else name
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            members = {entry.filename: _member_digest(archive, entry) for entry in entries}
            tree = parse(archive.read(_SCHEMA))
        used = {_SCHEMA}
        if not isinstance(tree, dict) or len(members) != len(entries):
            raise ValueError("its state is no object, or two members have one name")
        tree.pop("_skops_version", None)
        state = json.dumps(_stable(tree, members, used), separators=(",", ":"))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _not_skops(name, str(error) or type(error).__name__) from None
    if used != members.keys():
        raise _not_skops(name, f"{len(members.keys() - used)} members that its state does not name")
    return sha256(state.encode())


def _member_digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with archive.open(entry) as member:
        while chunk := member.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _stable(node: Any, members: Mapping[str, str], used: set[str]) -> Any:
    """Return a node without what changes from one writing to the next."""
    if isinstance(node, list):
        return [_stable(part, members, used) for part in node]
    if not isinstance(node, dict):
        return node
    if not isinstance(node.get("__loader__"), str):  # not a node, but the content of a mapping
        return {key: _stable(part, members, used) for key, part in node.items()}
    found = {key: _stable(part, members, used) for key, part in node.items() if key != "__id__"}
    if isinstance(node.get("file"), str):
        found["file"] = members[node["file"]]
        used.add(node["file"])
    if node.get("__class__") in _SETS and isinstance(found.get("content"), list):
        found["content"] = sorted(found["content"], key=json.dumps)
    return found


def _not_skops(name: str, why: str) -> Tampered:
    return Tampered(
        "not a whole skops file",
        where=name,
        found=why,
        expected="a state, and the members that it names",
        fix="restore the file from where it came, or save the model again",
    )


BASE_FILE = "expunge-base.json"
"""Beside adapters: which base they belong to, by its model digest (``weights``), and the digest of their settings."""


def model_digest(folder: Path) -> str:
    """Return the model digest of a folder: over all its ``*.safetensors`` and ``*.skops`` files.

    However many files the tensors are spread over, the digest is that of one file with all of them. Adapters are a
    model with their base alone: where :data:`BASE_FILE` names it, it is in the digest.
    """
    parts = [digest for path in sorted(folder.rglob("*.safetensors")) for digest in tensor_digests(path)]
    parts += [skops_digest(path) for path in sorted(folder.rglob("*.skops"))]
    mark = folder / BASE_FILE
    return combine([*parts, file_digest(mark)] if mark.is_file() else parts)


def base_digest(folder: Path) -> str:
    """Return the digest of a base: of the weights and ``config.json`` in its folder itself, below which others may lie.

    The settings are part of it, byte for byte: the same weights with other settings are another function.
    """
    settings = folder / "config.json"
    weights = [digest for path in sorted(folder.glob("*.safetensors")) for digest in tensor_digests(path)]
    return combine([*weights, file_digest(settings)] if settings.is_file() else weights)


def base_of(folder: Path) -> str | None:
    """Return the digest of the base that the adapters in a folder belong to; None where it names none.

    Raises:
        Tampered: what names it cannot be read.
    """
    mark = folder / BASE_FILE
    if not mark.is_file():
        return None
    try:
        found = parse(mark.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("base"), str):
        raise Tampered(
            "cannot read which base the adapters belong to",
            where=f"{folder.name}/{BASE_FILE}",
            found="something else",
            expected="JSON with the digest of the base",
            fix="restore the file from where it came",
        )
    return str(found["base"])


_joined = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes an encoder at every call


def keyed(key: bytes, *parts: object) -> bytes:
    """Return HMAC-SHA256 of the parts, unambiguously joined: a pure function of a secret and a place."""
    return hmac.digest(key, _joined([str(part) for part in parts]).encode(), "sha256")


def keyed_int(key: bytes, *parts: object) -> int:
    """Return :func:`keyed` as an integer in [0, 2**63): fits a torch or NumPy seed."""
    return int.from_bytes(keyed(key, *parts)[:8], "big") >> 1


def leaf(salt: bytes, content: str) -> bytes:
    """Return the salted leaf of a record's content digest; without the salt it shows nothing."""
    return hashlib.sha256(b"\x00" + salt + content.encode()).digest()


def bucket(count: int) -> int:
    """Return the padded number of leaves: the next power of two, at least 16, so that a count of one hides."""
    return max(16, 1 << max(0, count - 1).bit_length())


def merkle_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels of the tree, leaves first, root last; ``len(leaves)`` must be a power of two."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        row = levels[-1]
        levels.append([hashlib.sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row), 2)])
    return levels


def salted_levels(master: bytes, entries: Sequence[tuple[str, str]]) -> list[list[bytes]]:
    """Return the tree over (record id, content digest) pairs, each leaf salted by HMAC(master, id).

    Leaves are ordered by their own hash, and padding leaves come from the same secret, so neither place
    nor presence says anything about a record.
    """
    leaves = [leaf(keyed(master, "record", name), content) for name, content in entries]
    leaves += [leaf(keyed(master, "padding", i), "") for i in range(bucket(len(entries)) - len(entries))]
    return merkle_levels(sorted(leaves))


def merkle_proof(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Return the siblings from leaf ``index`` to the root."""
    return [row[(index >> depth) ^ 1] for depth, row in enumerate(levels[:-1])]


def merkle_check(leaf_hash: bytes, index: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether ``proof`` leads from the leaf at ``index`` to ``root``."""
    node = leaf_hash
    for sibling in proof:
        left, right = (sibling, node) if index & 1 else (node, sibling)
        node = hashlib.sha256(b"\x01" + left + right).digest()
        index >>= 1
    return index == 0 and hmac.compare_digest(node, root)
