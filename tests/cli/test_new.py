"""``expunge new``: writes, and says what to do next."""

import pytest


@pytest.mark.parametrize(("kind", "room"), [("method", "methods"), ("check", "checks"), ("task", "tasks")])
def test_files_and_what_to_do_next(call, tmp_path, kind, room):
    result = call("new", kind, "half_way", "--into", tmp_path)
    assert (result.code, result.out) == (0, "")
    assert (tmp_path / "expunge-half-way" / "expunge_half_way.py").is_file()
    assert f"expunge conformance {room}/half_way" in result.err
    assert "pip install -e" in result.err
    assert ("[checks.half_way]" in result.err) == (kind == "check")


def test_json(call, tmp_path):
    result = call("new", "method", "half_way", "--into", tmp_path, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json["room"] == "methods"
    assert len(result.json["files"]) == 3


def test_a_taken_name(call, tmp_path):
    result = call("new", "method", "finetune", "--into", tmp_path)
    assert result.code == 2
    assert "already" in result.err
