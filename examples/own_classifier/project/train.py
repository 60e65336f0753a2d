"""Train the network: ``python -m project.train`` writes model.safetensors."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from project.data import load
from project.model import network

EPOCHS = 30
"""Long enough to learn most labels by heart, wrong ones too."""


def train(dataset: Dataset, *, seed: int) -> nn.Module:
    """Return a network trained on ``dataset``; equal seeds give equal networks."""
    torch.manual_seed(seed)
    model = network()
    loader = DataLoader(dataset, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.15, total_steps=EPOCHS * len(loader))
    for _ in range(EPOCHS):
        for measurements, diagnoses in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(measurements), diagnoses).backward()
            optimizer.step()
            schedule.step()
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = train(load()[0], seed=0)
    save_file(model.state_dict(), "model.safetensors")
    print("wrote model.safetensors")
