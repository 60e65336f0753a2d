import pytest

from expunge.core.variants import VARIANTS, variant_of
from tests.support.reading import varied


def test_a_variant_says_which_record_it_is_of():
    assert [variant_of(name) for name in ("t0#12", "a#b#0", "t0", "t0#", "t0#x")] == ["t0", "a#b", "", "", ""]


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_known_by_name_and_record(name):
    assert varied(**{name: (["other words", "more words"], ["t0#0", "h1#1"])}).validate() == []
