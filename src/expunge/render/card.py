"""The model card of a Hugging Face directory that ships: what was done to the model, and nothing of what it forgot."""

from __future__ import annotations

from expunge.core.report import Report
from expunge.render._words import sentences, verdict_line
from expunge.render.markdown import escape


def card(report: Report, *, library: str = "transformers") -> str:
    """Return the card, ``README.md`` as transformers' hubs show it; ``library`` is what opens the directory.

    Raises:
        ValueError: no model ships.
    """
    shipped = report.shipped
    if shipped is None:
        raise ValueError("a card is of a model that ships")
    blocks = [
        f"---\nlibrary_name: {library}\ntags:\n- expunge\n---",
        "# A model from which records were deleted",
        escape(report.statement),
        "\n".join(
            f"- {escape(what)}: {value}"
            for what, value in (
                ("Method", escape(shipped.title)),
                ("Verdict of the audit", escape(verdict_line(report.verdict))),
                ("Weights before", f"`{report.model_before}`"),
                ("Weights now", f"`{report.model_after}`"),
                ("Deleted on", escape(report.finished[:10])),
            )
        ),
        "## What this does not say",
        "\n".join(f"- {escape(each)}" for each in sentences((*report.limits, *report.not_covered))),
        "A certificate was issued with this directory; `expunge verify certificate.json --model DIR --key PUB` "
        f"compares every file of it. Made by expunge {escape(report.expunge)}. The card of the original was left out: "
        "it may quote what had to go.",
    ]
    return "\n\n".join(blocks) + "\n"
