"""A cell: what it keeps of an audit, and that it comes back from its file."""

import json

import pytest

from expunge.bench.cell import Cell, Judged, State, place
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
