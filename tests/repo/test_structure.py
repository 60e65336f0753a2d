"""The shape of the repository: every module has its test, every test can fail, every path named exists."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "expunge"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if not path.name.startswith("_")]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def relative(path):
    return str(path.relative_to(ROOT))


# --- every module has its test, and says what it is ---------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_module_has_its_test(module):
    below = module.relative_to(PACKAGE)
    expected = ROOT / "tests" / below.parent / f"test_{below.name}"
    assert expected.is_file(), f"{relative(module)} needs {relative(expected)}"


@pytest.mark.parametrize("source", SOURCES, ids=relative)
def test_source_opens_with_a_docstring(source):
    assert ast.get_docstring(ast.parse(source.read_text())), f"{relative(source)} does not say what it is"


# --- tests that cannot fail ---------------------------------------------------------------------------------

# Exact names: a match on the suffix would also hit numpy.testing.assert_allclose, which does raise.
COMPARISONS = {
    f"{module}.{name}"
    for module, names in {
        "torch": ("allclose", "equal", "isclose"),
        "np": ("allclose", "array_equal", "isclose"),
        "numpy": ("allclose", "array_equal", "isclose"),
        "math": ("isclose",),
    }.items()
    for name in names
}


def bare_comparisons(source):
    """Lines on which a comparison is computed and thrown away."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in COMPARISONS
    ]


def asserts_with_an_error(source):
    """Lines with `assert x, SomeError(...)`: it raises AssertionError, not the error that it names."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        and isinstance(node.msg, ast.Call)
        and re.search(r"(Error|Exception|Warning)$", ast.unparse(node.msg.func))
    ]


@pytest.mark.parametrize("test", TESTS, ids=relative)
def test_no_comparison_goes_unasserted(test):
    source = "torch.allclose(a, b)\nassert torch.equal(a, b)\nnp.testing.assert_allclose(a, b)"
    assert bare_comparisons(source) == [1]
    assert asserts_with_an_error("assert x, 'why'\nassert x, ValueError('why')") == [2]


# --- every path that is named exists ------------------------------------------------------------------------

MADE_LATER = (".venv/", "runs/")  # what make makes, and clean removes


def strings(value):
    """All strings of a TOML document, keys included."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def named_paths(words):
    """Those words that are plain paths: no glob (ruff notices a wrong one), variable, URL or sentence."""
    plain = (word for word in words if re.fullmatch(r"(?!/dev/)[\w./-]+", word))
    known = (word.lstrip("/") for word in plain if "/" in word or re.search(r"\w\.(txt|toml|md|d)$", word))
    return sorted({word for word in known if not word.startswith(MADE_LATER)})


def test_paths_in_pyproject_exist():
    paths = named_paths(strings(PYPROJECT))
    assert {"src/expunge/core", "changelog.d", "CHANGELOG.md"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("script", ["Makefile", ".ci/run"])
def test_paths_in_scripts_exist(script):
    text = re.sub(r"#.*", "", (ROOT / script).read_text())
    paths = named_paths(re.split(r"[\s'\"]+", text))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_named_paths_sees_what_is_named():
    words = "/src tests/core constraints.txt $(BIN)/pytest src/** https://pypi.org/x /dev/null runs/a b"
    assert named_paths(words.split()) == ["constraints.txt", "src", "tests/core"]


# --- changelog ----------------------------------------------------------------------------------------------


def test_changelog_fragments_are_named_validly_and_say_something():
    types = "|".join(kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"])
    valid = re.compile(rf"(\d+|\+[a-z0-9]+(-[a-z0-9]+)*)\.({types})\.md")
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert [path.name for path in fragments if not valid.fullmatch(path.name)] == []
    assert [path.name for path in fragments if not path.read_text().strip()] == []
