"""Sharded deletion for networks: members that met a forgotten record are replayed, the others stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from expunge.core.errors import Obstacle, Refused
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.storage import storing
from expunge.engine import replay
from expunge.engine.context import Context
from expunge.engine.ensemble import FILE, Ensemble, ShardedTrainer, held, ledgers, read_about, voting
from expunge.engine.ledger import Ledger, value_digest
from expunge.engine.passes import touched
from expunge.engine.recorded import Recorded


class Sharded(Method):
    """An ensemble of recorded members, of which those that met a forgotten record are replayed without it."""

    title = "Replay the touched shards"
    source = "SISA, Bourtoule et al. 2021, IEEE S&P (arXiv 1912.03817); shards by keyed hash of the subject"
    guarantee = Level.BITWISE
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.TRAINER, Need.SHARDS})
    exempt: ClassVar = {
        "exact_owes_the_original_nothing": "an original that is not the last state of the recorded runs is refused",
        "another_seed_another_model": "its seed is the recorded runs': the model is a function of that seed alone",
    }

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return everything that keeps the touched members from being replayed; reads ledgers and retained records."""
        lacks = super().obstacles(problem)
        if lacks:
            return lacks
        if not isinstance(problem.trainer, ShardedTrainer):
            return [
                Obstacle(
                    what=f"{self.name} needs the trainer of the shards",
                    found=type(problem.trainer).__name__,
                    fix="pass trainer=expunge.ShardedTrainer(...), as it was when the ledgers were written",
                )
            ]
        about = read_about(_folder(problem))
        if (about["shards"], about["slices"]) != (problem.trainer.shards, problem.trainer.slices):
            return [
                Obstacle(
                    what="another number of shards or slices than in the ledgers",
                    found=f"{problem.trainer.shards} shards of {problem.trainer.slices} slices",
                    expected=f"{about['shards']} shards of {about['slices']} slices",
                    fix="pass the trainer as it was when the ledgers were written",
                )
            ]
        members = ledgers(_folder(problem))
        found: list[Obstacle] = []
        known = held(members)
        strangers = sum(name not in known for name in problem.retain_view.ids)
        if strangers:
            found.append(
                Obstacle(
                    what="the data do not match the ledgers: records were not in any recorded run",
                    where="training records",
                    found=str(strangers),
                    expected="the records of the recorded runs",
                    fix="pass the records that the ensemble was trained on",
                )
            )
        for shard, ledger in enumerate(
            members
        ):  # untouched ones as well: they vote, and must be those of these records
            trainer = _trainer(problem, shard)
            found += replay.obstacles(ledger, trainer, _retained(problem, ledger), problem.forget_ids)
        model = problem.source.open()
        if isinstance(model, Ensemble) and model.vote != problem.trainer.vote:
            found.append(
                Obstacle(
                    what="the ensemble and its trainer let members vote by different rules",
                    where="vote",
                    found=f"{model.vote!r} in the model, {problem.trainer.vote!r} in the trainer",
                    expected="one rule",
                    fix=f"pass expunge.ShardedTrainer(..., vote={model.vote!r})",
                )
            )
        if not found and not _ends_with(model, members):
            found.append(
                Obstacle(
                    what="the model is not the ensemble that the recorded runs ended with",
                    where="ledger",
                    found="other weights or buffers",
                    expected="the last states of the ledgers",
                    fix="pass the ledgers of this model's own training",
                )
            )
        return list(dict.fromkeys(found))

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of the replays, read from the ledgers before any work."""
        return Cost(trained=float(sum(ahead.visits for ahead in self.forecasts(problem).values())))

    def forecasts(self, problem: Problem) -> dict[int, replay.Forecast]:
        """Return what the replay of each touched shard will do."""
        members = ledgers(_folder(problem))
        found = {}
        for shard in _touched(problem, members):
            values = _trainer(problem, shard).derived(_retained(problem, members[shard]))
            changed = value_digest(values) != members[shard].head.derived
            found[shard] = replay.forecast(members[shard], problem.forget_ids, derived=changed)
        return found

    def advice(self, problem: Problem) -> tuple[str, ...]:
        """Return how many shards are touched."""
        ahead = self.forecasts(problem)
        return (f"{len(ahead)} of {read_about(_folder(problem))['shards']} shards met a forgotten record",)

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the ensemble; its new ledgers lie in ``run.folder / "ledger"``."""
        if run.folder is None:
            raise Refused("sharded deletion needs a folder for its new ledgers", found="none")
        before, into = ledgers(_folder(problem)), run.folder / "ledger"
        model, ahead = problem.source.open(), self.forecasts(problem)
        run.progress.start(run.label, sum(one.total - one.start for one in ahead.values()))
        with storing(into):
            into.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_folder(problem) / FILE, into / FILE)
        visits, lines = 0, []
        for shard, ledger in enumerate(before):
            place = into / f"{shard:03d}"
            if shard not in ahead:
                with storing(place):
                    shutil.copytree(ledger.folder, place, dirs_exist_ok=True)
                continue
            done = replay.replay(
                _trainer(problem, shard),
                ledger,
                _retained(problem, ledger),
                problem.forget_ids,
                place,
                advance=lambda: run.progress.advance(run.label),
            )
            model.members[shard] = done.model
            visits += done.trained.recorder.visits
            lines.append(f"shard {shard}: {done.forecast.words()[0]}; state SHA-256 {done.trained.state}")
        run.progress.finish(run.label)
        sizes = [len(ledger.entries) for ledger in ledgers(into)]
        after = Ensemble(list(model.members), voting(sizes), vote=problem.trainer.vote).eval()
        return Outcome(
            model=after,
            cost=Cost(trained=float(visits)),
            touched=touched(problem.source.open().state_dict(), after),
            stopped=f"replayed {len(ahead)} of {len(before)} shards",
            evidence=(
                "every record lies in the shard that a keyed hash of its subject (or id) says, whatever else is there",
                *lines,
                f"{len(before) - len(ahead)} members never met a forgotten record and were not changed",
                "members vote by their share of the records that remain"
                + (", and answer by answer by how sure they are" if after.vote == "sure" else ""),
                "assumption: requests were chosen without looking at the model",
            ),
        )


def _folder(problem: Problem) -> Path:
    assert problem.ledger is not None
    return Path(problem.ledger)


def _touched(problem: Problem, members: list[Ledger]) -> list[int]:
    shard_of = held(members)
    return sorted({shard_of[name] for name in problem.forget_ids if name in shard_of})


def _retained(problem: Problem, ledger: Ledger) -> Records:
    gone = set(problem.forget_ids)
    known = problem.records.position
    return problem.records.select([e.id for e in ledger.entries if e.id not in gone and e.id in known])


def _trainer(problem: Problem, shard: int) -> Recorded:
    trainer = problem.trainer
    assert isinstance(trainer, ShardedTrainer)
    seed = read_about(_folder(problem))["seed"]
    return trainer.of(problem.retain_view, seed=seed, shard=shard)


def _ends_with(model: object, members: list[Ledger]) -> bool:
    own = getattr(model, "members", None)
    return (
        isinstance(model, Ensemble)
        and own is not None
        and len(own) == len(members)
        and all(ledger.ends_with(member) for ledger, member in zip(members, own, strict=True))
    )
