import numpy as np
import pytest


def _subsets(bed, *, least, count=25):
    """Sets of ids to forget: none, one of two copies (named twice), all that may go, a whole person, random ones."""
    draw = np.random.default_rng(5)
    ids = bed.ids
    yield []
    yield list(ids[-1:]) * 2
    yield list(ids[least:])
    if hasattr(bed, "subjects"):
        yield [name for name, who in zip(ids, bed.subjects, strict=True) if who == bed.subjects[0]]
    for _ in range(count):
        size = int(draw.integers(1, len(ids) - least + 1))
        yield [ids[i] for i in draw.permutation(len(ids))[:size]]


@pytest.fixture
def subsets():
    return _subsets
