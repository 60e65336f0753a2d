import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import expunge
from expunge.certify import keys
from tests.support import certificates, reports

SOURCE = Path(expunge.__file__).parent


def words(made, *more):
    return ["verify", made.certificate, "--model", made.model, "--key", made.key, *more]


def test_a_good_certificate(made, call):
    result = call(*words(made, "--report", made.report_file))
    assert result.code == 0
    assert result.out == ""
    first, *rest = result.err.splitlines()
    assert first.startswith("VERIFIED: certificate ec-")
    assert "  ok    model files: 3 of 3, byte for byte the ones it names" in rest
    shows, limits = result.err.split("What this shows")[1].split("What it does not show")
    assert made.report.statement in shows
    assert "A signature shows who stands for which bytes, no more." in limits


def test_json_is_one_object_on_stdout(made, call):
    result = call(*words(made, "--json"))
    assert (result.code, result.err) == (0, "")
    assert result.json["ok"] is True
    assert result.json["claim"] == "audited"
    assert {"name", "ok", "found", "expected", "fix"} == result.json["parts"][0].keys()


def test_what_does_not_fit_comes_first(made, call):
    (made.model / "architecture.json").write_text("changed")
    (made.model / "code.py").write_text("")
    result = call(*words(made))
    assert result.code == 1
    assert result.err.splitlines()[0] == "NOT VERIFIED: file architecture.json, file code.py."
    assert "  WRONG file architecture.json: changed: sha256 " in result.err
    assert made.report.statement not in result.err
    as_json = call(*words(made, "--json"))
    assert (as_json.code, as_json.json["ok"], as_json.json["claim"]) == (1, False, None)


def test_adapters_and_their_base(call, tmp_path):
    base = reports.save_model(tmp_path / "base")
    made = certificates.certify(tmp_path, base=base)
    result = call(*words(made, "--base", base))
    assert result.code == 0
    assert "  ok    base: base digest " in result.err
    (base / "model.safetensors").write_bytes(b"short")
    result = call(*words(made, "--base", base))
    assert result.code == 1
    assert result.err.splitlines()[0] == "NOT VERIFIED: base."


def test_another_key(made, call, tmp_path):
    other = keys.generate(tmp_path / "other")
    result = call("verify", made.certificate, "--model", made.model, "--key", other.public)
    assert result.code == 1
    assert result.err.startswith("NOT VERIFIED: signature.")
    assert other.key_id in result.err


def test_a_development_key_needs_a_flag(tmp_path, call):
    made = certificates.certify(tmp_path, development=True)
    assert call(*words(made)).code == 1
    allowed = call(*words(made, "--allow-development-key"))
    assert allowed.code == 0
    assert allowed.err.startswith("VERIFIED, under a development key: ")
    assert "Anything to a third party" in allowed.err


@pytest.mark.parametrize("missing", ["certificate", "model", "key", "report"])
def test_a_missing_path_is_a_usage_error(made, call, missing):
    paths = {
        "certificate": made.certificate,
        "model": made.model,
        "key": made.key,
        "report": made.report_file,
    }
    paths[missing] = made.model / "nothing"
    options = [word for name in ("model", "key", "report") for word in (f"--{name}", paths[name])]
    result = call("verify", paths["certificate"], *options)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert "nothing" in result.err


def test_names_cannot_move_the_cursor(made, call):
    (made.model / "a\x1b[2Jb\u202e").write_text("")
    result = call(*words(made))
    assert result.code == 1
    assert r"file a\x1b[2Jb\u202e" in result.err
    assert "\x1b" not in result.err


# --- without torch ------------------------------------------------------------------------------------------

HEAVY = ("torch", "numpy", "safetensors", "sklearn", "scipy")
BLOCKED = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy}:
            raise ImportError("a light command must not import " + name)
sys.meta_path.insert(0, Wall())
from expunge.cli.main import main
sys.exit(main())
"""


def test_it_runs_where_torch_cannot_be_imported(made):
    line = [
        sys.executable,
        "-c",
        BLOCKED.format(heavy=HEAVY),
        *words(made, "--report", made.report_file, "--json"),
    ]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert '"ok": true' in result.stdout


def test_the_wall_holds():
    code = BLOCKED.format(heavy=HEAVY).replace("from expunge.cli.main import main", "import torch.nn")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "must not import torch" in result.stderr


def base_distributions():
    """What expunge needs without extras, and what that needs in turn."""
    found, waiting = {}, ["expunge"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = metadata.distribution(name)
            needs = map(Requirement, found[name].requires or ())
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    del found["expunge"]
    return found.values()


@pytest.fixture(scope="module")
def light_python(tmp_path_factory):
    """The interpreter of an environment with nothing but the base dependencies, made without a network."""
    home = tmp_path_factory.mktemp("light")
    venv.create(home, symlinks=True, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    for distribution in base_distributions():
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(distribution.locate_file(file), site / file)
    shutil.copytree(SOURCE, site / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    return home / "bin" / "python"


def test_it_runs_with_the_base_dependencies_alone(made, light_python):
    environment = {"PATH": os.environ["PATH"], "HOME": str(made.model)}

    def run(code, *arguments):
        line = [light_python, "-I", "-c", code, *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)

    for name in HEAVY:
        assert run(f"import {name}").returncode == 1, f"{name} is there, so this shows nothing"
    call = "import sys; from expunge.cli.main import main; sys.exit(main())"
    good = run(call, *words(made, "--report", made.report_file))
    assert (good.returncode, good.stdout) == (0, ""), good.stderr
    assert good.stderr.startswith("VERIFIED: ")
    (made.model / "architecture.json").write_text("changed")
    assert run(call, *words(made)).returncode == 1
    assert run(call, "--help").returncode == 0
