"""All that expunge needs to know of this project."""

from __future__ import annotations

from pathlib import Path

from project.data import load
from project.model import network
from project.train import EPOCHS, train

import expunge

CLINIC = "C-"


def trainer(records, *, seed):  # noqa: ANN001, ANN201  # as a user writes it
    """Return a new model trained on these records and no others."""
    return train(records, seed=seed)


trainer.passes = EPOCHS  # optional: without it, `expunge plan` cannot name costs before the first retraining


def problem() -> expunge.Problem:
    """Forget every biopsy that clinic C sent."""
    training, test, truth = load()
    return expunge.Problem(
        model=expunge.TorchModel(network, weights=Path(__file__).with_name("model.safetensors")),
        task="classification",
        train=expunge.DatasetRecords(training, ids=training.names, subjects=training.patients),
        holdout=expunge.DatasetRecords(test, ids=test.names),
        trainer=trainer,
        request=expunge.Request(
            subjects=tuple(sorted({patient for patient in training.patients if patient.startswith(CLINIC)})),
            reference="EXAMPLE-1",
            ground="consent of the patients of clinic C was not valid; some of their diagnoses are wrong",
            corrections=truth,
        ),
    )
