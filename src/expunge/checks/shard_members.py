"""In a sharded ensemble: is the member that held a record surer of it than the members that never saw it?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question, Yardstick
from expunge.engine.evidence import Evidence
from expunge.engine.members import FEWEST_UNITS
from expunge.numerics import dealt
from expunge.numerics.equivalence import clustered_error


class ShardMembers(Check):
    """Mean place of the member that held a forgotten record among all members, by the confidence of the label.

    1 where it is the surest of all, 0 where it is the least sure. The yardstick is 0.5, whatever the members: a keyed
    hash dealt the subjects out, and of members none of which saw a record that deal is independent. So the members are
    retrained models that cost nothing. The error is the larger one of that of the deal, which is known exactly from the
    answers, and that of the places as they are, those of one subject counted together.
    """

    title = "The shard that held the records beside the others"
    source = "members of SISA, Bourtoule et al. 2021, arXiv 1912.03817, as out-models; randomisation test, Fisher 1935"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.SHARDS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = (
        "what all members learnt alike, e.g. from copies of the records in every shard, and single records that leak "
        "while the others do not"
    )

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean place against one half."""
        because = evidence.lacks("forget") or evidence.lacks_array(
            "members", "the original or the model under audit is no ensemble of the members that the ledgers are of"
        )
        because = because or ("" if evidence.held is not None else "nothing says which member held which record")
        if because or evidence.held is None:
            return NotMeasured(check=self.name, because=because)
        told = evidence.held.holders >= 0
        units = evidence.units("forget", told)
        count = len(set(units.tolist()))
        said = {model: evidence.by_member(model)[:, told] for model in (evidence.candidate, evidence.original)}
        if any(len(rows) != evidence.held.members for rows in said.values()):
            because = f"the model has another number of members than the {evidence.held.members} of the ledgers"
        elif count < FEWEST_UNITS:
            because = f"{count} forgotten subjects or single records were dealt out, {FEWEST_UNITS} or more are needed"
        if because:
            return NotMeasured(check=self.name, because=because)
        holders = evidence.held.holders[told]
        places = {model: dealt.places(rows) for model, rows in said.items()}
        own = dealt.holders_places(places[evidence.candidate], holders)
        chance = dealt.chance(places[evidence.candidate], units)
        return evidence.against(
            self,
            {model: float(np.mean(dealt.holders_places(rows, holders))) for model, rows in places.items()},
            Yardstick(value=0.5, error=chance, what="chance", retrained=True),
            n=int(told.sum()),
            error=max(chance, clustered_error(own, units)),
            details={
                "members": f"{evidence.held.members}, of which each forgotten record was in one",
                "the member that held it is the surest": f"{(own == 1.0).mean():.1%} "
                f"(by chance {1 / evidence.held.members:.1%})",
                "records that tell nothing": f"{int((~told).sum())}: others of their subject stay, or no ledger has "
                "them",
            },
        )
