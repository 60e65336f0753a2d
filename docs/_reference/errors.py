"""Exit codes, and every error with what raises it and how to mend it."""

from __future__ import annotations

from _reference.text import first_line, table
from _reference.text import page as text_page
from expunge.core import errors

CODES = {
    0: ("done", "the claim is reached, or the certificate fits, or there was nothing to do"),
    1: (
        "done, and the answer is no",
        "the claim is not reached; nothing that the request names is found; for `plan`: nothing can be tried; for "
        "`verify`: something does not fit",
    ),
    2: ("usage", "the call, the job file, the problem or the configuration is wrong; nothing was started"),
    3: ("failed while running", "the same command resumes after the last finished stage"),
    4: ("waiting for approval", "reserved: no command ends with it yet"),
    5: ("refused", "expunge will not do this, and says why"),
}

# What raises each, and what mends it. A test says which class is missing here.
CAUSES = {
    "ExpungeError": ("Never by itself: the base of all.", "Read the error that it is."),
    "UsageError": (
        "An unknown key in a job file, a setting outside its limits, a path that does not exist, ids that are no "
        "strings, a test bed asked for ids that it does not have.",
        "Do what the line `fix` of the message says.",
    ),
    "UnknownName": (
        "A method, check, task or other name that no file and no plug-in brings.",
        "The message lists the known names, and the nearest one. Install the plug-in in the same environment.",
    ),
    "InvalidProblem": (
        "A problem that cannot be worked on: unknown or repeated ids, a holdout that overlaps the training data, "
        "labels outside the model's classes, a dataset that answers differently when read twice, weights that are NaN.",
        "All obstacles are listed at once, each with its own fix. Nothing was written.",
    ),
    "NotFound": (
        "A request of which nothing is in the records, by subject, association or text. The message says what was "
        "searched.",
        "Nothing, where that is the answer: `expunge erase` writes it into a file beside the run directory. Else "
        "correct the names, or name the column of subjects.",
    ),
    "MissingExtra": (
        "Training, planning or auditing in an environment without torch; a plug-in without its dependency.",
        "Run the `pip install` command that the message names.",
    ),
    "Refused": (
        "A certificate for a model about which nothing may be claimed; a plug-in that is no subclass of its contract; "
        "`retrain` without a trainer.",
        "The message says what would be needed. Nothing can be forced.",
    ),
    "UnsafeFile": (
        "Weights that are a pickle (`torch.save`), whatever the file's name: opening one can run code.",
        "Convert it where you trust it: `safetensors.torch.save_file(state_dict, path)`.",
    ),
    "BrokenTrainer": (
        "A trainer that breaks its contract: two runs with one seed differ, two seeds give one model, records are "
        "not read through the view, the model holds state that is not saved with it.",
        "[The trainer's contract](../guides/own-model.md#the-trainer) says what must hold; the message says which part "
        "does not.",
    ),
    "ForeignRun": (
        "An output directory that belongs to another job, policy or seed, or to a run that is finished; a certificate "
        "that another key signed.",
        "Choose another `--out`, or the key it was certified with.",
    ),
    "RunFailed": (
        "Something failed while running, in your code or ours. `EXPUNGE_DEBUG=1` shows the whole traceback.",
        "Mend the cause; the same command goes on after the last finished stage.",
    ),
    "Tampered": (
        "A file is not what was written: a saved model, cached outputs, the log, or weights that are truncated.",
        "Restore the file, or delete what the message names: it is made again.",
    ),
    "StorageFailed": (
        "The disk is full, the place is read-only, or permission is missing. Nothing half-written was left.",
        "Make room or choose another `--out`; the same command resumes.",
    ),
    "Diverged": (
        "A loss or a weight became NaN or infinite. In an attempt this is a finished attempt without a model, and the "
        "next method is tried; in your trainer it ends the run.",
        "Lower the learning rate, or train for fewer epochs.",
    ),
    "Interrupted": ("Ctrl-C or SIGTERM.", "The same command resumes."),
}

_INTRO = """
Every error that expunge raises on purpose says what, where, what was found, what is allowed and how to mend it.
Messages name positions and counts, never the content or the id of a record: they end up in logs.

In Python all of them are subclasses of `expunge.core.errors.ExpungeError`, and `error.obstacles` holds the parts.
"""


def classes() -> list[type[errors.ExpungeError]]:
    """Return all error classes, parents before children."""
    found: list[type[errors.ExpungeError]] = []

    def walk(kind: type[errors.ExpungeError]) -> None:
        found.append(kind)
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child)

    walk(errors.ExpungeError)
    return found


def page() -> str:
    """Return the page."""
    codes = [(f"**{code}**", name, meaning) for code, (name, meaning) in CODES.items()]
    parts = []
    for kind in classes():
        raised, mend = CAUSES[kind.__name__]
        above = kind.__mro__[1].__name__
        family = f", a kind of [`{above}`](#{above.lower()})" if kind is not errors.ExpungeError else ""
        about = f"{first_line(kind)} Exit code {kind.exit_code}{family}."
        parts.append(f"### {kind.__name__}\n\n{about}\n\n**What raises it.** {raised}\n\n**How to mend it.** {mend}")
    return text_page(
        "Errors and exit codes",
        "## Exit codes",
        table(("code", "means", "when"), codes),
        "## Errors",
        _INTRO.strip(),
        *parts,
    )
