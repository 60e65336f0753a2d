"""Every code block of the documentation: where it stands, and what an HTML comment above it says of it.

Directives, one comment each, directly above the block; on the page as it is read they are invisible:

    <!-- setup: tests/docs/setup_tiny.py -->  run this file first, in the page's folder and namespace
    <!-- run -->                              shell: run it (else it is checked against command line and Makefile)
    <!-- run: exit 1 -->                      the same, for a command that must end with this code
    <!-- file: case.py -->                    keep the block as this file in the page's folder
    <!-- plugin: methods/shout -->            keep it as a module that an installed package brings under this name
    <!-- checked by: tests/docs/test_x.py --> a test of its own looks at it
    <!-- shown: because ... -->               neither run nor checked, and why
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
KINDS = ("setup", "run", "file", "plugin", "checked by", "shown")
_DIRECTIVE = re.compile(r"<!--\s*([a-z ]+?)(?::\s*(.*?))?\s*-->")


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: Path
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def place(self):
        """Where it stands, for messages."""
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


def written_pages():
    """Return all pages that a person wrote."""
    named = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("examples/*/README.md"))]
    return [*named, *sorted((ROOT / "docs").rglob("*.md"))]


def tokens(page):
    """Return the Markdown tokens of a page."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks(page):
    """Return the code blocks of a page, in order, each with its directives."""
    found, said = [], {}
    for token in tokens(page):
        if token.type == "html_block":
            said.update({kind: text or "" for kind, text in _DIRECTIVE.findall(token.content)})
        elif token.type in ("fence", "code_block"):
            language = token.info.split()[0] if token.info else ""
            found.append(Block(page, token.map[0] + 1, language, token.content, said))
            said = {}
        elif token.type == "inline" or token.type.startswith("heading"):
            said = {}
    return found


def inline_code(page):
    """Return the inline code of a page."""
    return [child.content for token in tokens(page) for child in token.children or () if child.type == "code_inline"]
