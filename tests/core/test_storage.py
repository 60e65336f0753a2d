import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from expunge.core import storage
from expunge.core.errors import StorageFailed, UsageError
from expunge.core.storage import ASIDE, lock, storing, sweep, sync_folder, write_file, write_folder, write_named


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_written_with_its_folder(tmp_path):
    write_file(tmp_path / "a" / "b" / "c.json", b"12")
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == b"12"
    assert listing(tmp_path) == ["a", "a/b", "a/b/c.json"]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "c"
    write_file(path, b"old and long")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_secret_file_is_never_readable_by_others(tmp_path, monkeypatch):
    # The mode at the moment of creation counts: a chmod afterwards would leave a gap.
    opened = []
    plain_open = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: opened.append(mode) or plain_open(path, flags, *mode))
    write_file(tmp_path / "secret", b"x", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert opened[0] == (0o600,)


@pytest.mark.parametrize("broken", ["fsync", "replace", "write"])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "stage.json"
    write_file(path, b"old")
    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    elif broken == "replace":
        monkeypatch.setattr(Path, "replace", no_space)
    else:
        monkeypatch.setattr(os, "fdopen", no_space)
    with pytest.raises(StorageFailed, match="No space left on device") as caught:
        write_file(path, b"new")
    monkeypatch.undo()
    assert caught.value.exit_code == 3
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["stage.json"]


def test_a_kill_in_the_middle_leaves_no_wrong_file(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", b"1")
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "b", lambda folder: (folder / "file").write_bytes(b"1"))
    assert listing(tmp_path) == []


def test_what_is_renamed_was_synced_before(tmp_path, monkeypatch):
    log = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: log.append("sync") or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, to: log.append("rename") or replace(self, to))
    monkeypatch.setattr(Path, "rename", lambda self, to: log.append("rename") or rename(self, to))
    write_file(tmp_path / "a", b"1")
    assert log == ["sync", "rename", "sync"], "content, rename, folder"
    log.clear()
    write_folder(tmp_path / "b", lambda folder: [(folder / name).write_bytes(b"1") for name in "xy"])
    assert log == ["sync", "sync", "rename", "sync"]


def test_what_a_user_names_is_written_to_and_not_replaced(tmp_path):
    (tmp_path / "target.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("target.txt")
    write_named(tmp_path / "link.txt", b"new")
    assert ((tmp_path / "link.txt").is_symlink(), (tmp_path / "target.txt").read_text()) == (True, "new")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_named(tmp_path / "pipe", b"through")
    assert (os.read(reader, 9), (tmp_path / "pipe").is_fifo()) == (b"through", True)
    os.close(reader)
    write_named(tmp_path / "new.txt", b"new")
    assert (tmp_path / "new.txt").read_bytes() == b"new"
    for folder in (tmp_path, Path(".")):
        with pytest.raises(UsageError, match="a folder cannot"):
            write_named(folder, b"new")
    with pytest.raises(StorageFailed, match="No space left"):
        write_named(Path("/dev/full"), b"new")
    assert Path("/dev/full").is_char_device()


def test_who_may_read_a_named_file_stays_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("old")
    (tmp_path / "mine.txt").chmod(0o600)
    write_named(tmp_path / "mine.txt", b"new")
    assert ((tmp_path / "mine.txt").read_bytes(), (tmp_path / "mine.txt").stat().st_mode & 0o777) == (b"new", 0o600)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UsageError, match="lead to each other"):
        write_named(tmp_path / "a", b"new")


def test_a_folder_appears_whole(tmp_path):
    def fill(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"1")
        assert not (tmp_path / "model").exists()

    write_folder(tmp_path / "model", fill)
    assert listing(tmp_path) == ["model", "model/inner", "model/inner/file"]


def test_a_folder_that_exists_is_kept(tmp_path):
    write_folder(tmp_path / "model", lambda folder: (folder / "file").write_bytes(b"first"))
    write_folder(tmp_path / "model", lambda folder: (folder / "file").write_bytes(b"second"))
    assert (tmp_path / "model" / "file").read_bytes() == b"first"
    assert listing(tmp_path) == ["model", "model/file"]


@pytest.mark.parametrize("error", [OSError(errno.EDQUOT, "Disk quota exceeded"), ValueError("bad"), SystemExit(1)])
def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path, error):
    def fill(folder):
        (folder / "half").write_bytes(b"1")
        raise error

    with pytest.raises(StorageFailed if isinstance(error, OSError) else type(error)):
        write_folder(tmp_path / "model", fill)
    assert listing(tmp_path) == []


def test_sweep_removes_what_was_left_aside_and_nothing_else(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / f"{ASIDE}1").write_bytes(b"half")
    (tmp_path / f"{ASIDE}2" / "deep").mkdir(parents=True)
    (tmp_path / f"{ASIDE}2" / "deep" / f"{ASIDE}3").write_bytes(b"half")
    (tmp_path / "stages" / "kept.json").write_bytes(b"whole")
    sweep(tmp_path)
    assert listing(tmp_path) == ["stages", "stages/kept.json"]


def test_an_error_names_the_file_and_no_machine(tmp_path):
    with pytest.raises(StorageFailed) as caught, storing(tmp_path / "place"):
        no_space()
    assert caught.value.obstacles[0].where == "place"
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(storage.os, "fsync", synced.append)
    sync_folder(tmp_path)
    assert len(synced) == 1


# Real refusals of the kernel, in processes of their own: a limit or a user given up cannot be taken back.


def in_a_process(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_full_disk_is_reported_and_nothing_is_left(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from expunge.core.errors import StorageFailed, UsageError
from expunge.core.storage import write_file, write_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
write_file(folder / "small", b"x" * 1000)
for write in (
    lambda: write_file(folder / "large", b"x" * 1001),
    lambda: write_folder(folder / "model", lambda f: (f / "weights").write_bytes(b"x" * 1001)),
):
    try:
        write()
    except StorageFailed as error:
        print(error.obstacles[0].found.replace(" ", "-"))
print(*sorted(p.name for p in folder.rglob("*")))
"""
    assert in_a_process(code, str(tmp_path)) == ["File-too-large", "File-too-large", "small"]


def test_a_folder_that_may_not_be_written_is_reported(tmp_path):
    code = """
import os, sys
from pathlib import Path
from expunge.core.errors import StorageFailed, UsageError
from expunge.core.storage import write_file, write_folder
if os.geteuid() == 0:
    os.seteuid(65534)
os.chdir(sys.argv[1])
for write in (
    lambda: write_file(Path("file"), b"1"),
    lambda: write_file(Path("deeper/file"), b"1"),
    lambda: write_folder(Path("model"), lambda f: None),
):
    try:
        write()
    except StorageFailed as error:
        print(error.obstacles[0].found.replace(" ", "-"))
"""
    closed = tmp_path / "closed"
    closed.mkdir()
    for folder in closed.parents:  # another user must be able to come this far
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    closed.chmod(0o555)
    assert in_a_process(code, str(closed)) == ["Permission-denied"] * 3
    assert listing(closed) == []


def test_a_folder_is_held_by_one(tmp_path):
    held = lock(tmp_path / "new")
    assert lock(tmp_path / "new") is None
    held.close()
    with lock(tmp_path / "new"):
        assert lock(tmp_path / "new") is None
    assert (tmp_path / "new" / ".lock").stat().st_mode & 0o077 == 0


def test_a_discarded_folder_is_gone_whole_or_swept(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    storage.discard(tmp_path / "one")
    with monkeypatch.context() as patched:
        patched.setattr(storage.shutil, "rmtree", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            storage.discard(tmp_path / "two")
    assert not (tmp_path / "two").exists()
    storage.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
