"""Every relative link leads somewhere, every anchor is a heading, every path of the repository that is named exists."""

import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from tests.docs.blocks import ROOT, inline_code, tokens, written_pages
from tests.docs.reference import pages

GENERATED = ROOT / "docs" / "reference"
FOLDERS = ("src", "tests", "docs", "benchmarks", "examples", "changelog.d", "scripts")


def relative(page):
    return str(page.relative_to(ROOT))


def text_of(path):
    """Return the text of a page, written or generated; None where there is none."""
    if path.parent == GENERATED:
        return pages().get(path.stem)
    return path.read_text() if path.is_file() else None


def anchors(text):
    """Return the anchors of the headings of a page."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {slugify(title.replace("`", ""), "-") for title in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)}


def wrong(target, page):
    """Return what is wrong with a link, or an empty text."""
    if re.match(r"(https?|mailto):", target):
        return ""
    place, _, anchor = target.partition("#")
    path = Path(page, "..", place).resolve() if place else page
    text = text_of(path) if path.suffix == ".md" else None
    if text is None and not path.exists():
        return f"{target}: nothing there"
    return f"{target}: no such heading" if anchor and (text is None or anchor not in anchors(text)) else ""


def links(page):
    for token in tokens(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield target


@pytest.mark.parametrize("page", written_pages(), ids=relative)
def test_links_lead_somewhere(page):
    assert [found for target in links(page) if (found := wrong(target, page))] == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_links_of_generated_pages_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", pages()[name]))
    assert [found for target in targets if (found := wrong(target, GENERATED / f"{name}.md"))] == []


@pytest.mark.parametrize("page", written_pages(), ids=relative)
def test_paths_that_are_named_exist(page):
    """A name in capitals or in angle brackets stands for one that the reader chooses."""
    named = [text for text in inline_code(page) if text.split("/")[0] in FOLDERS and re.fullmatch(r"[\w./+-]+", text)]
    real = [text for text in named if "NAME" not in text]
    assert [text for text in real if not (ROOT / text).exists()] == []


def test_the_readme_leads_to_every_guide():
    readme = set(links(ROOT / "README.md"))
    guides = {relative(page) for page in (ROOT / "docs" / "guides").glob("*.md")}
    assert guides - readme == set()


def test_a_wrong_link_is_seen(tmp_path):
    page = ROOT / "docs" / "index.md"
    assert wrong("guides/nothing.md", page)
    assert wrong("guides/demo.md#nothing", page)
    assert wrong("reference/nothing.md", page)
    assert not wrong("reference/errors.md#diverged", page)
    assert not wrong("https://example.org", page)
