"""An estimator in a folder: before or after, never between; one process at a time."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from expunge.core.errors import Refused, Tampered, UsageError
from expunge.estimators import ForgettingGaussianNB, StateFolder
from expunge.estimators import _folder as folders
from tests.support.estimators import Means


@pytest.fixture
def kept(tmp_path):
    X = np.arange(40.0).reshape(20, 2)
    with StateFolder(tmp_path / "kept") as state:
        state.put(Means().fit(X, np.arange(20) % 2))
    return tmp_path / "kept"


def test_forgetting_is_on_disk_when_the_call_returns(kept):
    with StateFolder(kept, Means) as state:
        state.forget([0, 1])
        assert Means.load(kept / folders.FILE).what_remains_.rows == 18
    with StateFolder(kept, Means) as state:
        assert state.estimator.what_remains_.rows == 18


def test_a_refused_request_leaves_the_state(kept):
    before = (kept / folders.FILE).read_bytes()
    with StateFolder(kept, Means) as state, pytest.raises(UsageError):
        state.forget([0, 99])
    assert (kept / folders.FILE).read_bytes() == before


def test_a_disk_that_is_full_leaves_memory_and_disk_as_they_were(kept, monkeypatch):
    def full(*words, **more):
        raise OSError(28, "No space left on device")

    with StateFolder(kept, Means) as state:
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", full)
            with pytest.raises(Exception, match="cannot write"):
                state.forget([0])
        assert state.estimator.what_remains_.rows == 20
    assert sorted(path.name for path in kept.iterdir()) == [".lock", folders.FILE]


def test_a_second_process_is_told(kept):
    code = f"""
        from expunge.estimators import StateFolder
        from expunge.core.errors import Refused
        try:
            StateFolder({str(kept)!r}).__enter__()
        except Refused as error:
            print(error)
    """
    with StateFolder(kept, Means):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
        )
    assert "another process has this estimator open" in done.stdout


def test_a_damaged_state_is_refused(kept):
    file = kept / folders.FILE
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(Tampered, match="damaged"):
        StateFolder(kept, Means).__enter__()
    with pytest.raises(Tampered):  # and the folder is not left locked
        StateFolder(kept, Means).__enter__()


def test_an_empty_folder_has_nothing_to_forget(tmp_path):
    with StateFolder(tmp_path / "new") as state, pytest.raises(Refused, match="no estimator"):
        state.forget([0])


def test_rows_go_with_the_request_where_only_commitments_are_held(tmp_path):
    X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    with StateFolder(tmp_path / "kept") as state:
        state.put(ForgettingGaussianNB(keep_rows=False).fit(X, y))
        with pytest.raises(UsageError, match="the rows are needed"):
            state.forget([3])
        with pytest.raises(Refused, match="not those that were learnt"):
            state.forget([3], X[[4]], y[[4]])
        state.forget([3], X[[3]], y[[3]])
    with StateFolder(tmp_path / "kept") as state:
        assert state.estimator.what_remains_.rows == 19
