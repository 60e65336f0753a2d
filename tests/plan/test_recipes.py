import datetime
import shlex

import pytest

import expunge
from expunge.core import registry
from expunge.core.errors import UnknownName, UsageError
from expunge.plan import recipes
from expunge.plan.tune import space
from tests.support import toys

GOOD = """
method = "finetune"
case = "class"
[config]
lr = 0.02
[found]
command = "python benchmarks/tuning.py --seed 1 --trials 5"
data = "somewhere"
seed = 1
trials = 5
date = "2026-11-21"
[measured]
match = 0.1
harm = 0
original = 0.9
gap = 1.5
floor = 0.2
share = 0.1
"""


@pytest.mark.parametrize("recipe", recipes.shipped(), ids=lambda recipe: f"{recipe.case}, {recipe.method}")
def test_a_shipped_recipe_is_one_that_was_found(recipe):
    method = registry.load("methods", recipe.method)
    config = method(recipe.config).config
    assert {name: getattr(config, name) for name in space(method)} == {n: recipe.config[n] for n in space(method)}
    words = shlex.split(recipe.found.command)
    assert words[:2] == ["python", "benchmarks/tuning.py"]
    assert words[words.index("--seed") + 1] == str(recipe.found.seed)
    assert datetime.date.fromisoformat(recipe.found.date)
    found = recipe.measured
    assert found.match + found.harm < found.original, "better than doing nothing"
    assert found.floor > 0
    assert 0 < found.share < 1, "cheaper than a retraining"


def test_what_a_recipe_measured_stands_in_the_results_of_the_benchmark():
    import json

    results = toys.ROOT / "benchmarks" / "results"
    trials = {}
    for name in ("tuning", "tuning_eu_k", "tuning_texts", "tuning_forgetting", "tuning_one_label"):
        trials |= json.loads((results / f"{name}.json").read_text())["trials"]
    for recipe in recipes.shipped():
        (chosen,) = [t for t in trials[f"{recipe.case}, {recipe.method}"] if t["chosen"]]
        assert chosen["config"] == dict(recipe.config)
        assert recipe.measured.gap == pytest.approx(chosen["gap"], rel=1e-3)
        assert recipe.measured.match == pytest.approx(chosen["match"], rel=1e-3)


def test_the_recipe_that_the_guide_shows_is_shipped():
    page = toys.ROOT / "docs" / "guides" / "tuning.md"
    shown = page.read_text().split("```toml\n")[1].split("```")[0]
    files = [path.read_text() for path in (toys.ROOT / "src/expunge/plan/recipes").glob("*.toml")]
    assert any(text.endswith(shown) for text in files)


def test_the_nearest_come_first():
    gaps = [recipe.measured.gap for recipe in recipes.shipped()]
    assert gaps == sorted(gaps)
    for case in set(recipes.CASES) - {"one wrong label"}:
        assert all(recipe.case == case and name == recipe.method for name, recipe in recipes.for_case(case).items())


def test_a_recipe_is_read_strictly(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text(GOOD)
    assert recipes.read(path).config == {"lr": 0.02}
    for wrong, error in (
        (GOOD.replace('"class"', '"classes"'), "unknown case"),
        (GOOD.replace("lr = 0.02", "rate = 0.02"), "unknown key 'rate'"),
        (GOOD.replace("lr = 0.02", "lr = -1"), "out of range"),
        (GOOD.replace("seed = 1\n", ""), "missing key 'seed'"),
    ):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=error):
            recipes.read(path)
    path.write_text(GOOD.replace('"finetune"', '"finetunes"'))
    with pytest.raises(UnknownName):
        recipes.read(path)


def test_the_case_of_a_problem():
    train = toys.records(60)
    labels = {name: int(y) for name, (_, y) in zip(train.ids, train, strict=True)}
    assert recipes.case_of(toys.problem()) == "ordinary"
    noughts = [name for name, label in labels.items() if label == 0]
    of = expunge.Problem(model=toys.network(), train=train, forget=noughts, holdout=toys.records(9, prefix="h"))
    assert recipes.case_of(of) == "class"
    some = expunge.Problem(model=toys.network(), train=train, forget=noughts[1:], holdout=toys.records(9, prefix="h"))
    assert recipes.case_of(some) == "ordinary"
    request = expunge.Request(ids=("r0",), corrections={"r0": (labels["r0"] + 1) % 3})
    assert recipes.case_of(expunge.Problem(model=toys.network(), train=train, request=request)) == "wrong labels"


def test_records_of_several_classes_that_carry_one_wrong_label_are_a_case_of_their_own():
    train = toys.records(60)
    labels = {name: int(y) for name, (_, y) in zip(train.ids, train, strict=True)}
    noughts = [name for name, label in labels.items() if label == 0][:4]
    ones = [name for name, label in labels.items() if label == 1][:4]

    def case(given, right):
        request = expunge.Request(ids=tuple(given), corrections=dict(zip(given, right, strict=False)))
        return recipes.case_of(expunge.Problem(model=toys.network(), train=train, request=request))

    assert case(noughts, [1, 2, 1, 2]) == "one wrong label", "as with a backdoor"
    assert case(noughts, [1, 1, 1, 1]) == "wrong labels", "one class taken for another"
    assert case([*noughts[:2], *ones[:2]], [1, 2, 2, 0]) == "wrong labels"
    assert case([*noughts, *ones], [1, 2]) == "wrong labels", "two of eight"
    assert case(noughts, [0, 0, 1, 2]) == "wrong labels", "corrected to what they have"
    named = expunge.Request(ids=tuple(noughts), corrections=dict(zip(noughts, [1, 2, 1, 2], strict=True)))
    wider = expunge.Problem(model=toys.network(), train=train, request=named).widened([*labels][:30:5])
    assert len(wider.forget_ids) > 2 * len(noughts)
    assert recipes.case_of(wider) == "one wrong label", "what was found says nothing of the labels"


def test_a_case_that_is_part_of_another_has_its_recipes_too():
    own, wider = recipes.for_case("one wrong label"), recipes.for_case("wrong labels")
    assert set(own) > {recipe.method for recipe in recipes.shipped() if recipe.case == "one wrong label"}
    assert own["ct"] == wider["ct"]
    assert own["eu_k"] != wider["eu_k"]
    gaps = [recipe.measured.gap for recipe in own.values()]
    assert gaps == sorted(gaps)
