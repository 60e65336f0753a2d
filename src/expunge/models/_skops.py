"""Scikit-learn objects in skops files: a zip of arrays and JSON, never a pickle; nothing but known types is made."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, TypeVar

from skops.io import dumps, get_untrusted_types, loads
from skops.io.exceptions import UntrustedTypesFoundException

from expunge.core.errors import Tampered, UnsafeFile, UsageError
from expunge.core.storage import write_file

T = TypeVar("T")
_OURS = "expunge.estimators."
_LIBRARIES = ("lightgbm.", "xgboost.", "collections.OrderedDict")
"""Beside what skops knows to be safe; constructing their objects runs no code of the file's."""


def save_object(thing: Any, path: Path) -> None:
    """Write ``thing`` to ``path``: aside, synced, renamed."""
    write_file(path, dumps(thing), mode=0o600)  # it may hold rows, and the seed that all its randomness hangs on


def load_object(path: Path, kind: type[T]) -> T:
    """Return the object in the skops file at ``path``; a ``kind`` of the caller's own is trusted by being named.

    Raises:
        UsageError: there is no such file, or it holds something else than a ``kind``.
        UnsafeFile: it is a pickle, or names types that are not known to be harmless.
        Tampered: it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError("cannot read a saved estimator", where=path.name, found=error.strerror or "nothing") from error
    _examine(data, path.name)
    types = get_untrusted_types(data=data)
    named = f"{kind.__module__}.{kind.__qualname__}"
    strange = [name for name in types if not name.startswith((_OURS, *_LIBRARIES)) and name != named]
    if strange:
        raise UnsafeFile(
            "a saved estimator holds types that could run code",
            where=path.name,
            found=", ".join(sorted(strange)[:5]),
            expected="types of scikit-learn, NumPy, SciPy, LightGBM, XGBoost or expunge",
            fix="save it anew without functions or classes of your own",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the version it was saved with; what does not fit raises below
            thing = loads(data, trusted=types)
    except (UntrustedTypesFoundException, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise Tampered(
            "cannot open a saved estimator",
            where=path.name,
            found=type(error).__name__,
            expected="what save wrote, opened with the versions it was saved with",
            fix="restore the file, or fit and save anew",
        ) from error
    if not isinstance(thing, kind):
        raise UsageError("another kind of object", where=path.name, found=type(thing).__name__, expected=kind.__name__)
    return thing


def _examine(data: bytes, name: str) -> None:
    if data[:1] == b"\x80":  # the first byte of every pickle since protocol 2
        raise UnsafeFile(
            "a pickle",
            where=name,
            found="a file that runs code when opened",
            expected="a skops file",
            fix="open it where you trust it, and save it with skops.io.dump",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        bad = str(error)
    if bad is not None:
        raise Tampered(
            "a saved estimator is damaged",
            where=name,
            found=bad,
            expected="a whole skops file",
            fix="restore it from where it came, or fit and save anew",
        )
