"""The pictures: what is missing is said, and one section can be shown alone."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "screenshots.py"
CHROMIUM = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
PAGE = """<!DOCTYPE html><html lang="en"><title>t</title><body style="margin:0">
<p style="height:500px;margin:0">above</p><div id="here" style="height:123px">here</div></body></html>"""


def shoot(tmp_path, *arguments, path=None):
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(page), *arguments],
        env={"PATH": path} if path is not None else None,
        capture_output=True,
        text=True,
    )


def test_without_a_browser_it_says_which_it_needs(tmp_path):
    done = shoot(tmp_path, "--desktop", str(tmp_path / "d.png"), path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("no Chromium found")
    assert "apt-get install chromium" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d.png").exists()


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_one_section(tmp_path):
    picture = tmp_path / "d.png"
    done = shoot(tmp_path, "--section", "here", "--desktop", str(picture))
    assert done.returncode == 0, done.stderr
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (1200, 123 + 2 * 16)
    missing = shoot(tmp_path, "--section", "there", "--desktop", str(picture))
    assert missing.returncode == 1
    assert "no section with the id 'there'" in missing.stderr
