"""Canaries: records made to be forgotten, planted before training by the toss of a coin that nobody knows.

Of every canary a fair coin says whether it is trained on. What is left in a model of those that were shows in
comparison with those that never were: both are alike but for the coin, so a model that was trained on neither tells
them apart by chance alone. The yardstick needs no retrained model.

Source: Carlini et al. 2019, arXiv 1802.08232 (canaries); Steinke et al. 2023, arXiv 2305.08846 (one run, m coins).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from expunge.core.digest import keyed, sha256
from expunge.core.errors import UsageError
from expunge.core.records import Records
from expunge.core.serial import build, canonical, parse

FORMAT = "expunge-canaries-1"


@dataclass(frozen=True)
class Canary:
    """One canary.

    Attributes:
        id: its own; never that of the record it was made from.
        source: id of the record whose input it has.
        label: the wrong label that it was given.
        included: what the coin said.
    """

    id: str
    source: str
    label: int
    included: bool


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """The private record of what was planted: labels, coin, and the secret from which both were drawn.

    Whoever trains or unlearns must not have it: the coin would let him treat the ones like the others.
    """

    format: str = FORMAT
    kind: str = "mislabelled"
    secret: str
    canaries: tuple[Canary, ...]

    @property
    def commitment(self) -> str:
        """SHA-256 of the record. To be published before training: it shows nothing, and fixes labels and coin.

        The secret in it is 32 random bytes, so that nobody can find the record by trying.
        """
        return sha256(canonical(self))

    def save(self, path: str | Path) -> None:
        """Write the record where its owner alone can read it (mode 0600); an existing file is not replaced.

        Raises:
            FileExistsError: there is one; the coin of a model that was trained must not get lost.
        """
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(canonical(self))

    @classmethod
    def load(cls, path: str | Path) -> Canaries:
        """Return the record in a file.

        Raises:
            UsageError: not readable, or not such a record; nothing of it is quoted.
        """
        try:
            found: Canaries = build(cls, parse(Path(path).read_bytes()), where="canaries")
            found.examine()
            return found
        except (OSError, ValueError) as error:
            raise UsageError(
                "cannot read the record of the canaries",
                where=Path(path).name,
                found=str(getattr(error, "strerror", None) or error),
                expected="the file that `Canaries.save` wrote before training",
                fix="give the path of that file, as it was written",
            ) from error

    def examine(self) -> None:
        """Raise what :meth:`save` never writes: such a record was altered.

        Raises:
            ValueError: another format, a secret that is no hexadecimal number, one id or source twice.
        """
        if self.format != FORMAT:
            raise ValueError("another format")
        if not re.fullmatch("([0-9a-f]{2})+", self.secret):
            raise ValueError("a secret that is no hexadecimal number")
        for names in ([canary.id for canary in self.canaries], [canary.source for canary in self.canaries]):
            if len(set(names)) < len(names):
                raise ValueError(f"{len(names) - len(set(names))} canaries that are there twice")


@dataclass(frozen=True, eq=False, kw_only=True)
class Planted:
    """Canaries beside the records they were planted in; a live handle, written nowhere.

    Attributes:
        train: what to train on: the records with the included canaries among them.
        included: ids of the canaries that are deleted with the request that is judged.
        aside: the canaries that were never trained on: the yardstick.
        commitment: of the record of all of them.
        made_from: the canary that is trained on, by id of the record it was made from: whoever asks for that record
            to be forgotten means its input, whatever label and id it has there.
    """

    train: Records
    included: tuple[str, ...]
    aside: Records
    commitment: str
    made_from: Mapping[str, str] = field(default_factory=dict)

    def portion(self, index: int, *, of: int, secret: str) -> Planted:
        """Return part ``index`` of ``of`` equal parts: one request uses one part up, the others stay in training.

        ``secret`` is that of the record of the canaries; parts are drawn by it, whatever the coin said.
        """
        if not 0 <= index < of:
            raise ValueError(f"part {index} of {of} does not exist")
        key = bytes.fromhex(secret)

        def ours(names: Collection[str]) -> tuple[str, ...]:
            ranked = sorted(names, key=lambda name: keyed(key, "portion", name))
            chosen = set(ranked[index::of])
            return tuple(name for name in names if name in chosen)

        return replace(self, included=ours(self.included), aside=self.aside.select(ours(self.aside.ids)))
