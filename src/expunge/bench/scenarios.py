"""Scenarios: what must be forgotten, and what was done to the training data before. A function of (data, seed).

Sources: class and random sets: Fan et al. 2024 (SalUn), arXiv 2310.12508; memorised thirds: Zhao et al. 2024,
arXiv 2406.01257, with the definition of memorisation of Feldman 2020 estimated from two models; highest and lowest
loss: arXiv 2505.08576; wrong labels and the 3x3 patch: Goel et al. 2024, arXiv 2402.14015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.bench.data import Bed
from expunge.core.digest import keyed_int
from expunge.core.errors import InvalidProblem, Obstacle, UsageError
from expunge.core.records import Records
from expunge.core.trigger import Triggered
from expunge.data import poison
from expunge.data.arrays import ArrayRecords

POISONED = 0.1
"""Share of the training records that a scenario labels wrongly or marks with the patch."""
FEWEST = 10
"""Records below which a subject or a subclass is too small to be judged."""
UNLIKE = str(Path(__file__).with_name("unlike.toml"))
"""The policy for records such as retrained models never saw the like of."""
REQUESTS = 10
"""Requests in a row, of one record in a hundred each."""


class Scores(Protocol):
    """Numbers per training record, [n], that cost trainings: made when a scenario first asks for them."""

    def memorised(self) -> NDArray[np.float64]:
        """Return how much surer of a record's label a model is that was trained on it."""

    def loss(self) -> NDArray[np.float64]:
        """Return the loss of a model that was trained on all records."""

    def alike(self, train: Records, forget: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of these training records `expunge.find` takes for more of what must be forgotten."""


@dataclass(frozen=True)
class Draw:
    """One scenario on one bed.

    Attributes:
        train: the training records as the original sees them.
        requests: ids to forget, request by request; nearly always one request.
        corrections: true label by id of each record in the requests that was mislabelled.
        triggered: held-out records with the trigger of the backdoor on them.
        also: those to forget that were found to be like the ones that are known.
    """

    train: Records
    requests: tuple[tuple[str, ...], ...]
    corrections: Mapping[str, int] = field(default_factory=dict)
    triggered: Triggered | None = None
    also: tuple[str, ...] = ()

    @property
    def forget(self) -> tuple[str, ...]:
        """All ids to forget, whichever request names them."""
        return tuple(name for request in self.requests for name in request)


@dataclass(frozen=True)
class Scenario:
    """What it is called for people, how it is drawn, and the policy that judges it where none is asked for."""

    title: str
    draw: Callable[[Bed, Scores, np.random.Generator], Draw]
    policy: str = "standard"


def draw(name: str, bed: Bed, scores: Scores, seed: int) -> Draw:
    """Return a scenario by name, drawn with ``seed``; the same arguments give the same records.

    Raises:
        InvalidProblem: the data do not carry it (no subjects, say).
    """
    # Of the same records as the half, so that they can be compared.
    drawn_as = name.replace("_found", "_half").replace("_tenth", "_half")
    generator = np.random.default_rng(keyed_int(b"expunge scenario", drawn_as, seed))
    return SCENARIOS[name].draw(bed, scores, generator)


def _labels(bed: Bed) -> NDArray[np.int64]:
    """Return the label of every training record, [n]."""
    labels = np.asarray(bed.train.read(range(len(bed.train)))[1])
    if labels.dtype.kind not in "iu":
        raise _unfit(bed, "classes", "labels that are no class numbers")
    return labels.astype(np.int64)


def _only(bed: Bed, chosen: Sequence[int] | NDArray[np.int64]) -> Draw:
    """Return the draw that forgets the records at these places, in one request."""
    return Draw(bed.train, (tuple(bed.train.ids[i] for i in sorted(map(int, chosen))),))


def _random(bed: Bed, scores: Scores, generator: np.random.Generator, *, share: float) -> Draw:
    count = len(bed.train)
    return _only(bed, generator.permutation(count)[: max(1, round(share * count))])


def _class(bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    labels = _labels(bed)
    return _only(bed, np.flatnonzero(labels == generator.choice(np.unique(labels))))


def _subclass(bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    """Forget the smallest of three clusters of inputs (k-means) that one class falls into."""
    from sklearn.cluster import KMeans

    labels = _labels(bed)
    places = np.flatnonzero(labels == generator.choice(np.unique(labels)))
    rows = torch.as_tensor(bed.train.read(places.tolist())[0]).flatten(1).double().numpy()
    seed = int(generator.integers(2**31))
    found = KMeans(3, n_init=5, random_state=seed).fit_predict(rows) if len(places) >= 3 else np.zeros(len(places))
    sizes = [int((found == k).sum()) for k in range(3)]
    enough = [k for k in range(3) if sizes[k] >= FEWEST]
    if len(enough) < 2:
        raise _unfit(bed, f"two subclasses of {FEWEST} records or more in a class", f"clusters of {sizes}")
    return _only(bed, places[found == min(enough, key=lambda k: sizes[k])])


def _subject(bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    subjects = np.array([name or "" for name in bed.train.subjects])
    names, counts = np.unique(subjects[subjects != ""], return_counts=True)
    names = names[(counts >= FEWEST) & (counts < len(subjects))]
    if not len(names):
        raise _unfit(bed, f"a subject with {FEWEST} records or more", "none")
    return _only(bed, np.flatnonzero(subjects == generator.choice(names)))


def _ranked(bed: Bed, scores: Scores, generator: np.random.Generator, *, by: str, top: bool, share: float) -> Draw:
    values = getattr(scores, by)()
    order = np.argsort(-values if top else values, kind="stable")
    return _only(bed, order[: max(1, round(share * len(values)))])


def _wrong_labels(bed: Bed, scores: Scores, generator: np.random.Generator, *, known: float) -> Draw:
    """Deal the labels of a tenth of the records out among them; a share of these is known and must be forgotten."""
    count = max(2, round(POISONED * len(_labels(bed))))
    try:
        found = poison.swap_labels(bed.train, count=count, seed=int(generator.integers(2**31)))
    except UsageError as error:  # more than half of those drawn are of one class
        raise _unfit(bed, error.obstacles[0].expected, error.obstacles[0].found) from error
    return _poisoned(found, known)


def _widened(name: str, bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    """Draw another scenario, and forget what is found to be like its records as well."""
    drawn = SCENARIOS[name].draw(bed, scores, generator)
    found = scores.alike(drawn.train, drawn.forget)
    return replace(drawn, requests=((*drawn.forget, *found),), also=found)


def _backdoor(bed: Bed, scores: Scores, generator: np.random.Generator, *, known: float) -> Draw:
    """Put a patch on a tenth of the records and label them as the lowest class; a share of these is known."""
    labels, (inputs, _) = _labels(bed), bed.train.read(range(len(bed.train)))
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 4 or min(inputs.shape[2:]) <= 3:
        raise _unfit(bed, "images of more than 3x3 pixels", "other inputs")
    target, count = int(labels.min()), max(1, round(POISONED * len(labels)))
    patch = poison.Patch(value=float(inputs.max()))
    seed = int(generator.integers(2**31))
    try:
        found = poison.backdoor(bed.train, target=target, count=count, seed=seed, patch=patch)
    except UsageError as error:  # too few records of other classes
        raise _unfit(bed, error.obstacles[0].expected, error.obstacles[0].found) from error
    trigger = found.triggered(bed.holdout)
    return _poisoned(found, known, Triggered(records=_held(trigger.records), target=target))


def _poisoned(found: poison.Poisoned, known: float, triggered: Triggered | None = None) -> Draw:
    """Return the draw in which the first ``known`` share of what was manipulated must be forgotten."""
    request = found.discovered(known)
    return Draw(_held(found.train), (request.ids,), request.corrections, triggered)


def _held(records: Records) -> ArrayRecords:
    """Return records as arrays: what is read many times is manipulated once."""
    x, y = records.read(range(len(records)))
    return ArrayRecords(x, y, ids=records.ids, subjects=records.subjects)


def _drift(bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    count = len(bed.train)
    size = max(1, round(count / 100))
    order = generator.permutation(count)
    parts = [sorted(map(int, order[size * k : size * (k + 1)])) for k in range(REQUESTS)]
    return Draw(bed.train, tuple(tuple(bed.train.ids[i] for i in part) for part in parts))


def _given(bed: Bed, scores: Scores, generator: np.random.Generator) -> Draw:
    if bed.given is None or not bed.given.forget_ids:
        raise _unfit(bed, "a Problem of the user's that names what must be forgotten", bed.name)
    marked, trigger = bed.given.triggered_records, bed.given.triggered
    if marked is not None and trigger is not None:
        others = [name for place, name in enumerate(marked.ids) if int(marked[place][1]) != trigger.target]
        trigger = replace(trigger, records=marked.select(others))
    return Draw(bed.train, (bed.given.forget_ids,), bed.given.request.corrections, trigger)


def _unfit(bed: Bed, expected: str, found: str) -> InvalidProblem:
    return InvalidProblem(
        [
            Obstacle(
                what="the data do not carry this scenario",
                where=bed.name,
                found=found,
                expected=expected,
                fix="leave the scenario out, or bring other data",
            )
        ]
    )


SCENARIOS: dict[str, Scenario] = {
    "random_1": Scenario("1% of the records, drawn at random", partial(_random, share=0.01)),
    "random_10": Scenario("10% of the records, drawn at random", partial(_random, share=0.10)),
    "random_50": Scenario("Half of the records, drawn at random", partial(_random, share=0.50)),
    "class": Scenario("All records of one class", _class, UNLIKE),
    "subclass": Scenario("One of three clusters of a class", _subclass),
    "subject": Scenario("All records of one person", _subject),
    "memorised": Scenario("The third that is memorised most", partial(_ranked, by="memorised", top=True, share=1 / 3)),
    "unmemorised": Scenario(
        "The third that is memorised least", partial(_ranked, by="memorised", top=False, share=1 / 3)
    ),
    "highest_loss": Scenario("The tenth with the highest loss", partial(_ranked, by="loss", top=True, share=0.1)),
    "lowest_loss": Scenario("The tenth with the lowest loss", partial(_ranked, by="loss", top=False, share=0.1)),
    "wrong_labels": Scenario("A tenth with wrong labels, all of them known", partial(_wrong_labels, known=1.0)),
    "wrong_labels_half": Scenario("A tenth with wrong labels, half of them known", partial(_wrong_labels, known=0.5)),
    "wrong_labels_tenth": Scenario(
        "A tenth with wrong labels, a tenth of them known", partial(_wrong_labels, known=0.1)
    ),
    "backdoor": Scenario("A tenth with a 3x3 patch, all of them known", partial(_backdoor, known=1.0), UNLIKE),
    "backdoor_half": Scenario("A tenth with a 3x3 patch, half of them known", partial(_backdoor, known=0.5)),
    "backdoor_tenth": Scenario("A tenth with a 3x3 patch, a tenth of them known", partial(_backdoor, known=0.1)),
    "wrong_labels_found": Scenario(
        "A tenth with wrong labels, half of them known, the others looked for", partial(_widened, "wrong_labels_half")
    ),
    "backdoor_found": Scenario(
        "A tenth with a 3x3 patch, half of them known, the others looked for",
        partial(_widened, "backdoor_half"),
        UNLIKE,
    ),
    "drift": Scenario("Ten requests in a row, of 1% each", _drift),
    "given": Scenario("What the Problem of the user's names", _given),
}
