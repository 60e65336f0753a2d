"""MkDocs hook: add the pages of reference/, written from the code at every build, and never kept."""

from __future__ import annotations

from _reference import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add every generated page."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files
