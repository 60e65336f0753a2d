"""The request: what must go, whose it is, on what ground, by when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Request:
    """A deletion request.

    Attributes:
        ids: records to forget.
        also: further records to forget, which were found to be like those (``expunge find``); of those that were
            labelled wrongly nobody has said what they are.
        subjects: forget all records of these subjects, too.
        associations: pairs of subjects; forget what tells of both, by whose a record is or by the names in its text.
            What tells of one of them alone stays, and is watched as a neighbour.
        texts: forget all records that hold one of these word for word, whatever the case and the white space.
        reference: an opaque name of the request; it is printed on the certificate, so no personal data.
        ground: why, e.g. ``GDPR Art. 17(1)(b)``, ``licence ended``, ``wrong labels``.
        received: date of receipt, ISO 8601.
        due: date by which it must be done, ISO 8601.
        corrections: for wrong-label requests, the true label by record id: of a table as it stands in the column of
            labels, else the number of the class.
    """

    ids: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    associations: tuple[tuple[str, ...], ...] = ()
    texts: tuple[str, ...] = ()
    reference: str = ""
    ground: str = ""
    received: str = ""
    due: str = ""
    corrections: Mapping[str, int | float | bool | str] = field(default_factory=dict)
