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


def spoken(right, *, log_probs=None, texts=None, owners=None, extra=None, asked=None, alpha=0.05):
    """Return evidence on texts, from what is right by model and part: ``[(1, 0, 1), ...]``, a row for each record.

    A right token has probability 0.9 and a wrong one 0.1, of two tokens there are, unless ``log_probs`` of the same
    shape says otherwise; ``extra`` are further arrays by model.
    """
    arrays, targets = {}, {}
    for model, parts in right.items():
        arrays[model] = dict((extra or {}).get(model, {}))
        for part, rows in parts.items():
            flat = np.concatenate([np.asarray(row, float) for row in rows])
            chosen = np.where(flat > 0, np.log(0.9), np.log(0.1))
            if log_probs is not None:
                chosen = np.concatenate([np.asarray(row, float) for row in log_probs[model][part]])
            arrays[model][part] = said(flat, chosen)
            width = 1 + max(map(len, rows))
            targets[part] = np.array([[-100, *[5] * len(row), *[-100] * (width - 1 - len(row))] for row in rows])
    return Evidence(
        arrays,
        targets,
        candidate="c",
        original="o",
        references=tuple(name for name in right if name.startswith("r")),
        alpha=alpha,
        corrections=None,
        texts=texts,
        owners=owners,
        asked=asked,
    )


def said(right, log_prob):
    """Return what stands of tokens in the evidence, [N, 4], of a vocabulary of two."""
    p = np.exp(log_prob)
    other = np.log1p(-p)
    mean = p * log_prob + (1 - p) * other
    return np.stack([log_prob, right, mean, np.sqrt(p * (1 - p)) * np.abs(log_prob - other)], axis=1)
