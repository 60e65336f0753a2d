"""The picture of what deletions cost is of the committed results, and in the right places."""

import xml.etree.ElementTree as ET

import pytest

from tests.docs.blocks import ROOT
from tests.docs.scripts import script

cost_curves = script("cost_curves")
TAG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_of_the_committed_results():
    assert cost_curves.IMAGE.read_text() == cost_curves.draw(script("_results").results("replay"))
    page = (ROOT / "docs" / "concepts" / "exact-costs.md").read_text()
    assert f"(../images/{cost_curves.IMAGE.name})" in page


@pytest.fixture
def drawn():
    """Return the picture of made-up results: every line at one share, a request for 10 records dearer by a tenth."""
    shares = {line: 0.1 + 0.15 * place for place, line in enumerate(cost_curves.LINES)}
    workload = {
        f"{line}; {kind}": [{"records": n, "share": share + 0.1 * (n == 10)} for n in (1, 10, 100)]
        for line, share in shares.items()
        for kind in cost_curves.KINDS
    }
    points = [{"plan": "36 epochs", "kind": "recent", "records": 10, "share": 0.5}]
    return ET.fromstring(cost_curves.draw({"workload": workload, "measured": points})), shares


def test_every_line_is_where_its_shares_are(drawn):
    picture, shares = drawn
    lines = picture.findall(f"{TAG}polyline")
    assert len(lines) == 2 * len(shares)
    top, high, wide, left = cost_curves.TOP, cost_curves.HIGH, cost_curves.WIDE, cost_curves.LEFT
    for place, (name, share) in enumerate(shares.items()):
        points = [tuple(map(float, pair.split(","))) for pair in lines[place].get("points").split()]
        assert [x for x, _ in points] == [left, left + wide / 2, left + wide]  # ten is half-way from one to a hundred
        wanted = [top + high * (1 - each) for each in (share, share + 0.1, share)]
        assert [y for _, y in points] == pytest.approx(wanted, abs=0.06)
        assert lines[place].find(f"{TAG}title").text.startswith(f"{name}: 1 records {share:.1%}")


def test_what_was_measured_is_a_ring_in_the_plot_of_its_kind(drawn):
    picture, _ = drawn
    first, legend = picture.findall(f"{TAG}circle")
    assert float(first.get("cx")) == cost_curves.LEFT + 1.5 * cost_curves.WIDE + cost_curves.GAP
    assert float(first.get("cy")) == cost_curves.TOP + cost_curves.HIGH / 2
    assert legend.find(f"{TAG}title") is None
