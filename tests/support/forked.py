"""Run command lines one after the other, each in a child that may be killed; torch is imported once.

``python forked.py '[{"words": ["erase", ...], "signal": 9, "at": 12}, ...]'``: the signal comes at the at-th time
that the command asks the system to sync a file, so between a write and its rename or just after a line of the log.
Prints the exit status of each, negative for a signal; with ``"count_in": PATH`` the number
of syncs goes into that file.
"""

import json
import os
import sys

from expunge.cli.main import main
from expunge.engine import evidence, runtime  # noqa: F401  # with all that is slow to import


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


if __name__ == "__main__":
    for run in json.loads(sys.argv[1]):
        child = os.fork()
        if not child:
            code = command(**run)
            sys.stderr.flush()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()
