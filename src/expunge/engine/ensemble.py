"""Networks in shards: an ensemble of recorded members, of which a deletion replays only those that met the record.

Source: SISA, Bourtoule et al., "Machine Unlearning", IEEE S&P 2021 (arXiv 1912.03817): shards and slices. A slice here
is a part of the records that enters later in the member's one recorded run, so that replay needs no second mechanism.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

from expunge.core import registry
from expunge.core.errors import Tampered, UsageError
from expunge.core.records import Records
from expunge.core.storage import storing, write_file
from expunge.engine.ledger import Ledger, settle
from expunge.engine.recorded import Recorded, Standard, train
from expunge.engine.shards import Shards, whose
from expunge.numerics.losses import entropy_of

FILE = "shards.json"
VOTES = ("even", "sure")
SUREST = 1e-3
"""Entropy, in nats, below which an answer counts as no surer: one that is certain would leave no other a vote."""


class Ensemble(nn.Module):
    """Models that vote by the weighted mean of their probabilities, or regressors by that of their numbers.

    A weight of 0 has no vote. Shapes: any input of the members; logits [B, C] or [B, T, V] are the logarithm of that
    mean, numbers are [B] or [B, 1] as those of the members. Frozen parameters in which members are equal are held once:
    members that are adapters on one base are no more than that.

    Args:
        members: the models.
        weights: one for each, with the sum 1.
        vote: ``even``: each weighs the same for every answer; ``sure``: for each answer (of a text each token) its
            weight is divided by the entropy of what it says, so that one that knows outvotes those that guess. Classes
            and tokens only. A number among the buffers says which, so that it is part of the model's digest.
    """

    weights: Tensor

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float], *, vote: str = "even") -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        _hold_once(members)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))
        if _known(vote) == "sure":
            self.register_buffer("by_sureness", torch.ones(()))

    @property
    def vote(self) -> str:
        """How members weigh: ``even`` or ``sure``."""
        return "sure" if "by_sureness" in self._buffers else "even"

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the logarithm of the weighted mean of the members' probabilities, or the mean of their numbers.

        Raises:
            UsageError: members answer with numbers and are to be weighed by how sure they are.
        """
        voting = [
            (member, weight) for member, weight in zip(self.members, self.weights.tolist(), strict=True) if weight
        ]
        voted: Tensor | None = None
        every: Tensor | None = None
        for member, weight in voting:  # one after the other: what a language model says is large
            answer = member(*inputs, **named)
            said: Tensor = getattr(answer, "logits", answer)
            if said.dim() == 1 or said.shape[-1] == 1:
                if self.vote == "sure":
                    raise _numbers()
                voted = said * weight if voted is None else voted + said * weight
                continue
            kind = said.dtype
            if self.vote == "sure":
                said = _log_probs(said.float())  # of half precision the trust would be off by more
                trust = math.log(weight) - entropy_of(said)[..., None].clamp_min(SUREST).log()
                every = trust if every is None else torch.logaddexp(every, trust)
                said = said + trust
            else:
                said = _log_probs(said) + math.log(weight)
            voted = said if voted is None else torch.logaddexp(voted, said)
        assert voted is not None
        return voted if every is None else (voted - every).to(kind)


@dataclass(frozen=True, kw_only=True)
class ShardedTrainer:
    """A trainer (``trainer(records, *, seed) -> Ensemble``) whose members each see one shard of the records.

    Attributes:
        member: how each member is trained.
        shards: how many members there are.
        slices: slice j of a shard enters after ``j / slices`` of the epochs: its records cost a shorter replay.
        n_jobs: members trained at the same time, each with its own threads (joblib); changes no bit.
        vote: how members weigh (:class:`Ensemble`).
        by_layer: slice j, with those before it, trains the adapters of one part of the layers, those nearest the output
            first, and nothing later moves them (S3T, Chowdhury et al. 2024, arXiv 2406.16257): what met a record can
            then be switched off at once (:meth:`switched_off`). For members with adapters; a ledger of them is not
            continued by more epochs.
    """

    member: Recorded
    shards: int
    slices: int = 1
    n_jobs: int = 1
    by_layer: bool = False
    vote: str = "even"

    def __post_init__(self) -> None:
        """Refuse an ensemble of nothing, two rules for who enters when, and parts of layers that nothing trains."""
        Shards(0, self.shards, self.slices)
        if _known(self.vote) == "sure" and getattr(self.member.loop, "task", "") == "regression":
            raise _numbers()
        loop = self.member.loop
        adapted = isinstance(loop, Standard) and loop.lora > 0
        if self.by_layer and not (adapted and self.slices > 1 and self.member.epochs % self.slices == 0):
            raise UsageError(
                "slices cannot be trained layer by layer",
                where="by_layer",
                found=f"{self.slices} slices in {self.member.epochs} epochs, {'with' if adapted else 'without'} lora",
                expected="expunge.recorded(..., lora=...), two slices or more, and as many epochs for each",
                fix="set lora, and epochs to a multiple of slices; or leave by_layer out",
            )
        if self.slices > 1 and self.member.enters is not None:
            raise UsageError(
                "slices and `enters` both say when records enter",
                where="slices",
                found=f"{self.slices} slices, and a function",
                expected="one of them",
                fix="take slices=1, or a member without enters=",
            )

    @property
    def passes(self) -> float:
        """How many times a record is read, on average: late slices are read less often."""
        return self.member.epochs * (self.slices + 1) / (2 * self.slices)

    def describe(self) -> str:
        """Return a text that is equal for equal trainers."""
        how = " by layer" if self.by_layer else ""
        vote = ", a vote by sureness" if self.vote == "sure" else ""
        return f"{self.shards} shards in {self.slices} slices{how}{vote}, each by {self.member.describe()}"

    def __call__(self, records: Records, *, seed: int) -> Ensemble:
        """Return a new ensemble trained on ``records``: a function of seed and set of records."""
        parts = [(self.of(records, seed=seed, shard=s), part) for s, part in enumerate(self.parts(records, seed=seed))]
        seeds = [self.shards_of(seed).member_seed(shard) for shard in range(self.shards)]
        # In this process: the records count who reads them.
        members = [trainer(part, seed=one) for (trainer, part), one in zip(parts, seeds, strict=True)]
        return Ensemble(members, voting([len(part) for _, part in parts]), vote=self.vote)

    def record(self, records: Any, *, seed: int, ledger: str | Path) -> Ensemble:
        """Train all members and write a ledger of each below ``ledger``; killed, the same call goes on.

        Raises:
            UsageError: the folder holds the ledgers of another ensemble.
            ForeignRun: a ledger in it is another run's.
        """
        return _record(self, records, seed, Path(ledger))

    def shards_of(self, seed: int) -> Shards:
        """Return the assignment of a training with this seed."""
        return Shards(seed, self.shards, self.slices)

    def parts(self, records: Records, *, seed: int) -> list[Records]:
        """Return the records of every shard: all records of a subject lie in one."""
        assigned = self.shards_of(seed).assigned(whose(records.ids, records.subjects))
        return [records.select([records.ids[i] for i in part]) for part in assigned]

    def of(self, records: Records, *, seed: int, shard: int) -> Recorded:
        """Return the trainer of one member, which knows when each record of its shard enters.

        Adapters that it trains stay beside the base, which is one for all members then.
        """
        loop = self.member.loop
        member = self.member
        if isinstance(loop, Standard) and loop.lora > 0:
            member = replace(member, loop=replace(loop, merge=False, stacked=self.slices if self.by_layer else 0))
        if self.slices == 1:
            return member
        shards = self.shards_of(seed)
        names = dict(zip(records.ids, whose(records.ids, records.subjects), strict=True))
        step = self.member.epochs / self.slices
        return replace(member, enters=lambda name: shards.slice(names[name]) * step)

    def switched_off(self, ensemble: Ensemble, records: Records, ids: Sequence[str], *, seed: int) -> Ensemble:
        """Return the ensemble without anything that met these records: at once, since nothing is trained.

        A member that met one has no vote, and its place is taken by another's weights. With :attr:`by_layer` it keeps
        the adapters of the slices before theirs, which never met them: it is what its training without them had come
        to when their slice was to enter, bit for bit. Members weigh by the records that they have learnt from and keep.

        Args:
            ensemble: what this trainer made of ``records`` with ``seed``; not changed.
            records: all that it was trained on.
            ids: of the records to be forgotten.
            seed: of that training; another one is told where it makes shards of other sizes.

        Raises:
            UsageError: ids that are not among the records, an ensemble that is not of these records, nothing is left,
                or values were derived from the records.
        """
        strange = sum(name not in records.position for name in ids)
        if strange or self.member.derive is not None:
            raise UsageError(
                "what met these records cannot be told",
                where="switched_off",
                found=f"{strange} ids that are in no shard" if strange else "values that are derived from all records",
                expected="ids of records that the ensemble was trained on, and members without derive=",
                fix="name others" if strange else "erase them with the method sharded",
            )
        parts = self.parts(records, seed=seed)
        if not _votes(ensemble, voting([len(part) for part in parts])):
            raise UsageError(
                "the ensemble is not what these records make with this seed",
                where="switched_off",
                found="members that vote by other shares of the records",
                expected="the whole ensemble, and the records and the seed of its training",
                fix="give those; what was switched off before, name again together with the new records",
            )
        shards, gone = self.shards_of(seed), set(ids)
        names = dict(zip(records.ids, whose(records.ids, records.subjects), strict=True))
        kept: list[nn.Module | None] = []
        sizes = []
        for shard, part in enumerate(parts):
            met = [shards.slice(names[name]) for name in part.ids if name in gone]
            first = (min(met) if self.by_layer else 0) if met else self.slices
            sizes.append(sum(shards.slice(names[name]) < first for name in part.ids))
            kept.append(self._before(ensemble, shard, first, seed=seed) if sizes[-1] else None)
        whole = next((member for member in kept if member is not None), None)
        if whole is None:
            raise UsageError(
                "nothing is left: every shard met one of these records",
                where="switched_off",
                found=f"{len(gone)} records in {self.shards} shards",
                expected="a shard, or by_layer a slice, that met none",
                fix="erase them with the method sharded, which trains anew what met them",
            )
        members = [whole if member is None else member for member in kept]
        base = {id(p): copy.deepcopy(p) for p in ensemble.parameters() if not p.requires_grad}  # held once: copied once
        copied = [copy.deepcopy(member, dict(base)) for member in members]
        return Ensemble(copied, voting(sizes), vote=ensemble.vote).eval()

    def _before(self, ensemble: Ensemble, shard: int, first: int, *, seed: int) -> nn.Module:
        """Return a member as it was when slice ``first`` was to enter; as it ended, where there is none such."""
        member = ensemble.members[shard]
        if first == self.slices:
            return member
        loop = replace(self.member.loop, merge=False, stacked=self.slices)  # type: ignore[type-var]
        return loop.up_to(member, first, seed=self.shards_of(seed).member_seed(shard))


def _log_probs(logits: Tensor) -> Tensor:
    """Return log probabilities; of what is impossible to all members the mean would have no gradient: it is clamped."""
    return torch.log_softmax(logits, dim=-1).clamp_min(torch.finfo(logits.dtype).min / 4)


def _known(vote: str) -> str:
    if vote not in VOTES:
        raise UsageError(
            "no such vote",
            where="vote",
            found=repr(vote),
            expected=" or ".join(map(repr, VOTES)),
            fix='"sure" where members know different things by heart, else "even"',
        )
    return vote


def _numbers() -> UsageError:
    return UsageError("a number does not say how sure it is", where="vote", fix='take vote="even"')


def _hold_once(members: Sequence[nn.Module]) -> None:
    """Let members share the frozen parameters in which they equal the first."""
    first = {name: p for name, p in members[0].named_parameters(remove_duplicate=False) if not p.requires_grad}
    for member in members[1:]:
        for name, p in [*member.named_parameters(remove_duplicate=False)]:
            base = first.get(name)
            if base is not None and base is not p and not p.requires_grad and _equal(p, base):
                module, _, leaf = name.rpartition(".")
                setattr(member.get_submodule(module), leaf, base)


def _equal(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.device) == (other.dtype, other.device) and torch.equal(one, other)


def _votes(ensemble: Ensemble, weights: Sequence[float]) -> bool:
    own = ensemble.weights.tolist()
    return len(own) == len(weights) and all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(own, weights, strict=True))


def voting(sizes: Sequence[int]) -> list[float]:
    """Return the weight of every member: its share of the records; an empty shard has no vote."""
    total = sum(sizes)
    return [size / total if total else 1 / len(sizes) for size in sizes]


def _record(trainer: ShardedTrainer, records: Any, seed: int, folder: Path) -> Ensemble:
    adopted: Records = registry.adopt("data", records)
    settle(folder)
    about = {"shards": trainer.shards, "slices": trainer.slices, "seed": seed}
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / FILE).exists() and read_about(folder) != about:
        raise UsageError(
            "the folder holds the ledgers of another ensemble",
            where=folder.name,
            found=str({k: v for k, v in read_about(folder).items() if k != "seed"}),
            expected=f"{trainer.shards} shards of {trainer.slices} slices, with this seed",
            fix="choose another folder",
        )
    write_file(folder / FILE, json.dumps(about).encode(), mode=0o600)
    parts = trainer.parts(adopted, seed=seed)
    jobs = [(trainer, adopted, part, seed, shard, folder / f"{shard:03d}") for shard, part in enumerate(parts)]
    members = Parallel(n_jobs=trainer.n_jobs)(delayed(_member)(*job) for job in jobs)
    return Ensemble(members, voting([len(part) for part in parts]), vote=trainer.vote)


def read_about(folder: Path) -> dict[str, int]:
    """Return what the ledgers of an ensemble have in common: shards, slices, seed.

    Raises:
        UsageError: there are none.
        Tampered: the file is damaged.
    """
    settle(folder)
    try:
        found: dict[str, int] = json.loads((folder / FILE).read_text())
    except OSError as error:
        raise UsageError(
            "no ledgers of an ensemble",
            where=folder.name,
            found=f"no {FILE}",
            expected="the folder in which an ensemble was recorded",
            fix="record it: expunge.train(ShardedTrainer(...), ..., ledger=folder)",
        ) from error
    except ValueError as error:
        raise Tampered("the ledgers are broken", where=FILE, found="no JSON", expected="what was written") from error
    return found


def ledgers(folder: Path) -> list[Ledger]:
    """Return the ledger of every member."""
    return [Ledger(folder / f"{shard:03d}") for shard in range(read_about(folder)["shards"])]


def held(members: Sequence[Ledger]) -> Mapping[str, int]:
    """Return the shard of every record."""
    return {entry.id: shard for shard, ledger in enumerate(members) for entry in ledger.entries}


def _member(trainer: ShardedTrainer, records: Records, part: Records, seed: int, shard: int, folder: Path) -> nn.Module:
    one = trainer.shards_of(seed).member_seed(shard)
    return train(trainer.of(records, seed=seed, shard=shard), part, seed=one, ledger=folder)
