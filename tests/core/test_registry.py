"""The folder is the registry; plug-ins come from installed distributions, here a real one on sys.path."""

import importlib
import subprocess
import sys

import pytest

import expunge
from expunge.core import registry
from expunge.core.check import Check
from expunge.core.errors import MissingExtra, Refused, UnknownName, UsageError
from expunge.core.method import Method
from expunge.core.records import Records

TOY = """
from expunge.core.method import Method
class Toy(Method):
    title, source, guarantee = "Toy", "none", None
    def cost(self, problem): ...
    def unlearn(self, problem, run): ...
class Abstract(Method):
    pass
class NoMethod:
    pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a distribution with these entry points on sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = set()

    def run(points, *, source=TOY, group="expunge.methods", name="toy"):
        module = f"{name}_plugin_of_a_test"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{key} = {module}:{target}\n" for key, target in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        made.add(module)
        importlib.invalidate_caches()
        return module

    yield run
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Return a function that makes a room of these modules beside the real ones."""
    monkeypatch.setitem(registry._BASES, "toys", ("expunge.core.method", "Method"))
    monkeypatch.setattr(expunge, "__path__", [*expunge.__path__, str(tmp_path)])
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "__init__.py").write_text("")

    def run(**modules):
        for name, source in modules.items():
            (tmp_path / "toys" / f"{name}.py").write_text(source)
        importlib.invalidate_caches()

    yield run
    for name in [name for name in sys.modules if name.startswith("expunge.toys")]:
        del sys.modules[name]


# --- the folder ---------------------------------------------------------------------------------------------


def test_a_name_is_the_name_of_a_file(room):
    room(first=TOY, second=TOY, _helper="x = 1")
    assert registry.names("toys") == ("first", "second")
    cls = registry.load("toys", "first")
    assert issubclass(cls, Method)
    assert cls.name == "first"


def test_listing_imports_nothing(room):
    room(broken="raise RuntimeError('imported')")
    assert registry.names("toys") == ("broken",)
    assert "expunge.toys.broken" not in sys.modules


def test_listing_the_real_rooms_imports_no_torch():
    code = (
        "import sys; from expunge.core import registry;"
        "[registry.names(room) for room in ('methods', 'checks', 'tasks', 'data', 'models')];"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_room_without_a_folder_is_empty(monkeypatch):
    monkeypatch.setitem(registry._BASES, "attic", ("expunge.core.method", "Method"))
    assert registry.names("attic") == ()


def test_an_unknown_name_lists_the_known_ones_and_guesses(room):
    room(finetune=TOY, retrain=TOY)
    with pytest.raises(UnknownName, match=r"no toy called 'fine_tune'[\s\S]*finetune, retrain[\s\S]*'finetune'\?"):
        registry.load("toys", "fine_tune")
    with pytest.raises(UnknownName) as caught:
        registry.load("toys", "zzz")
    assert "did you mean" not in caught.value.obstacles[0].fix


@pytest.mark.parametrize("name", ["", "../secret", "_helper", "os.path", "__init__"])
def test_only_listed_names_are_imported(room, name):
    room(first=TOY, _helper=TOY)
    with pytest.raises(UnknownName):
        registry.load("toys", name)


EXACTLY_ONE = {
    "none": "x = 1",
    "two": TOY + "\nclass Second(Toy): pass\n",
    "imported": "from expunge.core.method import Method\n",
    "abstract only": "from expunge.core.method import Method\nclass Half(Method): pass\n",
}


@pytest.mark.parametrize("case", EXACTLY_ONE)
def test_a_module_holds_exactly_one_class(room, case):
    room(first=EXACTLY_ONE[case])
    with pytest.raises(UsageError, match=r"expunge\.toys\.first must hold exactly one Method"):
        registry.load("toys", "first")


def test_a_missing_dependency_names_the_command(room, monkeypatch):
    monkeypatch.setitem(registry._EXTRA_OF, "not_there_at_all", "torch")
    room(first="import not_there_at_all.nn", second="import somebody_elses")
    with pytest.raises(MissingExtra, match=r"not_there_at_all is not installed\n  fix: pip install 'expunge\[torch\]'"):
        registry.load("toys", "first")
    with pytest.raises(MissingExtra, match="fix: pip install somebody_elses"):
        registry.load("toys", "second")


def test_a_fault_of_our_own_is_not_blamed_on_the_user(room):
    """A mistyped import inside expunge is a bug; `pip install expunge` would not help."""
    room(first="import expunge.nonsense")
    with pytest.raises(ModuleNotFoundError, match=r"expunge\.nonsense"):
        registry.load("toys", "first")


# --- plug-ins -----------------------------------------------------------------------------------------------


def test_a_plug_in_adds_a_name(install):
    module = install({"theirs": "Toy"})
    assert "theirs" in registry.names("methods")
    assert module not in sys.modules
    cls = registry.load("methods", "theirs")
    assert (cls.__name__, cls.name) == ("Toy", "theirs")


def test_a_plug_in_cannot_take_a_name(install, room):
    room(first=TOY)
    install({"first": "Toy"}, group="expunge.toys")
    for ask in (lambda: registry.names("toys"), lambda: registry.load("toys", "first")):
        with pytest.raises(UsageError, match="two toys are called 'first'"):
            ask()


def test_two_plug_ins_cannot_share_a_name(install):
    install({"theirs": "Toy"}, name="one")
    install({"theirs": "Toy"}, name="two")
    with pytest.raises(UsageError, match="two methods are called 'theirs'"):
        registry.names("methods")


def test_a_plug_in_must_be_of_the_right_kind(install):
    install({"a": "NoMethod", "b": "TOY_TEXT"}, source=TOY + "\nTOY_TEXT = 'text'\n")
    for name in ("a", "b"):
        with pytest.raises(Refused, match=f"'{name}' is not a Method"):
            registry.load("methods", name)


def test_a_plug_in_of_another_room_does_not_show(install):
    install({"theirs": "Toy"}, group="expunge.checks")
    assert "theirs" not in registry.names("methods")
    with pytest.raises(Refused, match="is not a Check"):
        registry.load("checks", "theirs")


# --- adopt --------------------------------------------------------------------------------------------------

ADOPTING = """
from expunge.core.records import Records
class Few(Records):
    def __init__(self, ids): self.ids, self.subjects = tuple(ids), (None,) * len(ids)
    def __getitem__(self, index): return self.ids[index]
    def read(self, indices): return [self.ids[i] for i in indices]
    def content(self, index): return "00"
    @staticmethod
    def accepts(thing): return isinstance(thing, set)
    @classmethod
    def adopt(cls, thing): return cls(sorted(thing))
"""


def test_a_thing_is_adopted_by_the_kind_that_accepts_it(install):
    install({"few": "Few"}, source=ADOPTING, group="expunge.data")
    adopted = registry.adopt("data", {"b", "a"})
    assert isinstance(adopted, Records)
    assert adopted.ids == ("a", "b")
    assert registry.adopt("data", adopted) is adopted


def test_what_nobody_accepts_lists_who_was_asked(install):
    install({"few": "Few"}, source=ADOPTING, group="expunge.data")
    with pytest.raises(UsageError, match=r"cannot use a complex here(.|\n)*few"):
        registry.adopt("data", 1j)


@pytest.mark.parametrize("room", registry._BASES)
def test_every_real_room_loads(room):
    """Skips nothing: a thing that cannot be loaded here has a missing dependency, which CI has."""
    for name in registry.names(room):
        assert registry.load(room, name).name == name


def test_the_contracts_are_found():
    assert registry.contract("methods") is Method
    assert registry.contract("checks") is Check
