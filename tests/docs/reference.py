"""The generated pages, as the site builds them."""

import functools
import sys

from tests.docs.blocks import ROOT


@functools.cache
def pages():
    """Return the text of every generated page, by name."""
    sys.path.append(str(ROOT / "docs"))
    try:
        from _reference import pages as generate
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return generate()
