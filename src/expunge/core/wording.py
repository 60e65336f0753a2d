"""The claim in plain words, and what it does not say. Pure functions of levels and verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.certificate import OF_SIGNATURES, STANDARD_LIMITS
from expunge.core.level import Level
from expunge.core.verdict import Verdict

_CLAIMS = {
    Level.BITWISE: (
        "The model equals, byte for byte, the one that the recorded training run, or a fit with the same settings and "
        "seed, gives without the requested records."
    ),
    Level.EXACT: (
        "The model is what training anew without the requested records gives: it has the same distribution as any "
        "model that never saw them."
    ),
    Level.CERTIFIED: (
        "The model is within the stated (ε, δ) of a model trained without the requested records, under the stated "
        "assumptions."
    ),
    Level.AUDITED: (
        "The model is not distinguishable from models retrained without the requested records by the tests listed; "
        "this is not a proof."
    ),
    Level.SUPPRESSED: "The model is unchanged; filters stand around it. Nothing was erased from it.",
}
_FROM_A_BASE = {
    Level.EXACT: (
        "The model is what training anew from the same base without the requested records gives: it has the same "
        "distribution as any model that was trained so and never saw them."
    ),
}
"""The same, where the training starts from what was trained before."""
KNOWN = "What the training started from knows the forgotten answers already"
_SO_KNOWN = (
    KNOWN + ": {found}. So does every model that is retrained from it, and this one may: the claim is about what was "
    "learnt from the records beside that."
)
_UNCOMPARED = {
    "canaries": "records that were planted to be deleted with the requested ones are gone",
    "shard_members": "the members of the ensemble that held the requested records know them no better than those that "
    "never saw them",
}
"""What an audited claim says where there were no references, by the check that it rests on."""
_RESTS_ON = {
    "canaries": (
        "The verdict rests on planted records (canaries): on the requested ones it bears only as far as these were "
        "treated like the canaries.",
        "Whoever knew which records were planted could have treated them otherwise.",
    ),
    "shard_members": (
        "The verdict rests on the members of the ensemble: it sees what the one that held a record knows of it beyond "
        "the others, and nothing that all of them learnt alike, from copies, say.",
        "It holds as far as whoever asked did not know which member held what.",
    ),
}
"""What bounds such a claim."""
_RESTS_ON_LITTLE = (
    "No check of this policy compares with what chance dealt out before training (canaries, shards): the others that "
    "need no retrained model see little, and their yardstick is an assumption."
)
"""The same, where a policy of one's own has neither."""
FILTERED = (
    "Whoever has the model without its filters has all that the model knows.",
    "What is asked and answered in other words, or another spelling, passes them.",
)
"""What bounds the claim of a filter: it rests on no audit, and on no training."""
_OF_TEXTS = {
    "Confidence in the forgotten labels": "Confidence in the forgotten tokens",
    "memory that does not change which class is most likely": "memory that does not change which token is most likely",
    "share of forgotten records answered as labelled": "share of the tokens of forgotten records that are said",
    "loss of the label as trained (nats)": "loss of the tokens as trained (nats)",
}
"""What a check says of labels, in the words of a language model, which has none."""
_NO_CLAIM = {
    Verdict.NOT_ERASED: "The model can be told from models that never saw the requested records. Nothing is claimed.",
    Verdict.INCONCLUSIVE: "The audit could not settle whether the requested records are gone. Nothing is claimed.",
    Verdict.ERASED: "Nothing is claimed.",
    None: "No model was judged. Nothing is claimed.",
}


def statement(
    claim: Level | None,
    verdict: Verdict | None,
    *,
    references: int,
    rests_on: Sequence[str] = ("canaries",),
    based: bool = False,
    known: str = "",
) -> str:
    """Return what is claimed, in one or two sentences; ``verdict`` is None where no model was judged.

    ``rests_on`` names the checks that an audit without references rested on. ``based``: the training starts from what
    was trained before; ``known`` says how much of the forgotten answers that gives, where it is more than of others.
    """
    said = _statement(claim, verdict, references=references, rests_on=rests_on, based=based)
    about_records = claim not in (None, Level.SUPPRESSED)
    return f"{said} {_SO_KNOWN.format(found=known)}" if known and about_records else said


def _statement(
    claim: Level | None, verdict: Verdict | None, *, references: int, rests_on: Sequence[str], based: bool
) -> str:
    if claim is Level.AUDITED and not references:
        shown = ", ".join(_UNCOMPARED[name] for name in rests_on) or "no trace of the requested records was found"
        return (
            f"By the tests listed, {shown}, and the model is as good as before. It was not compared with retrained "
            "models; this is not a proof."
        )
    if claim is None:
        return _NO_CLAIM[verdict]
    return _FROM_A_BASE.get(claim, _CLAIMS[claim]) if based else _CLAIMS[claim]


def limits(
    claim: Level | None,
    verdict: Verdict | None,
    *,
    attempts: int,
    references: int,
    rests_on: Sequence[str] = ("canaries",),
    signed: bool = True,
) -> tuple[str, ...]:
    """Return what the claim does not say, one sentence each; of a certificate only where there is one, ``signed``."""
    if claim is Level.SUPPRESSED:
        return FILTERED
    lines = []
    if claim is Level.AUDITED:
        lines.append("Another test, or the same tests with more records and references, could still find a trace.")
    if claim is not None and claim.stands_alone and verdict is not None:
        lines.append(f"The claim rests on how the model was made; the audit alone says: {verdict.value}.")
    if references:
        lines.append(
            f"Closeness is measured against {references} retrained models, within margins that were fixed before; "
            "a difference inside a margin counts as none."
        )
    elif claim is Level.AUDITED:
        lines += [
            "Nothing was compared with models retrained without the requested records.",
            *([line for name in rests_on for line in _RESTS_ON[name]] or [_RESTS_ON_LITTLE]),
        ]
    if attempts > 1:
        lines.append(
            f"{attempts} attempts were judged in this run, each at half the error rate of the one before, or less."
        )
    if claim is None:
        return tuple(lines)
    return (*lines, *(line for line in STANDARD_LIMITS if signed or line != OF_SIGNATURES))


def unasked(titles: Sequence[str]) -> str:
    """Return what stands among what is not covered where checks do not apply to a regressor."""
    return f"what these checks would see, which do not apply to this regressor: {'; '.join(titles)}"


def of_task(text: str, task: str) -> str:
    """Return what a check says of itself, in the words of this task."""
    return _OF_TEXTS.get(text, text) if task == "causal_lm" else text


def given(count: int, references: int) -> str:
    """Return what stands beside any verdict for which ``count`` of the ``references`` were made elsewhere."""
    many = "All" if count == references else f"{count} of the"
    return (
        f"{many} {references} retrained models were made elsewhere. That they were trained as their manifests say, "
        "without the requested records and each by itself, is the word of whoever gave them: it cannot be seen from "
        "here."
    )


BLIND = (
    "The audit could not tell the original itself from the retrained models: either the records left no trace that "
    "these checks see, or too few records and retrained models were judged to see it, or the trainer brings the "
    "original's memory along (by starting from its weights, say)."
)
"""What must stand beside any claim where the control failed."""
BLIND_ALONE = {
    "canaries": "The audit found no trace of the canaries in the original itself: too few were planted, or training "
    "did not memorise them, so that their absence from another model shows nothing.",
    "shard_members": "The audit could not tell, in the original itself, the member that held a record from those that "
    "never saw it: the records left no trace that this shows.",
}
"""The same, where there were no references, by what the audit rested on."""
NOT_COVERED = (
    "the original model in its owner's hands, and every copy, backup or export of it",
    "models derived from the original earlier (fine-tuned, distilled, quantised, merged)",
    "the training data themselves, and their copies, caches and indexes outside this run",
    "records of the same person or content that the request does not name",
)
"""What no run of expunge can reach."""
BASE = (
    "what the model that the training started from{base} had seen before: retrained models start from it as well, and "
    "it is taken as it is"
)
"""What stands there where models are trained from a base."""
APART = (
    "The model is these adapters on the base whose weights have the digest {base}, which does not ship with them and "
    "stays as it was: all that was learnt from the requested records is taken to be in the adapters. On another base "
    "nothing is claimed."
)
"""A limit of what is claimed of adapters that are kept apart from their base."""
CARRIED = (
    "what ships beside the weights as it came (tokenizer, chat template, settings): words of forgotten texts may be in "
    "a vocabulary"
)
"""What stands there where files are carried over."""
CUT = (
    "what was cut off: of {cut} of the {count} forgotten records the model reads only the beginning; the rest was not "
    "forgotten, and nothing was asked about it"
)
"""What stands there where forgotten records are longer than the model reads."""
COPIES = (
    "copies: retained records repeat forgotten ones, or nearly (private/copies.csv in the run directory says which); "
    "what they teach stays in the model, as in every retrained one"
)
"""What stands there where forgotten records stand among the retained ones under other ids, too."""
ANNEX = (
    "the private annex of the run (private/annex.csv): how each judged record fares on the models, under ids that only "
    "the holder of the run directory can match to records; kept so that records that stand out can be found, and to be "
    "deleted when nobody needs that any more"
)
"""What stands beside the rest that is not covered where the audit wrote per-record rows."""
