import os

import pytest

from expunge.certify.subjects import read_folder
from expunge.core.digest import sha256
from expunge.core.errors import UsageError


def test_every_file_is_named_with_its_digest(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").write_bytes(b"3")
    found = read_folder(tmp_path)
    assert dict(found.digests) == {".hidden": sha256(b"3"), "a": sha256(b"2"), "b/deep/x": sha256(b"1")}
    assert list(found.digests) == sorted(found.digests)
    assert found.odd == ()


def test_a_link_to_a_file_counts_as_the_file(tmp_path):
    (tmp_path / "blob").write_bytes(b"1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").symlink_to(tmp_path / "blob")
    assert dict(read_folder(tmp_path / "model").digests) == {"weights": sha256(b"1")}


def test_nothing_hides_behind_what_cannot_be_hashed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "code.py").write_text("")
    model = tmp_path / "model"
    model.mkdir()
    (model / "linked").symlink_to(tmp_path / "elsewhere")
    (model / "dangling").symlink_to(tmp_path / "nothing")
    (model / "loop").symlink_to(model / "loop")
    os.mkfifo(model / "pipe")
    assert read_folder(model).odd == ("dangling", "linked", "loop", "pipe")


def test_what_is_no_folder_is_said(tmp_path):
    with pytest.raises(UsageError, match="found: nothing"):
        read_folder(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="found: a file"):
        read_folder(tmp_path / "file")


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UsageError, match="Permission denied"):
        read_folder(tmp_path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "weights").write_text("")

    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("expunge.certify.subjects.file_digest", deny)
    with pytest.raises(UsageError, match=r"weights\)\n  found: Permission denied"):
        read_folder(tmp_path)
