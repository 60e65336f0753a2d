"""The signed payload: an in-toto Statement whose subjects are model files and whose predicate is ours.

Source: github.com/in-toto/attestation, spec/v1/statement.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from expunge.core.certificate import PREDICATE_TYPE, STATEMENT_TYPE, Predicate
from expunge.core.digest import sha256
from expunge.core.errors import UsageError
from expunge.core.serial import build, canonical, parse, plain


@dataclass(frozen=True)
class Statement:
    """Which files (SHA-256 by name) a predicate speaks of."""

    subjects: Mapping[str, str]
    predicate: Predicate


class BadStatement(ValueError):
    """A payload that is no statement of this kind; the text says why."""


def identify(predicate: Predicate) -> Predicate:
    """Return the predicate with its certificate id, which follows from everything else in it."""
    rest = {key: value for key, value in plain(predicate).items() if key != "certificate"}
    return replace(predicate, certificate=f"ec-{sha256(canonical(rest))[:16]}")


def write(statement: Statement) -> bytes:
    """Return the statement as canonical JSON bytes, subjects sorted by name."""
    subjects = [{"name": file, "digest": {"sha256": digest}} for file, digest in sorted(statement.subjects.items())]
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": statement.predicate,
        }
    )


def report_digest(record: object) -> str:
    """Return the SHA-256 of a report as it is written: canonical JSON and a newline, so that of the file."""
    return sha256(canonical(record) + b"\n")


def read(payload: bytes) -> Statement:
    """Return the statement in a payload.

    Raises:
        BadStatement: another kind of statement, or not as expected.
    """
    try:
        data = parse(payload)
    except ValueError as error:
        raise BadStatement(f"it is not JSON: {error}") from None
    if not isinstance(data, dict) or data.keys() != {"_type", "subject", "predicateType", "predicate"}:
        raise BadStatement("it does not have the keys of a statement")
    for key, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if data[key] != expected:
            raise BadStatement(f"its {key} is {data[key]!r}, not {expected!r}")
    try:
        predicate = build(Predicate, data["predicate"], where="predicate")
        known_by = identify(predicate).certificate
    except UsageError as error:
        raise BadStatement(" ".join(str(error).split())) from None
    except (UnicodeEncodeError, RecursionError):
        raise BadStatement("its predicate cannot be written as it was read") from None
    if known_by != predicate.certificate:
        raise BadStatement("its certificate id does not follow from its content")
    return Statement(_subjects(data["subject"]), predicate)


def _subjects(entries: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"name": str(file), "digest": {"sha256": str(digest), **other_digests}, **rest} if not (
                other_digests or rest or file in found
            ):
                found[file] = digest
            case _:
                raise BadStatement("a subject is not one file with one SHA-256")
    if not found:
        raise BadStatement("it names no files")
    return found
