import pytest

from expunge.core.task import Task


def test_the_whole_contract_must_be_fulfilled():
    class Half(Task):
        def units(self, model, batch):
            return None

    with pytest.raises(TypeError, match="abstract"):
        Half()
