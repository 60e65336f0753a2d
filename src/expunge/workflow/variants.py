"""What else there is to ask and to answer: variants of texts, from columns of the file that the texts stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.core.errors import UsageError
from expunge.core.records import Records
from expunge.data._files import place, plain


@dataclass(frozen=True)
class Rows:
    """A file of records.

    Attributes:
        frame: its rows.
        where: what to call it in errors.
        parts: the columns that make a record, in the order in which its kind takes them, e.g. prompts and answers.
        ids: the id of every row.
    """

    frame: Any
    where: str
    parts: Sequence[Sequence[Any]]
    ids: Sequence[str]


def variants_of(columns: Mapping[str, str], files: Sequence[Rows], write: Callable[..., Records]) -> dict[str, Records]:
    """Return the variants of the prompts and answers in all ``files``, by name (``core.variants.VARIANTS``).

    A cell holds one text or a list of them, or nothing where a record has none. A file after the first may lack a
    column.

    Args:
        columns: the column of each variant.
        files: the training records first, then the holdout.
        write: makes records of ``(prompts, answers, ids=..., at=...)``; ``at`` says where each stands, for errors.

    Raises:
        UsageError: a column in which nothing stands, or something else than texts.
    """
    found = {}
    for name, column in columns.items():
        prompts, answers, ids, at = [], [], [], []
        for rows in files:
            for i, texts in enumerate(_texts(rows, column)):
                where = f"{rows.where}, column {column}, first at {place(rows.frame, i)}"
                for number, text in enumerate(texts):
                    asks = name == "paraphrased_question"
                    prompts.append(text if asks else rows.parts[0][i])
                    answers.append(rows.parts[1][i] if asks else text)
                    ids.append(f"{rows.ids[i]}#{number}")
                    at.append(where)
        if not ids:
            raise UsageError(
                "a column without a text",
                where=f"{files[0].where}, column {column}",
                found=f"nothing in {len(files[0].ids)} rows",
                expected=f"a text, or a list of texts, in some rows: {name} = {column!r} in [data] names it",
                fix="name another column, or leave it out",
            )
        found[name] = write(prompts, answers, ids=ids, at=at)
    return found


def _texts(rows: Rows, column: str) -> list[list[str]]:
    """Return the texts that stand in each cell of a column; none of a file that has no such column."""
    if column not in rows.frame.columns:
        return []
    cells = [
        [] if cell in (None, "") else cell if isinstance(cell, list) else [cell] for cell in plain(rows.frame[column])
    ]
    wrong = [i for i, texts in enumerate(cells) if not all(isinstance(text, str) and text.strip() for text in texts)]
    if wrong:
        first = next(text for text in cells[wrong[0]] if not isinstance(text, str) or not text.strip())
        raise UsageError(
            "a column that holds something else than texts",
            where=f"{rows.where}, column {column}, first at {place(rows.frame, wrong[0])}",
            found=f"{'an empty text' if isinstance(first, str) else type(first).__name__} in {len(wrong)} of "
            f"{len(cells)} rows",
            expected="a text, or a list of texts; nothing (null) where a record has none",
            fix="name another column, or mend these rows",
        )
    return cells
