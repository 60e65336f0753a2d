"""Classes named beside the records, where the model has no such class."""

import numpy as np
import pytest

from expunge import Triggered
from expunge.core.request import Request
from tests.support import toys


def marked(count=10):
    return toys.records(count, prefix="t", seed=9)


@pytest.mark.parametrize("target", [99, -1, 3, "2", 1.0, None, True])
def test_a_target_that_is_no_class_is_told_before_any_work(target):
    """Against it nothing is ever counted: a model with the whole backdoor would pass."""
    problem = toys.problem(triggered=Triggered(records=marked(), target=target))
    (found,) = [each for each in problem.validate() if each.where == "triggered"]
    assert found.what == "the target of the trigger: no class of the model"
    assert (found.found, found.expected) == (f"1 of 1, {type(target).__name__}", "whole numbers, 0 to 2")


@pytest.mark.parametrize("label", [99, -4, "1", 0.5])
def test_true_labels_that_are_no_class_are_told(label):
    ids = [f"r{i}" for i in range(3)]
    problem = toys.problem(forget=0, request=Request(ids=ids, corrections={"r0": 1, "r1": label, "r2": label}))
    (found,) = [each for each in problem.validate() if each.where == "corrections of the request"]
    none = isinstance(label, int)
    what = "true labels: no class of the model" if none else "true labels that are no class of the records"
    assert (found.what, found.fatal) == (what, True)
    assert found.found == f"2 of 3, {type(label).__name__}"


@pytest.mark.parametrize("group", [None, float("nan"), 3])
def test_groups_that_are_no_names_are_told(group):
    problem = toys.problem(groups={"h0": "a", "h1": group, "h2": group})
    (found,) = [each for each in problem.validate() if each.fatal]
    assert (found.where, found.found) == ("groups", f"2 of 3, {type(group).__name__}")


def test_classes_of_any_whole_number_type_are_classes():
    request = Request(ids=["r0", "r1"], corrections={"r0": 1, "r1": np.int64(2)})
    problem = toys.problem(forget=0, request=request, triggered=Triggered(records=marked(), target=np.int32(2)))
    assert [each for each in problem.validate() if each.fatal] == []
