"""Evidence on one part, from logits that a test writes down."""

import numpy as np

from expunge.engine.evidence import Evidence


def table(part, rows, labels, *, corrections=None, alpha=0.05, relearned=None):
    """Return evidence on one part from logits by model: ``c``, ``o`` and ``r1``, ``r2``, ..."""
    arrays = {name: {part: np.asarray(logits, float)} for name, logits in rows.items()}
    for name, values in (relearned or {}).items():
        arrays[name]["relearned"] = np.asarray(values, float)
    return Evidence(
        arrays,
        {part: np.asarray(labels)},
        candidate="c",
        original="o",
        references=tuple(name for name in rows if name.startswith("r")),
        alpha=alpha,
        corrections=corrections,
    )


def votes(*classes, count=3):
    """Return logits that choose these classes, one per record."""
    return np.eye(count)[list(classes)] * 4.0
