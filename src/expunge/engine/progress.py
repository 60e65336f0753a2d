"""What long work tells whoever watches. The default watcher is silent; ``cli`` draws bars."""

from __future__ import annotations

from expunge.core.plan import Plan


class Progress:
    """A watcher that ignores everything; subclasses show it."""

    def start(self, label: str, total: int, done: int = 0) -> None:
        """Begin a piece of work of ``total`` steps, ``done`` of which were finished by an earlier command."""

    def advance(self, label: str, steps: int = 1) -> None:
        """Move a piece of work on."""

    def finish(self, label: str) -> None:
        """End a piece of work."""

    def plan(self, plan: Plan) -> None:
        """Show the plan before the work begins."""

    def say(self, text: str) -> None:
        """Tell one thing worth knowing."""
