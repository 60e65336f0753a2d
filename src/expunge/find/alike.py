"""Retained records that are like those of the request: the rest of a backdoor, more of the same wrong labels.

Who asks for manipulated records to be forgotten rarely knows all of them, and what the others taught stays, in
retrained models too. What the named ones have in common says which others are of their kind: where they lie in what the
last layer is given (in their inputs, where that is not known), and how little their label fits there and to the inputs:
a network that has learnt a wrong label by heart gives its record the features of that class.
``numerics/more_of`` tells them apart. Retained records of the same labels
are searched. Held-out records of these labels, of which none was manipulated, say how often it is wrong.
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
"""Numbers of a record's inputs at the most, for how well its label fits them."""
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
        if (count := len(problem.forget_ids)) < FEWEST:
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
        """Return the retained records that are likelier than not of the same kind; reads every record once."""
        wrong = self.obstacles(problem)
        if wrong:
            raise InvalidProblem(wrong)
        assert problem.held_out is not None
        parts = (problem.forget_view, problem.retain_view, problem.held_out)
        views, labels = _views(problem, parts), [labels_of(problem, part) for part in parts]
        rows, searched = views[0], np.arange(len(parts[1]))
        if labels[0] is not None:
            rows, searched = _of_the_same_labels(views, [each for each in labels if each is not None])
        if len(searched) < FEWEST or len(rows[2]) < FEWEST:
            reason = f"{len(searched)} retained and {len(rows[2])} held-out records have a label of theirs"
            return Found(way=self.name, named=len(rows[0]), searched=len(searched), reason=reason)
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


def _of_the_same_labels(views: list[list[Array]], labels: list[Labels]) -> tuple[list[Array], Labels]:
    """Return the rows of records that have a label of a named one, how well it fits beside, and which retained ones."""
    known = np.concatenate(labels[:2])
    wide = [[part] for part in views[0]]
    for named, retained, held in views:
        mine, theirs = surprise(np.concatenate([named, retained]), known, held, labels[2])
        for part, fits in zip(wide, (mine[: len(named)], mine[len(named) :], theirs), strict=True):
            part.append(fits)
    same = [np.flatnonzero(np.isin(each, labels[0])) for each in labels]
    return [np.column_stack(part)[chosen] for part, chosen in zip(wide, same, strict=True)], same[1]


def _views(problem: Problem, parts: tuple[Records, ...]) -> list[list[Array]]:
    """Return what the last layer is given of each record, [n, D], where that is known, and its inputs, by part.

    Inputs of more numbers are projected at random to WIDTH, which keeps distances (Johnson and Lindenstrauss 1984).
    """
    task, model = problem.meaning, ready(problem.source.open())
    found: list[list[list[Array]]] = [[[] for _ in parts] for _ in range(2)]
    thrown: Array | None = None
    for place, part in enumerate(parts):
        for batch in in_order(part):
            row, inputs = task.features(model, batch), task.inputs(batch).cpu().numpy()
            if thrown is None and inputs.shape[1] > WIDTH:
                thrown = np.random.default_rng(0).normal(size=(inputs.shape[1], WIDTH)) / WIDTH**0.5
            found[1][place].append(inputs if thrown is None else inputs @ thrown)
            if row is not None:
                found[0][place].append(row.double().cpu().numpy())
    return [[np.concatenate(rows) for rows in view] for view in found if all(view)]
