"""Evidence without models: what retrained, remembering and damaged models would say, drawn from one law."""

import numpy as np

from expunge.engine.evidence import Evidence

SIZES = {"forget": 200, "retain": 400, "neighbours": 200, "holdout": 400}
CLASSES = 4


class Law:
    """Records, some of them to be forgotten for their wrong labels, and the law of models that never saw these."""

    def __init__(self, seed=0, sizes=SIZES, *, wrong=True):
        draw = np.random.default_rng([seed, 0])
        self.sizes = sizes
        self.truth = {part: draw.integers(0, CLASSES, n) for part, n in sizes.items()}
        self.labels = {**self.truth, "forget": (self.truth["forget"] + wrong) % CLASSES}
        # What was trained on is easier than what was not.
        ease = {"forget": (2.5, 1.0), "retain": (2.6, 0.6), "neighbours": (2.6, 0.6), "holdout": (3.0, 1.0)}
        self.ease = {part: draw.normal(*ease[part], n) for part, n in sizes.items()}

    def model(self, seed, *, memory=0.0, damage=0.0):
        """Return the arrays of one model; ``memory`` lifts the forgotten labels, ``damage`` lowers all the others."""
        draw = np.random.default_rng([seed, 1])
        arrays = {}
        for part, n in self.sizes.items():
            rows = np.arange(n)
            logits = draw.normal(0, 0.4, (n, CLASSES))
            logits[rows, self.truth[part]] += self.ease[part] - (damage if part != "forget" else 0.0)
            if part == "forget":
                logits[rows, self.labels[part]] += memory
            arrays[part] = logits
        n = self.sizes["forget"]
        quick = 0.4 + 0.1 * np.sign(self.ease["forget"]) + 0.1 * draw.normal(size=n)
        arrays["relearned"] = np.clip(quick + 0.08 * memory, 0, 1)
        return arrays

    def evidence(self, candidate, *, references=20, parts=tuple(SIZES), alpha=0.025, corrections=True, original=None):
        """Return evidence on ``candidate`` against references of this law; the original remembers."""
        models = {f"r{k}": self.model(k + 100) for k in range(references)}
        models = {"candidate": candidate, "original": original or self.model(1, memory=6.0), **models}
        arrays = {
            name: {part: a for part, a in own.items() if part in parts or part == "relearned"}
            for name, own in models.items()
        }
        return Evidence(
            arrays,
            {part: self.labels[part] for part in parts},
            candidate="candidate",
            original="original",
            references=tuple(f"r{k}" for k in range(references)),
            alpha=alpha,
            corrections=self.truth["forget"] if corrections else None,
        )


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
