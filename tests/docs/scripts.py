"""The scripts that write into the documentation, as modules."""

import importlib
import sys

from tests.docs.blocks import ROOT


def script(name):
    """Return the module of a script, which finds those beside it as when it is run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
