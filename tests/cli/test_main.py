"""Every error ends in one block with its exit code; the folder is the list of commands."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import expunge
from expunge.cli import _console
from expunge.cli import main as cli
from expunge.core import errors

FOLDER = Path(cli.__file__).parent


@pytest.fixture
def failing(monkeypatch, call, made):
    """Return a function that runs a command in which something happens."""

    def run(happen, *more):
        monkeypatch.setattr("expunge.certify.verify.verify", lambda *words, **options: happen())
        return call("verify", made.certificate, "--model", made.model, "--key", made.key, *more)

    return run


def throw(error):
    def happen():
        raise error

    return happen


# --- commands -----------------------------------------------------------------------------------------------


def test_the_folder_is_the_list(tmp_path, monkeypatch):
    for name in ("main", "_console", "audit_log", "erase"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "main.py"))
    assert cli.command_names() == ["audit-log", "erase"]


def test_every_module_is_a_command(call):
    modules = {path.stem.replace("_", "-") for path in FOLDER.glob("[!_]*.py")} - {"main"}
    assert set(cli.command_names()) == modules
    assert {"keygen", "verify"} <= modules
    for name in modules:
        result = call(name, "--help")
        assert result.code == 0
        assert "Usage: expunge" in result.out


def test_help_lists_the_commands_and_the_exit_codes(call):
    result = call("--help")
    assert result.code == 0
    for name in cli.command_names():
        assert name in result.out
    for code in range(6):
        assert f"• {code} " in result.out


def test_version(call):
    result = call("--version")
    assert (result.code, result.out) == (0, f"expunge {expunge.__version__}\n")


@pytest.mark.parametrize("size", ["2", "", "many"])
def test_what_needs_no_model_waits_for_no_other_process(call, monkeypatch, size):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", size)
    assert call("--version").code == 0


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from expunge.cli.main import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'safetensors', 'cryptography'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# --- wrong calls --------------------------------------------------------------------------------------------

WRONG = {
    "no command": [],
    "unknown command": ["verfy"],
    "unknown option": ["verify", "--modle", "x"],
    "missing argument": ["verify"],
    "missing value": ["keygen", "--out"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_a_usage_error(call, name):
    result = call(*WRONG[name])
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "--help" in result.err


def test_a_mistyped_command_is_guessed(call):
    assert "verify" in call("verfy").err


def test_a_wrong_call_with_json_is_one_object(call):
    result = call("keygen", "--json")
    assert (result.code, result.err) == (2, "")
    assert result.json["error"]["kind"] == "UsageError"
    assert "--out" in result.json["error"]["problems"][0]["what"]


# --- errors -------------------------------------------------------------------------------------------------

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ExpungeError) and not issubclass(kind, errors.InvalidProblem)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_gives_its_exit_code_and_all_its_parts(failing, kind):
    error = kind("it broke", where="step 3", found="NaN", expected="a number", fix="lower the rate")
    result = failing(throw(error))
    assert (result.code, result.out) == (kind.exit_code, "")
    assert result.err.splitlines() == [
        "error: it broke",
        "  where:    step 3",
        "  found:    NaN",
        "  expected: a number",
        "  fix:      lower the rate",
    ]


def test_several_obstacles_are_shown_at_once(failing):
    obstacles = [errors.Obstacle(what="one", fix="a"), errors.Obstacle(what="two", where="b")]
    result = failing(throw(errors.InvalidProblem(obstacles)))
    assert result.code == 2
    assert result.err.splitlines() == [
        "2 things are wrong:",
        "- one",
        "  fix:      a",
        "- two",
        "  where:    b",
    ]


def test_json_errors_are_one_object_on_stdout(failing):
    result = failing(throw(errors.Refused("no", where="here")), "--json")
    assert (result.code, result.err) == (5, "")
    (problem,) = result.json["error"]["problems"]
    assert (problem["what"], problem["where"]) == ("no", "here")
    assert (result.json["error"]["kind"], result.json["error"]["exit_code"]) == ("Refused", 5)


def test_no_text_moves_the_cursor_or_is_markup(failing):
    result = failing(throw(errors.Refused("[bold]a\x1b[2Jb[/bold]")))
    assert r"error: [bold]a\x1b[2Jb[/bold]" in result.err


def test_a_bug_is_shown_in_one_block_without_its_text(failing):
    """The text of a foreign error may quote records."""
    result = failing(throw(KeyError("alice@example.org")))
    assert result.code == 3
    assert result.err.startswith("error: unexpected KeyError\n")
    assert "test_main.py, line " in result.err
    assert "please report" in result.err
    assert "alice" not in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: tried to allocate 1073741824 bytes.")],
)
def test_memory_that_runs_out_anywhere_is_no_bug(failing, error):
    result = failing(throw(error))
    assert (result.code, result.err.splitlines()[0].partition(" (")[0]) == (3, "error: the memory does not suffice")
    assert "workers = 1" in result.err
    assert "report" not in result.err


def test_a_missing_dependency_names_the_command(failing):
    result = failing(throw(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")))
    assert result.code == 2
    assert result.err == "error: torch is not installed\n  fix:      pip install 'expunge[torch]'\n"
    ours = failing(throw(ModuleNotFoundError("No module named 'expunge.x'", name="expunge.x")))
    assert (ours.code, ours.err.splitlines()[0]) == (3, "error: unexpected ModuleNotFoundError")


def test_a_bug_with_debug_is_shown_in_full(failing, monkeypatch):
    monkeypatch.setenv("EXPUNGE_DEBUG", "1")
    result = failing(throw(KeyError("alice@example.org")), "--json")
    assert result.code == 3
    assert "Traceback" in result.err
    assert "alice@example.org" in result.err
    assert result.json["error"]["kind"] == "RunFailed"


def test_ctrl_c_says_how_to_go_on(failing):
    result = failing(throw(KeyboardInterrupt()))
    assert (result.code, result.out) == (3, "")
    assert result.err == "error: interrupted; the same command resumes\n"


def test_ctrl_c_before_the_command_says_the_same(call, monkeypatch):
    monkeypatch.setattr(cli, "build_app", throw(KeyboardInterrupt()))
    assert call("--help").err == "error: interrupted; the same command resumes\n"


def test_sigterm_is_ctrl_c(failing):
    before = signal.getsignal(signal.SIGTERM)

    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert failing(terminated).err == "error: interrupted; the same command resumes\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_process_exits_with_the_code(made):
    line = [Path(sys.executable).with_name("expunge"), "verify", made.certificate, "--model", made.model]
    result = subprocess.run([*line, "--key", made.private], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: not an Ed25519 public key\n")


# --- the terminal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_respected(monkeypatch, call, made, setting, colour):
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    result = call("verify", made.certificate, "--model", made.model, "--key", made.key)
    assert ("\x1b[1;32m" in result.err) == colour


def test_lines_are_wrapped_and_indented_on_a_terminal(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    _console.say("word " * 20, first="  - ", indent=4)
    first, *rest = capfd.readouterr().err.splitlines()
    assert first.startswith("  - word")
    assert len(rest) >= 2
    assert all(line.startswith("    word") and len(line) <= 40 for line in rest)


def test_a_table_takes_texts_as_they_are(capfd):
    _console.table(["name", "value"], [["[red]a", "\x1b1"]])
    err = capfd.readouterr().err
    assert "[red]a" in err
    assert r"\x1b1" in err
