"""A problem that is solved in a second: two clouds of points, some of which one annotator labelled wrongly.

Ids hold `zebra`, subjects `okapi`, and every record holds 0.7314159: a message that shows one of them leaks.
"""

import torch
from torch import nn

import expunge

TRAINING, HELD, WRONG, EPOCHS = 96, 60, 24, 80
SECRETS = ("zebra", "okapi", "0.7314")


class Net(nn.Module):
    """A perceptron with one hidden layer: 20 numbers in, 2 logits out."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, x):
        return self.layers(x)


def tables():
    """Return (x, y of training, x, y of holdout, true labels of the first WRONG training records)."""
    draw = torch.Generator().manual_seed(5)
    y = torch.arange(TRAINING + HELD) % 2
    x = torch.randn(len(y), 20, generator=draw)
    x[:, 0] += 3.0 * (2 * y - 1)
    x[:, 19] = 0.7314159
    given = y.clone()
    given[:WRONG] = 1 - given[:WRONG]
    return x[:TRAINING], given[:TRAINING], x[TRAINING:], y[TRAINING:], y[:WRONG]


def training(x=None, y=None, **more):
    """Return the training records."""
    given = tables()
    names = {
        "ids": [f"zebra-{i:03d}" for i in range(TRAINING)],
        "subjects": [f"okapi-{0 if i < WRONG else 1 + i % 5}" for i in range(TRAINING)],
    }
    return expunge.ArrayRecords(given[0] if x is None else x, given[1] if y is None else y, **{**names, **more})


def holdout(**more):
    """Return the holdout records."""
    _, _, x, y, _ = tables()
    return expunge.ArrayRecords(x, y, **{"ids": [f"zebra-h{i:03d}" for i in range(HELD)], **more})


def train(records, *, seed):
    """Return a new model trained on these records."""
    torch.manual_seed(seed)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(EPOCHS):
        x, y = records.read(range(len(records)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def original():
    """Return the model that was trained on everything."""
    torch.set_num_threads(1)
    return train(training(), seed=0)


def make(**changes):
    """Return the problem: forget what `okapi-0` labelled."""
    given = {
        "model": changes["model"] if "model" in changes else original(),
        "train": training(),
        "holdout": holdout(),
        "trainer": train,
        "request": expunge.Request(subjects=("okapi-0",), reference="TINY-1"),
    }
    return expunge.Problem(**{**given, **changes})


def problem():
    """Return the problem as it is."""
    return make()
