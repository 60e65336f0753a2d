"""The page: marks where they belong, nothing loaded, figures that a reader who sees no picture gets too."""

import re
from itertools import pairwise

import pytest
from lxml import html

from expunge.bench import page as drawing
from expunge.bench.cell import Cell, State, Yardstick
from expunge.bench.page import Point, page
from expunge.bench.table import table

STICK = Yardstick(
    original={"forget": 1.0, "test": 0.95, "mia": 0.0, "retain": 1.0},
    references=(
        {"forget": 0.92, "test": 0.95, "mia": 0.10, "retain": 1.0},
        {"forget": 0.88, "test": 0.93, "mia": 0.20, "retain": 1.0},
    ),
)


def test_a_point_stands_at_its_distance_from_the_references():
    cell = Cell(
        scenario="class", method="a", seed=0, state=State.DONE, share=0.25,
        scores={"forget": 0.95, "test": 0.90, "mia": 0.05, "retain": 1.0},
    )  # fmt: skip
    (point,) = drawing.points_of([cell], {0: STICK})
    assert (point.utility, point.distance, point.share) == pytest.approx((-4.0, (5 + 10) / 2, 0.25))
    near, far = drawing.around({0: STICK})
    assert (near.utility, near.distance) == pytest.approx((2.0, (4 + 10) / 2))
    assert far.utility == pytest.approx(-2.0)
    assert drawing.before({0: STICK}).distance == pytest.approx((10 + 15) / 2)


def test_nearer_is_lower_and_better_utility_is_further_right():
    points = [Point("near", 1.0, 0.5, 0.0), Point("far", -9.0, 30.0, 1.0)]
    drawn = html.fromstring(drawing.picture("class", points, [Point("r", 0.5, 1.0)], Point("o", 0.0, 12.0)))
    marks = drawn.xpath("//div[@class='plot']//circle[@class='point']")
    places = sorted((float(m.get("cx").rstrip("%")), float(m.get("cy")), float(m.get("r"))) for m in marks)
    assert places[0][0] < places[1][0], "the worse one lies left"
    assert places[0][1] < places[1][1], "the farther one lies higher"
    assert places[0][2] > places[1][2], "the dearer one is larger"
    numbers = drawn.xpath("//div[@class='plot']//text[@dx]/text()")
    assert sorted(numbers) == ["1", "2"]
    said = "".join(drawn.xpath("//desc/text()"))
    assert "far: held-out accuracy −9.0 points" in said


def test_numbers_of_marks_that_lie_together_are_kept_apart():
    taken = [(100.0, 100.0, 5.0), (110.0, 100.0, 5.0)]
    _, anchor, spot = drawing._label(100.0, 100.0, 5.0, taken)
    assert anchor != "start", "to the right lies another mark"
    assert all((spot[0] - x) ** 2 + (spot[1] - y) ** 2 > 0 for x, y, _ in taken)


def test_the_page_shows_every_scenario_and_loads_nothing(grid):
    found = table(grid)
    text = page(grid, found)
    assert page(grid, found) == text
    read = html.fromstring(text)
    assert [s.get("id") for s in read.xpath("//section")] == list(grid.bench.scenarios)
    assert len(read.xpath("//figure")) == 2, "a scenario without a model has no picture"
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=", text)
    assert read.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0].startswith("default-src 'none'")
    for name in grid.bench.methods:
        assert read.xpath(f"//section[@id='drift']//th[contains(., '{name}')]"), name
    assert "do not carry this scenario" in "".join(read.xpath("//section[@id='given']//li/text()"))


def test_names_of_places_do_not_touch():
    scale = drawing._Scale.of([-90.0, 3.0])
    kept = drawing._apart(scale, 0.06)
    places = [scale.place(tick) for tick in kept]
    assert 0 in kept
    assert min(b - a for a, b in pairwise(places)) >= 0.06
