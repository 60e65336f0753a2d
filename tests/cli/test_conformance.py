"""``expunge conformance``: one line per promise, what was seen where one is broken, an exit code."""

import pytest

from tests.conformance import planted


def test_a_method_that_keeps_its_contract(call):
    result = call("conformance", "noop")
    assert (result.code, result.out) == (0, "")
    assert "ok      callers model is untouched" in result.err
    assert "methods/noop: keeps its contract (" in result.err
    assert "because:    a control, or a filter, changes nothing" in result.err


def test_a_broken_promise_is_named_with_what_was_seen(call):
    result = call("conformance", "tests.conformance.planted:RelabelsTheDataset")
    assert result.code == 1
    assert "FAILED  datasets are untouched" in result.err
    assert "must hold:  Records and labels handed in are not written to. (G-7)" in result.err
    assert "was seen:   labels of the training records were changed" in result.err
    assert "exempt = {" in result.err


@pytest.mark.parametrize("cls", [planted.InPlace, planted.Right])
def test_json(call, cls):
    result = call("conformance", f"tests.conformance.planted:{cls.__name__}", "--json")
    assert result.json["passed"] == (cls is planted.Right) == (result.code == 0)
    cases = {one["case"]: one for one in result.json["tried"]}
    assert (cases["callers_model_is_untouched"]["result"] == "passed") == (cls is planted.Right)
    assert result.err == ""


def test_an_unknown_name(call):
    result = call("conformance", "finetun")
    assert result.code == 2
    assert "methods/finetune" in result.err
