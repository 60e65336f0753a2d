"""What a request names beside ids, looked for in the records: texts, and what links two subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from expunge.core.phrases import Phrases
from expunge.core.records import Records
from expunge.core.request import Request


class Search:
    """A search of ``records`` for what ``request`` names."""

    def __init__(self, records: Records, request: Request) -> None:
        self._records, self._request = records, request

    @cached_property
    def of_texts(self) -> bool:
        """Whether the records are texts: these can be searched for words."""
        return len(self._records) > 0 and self._records.words(0) is not None

    @cached_property
    def texts_held(self) -> list[list[str]]:
        """Ids of the records that hold each text of the request."""
        return self.holding(self._request.texts)

    @cached_property
    def named(self) -> dict[str, set[str]]:
        """Ids of the records whose texts name a subject, of each that stands in an association."""
        subjects = list(dict.fromkeys(each for pair in self._request.associations for each in pair))
        return {each: set(held) for each, held in zip(subjects, self.holding(subjects), strict=True)}

    def telling(self, pair: Sequence[str], which: Callable[..., bool]) -> list[str]:
        """Return ids of records that tell of ``which`` (all, any) of these subjects: are theirs, or name them."""
        pairs, named = zip(self._records.ids, self._records.subjects, strict=True), self.named
        return [name for name, subject in pairs if which(subject == each or name in named[each] for each in pair)]

    def holding(self, phrases: Sequence[str]) -> list[list[str]]:
        """Return for each phrase the ids of the records whose texts hold it, word for word; reads every text once."""
        holders: list[list[str]] = [[] for _ in phrases]
        if not holders or not self.of_texts:
            return holders
        sought = Phrases(phrases)
        for i, name in enumerate(self._records.ids):
            for place in sought.within(self._records.words(i) or ""):
                holders[place].append(name)
        return holders


def links(pair: Sequence[str]) -> bool:
    """Return whether these are two subjects that differ, neither of them blank."""
    return len(pair) == 2 and len({each.strip() for each in pair} - {""}) == 2
