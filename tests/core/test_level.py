import itertools
import re

import pytest

from expunge.core.level import PROMISES, Level

ORDER = ["bitwise", "exact", "certified", "audited", "suppressed"]


def test_the_scale_is_the_one_that_is_documented():
    assert [level.value for level in Level] == ORDER
    assert re.search(r"``(.+?)``", Level.__doc__).group(1).split(" > ") == ORDER


@pytest.mark.parametrize(("stronger", "weaker"), list(itertools.combinations(Level, 2)))
def test_a_stronger_promise_is_greater(stronger, weaker):
    assert stronger > weaker
    assert stronger >= weaker
    assert weaker < stronger
    assert weaker <= stronger
    assert stronger != weaker
    assert not stronger < weaker
    assert stronger.strength > weaker.strength


def test_equal_levels_are_neither():
    assert all(level <= level <= level and not level < level for level in Level)


def test_levels_compare_with_levels_only():
    with pytest.raises(TypeError):
        assert Level.EXACT < 3
    with pytest.raises(TypeError):
        assert Level.EXACT >= "audited"


def test_which_levels_stand_on_evidence_of_their_own():
    assert [level.value for level in Level if level.stands_alone] == ["bitwise", "exact", "certified"]


def test_every_level_has_its_promise_in_words():
    assert list(PROMISES) == list(Level)
    assert "not a proof" in PROMISES[Level.AUDITED]
    assert "unchanged" in PROMISES[Level.SUPPRESSED]
