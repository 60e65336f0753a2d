"""The site builds without a warning, and nothing on it is fetched from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.reference import pages


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    line = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_generated_pages_are_there_and_never_kept(site):
    assert {page.stem for page in (site / "reference").glob("*.html")} == set(pages())
    assert not (ROOT / "docs" / "reference").exists()


def test_nothing_is_fetched_from_elsewhere(site):
    """What a browser loads by itself: scripts, styles, images, fonts. Links that a reader follows are free."""
    loads = r"""<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=["']?(https?:|//)[^"'> ]+"""
    fetched = [
        (page.name, found[0])
        for page in site.rglob("*.html")
        for found in re.finditer(loads, page.read_text())
        if 'rel="canonical"' not in found[0]
    ]
    assert fetched == []
    styles = [
        (sheet.name, found)
        for sheet in site.rglob("*.css")
        for found in re.findall(r"url\(\s*[\"']?https?:", sheet.read_text())
    ]
    assert styles == []


def test_no_source_of_the_generator_is_published(site):
    assert list(site.rglob("*.py")) == []
