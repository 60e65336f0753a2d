"""One answer of three tokens out of four, as a model and the original say it, in float64; and what its losses are.

The values are those of a sheet that was computed by hand and by NumPy, without the code under test.
"""

import torch

from expunge.numerics.tokens import Made, Tokens
from expunge.numerics.units import Scored

MODEL = torch.tensor([[2, 0, -1, 0.5], [0, 1, 3, -1], [1, 1, 0, 0]], dtype=torch.float64)
ORIGINAL = torch.tensor([[3, 0, -1, 0], [0, 0, 4, -1], [0, 2, 0, 0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1])
KINDS = {
    "held": lambda logits, label, record, count: Scored.of(logits, label, record, count),
    "made": lambda logits, label, record, count: Tokens(logits, Made(logits.shape[1]), label, record, count),
}
"""Units that hold their logits, and units that make them some at a time."""


def answer(kind="held", *, model=MODEL, labels=LABELS, record=None):
    """Return the units of the answer, as one record unless said otherwise."""
    record = torch.zeros(len(labels), dtype=torch.long) if record is None else torch.tensor(record)
    return KINDS[kind](model, labels, record, int(record.max()) + 1)


def sums(logits):
    """Return minus the log-probability of the whole answer, [1]."""
    units = answer(model=logits)
    return units.sum_by_record(units.loss)
