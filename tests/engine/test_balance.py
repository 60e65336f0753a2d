from collections import Counter

import pytest
from sklearn.utils.class_weight import compute_sample_weight

from expunge.core.errors import InvalidProblem
from expunge.core.problem import Problem
from expunge.engine.balance import lacks_groups, weights
from tests.support import toys


def posed(**more):
    whole = toys.problem(count=60, forget=12)
    groups = {name: "few" if i % 5 == 0 else "many" for i, name in enumerate(whole.records.ids)}
    given = {"model": whole.model, "train": whole.records, "forget": whole.forget_ids, "groups": groups, **more}
    return Problem(**given)


def test_weights_are_scikit_learn_s_balanced_weights_of_the_pairs():
    problem = posed()
    records = problem.retain_view
    labels = records.read(range(len(records)))[1].tolist()
    pairs = [f"{problem.groups[name]} {label}" for name, label in zip(records.ids, labels, strict=True)]
    found = weights(problem, records)
    assert [found[name] for name in records.ids] == pytest.approx(list(compute_sample_weight("balanced", pairs)))
    total = Counter()
    for name, pair in zip(records.ids, pairs, strict=True):
        total[pair] += found[name]
    assert len(set(round(value, 9) for value in total.values())) == 1


def test_records_without_a_group_are_told():
    problem = posed(groups={"r50": "few"})
    with pytest.raises(InvalidProblem, match="47 of 48 records without a group"):
        weights(problem, problem.retain_view)
    (told,) = lacks_groups(problem, "x")
    assert (told.what, told.found) == (
        "records cannot be balanced by group",
        "47 of 48 retained records without a group",
    )
    assert lacks_groups(posed(), "x") == []
    assert lacks_groups(posed(groups={}), "x")[0].what == "x balances groups"
