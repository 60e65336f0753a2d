"""Replay of the recorded training without the records: the same bytes as a run that never had them."""

from __future__ import annotations

from typing import ClassVar

from expunge.core.errors import Obstacle, Refused
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine import replay
from expunge.engine.context import Context
from expunge.engine.ledger import value_digest
from expunge.engine.passes import touched
from expunge.engine.recorded import Recorded

_RULES = {
    "drop": "rule drop: equals a run from scratch, with the same seed and stages, on the records that remain, each "
    "entering when the ledger says",
    "mask": "rule mask: equals the recorded table of batches with the slots of the forgotten records empty",
}


_PROVEN = "the loop is the owner's; a replay of it was compared once with a run from scratch, and was equal"


class Replay(Method):
    """The recorded run, from the last state before a forgotten record was first met, on what remains."""

    title = "Replay the recorded training"
    source = "replay from a write-ahead log, arXiv 2508.12220; rules drop and mask in docs/guides/networks.md"
    guarantee = Level.BITWISE
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.TRAINER, Need.LEDGER})
    exempt: ClassVar = {
        "exact_owes_the_original_nothing": "an original that is not the last state of the recorded run is refused",
        "another_seed_another_model": "its seed is the recorded run's: the model is a function of that seed alone",
    }

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return everything that keeps the run from being replayed; reads ledger and retained records."""
        return super().obstacles(problem) or replay.obstacles_of(problem)

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of the steps to be made again, read from the ledger before any work."""
        return Cost(trained=float(self.forecast(problem).visits))

    def forecast(self, problem: Problem) -> replay.Forecast:
        """Return what the replay will do."""
        ledger = replay.ledger_of(problem)
        assert isinstance(problem.trainer, Recorded)
        changed = value_digest(problem.trainer.derived(problem.retain_view)) != ledger.head.derived
        return replay.forecast(ledger, problem.forget_ids, derived=changed)

    def advice(self, problem: Problem) -> tuple[str, ...]:
        """Return where the cost comes from, and what would make the next deletion cheaper."""
        return tuple(self.forecast(problem).words())

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the model; its new ledger lies in ``run.folder / "ledger"``."""
        if run.folder is None or not isinstance(problem.trainer, Recorded):
            raise Refused("replay needs a recorded trainer, and a folder for its new ledger", found="none")
        before = replay.ledger_of(problem)
        label, ahead = run.label, self.forecast(problem)
        run.progress.start(label, ahead.total - ahead.start)
        done = replay.replay(
            problem.trainer,
            before,
            problem.retain_view,
            problem.forget_ids,
            run.folder / "ledger",
            advance=lambda: run.progress.advance(label),
        )
        run.progress.finish(label)
        seen, head = done.forecast, done.ledger.head
        stale = [step for step in before.checkpoints if step > seen.start]
        return Outcome(
            model=done.model,
            cost=Cost(trained=float(done.trained.recorder.visits)),
            touched=touched(problem.source.open().state_dict(), done.model),
            stopped=f"replayed steps {seen.start} to {seen.total}",
            evidence=(
                _RULES[head.rule],
                seen.words()[0],
                f"state at the end (parameters, buffers, optimiser, schedule), SHA-256 {done.trained.state}",
                f"{done.stretch} steps before the first use came out as recorded: loss, rate, order and state",
                f"the old ledger, verified to its end, has chain {before.chain}; the new one {done.ledger.chain}",
                f"environment {value_digest(head.environment)[:16]}, {head.threads} thread(s), as in the ledger",
                f"{len(stale)} checkpoints of states that saw the records go with the old ledger"
                + (f": before steps {', '.join(map(str, stale))}" if stale else ""),
                "values derived from the records were computed anew on what remains"
                + (", and changed" if seen.derived else ", and are the same"),
                *(() if problem.trainer.ours else (_PROVEN,)),
            ),
        )
