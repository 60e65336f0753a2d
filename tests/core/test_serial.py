import dataclasses
import datetime
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.core import certificate, chart, check, errors, method, outcome, plan, problem, report, request
from expunge.core.check import Interval, Measurement, NotMeasured
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.serial import build, canonical, parse, plain
from tests.support import reports

# --- every record of core goes through JSON and comes back --------------------------------------------------

MODULES = (certificate, check, errors, method, outcome, plan, problem, report, request)
HANDLES = {"Problem", "Config", "Planted", "Triggered"}  # live things, never written
RECORDS = sorted(
    {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__name__ not in HANDLES
    },
    key=lambda kind: kind.__name__,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
numbers = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
PLAIN = {str: texts, float: numbers, int: st.integers(), bool: st.booleans(), type(None): st.none()}


def values(kind):
    """Any value of a type that a field of a record may have."""
    if kind is typing.Any or kind is object:
        return anything
    if kind in PLAIN:
        return PLAIN[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(argument) for argument in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is Mapping:
        return st.dictionaries(texts, values(arguments[1]), max_size=2)
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if kind is chart.Chart:  # its series must fit its axes; one that does is as good as many
        line = chart.Series(role=chart.Role.NULL, x=(0.0, 1.0), y=(0.5, -1e-300), low=(0.0, 0.0), high=(1.0, 1.0))
        return st.builds(chart.Chart, title=texts, x=texts, y=texts, series=st.just((line,)), n=st.integers(0, 99))
    hints = typing.get_type_hints(kind)
    fields = [f.name for f in dataclasses.fields(kind) if not f.metadata.get("live")]
    return st.builds(kind, **{name: values(hints[name]) for name in fields})


def test_all_records_are_found():
    found = {kind.__name__ for kind in RECORDS}
    assert {
        "Report",
        "Audit",
        "Finding",
        "Attempt",
        "Predicate",
        "Plan",
        "Cost",
        "Request",
        "ProblemSpec",
    } <= found


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_every_record_comes_back_equal(kind, data):
    record = data.draw(values(kind))
    written = canonical(record)
    assert build(kind, parse(written)) == record
    assert canonical(build(kind, parse(written))) == written


def test_a_whole_report_comes_back_equal():
    made = reports.report()
    assert build(report.Report, json.loads(canonical(made))) == made


def test_what_is_live_is_not_written():
    assert "model" not in plain(outcome.Outcome(model=print))


# --- canonical ----------------------------------------------------------------------------------------------


@given(st.dictionaries(texts, anything, max_size=4), st.randoms())
def test_canonical_knows_no_order(mapping, random):
    items = list(mapping.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(mapping)


def test_canonical_is_the_shortest_form():
    record = {"b": [1, 2.5, None, True], "a": "ü\n"}
    assert canonical(record) == '{"a":"ü\\n","b":[1,2.5,null,true]}'.encode()


@given(numbers)
def test_numbers_keep_every_bit(number):
    back = json.loads(canonical(number))
    assert math.copysign(1, back) == math.copysign(1, number)
    assert back == number


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_nan_and_no_infinity(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": number})


@pytest.mark.parametrize("value", [object(), b"bytes", {"a": {1: print}}, report.Report])
def test_what_has_no_plain_form_is_refused(value):
    with pytest.raises(TypeError, match="cannot serialise"):
        plain(value)


def test_words_are_written_by_value():
    assert plain({"x": (Level.EXACT, Colour.RED)}) == {"x": ["exact", "red"]}


def test_what_came_later_is_written_only_where_it_says_something():
    @dataclass(frozen=True)
    class Grown:
        old: int = 1
        new: int = field(default=0, metadata={"later": True})

    assert canonical(Grown()) == b'{"old":1}', "as it was before there was a new one"
    assert canonical(Grown(new=2)) == b'{"new":2,"old":1}'
    assert [build(Grown, plain(each)) for each in (Grown(), Grown(new=2))] == [Grown(), Grown(new=2)]


def test_sets_are_written_in_order():
    assert plain(frozenset({"b", "a"})) == plain({"b", "a"}) == ["a", "b"]


# --- parse --------------------------------------------------------------------------------------------------

STRICT = {
    "empty": b"",
    "cut": b'{"a": 1',
    "more after the end": b"{} {}",
    "key twice": b'{"a": 1, "a": 1}',
    "key twice below": b'[{"b": {"a": 1, "\\u0061": 2}}]',
    "NaN": b'{"a": NaN}',
    "infinity": b"[-Infinity]",
    "infinity by overflow": b"[1e999]",
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'"\xff"',
    "UTF-16": "{}".encode("utf-16"),
    "deep": b"[" * 100_000,
    "endless number": b"1" * 5000,
    "comment": b"{} // x",
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("name", STRICT)
def test_parse_is_strict(name):
    with pytest.raises(ValueError, match=r".") as caught:
        parse(STRICT[name])
    assert str(caught.value).isprintable()


def test_parse_quotes_nothing():
    with pytest.raises(ValueError, match=r"^Expecting ',' delimiter at character 15$"):
        parse(b'["alice@x.org" "bob"]')
    with pytest.raises(ValueError, match=r"^Unterminated string starting at character 1$"):
        parse(b'["alice')


@given(anything)
def test_parse_reads_what_canonical_writes(value):
    assert parse(canonical(value)) == value


# --- build --------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    number: float


@dataclass(frozen=True, kw_only=True)
class Outer:
    text: str
    inner: Inner
    several: tuple[Inner, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    colour: Colour = Colour.RED
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    maybe: Inner | None = None
    either: Inner | int = 0
    one_or_more: str | tuple[str, ...] = ""
    flag: bool = False
    fixed: int = field(default=3, init=False)


GOOD = {"text": "t", "inner": {"number": 1.5}}
WRONG = {
    "not an object": ([], "Outer", "wrong type", "a list"),
    "missing": ({"text": "t"}, "Outer", "missing key 'inner'", "'text'"),
    "unknown": ({**GOOD, "txet": 1}, "Outer", "unknown key 'txet'", "'txet'"),
    "below": ({**GOOD, "inner": {"number": "x"}}, "Outer.inner.number", "wrong type", "a text"),
    "truth for a number": ({**GOOD, "inner": {"number": True}}, "Outer.inner.number", "wrong type", "true or false"),
    "truth for a whole number": ({**GOOD, "pair": ["a", True]}, "Outer.pair[1]", "wrong type", "true or false"),
    "number for truth": ({**GOOD, "flag": 1}, "Outer.flag", "wrong type", "a whole number"),
    "null for a text": ({**GOOD, "text": None}, "Outer.text", "wrong type", "nothing"),
    "in a list": ({**GOOD, "several": [{"number": 1}, {}]}, "Outer.several[1]", "missing key 'number'", "no keys"),
    "a text for a list": ({**GOOD, "several": "ab"}, "Outer.several", "wrong type", "a text"),
    "a pair of one": ({**GOOD, "pair": ["a"]}, "Outer.pair", "wrong length", "1"),
    "a date for a text": ({**GOOD, "text": datetime.date(2027, 1, 31)}, "Outer.text", "wrong type", "a date"),
    "one of a list": ({**GOOD, "one_or_more": ["a", 3]}, "Outer.one_or_more[1]", "wrong type", "a whole number"),
    "in a pair": ({**GOOD, "pair": ["a", "b"]}, "Outer.pair[1]", "wrong type", "a text"),
    "an unknown word": ({**GOOD, "colour": "blue"}, "Outer.colour", "unknown value", "'blue'"),
    "in a mapping": ({**GOOD, "by_name": {"k": 1}}, "Outer.by_name.k", "wrong type", "a whole number"),
    "in a set": ({**GOOD, "names": [1]}, "Outer.names", "wrong type", "a whole number"),
    "in an option": ({**GOOD, "maybe": 1}, "Outer.maybe", "wrong type", "a whole number"),
    "in a choice": ({**GOOD, "either": "x"}, "Outer.either", "wrong type", "a text"),
    "what is fixed": ({**GOOD, "fixed": 3}, "Outer", "unknown key 'fixed'", "'fixed'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_build_says_what_is_wrong_and_where(name):
    data, where, what, found = WRONG[name]
    with pytest.raises(UsageError) as caught:
        build(Outer, data)
    (obstacle,) = caught.value.obstacles
    assert (obstacle.where, obstacle.what, obstacle.found) == (where, what, found)


@dataclass(frozen=True, kw_only=True)
class Checked:
    lr: float = 1.0

    def __post_init__(self):
        if self.lr <= 0:
            raise UsageError("out of range", where="Checked.lr", found=str(self.lr), expected="> 0", fix="more")
        if self.lr > 9:
            raise UsageError("out of range", where="elsewhere", found=str(self.lr))


@pytest.mark.parametrize(
    ("value", "where"),
    [(-1.0, "[training] lr"), ("x", "[training] lr"), (10.0, "elsewhere")],
)
def test_what_a_record_refuses_is_said_of_where_it_was_written(value, where):
    with pytest.raises(UsageError) as caught:
        build(Checked, {"lr": value}, where="[training]")
    assert caught.value.obstacles[0].where == where


def test_build_fills_in_what_is_left_out():
    assert build(Outer, GOOD) == Outer(text="t", inner=Inner(1.5))


def test_build_makes_numbers_of_the_declared_kind():
    number = build(Inner, {"number": 1}).number
    assert (number, type(number)) == (1.0, float)


def test_build_tells_a_measurement_from_its_absence():
    measured = reports.finding()
    absent = replace(measured, result=NotMeasured(check="x", because="no records"))
    for finding in (measured, absent):
        assert build(report.Finding, plain(finding)) == finding
    assert isinstance(build(report.Finding, plain(measured)).result, Measurement)


def test_positions_are_fields_too():
    assert build(Interval, {"low": 0, "high": 1, "level": 0.9}) == Interval(0.0, 1.0, 0.9)
