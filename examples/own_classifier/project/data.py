"""Biopsies: 30 measurements of cell nuclei each, and whether the tumour was benign.

The measurements and diagnoses are real (Breast Cancer Wisconsin, Diagnostic; Wolberg et al. 1995, CC BY 4.0;
scikit-learn's copy). Patients and clinics are made up here, and so are the mistakes of clinic C: it entered
some of its diagnoses the wrong way round.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch.utils.data import Dataset

TRAINING = 400
FROM_CLINIC_C = 100
MISTAKEN = 60


class Biopsies(Dataset):
    """One item is (30 standardised measurements, diagnosis: 0 malignant, 1 benign)."""

    def __init__(self, rows: list[int], measurements: np.ndarray, diagnoses: np.ndarray, patients: list[str]) -> None:
        self.measurements = torch.tensor(measurements[rows], dtype=torch.float32)
        self.diagnoses = torch.tensor(diagnoses[rows])
        self.names = [f"biopsy-{row:03d}" for row in rows]
        self.patients = patients

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.measurements[index], self.diagnoses[index]


def load() -> tuple[Biopsies, Biopsies, dict[str, int]]:
    """Return (training data, test data, the true diagnosis of every biopsy that clinic C got wrong)."""
    table = load_breast_cancer()
    order = np.random.default_rng(11).permutation(len(table.target))
    training, test = order[:TRAINING].tolist(), order[TRAINING:].tolist()
    measurements = (table.data - table.data[training].mean(axis=0)) / table.data[training].std(axis=0)
    entered, mistaken = table.target.copy(), training[:MISTAKEN]
    entered[mistaken] = 1 - entered[mistaken]
    # Two biopsies of each patient; the first patients came to clinic C, the others to A and B.
    patients = [f"{'C' if i < FROM_CLINIC_C else 'AB'[i // 2 % 2]}-{1000 + i // 2}" for i in range(TRAINING)]
    strangers = [f"T-{1000 + i}" for i in range(len(test))]
    truth = {f"biopsy-{row:03d}": int(table.target[row]) for row in mistaken}
    return (
        Biopsies(training, measurements, entered, patients),
        Biopsies(test, measurements, table.target, strangers),
        truth,
    )
