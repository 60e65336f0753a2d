"""A cell: what it keeps of an audit, and that it comes back from its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from expunge.bench.cell import Cell, Judged, State, Yardstick, place
from expunge.core.check import Measurement, NotMeasured
from expunge.core.serial import build, canonical
from tests.support import reports


def test_required_checks_are_kept_with_their_difference():
    audit = reports.report().attempts[-1].audits[-1]
    found = Judged.of(audit)
    assert set(found) == {f.check for f in audit.findings if f.required}
    finding = next(f for f in audit.findings if f.required and getattr(f.result, "references", ()))
    mean = sum(finding.result.references) / len(finding.result.references)
    assert found[finding.check].difference == pytest.approx(finding.result.value - mean)
    assert found[finding.check].margin == finding.margin


def test_a_cell_comes_back_from_its_file():
    cell = Cell(
        scenario="class", method="ssd", seed=2, state=State.DONE, verdict="erased", scores={"tow": 0.5}, share=0.1,
        checks={"exposure": Judged(decision="pass", difference=0.1, margin=0.2)},
    )  # fmt: skip
    assert build(Cell, json.loads(canonical(cell))) == cell
    assert cell.name == place("class", "ssd", 2)


def test_a_yardstick_counts_the_retrained_models_that_pass_every_required_check():
    audit = replace(reports.report().control, alpha=0.05)
    draw = np.random.default_rng(4)
    values = {name: draw.normal(0.5, 0.024, 12).round(6).tolist() for name in ("forget_accuracy", "retain_accuracy")}
    pattern = next(f for f in audit.findings if f.required and isinstance(f.result, Measurement))
    findings = [
        replace(
            pattern, check=name, margin=0.07, required=name != "unasked",
            result=replace(pattern.result, references=tuple(row), null_errors=(0.0,) * 12),
        )
        for name, row in {**values, "unasked": [0.0] * 6 + [1.0] * 6}.items()
    ]  # fmt: skip

    def passes(row, k):
        others = np.delete(row, k)
        half = stats.t.ppf(1 - audit.alpha, 10) * others.std(ddof=1) * np.sqrt(1 + 1 / 11)
        return abs(row[k] - others.mean()) + half <= 0.07

    by_hand = {name: [passes(row, k) for k in range(12)] for name, row in values.items()}
    stick = Yardstick(original={}, references=()).judged(replace(audit, findings=tuple(findings)))
    assert stick.passes == {name: sum(row) for name, row in by_hand.items()}
    assert stick.passing == sum(map(all, zip(*by_hand.values(), strict=True)))
    assert 0 < stick.passing < min(stick.passes.values()) < 12, "the example shows nothing"
    assert stick.verdict == audit.verdict.value
    assert stick.unasked == ()
    silent = (NotMeasured(check="a", because="no trigger"), replace(pattern.result, references=(), null_errors=()))
    more = [replace(pattern, check=f"silent {i}", result=each, required=True) for i, each in enumerate(silent)]
    less = Yardstick(original={}, references=()).judged(replace(audit, findings=(*findings, *more)))
    assert less == replace(stick, unasked=("silent 0", "silent 1")), "what says nothing of them is named"
    few = replace(pattern, result=replace(pattern.result, references=(0.5, 0.5, 0.5), null_errors=(0.0,) * 3))
    assert Yardstick(original={}, references=()).judged(replace(audit, findings=(few,))).passing is None
    assert build(Yardstick, json.loads(canonical(stick))) == stick
