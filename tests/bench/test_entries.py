"""What is entered into a grid: settings as they come, those of a recipe, and what is searched."""

import pytest

from expunge.bench.entries import Entry
from expunge.core.errors import InvalidProblem, UsageError
from expunge.plan import recipes


def test_labels_name_methods_recipes_and_auto():
    assert Entry.of("scrub") == Entry("scrub")
    assert Entry.of("scrub@recipe") == Entry("scrub", recipe=True)
    assert Entry.of("auto").tuned
    assert not Entry.of("scrub@recipe").tuned


@pytest.mark.parametrize("label", ["scrub@best", "scrub@", "auto@recipe"])
def test_other_labels_are_refused(label):
    with pytest.raises(UsageError):
        Entry.of(label)


def test_a_recipe_is_that_of_the_case_and_what_the_user_gives_stands(grid):
    problem = grid.problem("class", 0)
    shipped = recipes.for_case("class")["finetune"].config
    assert Entry.of("finetune@recipe").configs(problem, {})["finetune"] == shipped
    given = {"finetune": {"epochs": 3}, "ssd": {"alpha": 2.0}}
    found = Entry.of("finetune@recipe").configs(problem, given)
    assert found == {"finetune": {**shipped, "epochs": 3}, "ssd": {"alpha": 2.0}}
    assert Entry.of("finetune").configs(problem, given) == given
    with pytest.raises(InvalidProblem, match="no recipe"):
        Entry.of("noop@recipe").configs(problem, {})
