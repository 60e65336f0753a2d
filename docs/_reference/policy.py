"""The policy: what it holds, and the standard one with its margins and reasons."""

from __future__ import annotations

from _reference.text import default, fields, limits, plain, settings, table
from _reference.text import page as text_page
from expunge.audit.policy import Margin, Policy, load, names
from expunge.engine.benchmarks import Benchmarks
from expunge.engine.relearning import RelearningConfig

_INTRO = """
A policy says which checks are required, and how far from retrained models each may be. It is fixed before any method is
run: its digest is part of the run's identity, so a run directory refuses to go on under another policy.

Where none is named, the `standard` policy judges, and the `language` policy a language model (task `causal_lm`).
Use one of your own with `policy = "ours.toml"` in the [job file](job.md), or `policy=` in Python.
[How the verdict works](../concepts/verdict.md) says what a margin does.
"""


def page() -> str:
    """Return the page."""
    suites = [load(name) for name in names()]
    relearning = [
        (f"`{f.name}`", *(f"`{getattr(suite.relearning, f.name)!r}`" for suite in suites))
        for f in fields(RelearningConfig)
    ]
    return text_page(
        "Policy",
        _INTRO.strip(),
        *(part for name in sorted(names(), key=lambda name: name != "standard") for part in _policy(name)),
        "Settings of the checks that train a model further:",
        table(("key", *(suite.name for suite in suites)), relearning),
        "## Keys of a policy file",
        table(
            ("key", "default", "allowed", "meaning"),
            [
                (f"`{f.name}: {f.type}`", _shown(f.name, default(f)), limits(f), plain(_meaning(f)))
                for f in fields(Policy)
            ],
        ),
        "### `[checks.NAME]`",
        table(
            ("key", "default", "allowed", "meaning"),
            [(f"`{f.name}: {f.type}`", default(f), limits(f), plain(_meaning(f))) for f in fields(Margin)],
        ),
        "A margin without a reason is refused, and so is a policy that requires nothing.",
        "### `[relearning]`",
        settings(RelearningConfig),
        "### `[lm_eval]`",
        settings(Benchmarks),
    )


def _policy(name: str) -> tuple[str, str, str]:
    """Return one of our policies: its name, its keys, and its checks with margins and reasons."""
    policy = load(name)
    facts = [(f"`{key}`", f"`{getattr(policy, key)}`") for key in ("alpha", "references", "choosing_references")]
    margins = [
        (f"[`{check}`](checks.md#{check})", f"{m.margin:g}", "yes" if m.required else "no", m.when, m.reason)
        for check, m in policy.checks.items()
    ]
    return (
        f"## The {name} policy",
        table(("key", "value"), facts),
        table(("check", "margin", "required", "when", "why so much"), margins),
    )


_MEANINGS = {
    "name": "shown on report and certificate",
    "checks": "one table per check",
    "relearning": "how the relearning check trains",
    "lm_eval": "tasks of lm-eval that language models are asked besides; a job names them with the same table",
    "reason": "why so much; it stands on the report",
    "required": "whether `erased` needs it",
}


def _meaning(field: object) -> str:
    return str(field.metadata.get("doc") or _MEANINGS[field.name])  # type: ignore[attr-defined]


def _shown(name: str, text: str) -> str:
    return text if name not in ("checks", "lm_eval") else "none"
