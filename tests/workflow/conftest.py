"""The tiny problem, worked on in this process unless a test says otherwise."""

import pytest

from tests.support import running

call = running.call
project = running.project
in_process = running.in_process


@pytest.fixture(autouse=True)
def quick(in_process):
    """Every test of this folder stays in its process."""


@pytest.fixture
def erase(tmp_path):
    """Return a function that goes the whole way in one directory, on the tiny problem unless another is given."""
    from expunge.workflow import erase as way
    from tests.support.tiny import tiny_problem as tiny

    def run(*methods, problem=None, **settings):
        settings = {"out": tmp_path / "run", "policy": running.TINY / "policy.toml", **settings}
        return way(problem or tiny.make(), methods=methods, **settings)

    return run
