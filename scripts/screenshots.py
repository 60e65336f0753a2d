"""Show a report as people see it: PNGs at desktop and phone width, light or dark, and the printed PDF.

Needs Chromium (Debian: ``apt-get install chromium``). Nothing is loaded from a network. The browser is
driven through its debugging pipe, because its command line can neither set a phone's width nor choose the
dark colours.

    python scripts/screenshots.py runs/demo/report.html --desktop desktop.png --phone phone.png --pdf a4.pdf
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTHS = {"desktop": 1200, "phone": 390}  # CSS pixels
AIR = 16  # around a section, in CSS pixels
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


class Browser:
    """A headless Chromium with a profile of its own, spoken to in JSON over file descriptors 3 and 4."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        quiet = os.open(os.devnull, os.O_WRONLY)
        # Lifted out of the way first: a pipe's own number could be 3 or 4.
        lifted_in, lifted_out = (os.dup2(fd, spare) for fd, spare in ((theirs_in, 60), (theirs_out, 61)))
        actions = [
            (os.POSIX_SPAWN_DUP2, quiet, 2),
            (os.POSIX_SPAWN_DUP2, lifted_in, 3),
            (os.POSIX_SPAWN_DUP2, lifted_out, 4),
        ]
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._pid = os.posix_spawn(program, arguments, os.environ, file_actions=actions)
        for fd in (theirs_in, theirs_out, lifted_in, lifted_out, quiet):
            os.close(fd)
        self._numbers, self._buffer = itertools.count(1), b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to one command."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def wait_for(self, event: str) -> None:
        """Read on until the browser tells of ``event``."""
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended; does it start by hand?")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        """End the browser and wait until it is gone."""
        self._session = None
        self.call("Browser.close")
        os.close(self._out)
        os.waitpid(self._pid, 0)
        os.close(self._in)


def show(browser: Browser, page: Path, *, width: int, dark: bool, top: int | None, section: str | None) -> bytes:
    """Return a PNG of the whole page, of its top or of one section; refuses a page that is wider than the screen."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.call("Emulation.setEmulatedMedia", media="screen", features=scheme)
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Page.enable")
    browser.call("Page.navigate", url=page.resolve().as_uri())
    browser.wait_for("Page.loadEventFired")
    size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
    if size["width"] > width:
        raise SystemExit(f"{page.name} is {size['width']} pixels wide on a screen of {width}: something overflows")
    clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
    if section is not None:
        clip["y"], clip["height"] = _place(browser, page, section)
    clip["height"] = min(clip["height"], top or clip["height"])
    shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return base64.b64decode(shot["data"])


def _place(browser: Browser, page: Path, section: str) -> tuple[float, float]:
    """Return where on the page the element with this id begins, and its height, with a little air around it."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector=f'[id="{section}"]')["nodeId"]
    if not node:
        raise SystemExit(f'{page.name} has no section with the id {section!r}; its links (href="#...") name them')
    quad = browser.call("DOM.getBoxModel", nodeId=node)["model"]["border"]
    return max(0.0, quad[1] - AIR), quad[5] - quad[1] + 2 * AIR


def printed(browser: Browser, page: Path) -> bytes:
    """Return the page as it prints on A4."""
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Page.enable")
    browser.call("Page.navigate", url=page.resolve().as_uri())
    browser.wait_for("Page.loadEventFired")
    # Without backgrounds, as most people print; with the page size that the stylesheet names.
    pdf = browser.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
    return base64.b64decode(pdf["data"])


def main() -> None:
    """Read the command line and write the pictures that it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="the report, an HTML file")
    for name, width in WIDTHS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"PNG at {width} pixels")
        parser.add_argument(f"--{name}-dark", type=Path, help=f"PNG at {width} pixels, dark")
    parser.add_argument("--top", type=int, metavar="PIXELS", help="only so much of the page or section, from its top")
    parser.add_argument("--section", metavar="ID", help="only the part of the page with this id, e.g. gone")
    parser.add_argument("--pdf", type=Path, help="the page as printed")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium found (looked for chromium, chromium-browser, google-chrome): apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, Path(profile))
        try:
            for name, width in WIDTHS.items():
                for dark, key in ((False, name), (True, f"{name}_dark")):
                    if (path := getattr(arguments, key)) is not None:
                        shot = show(
                            browser,
                            arguments.page,
                            width=width,
                            dark=dark,
                            top=arguments.top,
                            section=arguments.section,
                        )
                        path.write_bytes(shot)
            if arguments.pdf is not None:
                arguments.pdf.write_bytes(printed(browser, arguments.page))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
