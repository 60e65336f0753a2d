"""What is wrong with what is given beside a request: holdout, stand-ins, canaries, groups, a trigger, variants.

None of it may be what must be forgotten, nor, where it should not have been, what was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.variants import VARIANTS, variant_of

if TYPE_CHECKING:
    from expunge.core.problem import Problem


def obstacles(problem: Problem, records: Records, holdout: Records | None) -> list[Obstacle]:
    """Return what is wrong beside the training ``records``, but for groups and what only a task can read."""
    stand_ins = _calibration(problem, records) if problem.calibration is not None else []
    given = _copies(problem, records) + _overlap(records, holdout) + _strays(problem, records)
    return stand_ins + given + _counterexamples(problem, holdout)


def groups(problem: Problem) -> list[Obstacle]:
    """Return that groups are no names."""
    wrong = [group for group in problem.groups.values() if not isinstance(group, str)]
    if not wrong:
        return []
    found = f"{len(wrong)} of {len(problem.groups)}, {', '.join(sorted({type(group).__name__ for group in wrong}))}"
    fix = "leave records without a group out, and write the others as text"
    what, expected = "groups that are no names", "the name of a group by id"
    return [Obstacle(what=what, where="groups", found=found, expected=expected, fix=fix)]


def _counterexamples(problem: Problem, holdout: Records | None) -> list[Obstacle]:
    """Return that counter-examples are among what must be forgotten, or among what the model is judged by."""
    if problem.more_records is None:
        return []
    contents = {content for _, content in problem.more_records.manifest.entries}
    return [
        Obstacle(
            what=f"counter-examples are {which}",
            where="counterexamples",
            found=f"{count} of {len(problem.more_records)}",
            expected="records that are neither forgotten nor judged by",
            fix="take them out",
        )
        for which, part in (("records that must be forgotten", problem.forget_view), ("holdout records", holdout))
        if part is not None and (count := sum(content in contents for _, content in part.manifest.entries))
    ]


def triggered(problem: Problem, records: Records | None, marked: Records | None) -> list[Obstacle]:
    """Return that nothing could be measured by the triggered records, or that they were trained on."""
    if marked is None or problem.triggered is None or not len(marked):
        return []
    if problem.meaning.relabelled(marked.read([0]), {}) is None:
        what, found, fix = "a trigger leads to a class", f"task {problem.task}, which has none", "leave it out"
        return [Obstacle(what=what, where="triggered", found=found, expected="a classifier", fix=fix)]
    obstacles = []
    known = {content for _, content in records.manifest.entries} if records is not None else set()
    learnt = sum(content in known for _, content in marked.manifest.entries)
    if learnt:
        what, fix = "triggered records were trained on", "put the trigger on held-out records"
        found = f"{learnt} of {len(marked)}"
        obstacles.append(Obstacle(what=what, where="triggered", found=found, expected="none", fix=fix))
    if all(int(marked[i][1]) == problem.triggered.target for i in range(len(marked))):
        what, fix = "no triggered record is of another class than the target", "give them their true labels"
        found, expected = f"{len(marked)} of class {problem.triggered.target}", "most of other classes"
        obstacles.append(Obstacle(what=what, where="triggered", found=found, expected=expected, fix=fix))
    return obstacles


def variants(records: Records | None, holdout: Records | None, given: Mapping[str, Records]) -> list[Obstacle]:
    """Return variants that nobody knows by their name, that are of no record, or that were trained on."""
    found = []
    known = {name for part in (records, holdout) if part is not None for name in part.ids}
    trained = {content for _, content in records.manifest.entries} if records is not None and given else set()
    for name, part in given.items():
        stray = [i for i, own in enumerate(part.ids) if variant_of(own) not in known]
        learnt = [i for i, (_, content) in enumerate(part.manifest.entries) if content in trained]
        if name not in VARIANTS:
            what, expected = "variants have a name that nobody knows", ", ".join(VARIANTS)
            found.append(Obstacle(what=what, where="variants", found=name, expected=expected, fix="rename them"))
        wrong = (
            (stray, "variants are of no record", "ids like RECORD#0, RECORD#1", "name each by its record"),
            (
                learnt,
                "variants were trained on",
                f"none: {VARIANTS.get(name, 'others')}",
                "change them, or leave them out",
            ),
        )
        found += [
            Obstacle(
                what=what,
                where=f"variants, {name}, first at position {places[0]}",
                found=f"{len(places)} of {len(part)}",
                expected=expected,
                fix=fix,
            )
            for places, what, expected, fix in wrong
            if places
        ]
        found += part.examine()
    return found


def _calibration(problem: Problem, records: Records) -> list[Obstacle]:
    wrong = (
        (len(problem.forget_ids) < len(records), "train", "records that stay", "what must be forgotten, alone"),
        (problem.trainer is not None, "trainer", "a trainer", "none: nothing can be retrained on stand-ins"),
        (problem.ledger is not None, "ledger", "a ledger", "none: a replay needs the retained records"),
        (not len(problem.retain_view), "calibration", "no records", "some records of the same kind"),
    )
    said = [
        Obstacle(
            what="calibration records stand for retained ones that are gone",
            where=where,
            found=found,
            expected=expected,
            fix="leave calibration out where the retained records are at hand",
        )
        for is_so, where, found, expected in wrong
        if is_so
    ]
    stands = set(problem.retain_view.ids)
    others = {"forgotten": problem.forget_ids, "held-out": problem.held_out.ids if problem.held_out is not None else ()}
    for name, part in (("forgotten", problem.forget_view), ("held-out", problem.held_out)):
        contents = {content for _, content in part.manifest.entries} if part is not None else set()
        entries = problem.retain_view.manifest.entries
        count = sum(content in contents and own not in others[name] for own, content in entries)
        if count:
            found, expected = (
                f"{count} of {len(stands)}, under other ids",
                "others: methods are shown these as what stays",
            )
            what, fix = f"calibration records are copies of {name} ones", "take them out of the calibration records"
            said.append(Obstacle(what=what, where="calibration", found=found, expected=expected, fix=fix))
    return said + [
        Obstacle(
            what=f"calibration records are {name} ones as well",
            where="calibration",
            found=f"{len(both)} ids of {len(stands)}",
            expected="records of their own, with ids of their own",
            fix="take them out of the calibration records, or give these other ids where they are others",
        )
        for name, ids in others.items()
        if (both := stands.intersection(ids))
    ]


def _copies(problem: Problem, records: Records) -> list[Obstacle]:
    """Return that retained records equal forgotten ones: what they taught stays, and bounds what can be shown."""
    gone = set(problem.forget_ids)
    contents = {content for name, content in records.manifest.entries if name in gone}
    copies = sum(content in contents for name, content in records.manifest.entries if name not in gone)
    if not copies:
        return []
    return [
        Obstacle(
            what="retained records are exact copies of forgotten ones",
            where="training records",
            found=f"{copies} of {len(records) - len(gone)} retained",
            expected="no content that stays under another id",
            fatal=False,
            fix="add their ids to the request; else what they taught stays, in retrained models too, and no audit "
            "can show more than that (private/copies.csv in the run directory lists them)",
        )
    ]


def _strays(problem: Problem, records: Records) -> list[Obstacle]:
    """Return where the training records are not those that the coin of the canaries says."""
    if problem.canaries is None:
        return []
    included, aside = problem.canaries.included, problem.canaries.aside.ids
    lost = sum(name not in records.position for name in included)
    known = sum(name in records.position for name in aside)
    counts = ((lost, len(included), "to be trained on are not"), (known, len(aside), "kept out are"))
    return [
        Obstacle(
            what=f"canaries that were {wrong} among the training records",
            where="canaries",
            found=f"{count} of {of}",
            expected="the training records in which they were planted",
            fix="pass train=planted.train, made from the same records as before training",
        )
        for count, of, wrong in counts
        if count
    ]


def _overlap(records: Records, holdout: Records | None) -> list[Obstacle]:
    if holdout is None:
        return [
            Obstacle(
                what="no holdout records",
                where="holdout",
                found="none",
                expected="records of the same kind that were never trained on",
                fatal=False,
                fix="give a holdout: without it membership and generalisation are not measured",
            )
        ]
    same = set(records.ids) & set(holdout.ids)
    if same:
        return [
            Obstacle(
                what="the holdout overlaps the training data",
                where="holdout",
                found=f"{len(same)} ids in both",
                expected="records that were never trained on",
                fix="take them out of the holdout, or give them ids of their own where they are others (records "
                "without ids are called by their position)",
            )
        ]
    trained = {content for _, content in records.manifest.entries}
    copies = sum(content in trained for _, content in holdout.manifest.entries)
    if not copies:
        return []
    return [
        Obstacle(
            what="holdout records have exact copies in the training data",
            where="holdout",
            found=f"{copies} of {len(holdout)}",
            expected="records that were never trained on",
            fix="take them out, unless equal records are natural here",
            fatal=copies > len(holdout) / 2,
        )
    ]
