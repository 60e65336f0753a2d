"""Run command lines one after the other, each in a child that may be killed; torch is imported once.

Reads lines like ``{"number": 1, "folder": ..., "err": ..., "runs": [{"words": ["erase"], "signal": 9, "at": 12}]}``:
each command runs in the folder, with stderr added to the file ``err``. The signal comes at the at-th time that the
command asks the system to sync a file, so between a write and its rename or just after a line of the log. Answers every
line with a line: its number, and the exit statuses, negative for a signal; with ``"count_in": PATH`` the number of
syncs goes into that file.
"""

import json
import os
import sys

from expunge import workflow  # noqa: F401  # with all that is slow to import
from expunge.cli.main import main
from expunge.core import registry
from expunge.engine import evidence, runtime  # noqa: F401


def command(words, signal=0, at=0, count_in=None):
    """Run one command in this process."""
    sync, count = os.fsync, 0

    def fsync(handle):
        nonlocal count
        count += 1
        if signal and count == at:
            os.kill(os.getpid(), signal)
        sync(handle)

    os.fsync = fsync
    runtime._pickled = lambda problem: None  # all work happens in the process that is killed
    code = main(words)
    if count_in:
        with open(count_in, "w") as file:
            file.write(str(count))
    return code


def child(run, folder, err):
    """Run one command in a child; return how it ended."""
    pid = os.fork()
    if not pid:
        os.chdir(folder)
        with open(err, "a") as file:
            os.dup2(file.fileno(), 2)
        with open(os.devnull, "w") as file:
            os.dup2(file.fileno(), 1)
        code = command(**run)
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    for room in ("methods", "checks", "tasks"):
        for name in registry.names(room):
            registry.load(room, name)  # else every child would
    for line in sys.stdin:
        asked = json.loads(line)
        codes = [child(run, asked["folder"], asked["err"]) for run in asked["runs"]]
        sys.stdout.write(f"{json.dumps([asked['number'], codes])}\n")
        sys.stdout.flush()
