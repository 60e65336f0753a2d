"""The pages of reference/: whatever the code says of itself, and nothing that could drift from it."""

from __future__ import annotations

from _reference import api, authors, cases, cli, errors, job, policy, things


def pages() -> dict[str, str]:
    """Return the text of every generated page, by its name."""
    return {
        "api": api.page(),
        "authors": authors.page(),
        "checks": things.checks(),
        "cli": cli.page(),
        "conformance": cases.page(),
        "errors": errors.page(),
        "estimators": things.estimators(),
        "find": things.ways(),
        "job": job.page(),
        "kinds": things.kinds(),
        "methods": things.methods(),
        "policy": policy.page(),
        "testbeds": things.testbeds(),
    }
