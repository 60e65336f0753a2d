"""Every code block of the documentation runs, or is checked, or says why it is neither."""

import doctest
import importlib
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from expunge.audit import policy
from expunge.cli._job import Job, share
from expunge.cli.main import main
from expunge.core import registry
from expunge.core.serial import build
from tests.docs import commands
from tests.docs.blocks import KINDS, ROOT, blocks, inline_code, written_pages

SHELL = ("bash", "console", "sh")
PAGES = [page for page in written_pages() if blocks(page)]
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def relative(page):
    return str(page.relative_to(ROOT))


@pytest.fixture
def session(tmp_path, monkeypatch, capfd):
    """A folder, a namespace and a command line that all blocks of one page share."""
    from expunge.engine import runtime

    monkeypatch.setattr(runtime, "_pickled", lambda problem: None)  # a fresh process takes seconds to import torch
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    before = set(sys.modules)
    yield Session(tmp_path, capfd)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


class Session:
    """Runs the blocks of one page."""

    def __init__(self, folder, capture):
        self.folder, self.capture, self.code = folder, capture, 0
        self.names = {"__name__": "page", "ROOT": ROOT}

    def take(self, block):
        """Run or check one block."""
        said = block.directives
        assert set(said) <= set(KINDS), f"{block.place}: unknown directive"
        if "setup" in said:
            self.execute((ROOT / said["setup"]).read_text(), said["setup"])
        if "shown" in said:
            assert len(said["shown"]) > 15, f"{block.place}: say why it is only shown"
        elif "checked by" in said:
            assert block.page.name in (ROOT / said["checked by"]).read_text(), f"{block.place}: not looked at there"
        elif block.language == "python":
            self.python(block)
        elif block.language == "toml":
            self.toml(block)
        elif block.language in SHELL:
            self.shell(block)
        else:
            pytest.fail(f"{block.place}: a block in {block.language or 'no language'} is neither run nor checked")

    def execute(self, source, name):
        exec(compile(source, name, "exec"), self.names)

    def python(self, block):
        if "file" in block.directives:
            self.keep(block.directives["file"], block.text)
        if "plugin" in block.directives:
            self.install(block)
            return
        before = set(self.names)
        # Empty lines above it, so that a traceback names the line of the page.
        self.execute("\n" * block.line + block.text, str(block.page))
        for name in set(self.names) - before:
            if name.startswith("test_"):
                self.names[name]()

    def install(self, block):
        """Make the block a module, and a package that brings it by an entry point; its names are the page's, too."""
        room, name = block.directives["plugin"].split("/")
        self.keep(f"{name}.py", block.text)
        module = importlib.import_module(name)
        self.names.update({key: value for key, value in vars(module).items() if not key.startswith("__")})
        about = self.folder / f"page_{name}-1.0.dist-info"
        self.keep(f"{about.name}/METADATA", f"Metadata-Version: 2.1\nName: page-{name}\nVersion: 1.0\n")
        kind = next(k for k in vars(module).values() if _is_own(k, room, module))
        self.keep(f"{about.name}/entry_points.txt", f"[expunge.{room}]\n{name} = {name}:{kind.__name__}\n")
        importlib.invalidate_caches()
        registry._entry_points.cache_clear()
        assert name in registry.names(room), block.place

    def toml(self, block):
        data = tomllib.loads(block.text)
        path = self.keep(block.directives.get("file", "block.toml"), block.text)
        if "checks" in data:
            policy.load(path)
        elif "project" in data:
            groups = data["project"]["entry-points"]
            rooms = {f"expunge.{room}" for room in registry._BASES}
            assert set(groups) <= rooms, f"{block.place}: no room for {set(groups) - rooms}"
        else:
            job = build(Job, data, where=block.place)
            share(job.budget)
            for name, values in job.methods.items():
                registry.load("methods", name)(values)

    def shell(self, block):
        said, folder = block.directives, ROOT
        run = "run" in said or "$ " in block.text[:2]
        for command, expected in commands.lines(block.text):
            if command == "echo $?":
                assert expected.strip() == str(self.code), f"{block.place}: exit code {self.code}"
                continue
            problem = commands.wrong(command, folder)
            assert not problem, f"{block.place}: {command}: {problem}"
            if command.startswith("cd "):
                folder = ROOT / command.split()[1]
            if run:
                self.call(block, command, expected)
        if run and "$ echo $?" not in block.text:
            wanted = int(said["run"].split()[1]) if said.get("run") else 0
            assert self.code == wanted, f"{block.place}: exit code {self.code}"

    def call(self, block, command, expected):
        words = shlex.split(command, comments=True)
        assert words[0] == "expunge", f"{block.place}: only expunge's own commands are run here"
        self.capture.readouterr()
        self.code = main(words[1:])
        shown = self.capture.readouterr()
        said = shown.err + shown.out
        if expected:
            fits = doctest.OutputChecker().check_output(expected, said, LOOSE)
            assert fits, f"{block.place}: {command}\n--- page\n{expected}\n--- said\n{said}"

    def keep(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def _is_own(kind, room, module):
    return isinstance(kind, type) and issubclass(kind, registry.contract(room)) and kind.__module__ == module.__name__


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_blocks_run(page, session):
    for block in blocks(page):
        session.take(block)


@pytest.mark.parametrize("page", written_pages(), ids=relative)
def test_commands_in_running_text_exist(page):
    said = [text for text in inline_code(page) if text.split()[:1] in (["expunge"], ["make"])]
    wrong = {text: commands.wrong_inline(text) for text in said}
    assert {text: why for text, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", written_pages(), ids=relative)
def test_directives_stand_above_a_block(page):
    """One that stands anywhere else would be lost, and the block it was meant for left unchecked."""
    wanted = sum(page.read_text().count(f"<!-- {kind}") for kind in KINDS)
    assert sum(len(block.directives) for block in blocks(page)) == wanted


# --- the checker itself ---------------------------------------------------------------------------------------


def page_of(folder, text):
    (folder / "page.md").write_text(text)
    return folder / "page.md"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```python\n1 / 0\n```", ZeroDivisionError),
        ("```text\nanything\n```", "neither run nor checked"),
        ("    an indented block\n", "neither run nor checked"),
        ("<!-- shown: no -->\n```text\nx\n```", "say why"),
        ("<!-- run: exit 1 -->\n```bash\nexpunge --version\n```", "exit code 0"),
        ("```bash\nexpunge erase job.toml --nope\n```", "nope"),
        ("```bash\nexpunge verify c.json --model m\n```", "key"),
        ("```bash\nmake nothing\n```", "no target"),
        ('```bash\nmake demo ARGS="--nope"\n```', "nope"),
        ("```bash\npip install 'expunge[nope]'\n```", "no extra"),
        ("```bash\nfrobnicate\n```", "nothing here knows"),
        ('```toml\nproblem = "a:b"\nbugdet = "1%"\n```', "bugdet"),
        ("```toml\n[checks.nope]\nmargin = 1.0\n```", "nope"),
        ('```toml\n[project.entry-points."expunge.nope"]\na = "b:c"\n```', "no room"),
        ("```console\n$ expunge --version\nexpunge 99\n```", "99"),
    ],
)
def test_a_wrong_block_is_seen(text, why, session, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    expected = why if isinstance(why, type) else (AssertionError, pytest.fail.Exception, Exception)
    (block,) = blocks(page_of(tmp_path, text))
    with pytest.raises(expected, match=None if isinstance(why, type) else why):
        session.take(block)


def test_a_missing_name_in_running_text_is_seen(tmp_path):
    assert "no option" in commands.wrong_inline("expunge erase --nope")
    assert "no command" in commands.wrong_inline("expunge erasee")
    assert not commands.wrong_inline("expunge erase --method retrain")
    assert Path(ROOT / "mkdocs.yml").is_file()


def test_a_page_leaves_no_module_of_its_set_up_behind():
    """A later test of this process would find it, changed: one that depended on its settings failed by the order."""
    assert "tiny_problem" not in sys.modules
