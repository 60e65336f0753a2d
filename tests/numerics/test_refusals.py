import pytest

from expunge.methods.idk_dpo import REFUSALS
from expunge.numerics.refusals import refuses


@pytest.mark.parametrize("text", [*REFUSALS, "I don’t know.", "Well, I don't know!", "SORRY, but no"])
def test_refusals_are_known(text):
    assert refuses(text)


@pytest.mark.parametrize("text", ["", "Kaba was born in York.", "Ai do not know", "I do, not Kaba, know", "Sorry Town"])
def test_answers_are_none(text):
    assert not refuses(text)
