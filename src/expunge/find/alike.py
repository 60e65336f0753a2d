"""Retained records that are like those of the request: the rest of a backdoor, more of the same wrong labels.

Who asks for manipulated records to be forgotten rarely knows all of them, and what the others taught stays, in
retrained models too. What the named ones have in common says which others are of their kind: where they lie in what the
last layer is given (in their inputs, where that is not known), and how little their label fits there and to the inputs:
a network that has learnt a wrong label by heart gives its record the features of that class. ``numerics/more_of`` tells
them apart. Retained records of the same labels are searched. Held-out records of these labels, of which none was
manipulated, say how often it is wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.finder import Finder, Found
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import ready
from expunge.engine.relabelling import Labels, labels_of
from expunge.numerics._arrays import Array
from expunge.numerics.more_of import Likely, more_of, surprise

FEWEST = 5
"""Records of the request, and held-out ones of their labels, at the least."""
LIKELY = 0.5
WIDTH = 256
"""Numbers of a record at the most; more are projected."""
SOME, CLEAR, LEVEL = 1.0, 3.0, 0.05
"""What is found counts where the first rule tells the named records from the searched ones by CLEAR standard errors, or
by SOME of them and more of the searched than of the held-out records are taken for such, at this level (Fisher's test).
Of requests that have nothing in common some pass one half of the latter, and hardly any the whole: benchmarks/find.py.
"""


class Alike(Finder):
    """Positive and unlabelled records: a linear rule on features and labels, held-out records as its check."""

    title = "Records like those of the request"
    source = "Elkan and Noto 2008 (KDD); expunge.numerics.more_of"

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return that there is too little to learn from, or nothing to check by."""
        found = []
        if (count := len(_named(problem))) < FEWEST:
            what, fix = "too few records to learn from", "name more of them"
            expected = f"{FEWEST} or more"
            found.append(Obstacle(what=what, where="request", found=str(count), expected=expected, fix=fix))
        if problem.calibration is not None or not len(problem.retain_view):
            what, fix = "there are no retained records to search", "give all training records"
            found.append(Obstacle(what=what, where="train", found="none", expected="records that stay", fix=fix))
        if problem.held_out is None or not len(problem.held_out):
            what, fix = "nothing says how often a search is wrong", "give the problem a holdout"
            expected = "records that the model was never trained on"
            found.append(Obstacle(what=what, where="holdout", found="none", expected=expected, fix=fix))
        return found

    def find(self, problem: Problem) -> Found:
        """Return the retained records that are likelier than not of the same kind."""
        wrong = self.obstacles(problem)
        if wrong:
            raise InvalidProblem(wrong)
        assert problem.held_out is not None
        parts = (problem.records.select(_named(problem)), problem.retain_view, problem.held_out)
        views, labels = _views(problem, parts), [labels_of(problem, part) for part in parts]
        rows, searched = views[0], np.arange(len(parts[1]))
        if labels[0] is not None:
            rows, searched = _of_the_same_labels(views, [each for each in labels if each is not None])
        if min(map(len, rows)) < FEWEST:
            named, retained, held = map(len, rows)
            reason = f"{named} of them, {retained} retained and {held} held-out records share their labels"
            return Found(way=self.name, named=named, searched=retained, reason=reason)
        return self._said(parts[1].ids, searched, more_of(*rows), len(rows[0]))

    def _said(self, ids: tuple[str, ...], searched: Labels, told: Likely, named: int) -> Found:
        places = np.flatnonzero(told.unlabelled >= LIKELY)
        taken, strangers = int((told.strangers >= LIKELY).sum()), len(told.strangers)
        most = float(stats.beta.ppf(0.95, taken + 1, strangers - taken)) if taken < strangers else 1.0
        counted = Found(
            way=self.name, named=named, searched=len(searched), strangers=strangers, taken=taken, at_most=most,
            telling=told.telling,
        )  # fmt: skip
        sure = (told.telling - 0.5) / told.error
        table = [[len(places), len(searched) - len(places)], [taken, strangers - taken]]
        if not len(places) or sure < SOME:
            return replace(counted, reason="nothing tells the ones from the others")
        more = stats.fisher_exact(table, alternative="greater").pvalue <= LEVEL
        if counted.by_chance >= len(places) or not (more or sure >= CLEAR):
            reason = f"{len(places)} seem to be, and {taken} of {strangers} held-out records, which cannot be"
            return replace(counted, reason=reason)
        ranked = places[np.argsort(-told.unlabelled[places], kind="stable")]
        return replace(
            counted,
            ids=tuple(ids[searched[place]] for place in ranked),
            likely=tuple(round(float(told.unlabelled[place]), 4) for place in ranked),
        )


def _named(problem: Problem) -> list[str]:
    """Return what the request names; canaries that go with it have nothing in common with it."""
    return [name for name in problem.forget_ids if name not in problem.planted_ids]


def _of_the_same_labels(views: list[list[Array]], labels: list[Labels]) -> tuple[list[Array], Labels]:
    """Return the rows of records that have a label of a named one, how well it fits beside, and which retained ones.

    Of each label the mean is taken away: else a rule learns which labels are named more often than others, and takes
    the mix of the held-out ones for a difference of kind. Labels that are not held out cannot be checked.
    """
    known = np.concatenate(labels[:2])
    wide = [[part] for part in views[0]]
    for named, retained, held in views if len(np.unique(known)) > 1 else ():
        mine, theirs = surprise(np.concatenate([named, retained]), known, held, labels[2])
        for part, fits in zip(wide, (mine[: len(named)], mine[len(named) :], theirs), strict=True):
            part.append(fits)
    shared = np.intersect1d(np.intersect1d(labels[0], labels[1]), labels[2])
    same = [np.flatnonzero(np.isin(each, shared)) for each in labels]
    rows = [np.column_stack(part)[chosen] for part, chosen in zip(wide, same, strict=True)]
    own = [each[chosen] for each, chosen in zip(labels, same, strict=True)]
    means = {label: rows[1][own[1] == label].mean(axis=0) for label in shared.tolist()}
    for part, each in zip(rows, own, strict=True):
        for label, mean in means.items():
            part[each == label] -= mean
    return rows, same[1]


def _views(problem: Problem, parts: tuple[Records, ...]) -> list[list[Array]]:
    """Return what the last layer is given of each record, [n, D], where that is known, and its inputs, by part."""
    task, model = problem.meaning, ready(problem.source.open())
    features, inputs = _Thrown(), _Thrown()
    found: list[list[Array]] = [[], []]
    for part in parts:
        said: list[list[Array]] = [[], []]
        for batch in in_order(part):
            row = task.features(model, batch)
            said[1].append(inputs(task.inputs(batch).cpu().numpy()))
            if row is not None:
                said[0].append(features(row.double().cpu().numpy()))
        for view, rows in zip(found, said, strict=True):
            if rows:
                view.append(np.concatenate(rows))
    return [view for view in found if view]


class _Thrown:
    """Rows of more than WIDTH numbers, projected at random to so many, which keeps distances.

    Source: Johnson and Lindenstrauss 1984.
    """

    def __init__(self) -> None:
        self._onto: Array | None = None

    def __call__(self, rows: Array) -> Array:
        """Return rows [n, D], or [n, WIDTH]."""
        if rows.shape[1] <= WIDTH:
            return rows
        if self._onto is None:
            self._onto = np.random.default_rng(0).normal(size=(rows.shape[1], WIDTH)) / WIDTH**0.5
        thrown: Array = rows @ self._onto
        return thrown
