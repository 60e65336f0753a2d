"""One case of a contract on one class: what the others say of it is nothing to a mistake that this one must see."""

from expunge.conformance import run


def outcome(room, cls, name):
    """Return (result, what was seen, what the case is known to catch)."""
    case = next(case for case in run.SUITES[room] if case.name == name)
    return (*run._outcome(case, cls), case.catches)
