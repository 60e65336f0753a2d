"""The network."""

from __future__ import annotations

from torch import nn


def network() -> nn.Sequential:
    """Return an untrained classifier: 30 measurements in, logits of 2 classes out."""
    return nn.Sequential(nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
