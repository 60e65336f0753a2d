"""Toy kinds of everything: words for records, a model that is a word, and a task that reads."""

from expunge.core.digest import sha256
from expunge.core.errors import Obstacle
from expunge.core.model import ModelSource
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.task import Task


class Words(Records):
    def __init__(self, words, *, prefix="t", subjects=None):
        self.symbols = list(words)
        self.ids = tuple(f"{prefix}{i}" for i in range(len(self.symbols)))
        self.subjects = tuple(subjects or [None] * len(self.symbols))

    def __getitem__(self, index):
        return self.symbols[index]

    def read(self, indices):
        return [self.symbols[i] for i in indices]

    def content(self, index):
        return sha256(self.symbols[index].encode())


class Source(ModelSource):
    def __init__(self, *, wrong=()):
        self.wrong = list(wrong)

    @classmethod
    def adopt(cls, thing):
        return thing

    def open(self):
        return "model"

    def digest(self, model=None):
        return "11" * 32

    def save(self, model, folder): ...

    def reopen(self, folder):
        return "model"

    def examine(self):
        return self.wrong


class Reading(Task):
    title = "Reading"

    def units(self, model, batch):
        return batch

    def inputs(self, batch):
        return batch

    def examine(self, model, records, *, where):
        return [Obstacle(what="empty word", where=where)] if "" in list(records) else []

    def trial(self, seed):
        return "model", Words(["a", "b"])


def train(records, *, seed):
    return "model"


def make(**changes):
    given = {
        "model": Source(),
        "train": Words("abcdef", subjects=["anna", "ben", None, "anna", None, "ben"]),
        "forget": ["t1"],
        "task": "reading",
        "holdout": Words("uvwxyz", prefix="h"),
        "trainer": train,
    }
    return Problem(**{**given, **changes})


def told(**changes):
    return [obstacle.what for obstacle in make(**changes).validate()]


def varied(**variants):
    """Return a problem on words with variants of them: ``name=(words, ids)``."""
    made = {}
    for name, (words, ids) in variants.items():
        made[name] = Words(words)
        made[name].ids = tuple(ids)
    return make(variants=made)
