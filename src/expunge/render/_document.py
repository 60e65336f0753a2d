"""A whole page around a body: one style, nothing loaded, nothing run."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from expunge.render._markup import Markup, tag


def document(title: str, body: Markup) -> str:
    """Return the page; ``body`` is its body element."""
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    style = resources.files("expunge.render").joinpath("report.css").read_text(encoding="utf-8")
    # The policy makes the promise checkable: a browser that shows the page loads nothing and runs nothing.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
