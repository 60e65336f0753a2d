"""CI runs the gate and the tests that a developer runs, and fails when one of them fails."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_ci(tmp_path):
    """Run .ci/run with a `make` that writes down its targets and fails at the one named."""

    def run(fails_at=""):
        make = tmp_path / "make"
        make.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/targets"\n[ "$1" != "{fails_at}" ]\n')
        make.chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        code = subprocess.run([ROOT / ".ci" / "run"], env=environment, cwd=tmp_path, check=False).returncode
        return code, (tmp_path / "targets").read_text().split()

    return run


def test_ci_runs_the_gate_and_the_tests(run_ci):
    assert run_ci() == (0, ["check", "test"])


@pytest.mark.parametrize("target", ["check", "test"])
def test_ci_fails_with_its_target(run_ci, target):
    code, targets = run_ci(fails_at=target)
    assert code != 0
    assert targets[-1] == target


def test_make_test_runs_all_fast_tests():
    """No list of files to forget one in: pytest collects tests/, less what is marked slow."""
    # A make that runs these tests must not pass its own ARGS and flags on to the one asked here.
    environment = {name: value for name, value in os.environ.items() if name not in {"ARGS", "MAKEFLAGS"}}
    plan = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout
    (command,) = (line for line in plan.splitlines() if "/pytest" in line)
    assert command.split("pytest", 1)[1].strip() == "-q -n 2 --dist loadfile -m 'not slow'"
