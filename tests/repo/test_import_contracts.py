"""The import contracts hold, and each of them is able to fail."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).parent / "lint-imports"
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

# contract -> trees of planted modules that break it. `other` is always the innocent module that is imported.
PLANTS = [
    ("floors", {"core/planted.py": "import expunge.engine.other", "engine/other.py": ""}),
    ("floors", {"audit/planted.py": "import expunge.certify.other", "certify/other.py": ""}),
    ("methods-apart", {"methods/planted.py": "import expunge.methods.other", "methods/other.py": ""}),
    ("checks-apart", {"checks/planted.py": "from expunge.checks import other", "checks/other.py": ""}),
    ("audit-blind", {"audit/planted.py": "from expunge.methods.other import x", "methods/other.py": "x = 1"}),
    ("audit-blind", {"checks/planted.py": "import expunge.methods.other", "methods/other.py": ""}),
    (
        "audit-blind",  # through a third room
        {
            "audit/planted.py": "import expunge.engine.other",
            "engine/other.py": "import expunge.methods.other",
            "methods/other.py": "",
        },
    ),
    ("tables-light", {"estimators/planted.py": "import expunge.engine.other", "engine/other.py": "import torch"}),
    ("verify-light", {"core/planted.py": "import torch"}),
    ("verify-light", {"certify/planted.py": "def late():\n    import numpy"}),
]


def lint_imports(tree, *options):
    """Run the contracts of this repository on the package under `tree`/src."""
    return subprocess.run(
        [LINT, "--no-logo", "--no-cache", "--config", ROOT / "pyproject.toml", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def plant(tree, files):
    """Copy the package below `tree` and add `files` to it."""
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in files.items():
        path = tree / "src" / "expunge" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)


def test_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_is_shown_to_fail():
    assert {contract for contract, _ in PLANTS} == set(CONTRACTS)


NAMES = [f"{contract}:{next(iter(files))}" for contract, files in PLANTS]


@pytest.mark.parametrize(("contract", "files"), PLANTS, ids=NAMES)
def test_a_planted_violation_breaks_its_contract(tmp_path, contract, files):
    plant(tmp_path, files)
    result = lint_imports(tmp_path, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{CONTRACTS[contract]} BROKEN" in result.stdout
    assert ".planted" in result.stdout, "broken, but not by what was planted"


def test_a_room_on_no_floor_is_refused(tmp_path):
    plant(tmp_path, {"attic/__init__.py": ""})
    result = lint_imports(tmp_path, "--contract", "floors")
    assert result.returncode == 1
    assert "attic" in result.stdout


# --- the light rooms: import-linter forbids by name, this allows by name ------------------------------------


def imported(source):
    """Top-level packages that a module imports anywhere, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += ["expunge" if node.level else node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("room", "allowed"), [("core", set()), ("certify", {"cryptography"})])
def test_light_room_imports_only_what_is_allowed(room, allowed):
    foreign = {
        path.name: names
        for path in (ROOT / "src" / "expunge" / room).rglob("*.py")
        if (names := imported(path.read_text()) - sys.stdlib_module_names - {"expunge"} - allowed)
    }
    assert foreign == {}
