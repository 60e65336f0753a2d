"""What `expunge new` writes runs, keeps its contract, and overwrites nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.conformance import scaffold as scaffolds
from expunge.conformance.scaffold import ROOMS, scaffold
from expunge.core.errors import UsageError
from tests.support import toys

KINDS = list(ROOMS)


def run(*words, folder, path):
    """Run Python with ``path`` in front."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def installed(package, room, name):
    """Do what an installation does: leave an entry point beside the module."""
    about = package / f"expunge_{name}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: expunge-{name}\nVersion: 0.1.0\n")
    target = next(line for line in (package / "pyproject.toml").read_text().splitlines() if line.startswith(name))
    (about / "entry_points.txt").write_text(f"[expunge.{room}]\n" + target.replace('"', "") + "\n")


def test_a_package_of_its_own_passes_as_it_stands(tmp_path):
    """All kinds in one process, which takes seconds to import torch."""
    packages, tests = [], []
    for kind in KINDS:
        files = scaffold(kind, f"half_way_{kind}", tmp_path)
        packages.append(tmp_path / f"expunge-half-way-{kind}")
        assert {path.name for path in files} == {
            *("pyproject.toml", f"expunge_half_way_{kind}.py", f"test_half_way_{kind}.py")
        }
        installed(packages[-1], ROOMS[kind], f"half_way_{kind}")
        tests.append(next(path for path in files if path.name.startswith("test_")))
    tested = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests), folder=tmp_path, path=packages)
    assert tested.returncode == 0, tested.stdout
    written = sum(path.read_text().count("def test_") for path in tests)
    assert f"{written} passed" in tested.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_checkout_the_files_go_where_the_project_keeps_them(tmp_path, kind):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "expunge"\n')
    (tmp_path / "src").mkdir()
    files = scaffold(kind, "half_way", tmp_path / "src")
    below = [str(path.relative_to(tmp_path)) for path in files]
    room = ROOMS[kind]
    assert below == [
        f"src/expunge/{room}/half_way.py",
        f"tests/{room}/test_half_way.py",
        "changelog.d/+half-way.feature.md",
    ]
    assert "half_way" in files[2].read_text()
    for folder in ("changelog.d", "src/expunge", "tests"):
        assert (toys.ROOT / folder).is_dir(), "the project keeps them elsewhere now"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_the_gate(tmp_path, kind):
    shutil.copy(toys.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").touch()
    known = ["--config", 'lint.isort.known-first-party=["expunge"]']  # ruff looks whether the modules are there
    scaffold(kind, "half_way", tmp_path)
    for words in (["format", "--check"], ["check"]):
        ruff = Path(sys.executable).with_name("ruff")
        done = subprocess.run([ruff, *words, *known, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("methode", "x", "unknown kind"),
        ("method", "finetune", "called 'finetune' already"),
        ("method", "Fine", "not a name"),
        ("method", "a__b", "not a name"),
        ("method", "lambda", "not a name"),
        ("method", "../x", "not a name"),
        ("check", "relearning", "already"),
    ],
)
def test_bad_names_are_refused_before_anything_is_written(tmp_path, kind, name, text):
    with pytest.raises(UsageError, match=text):
        scaffold(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    scaffold("method", "half_way", tmp_path)
    source = tmp_path / "expunge-half-way" / "expunge_half_way.py"
    source.write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        scaffold("method", "half_way", tmp_path)
    assert source.read_text() == "mine"


def test_every_template_is_used():
    folder = Path(scaffolds.__file__).parent / "templates"
    used = {*KINDS, *(f"{kind}_test" for kind in KINDS), "fragment", "pyproject", "plugin_test"}
    assert {path.stem for path in folder.iterdir()} == used
