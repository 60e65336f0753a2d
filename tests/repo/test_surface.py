"""The public surface: one sorted list, every name of it real, and nothing heavy behind the import."""

import importlib.metadata
import json
import subprocess
import sys

import expunge

# Prints what `import expunge` costs: seconds, and the packages it loads beyond the standard library.
PROBE = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
import expunge
seconds = time.perf_counter() - start
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([seconds, sorted(loaded - sys.stdlib_module_names - {"expunge"})]))
"""


def test_surface_is_sorted_without_repeats():
    assert list(expunge.__all__) == sorted(set(expunge.__all__))


def test_every_public_name_is_there():
    missing = [name for name in expunge.__all__ if not hasattr(expunge, name)]
    assert missing == []
    assert set(expunge.__all__) <= set(dir(expunge)), "dir() hides what is lazily loaded"


SHADOWED = """
import expunge.audit.run, expunge.plan.planner
from expunge.workflow import Settings
import expunge
from expunge.audit import judge
assert callable(expunge.plan) and callable(expunge.audit) and callable(expunge.erase)
assert judge.__name__ == "expunge.audit.judge"
"""


def test_functions_are_not_hidden_by_the_rooms_of_their_names():
    """Importing the rooms `audit` and `plan` makes Python set them on the package: first or last, they do not stay."""
    subprocess.run([sys.executable, "-c", SHADOWED], check=True)


def test_import_is_quick_and_loads_nothing_heavy():
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True).stdout)
        for _ in range(5)
    ]
    assert runs[0][1] == []
    assert min(seconds for seconds, _ in runs) < 0.3


def test_console_script_leads_somewhere():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="expunge")
    assert callable(script.load())
