import pytest

from expunge.core.model import ModelSource


def test_a_source_accepts_nothing_unless_it_says_so():
    assert not ModelSource.accepts(object())


def test_the_whole_contract_must_be_fulfilled():
    class Half(ModelSource):
        def open(self):
            return None

    with pytest.raises(TypeError, match="abstract"):
        Half()
