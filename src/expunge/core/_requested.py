"""What is wrong with a request: what it names is not there, is named twice, or is not what it seems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from expunge.core._search import links
from expunge.core.errors import Obstacle
from expunge.core.phrases import parts_of, words_of
from expunge.core.records import Records

if TYPE_CHECKING:
    from expunge.core.problem import Problem


def obstacles(problem: Problem, records: Records) -> list[Obstacle]:
    """Return what is wrong with a request on these records, the training records of the problem."""
    found = []
    asked = [*problem.forget, *problem.request.ids, *problem.request.also]
    unknown = [i for i, name in enumerate(asked) if name not in records.position and name not in problem.made_from]
    if unknown:
        places = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        found.append(
            Obstacle(
                what="the request names records that are not in the training data",
                where=f"position {places} of the request",
                found=f"{len(unknown)} of {len(asked)} ids unknown",
                expected="ids of training records",
                fix="correct the ids, or take out those of records that were never trained on",
            )
        )
    double = [name for name, count in Counter(asked).items() if count > 1]
    if double:
        found.append(
            Obstacle(
                what="the request names records twice",
                where=f"first at position {asked.index(double[0])}",
                found=f"{len(double)} ids more than once",
                expected="each id once",
                fix="name each record once",
            )
        )
    blank = [i for i, text in enumerate(problem.request.texts) if not parts_of(text)]
    if blank:
        found.append(
            Obstacle(
                what="the request names a text that says nothing",
                where=f"position {blank[0]} of the texts",
                found=f"{len(blank)} of {len(problem.request.texts)} blank",
                expected="a word or more",
                fix="take it out",
            )
        )
    if problem.request.texts and not problem.search.of_texts:
        found.append(
            Obstacle(
                what="the request names texts, and these records cannot be searched for any",
                where="texts of the request",
                found=f"{type(records).__name__}, whose words are not kept",
                expected="texts, of a language model or a classifier",
                fix="name the records by ids or subjects",
            )
        )
    found += not_found(problem, records) + _named_elsewhere(problem, records)
    found += _associations(problem)
    if problem.calibration is None and len(records) and len(problem.forget_ids) == len(records):
        found.append(
            Obstacle(
                what="the request covers all records",
                where="request",
                found=f"{len(records)} of {len(records)}",
                expected="some records that stay",
                fix="where the other records are gone: calibration= with a few like them; else destroy the model",
            )
        )
    some = problem.retain_view
    if problem.request.corrections and len(some) and problem.meaning.relabelled(some.read([0]), {}) is None:
        found.append(
            Obstacle(
                what="true labels are given where there are no classes",
                where="corrections of the request",
                found=f"task {problem.task}",
                expected="none: they are class numbers, and the check on them reads classes",
                fix="leave them out; the records are forgotten all the same",
            )
        )
    elif strange := [each for each in problem.request.corrections if each not in problem.truth]:
        kinds = ", ".join(sorted({type(problem.request.corrections[each]).__name__ for each in strange}))
        found.append(
            Obstacle(
                what="true labels that are no class of the records",
                where="corrections of the request",
                found=f"{len(strange)} of {len(problem.request.corrections)}, {kinds}",
                expected="of a table labels as its column has them, else numbers of classes",
                fix="write each as the records have it",
            )
        )
    stray = set(problem.request.corrections) - set(problem.forget_ids)
    if stray:
        found.append(
            Obstacle(
                what="true labels are given for records that are not to be forgotten",
                where="corrections of the request",
                found=f"{len(stray)} of {len(problem.request.corrections)}",
                expected="true labels of records that are to be forgotten",
                fix="give them for forgotten records only",
            )
        )
    return found


def not_found(problem: Problem, records: Records) -> list[Obstacle]:
    """Return what the request names, beside ids, and what is not in the records; says what was searched."""
    found = _strange_subjects(problem, records)
    for place, pair in enumerate(problem.request.associations):
        if not links(pair) or problem.search.telling(pair, all):
            continue
        untold = [each for each in pair if not problem.search.named[each]] if problem.search.of_texts else []
        unknown = [each for each in untold if each not in records.subjects]
        more, fix = "", "write the subjects as the records do; to forget all of one, name it among the subjects"
        if unknown:
            more = f"; {len(unknown)} of the two is the subject of none, and named by no text"
        elif untold:
            more = "; no text names one of the two" if len(untold) == 1 else "; no text names either of the two"
            fix = "numbers and codes stand in no text: name the records by ids, or under texts what links the two"
        found.append(
            Obstacle(
                what="the request names an association that no record tells of",
                where=f"position {place} of the associations",
                found=f"none in the {len(records)} records that were searched{more}",
                expected="records of one subject whose text names the other, or texts that name both",
                fix=fix,
            )
        )
    texts = problem.request.texts
    absent = [i for i, held in enumerate(problem.search.texts_held) if not held and parts_of(texts[i])]
    if absent and problem.search.of_texts:
        found.append(
            Obstacle(
                what="the request names texts that no record holds",
                where=f"first at position {absent[0]} of the texts",
                found=f"{len(absent)} of {len(texts)} not found in the {len(records)} texts that were searched",
                expected="what a record says, word for word; case and white space do not matter",
                fix="correct the texts, or shorten them to what records surely hold",
            )
        )
    return found


def _strange_subjects(problem: Problem, records: Records) -> list[Obstacle]:
    """Return that subjects have no records, with what was searched: subjects, and texts where there are any."""
    subjects, known = list(dict.fromkeys(problem.request.subjects)), set(records.subjects) - {None}
    strangers = [subject for subject in subjects if subject not in known]
    if not strangers:
        return []
    labelled = sum(subject is not None for subject in records.subjects)
    naming = len({name for holders in problem.search.holding(strangers) for name in holders})
    searched = f"the subjects of {labelled} records were searched" if known else "no subject could be searched"
    read = f", and {naming or 'none'} of {len(records)} texts name one of them" if problem.search.of_texts else ""
    fix = "correct the subjects" if known else "name the column that says whose a record is (subject, in [data])"
    taken = "; to forget the records whose texts name them, put the names under texts in the request"
    return [
        Obstacle(
            what="the request names subjects that have no records"
            if known
            else "the request names subjects, and no record says whose it is",
            where="subjects of the request",
            found=f"{len(strangers)} of {len(subjects)} subjects not found: {searched}{read}",
            expected="subjects of training records",
            fix=fix + (taken if naming else ""),
        )
    ]


def _named_elsewhere(problem: Problem, records: Records) -> list[Obstacle]:
    """Return that texts that stay name subjects of the request: whether they go as well is for people to say."""
    known = set(records.subjects)
    gone = set(problem.forget_ids)
    asked = [subject for subject in dict.fromkeys(problem.request.subjects) if subject in known]
    naming = {name for holders in problem.search.holding(asked) for name in holders} - gone
    if not naming:
        return []
    nobodys = sum(records.subjects[records.position[name]] is None for name in naming)
    return [
        Obstacle(
            what="texts of retained records name subjects of the request",
            where="training records",
            found=f"{len(naming)} of {len(records) - len(gone)} retained: {nobodys} of no subject, "
            f"{len(naming) - nobodys} of another",
            expected="known to whoever asks: facts of others that name a subject may stay",
            fix="where they must go as well, name these records by ids, or the names under texts in the request",
            fatal=False,
        )
    ]


def _associations(problem: Problem) -> list[Obstacle]:
    """Return associations that are none, or with numbers for names, or of which one side would not stay known."""
    found, known = [], set(problem.associated)
    for place, pair in enumerate(problem.request.associations):
        linked = links(pair)
        numbered = _by_number(problem, pair) if linked else 0
        fix = "write the subjects as the records do; to forget all of one, name it among the subjects"
        if not linked:
            what, expected = "an association is not of two subjects", "two that differ, neither of them blank"
            counted = f"{len(pair)}, {len({each.strip() for each in pair} - {''})} of them different"
        elif numbered:
            what, counted = "numbers in texts are taken for a subject of that number", f"{numbered} records"
            expected = "subjects whose names stand in texts"
            fix = "leave it out, and name the records by ids, or under texts what links the two"
        elif problem.search.telling(pair, all) and (
            lost := sum(not known.intersection(problem.search.telling([each], all)) for each in pair)
        ):
            what, counted = "nothing else is known of a subject that is to stay known", f"{lost} of the two"
            expected = "records that tell of it alone"
        else:
            continue
        where = f"position {place} of the associations"
        found.append(Obstacle(what=what, where=where, found=counted, expected=expected, fix=fix, fatal=not linked))
    return found


def _by_number(problem: Problem, pair: Sequence[str]) -> int:
    """Return how many records tell of both only since a number, which is one of the two, stands in their texts."""
    numbers = {each for each in pair if "".join(words_of(each)).isdecimal()}
    told = problem.search.telling(pair, all) if numbers else []
    subject = dict(zip(problem.records.ids, problem.records.subjects, strict=True))
    return sum(any(each in numbers and subject[name] != each for each in pair) for name in told)
