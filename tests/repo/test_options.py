"""No dead options: every setting is read somewhere, every parameter of a command is used by it."""

import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path

import pytest

from expunge.core import registry
from expunge.core.config import Config
from expunge.engine.loop import LoopConfig
from expunge.engine.relearning import RelearningConfig

PACKAGE = Path(__file__).parents[2] / "src" / "expunge"
COMMANDS = sorted(path for path in (PACKAGE / "cli").glob("*.py") if path.name != "main.py" and path.name[0] != "_")
METHODS = {name: registry.load("methods", name).Config for name in registry.names("methods")}
CONFIGS = {"loop": LoopConfig, "relearning": RelearningConfig, **METHODS}


def reads(source, name):
    """Whether an attribute of this name is read in ``source``: a declaration or an assignment is no read."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load)
        for node in ast.walk(ast.parse(source))
    )


def unused(source):
    """Parameters of the function ``command`` that its body never mentions."""
    (function,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "command"
    )
    mentioned = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
    return [a.arg for a in [*function.args.args, *function.args.kwonlyargs] if a.arg not in mentioned]


@pytest.mark.parametrize("room", CONFIGS)
def test_every_setting_is_read(room):
    config = CONFIGS[room]
    assert issubclass(config, Config)
    sources = {inspect.getsourcefile(kind) for kind in config.__mro__ if kind not in (Config, object)}
    sources.update(str(PACKAGE / "engine" / name) for name in ("descent.py", "passes.py"))
    text = [Path(source).read_text() for source in sources]
    dead = [field.name for field in dataclasses.fields(config) if not any(reads(each, field.name) for each in text)]
    assert dead == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_parameter_of_a_command_is_used(path):
    assert unused(path.read_text()) == []


def test_every_shared_option_belongs_to_a_command():
    shared = re.findall(r"^(\w+) = Annotated", (PACKAGE / "cli" / "_options.py").read_text(), flags=re.MULTILINE)
    text = "".join(path.read_text() for path in COMMANDS)
    assert len(shared) > 5
    assert [name for name in shared if f"_options.{name}" not in text] == []


def test_the_dead_are_seen():
    source = textwrap.dedent(
        """
        def command(used: int, dead: int) -> None:
            self.assigned = used
            print(self.config.read)
        """
    )
    assert unused(source) == ["dead"]
    assert reads(source, "read")
    assert not reads(source, "assigned")
