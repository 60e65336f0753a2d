"""Scikit-learn objects in skops files: a zip of arrays and JSON, never a pickle; nothing but known types is made."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from skops.io import dumps, get_untrusted_types, loads
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from expunge.core.errors import Tampered, UnsafeFile, UsageError
from expunge.core.storage import write_file

T = TypeVar("T")
_OURS = ("expunge.estimators.", "expunge.numerics.fixed_point.")
_LIBRARIES = (
    "lightgbm.",
    "xgboost.",
    "collections.OrderedDict",
    "numpy.dtype",
    # Of scikit-learn what skops does not list: plain holders of arrays, trees, distances, kernels. No blanket
    # "sklearn.": a function of it may load files.
    "sklearn.calibration._",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.",
    "sklearn.gaussian_process._gpc.",
    "sklearn.gaussian_process.kernels.",
    "sklearn.metrics._dist_metrics.",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""Beside what skops knows to be safe; constructing their objects runs no code of the file's."""


def save_object(thing: Any, path: Path) -> None:
    """Write ``thing`` to ``path``: aside, synced, renamed."""
    write_file(path, dump_object(thing), mode=0o600)  # it may hold rows, and the seed that all its randomness hangs on


def dump_object(thing: Any) -> bytes:
    """Return the bytes of a skops file of ``thing``.

    Raises:
        UsageError: it holds something that only a pickle could hold.
    """
    try:
        data: bytes = dumps(thing)
    except (AttributeError, TypeError, ValueError, UnsupportedTypeException) as error:
        raise UsageError(
            "cannot save an estimator without a pickle",
            where=type(thing).__name__,
            found=type(error).__name__,
            expected="state that skops knows",
            fix="leave out functions, open files and classes that hide their state",
        ) from error
    return _without_padding(data)


def _without_padding(data: bytes) -> bytes:
    """Return the file with the gaps between the fields of records set to 0.

    Nobody sets them (a tree's nodes have such gaps): equal estimators would give other bytes, and what lay there in
    memory would be written out.
    """
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if name.endswith(".npy") and b"'|V" in archive.read(name)[:_HEADER]:
                array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                clean = np.zeros(array.shape, array.dtype)
                for field in array.dtype.names or ():
                    clean[field] = array[field]
                written = io.BytesIO()
                np.save(written, clean if array.dtype.names else array, allow_pickle=False)
                found[name] = written.getvalue()
        if not found:
            return data
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as copy:
            for name in archive.namelist():
                copy.writestr(name, found.get(name) or archive.read(name))
    return whole.getvalue()


_HEADER = 4096


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
        raise UsageError(
            "cannot read a saved estimator",
            where=f"{path.parent.name}/{path.name}".lstrip("/"),
            found=error.strerror or "nothing",
            expected="a .skops file, or a folder with estimator.skops; of a network or a language model, a directory "
            "with its safetensors",
            fix="check the path",
        ) from error
    return open_object(data, path.name, kind)


def open_object(data: bytes, where: str, kind: type[T]) -> T:
    """Return the object in the bytes of a skops file called ``where``; as :func:`load_object` otherwise."""
    _examine(data, where)
    types = get_untrusted_types(data=data)
    named = f"{kind.__module__}.{kind.__qualname__}"
    strange = [name for name in types if not name.startswith((*_OURS, *_LIBRARIES)) and name != named]
    if strange:
        raise UnsafeFile(
            "a saved estimator holds types that could run code",
            where=where,
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
            where=where,
            found=type(error).__name__,
            expected="what save wrote, opened with the versions it was saved with",
            fix="restore the file, or fit and save anew",
        ) from error
    if not isinstance(thing, kind):
        raise UsageError("another kind of object", where=where, found=type(thing).__name__, expected=kind.__name__)
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
