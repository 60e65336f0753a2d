import json

import pytest

from expunge.core.errors import Refused, UsageError
from expunge.data import _content
from expunge.engine import manifests
from tests.support import toys


def test_what_is_written_is_read(tmp_path):
    records = toys.records(5)
    path = manifests.write(tmp_path, records.without(["r2"]))
    assert path == tmp_path / manifests.NAME
    said = manifests.read(tmp_path)
    assert said.ids == ("r0", "r1", "r3", "r4")
    assert said.contents == tuple(_content.digest(records[i]) for i in (0, 1, 3, 4))


def test_ids_may_stay_at_home(tmp_path):
    path = manifests.write(tmp_path, toys.records(3), ids=False)
    assert manifests.read(tmp_path).ids is None
    assert '"r0"' not in path.read_text()


def test_without_one_it_is_said_how_to_write_it(tmp_path):
    with pytest.raises(Refused, match="nothing says which records") as caught:
        manifests.read(tmp_path)
    assert "expunge.engine.manifests.write" in caught.value.obstacles[0].fix
    assert caught.value.exit_code == 5


GOOD = {"format": manifests.FORMAT, "contents": ["0" * 64, "1" * 64]}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("{", "JSONDecodeError"),
        ("[" * 100_000, "RecursionError"),
        ([1], "another format"),
        ({**GOOD, "format": "expunge-manifest-2"}, "another format"),
        ({"format": manifests.FORMAT}, "no list of SHA-256"),
        ({**GOOD, "contents": ["r17"]}, "no list of SHA-256"),
        ({**GOOD, "ids": [1, 2]}, "no list of strings"),
        ({**GOOD, "ids": ["a"]}, "1 ids for 2 contents"),
    ],
)
def test_what_is_none_is_refused(said, found, tmp_path):
    (tmp_path / manifests.NAME).write_text(said if isinstance(said, str) else json.dumps(said))
    with pytest.raises(UsageError, match="cannot read the manifest") as caught:
        manifests.read(tmp_path)
    assert found in caught.value.obstacles[0].found
