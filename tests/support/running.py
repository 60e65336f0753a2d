"""Fixtures to run the whole way on the tiny problem; the folders that use them re-export them in their conftest."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from expunge.cli.main import main

FORKED = Path(__file__).with_name("forked.py")
TINY = Path(__file__).with_name("tiny")
ONE_PROCESS = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}


def copy_project(folder):
    """Copy the tiny project and its job file into ``folder``."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def expunge(folder, *words, **options):
    """Run the command line in a process of its own, in ``folder``."""
    environment = {**os.environ, **ONE_PROCESS, **options.pop("env", {})}
    line = [Path(sys.executable).with_name("expunge"), *map(str, words)]
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240, **options
    )


@contextmanager
def forking(env=None):
    """Hold a function that runs command lines in a folder (see forked.py), and returns (exit statuses, stderr)."""
    environment = {**os.environ, **ONE_PROCESS, **(env or {})}
    pipes, numbers = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}, count()

    def commands(folder, *runs):
        err, number = folder / "stderr", next(numbers)
        err.write_text("")
        process.stdin.write(json.dumps({"number": number, "folder": str(folder), "err": str(err), "runs": runs}) + "\n")
        process.stdin.flush()
        while (answer := json.loads(process.stdout.readline()))[0] != number:
            pass  # to a test that did not wait for it
        return answer[1], err.read_text()

    with subprocess.Popen([sys.executable, FORKED], env=environment, text=True, **pipes) as process:
        try:
            yield commands
        finally:
            process.kill()


def leftovers(folder):
    """Return what lies half-written below ``folder``, which need not exist."""
    return [path.name for path in Path(folder).rglob(".aside-*")]


@dataclass(frozen=True)
class Called:
    """What a call gave."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def call(capfd):
    """Return a function that runs one command line."""

    def run(*words):
        code = main([str(word) for word in words])
        return Called(code, *capfd.readouterr())

    return run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The tiny project in a folder of its own; its modules are forgotten afterwards."""
    folder = copy_project(tmp_path / "project")
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def in_process(monkeypatch):
    """Let all work happen in this process: a fresh one takes seconds to import torch, and it is tested elsewhere."""
    from expunge.engine import runtime  # here, since it imports torch

    monkeypatch.setattr(runtime, "_pickled", lambda problem: None)
