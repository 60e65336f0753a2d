"""A small table of people, and estimators fitted on it."""

import numpy as np
import pandas as pd

FEATURES = ["age", "hours"]


def people(count=160, *, seed=0):
    """Return a frame with id, subject, two numbers and a label that follows from them, with noise."""
    draw = np.random.default_rng(seed)
    rich = draw.random(count) < 0.5
    return pd.DataFrame(
        {
            "person": [f"p{seed}-{place:03d}" for place in range(count)],
            "household": [f"h{seed}-{place // 4}" for place in range(count)],
            "age": draw.normal(40, 9, count).round(1) + 12 * rich,
            "hours": draw.normal(30, 8, count).round(1) + 6 * rich,
            "income": np.where(rich ^ (draw.random(count) < 0.15), "high", "low"),
        }
    )


def fitted(estimator, frame):
    """Return ``estimator`` fitted on the table; one that can forget is told the ids."""
    more = {"sample_ids": frame.person.tolist()} if hasattr(estimator, "forget") else {}
    return estimator.fit(frame[FEATURES], frame.income.to_numpy(), **more)
