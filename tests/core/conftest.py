import pytest

from expunge.core import registry
from tests.support.reading import Reading


@pytest.fixture
def reading(monkeypatch):
    """A task called `reading`, without installing one."""
    load = registry.load

    def with_reading(room, name):
        return Reading if (room, name) == ("tasks", "reading") else load(room, name)

    monkeypatch.setattr(registry, "load", with_reading)
