import copy
import pickle
import re

import pytest

from expunge.core import errors
from expunge.core.errors import ExpungeError, InvalidProblem, Obstacle, RunFailed, UsageError

TREE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ExpungeError)}


def drawn():
    """The tree in the docstring: name -> (name of the parent, exit code)."""
    found, path = {}, []
    lines = re.findall(r"^([ │├└─]*)(\w+) +(\d)  ", errors.__doc__, re.M)
    base = len(lines[0][0])
    for indent, name, code in lines:
        path = [*path[: (len(indent) - base) // 4], name]
        found[name] = (path[-2] if len(path) > 1 else None, int(code))
    return found


def test_the_tree_is_as_drawn():
    actual = {
        name: (kind.__base__.__name__ if kind is not ExpungeError else None, kind.exit_code)
        for name, kind in TREE.items()
    }
    assert drawn() == actual
    assert len(actual) == 15


def make(kind):
    if issubclass(kind, InvalidProblem):
        return kind([Obstacle(what="one", where="a"), Obstacle(what="two", fix="b")])
    return kind("broke", where="here", found="1", expected="2", fix="mend")


@pytest.mark.parametrize("kind", TREE.values())
def test_it_crosses_a_process_boundary_whole(kind):
    error = make(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert other.obstacles == error.obstacles
        assert str(other) == str(error)
        assert other.exit_code == error.exit_code


def test_the_text_has_one_line_per_known_part():
    assert str(make(UsageError)) == "broke (here)\n  found: 1\n  expected: 2\n  fix: mend"
    assert str(RunFailed("broke")) == "broke"


def test_an_invalid_problem_lists_everything():
    text = str(make(InvalidProblem))
    assert text == "the problem has 2 obstacle(s):\n1. one (a)\n2. two\n  fix: b"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.Diverged("it burst"), "it burst"),
        (errors.Diverged("it burst", where="epoch 3", found="12% right", fix="x"), "it burst (epoch 3, 12% right)"),
        (errors.UsageError("no such layer"), "no such layer"),
        (errors.InvalidProblem([errors.Obstacle(what="one"), errors.Obstacle(what="two", found="7")]), "one; two"),
        (RuntimeError("of zebra-7"), "RuntimeError in the method"),
        (OSError(28, "No space left on device"), ""),
        (MemoryError(), ""),
        (errors.StorageFailed("full"), ""),
        (errors.Tampered("changed"), ""),
        (errors.BrokenTrainer("it read what it was not given"), ""),
    ],
)
def test_what_is_a_fault_of_a_method_and_what_is_not(error, said):
    assert errors.fault_of_method(error) == said
