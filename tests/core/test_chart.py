"""Charts are data: whole, or not made."""

import pytest

from expunge.core.chart import Chart, Role, Series
from expunge.core.serial import build, plain


def chart(**more):
    line = Series(role=Role.REFERENCES, x=(0.0, 1.0, 2.0), y=(3.0, 4.0), low=(2.0, 3.0), high=(4.0, 5.0))
    return Chart(**{"title": "t", "x": "x", "y": "y", "series": (line,), "histogram": True, "n": 12, **more})


def test_it_goes_round():
    assert build(Chart, plain(chart()), where="chart") == chart()


def test_edges_are_one_more_than_bins_and_places_as_many_as_values():
    with pytest.raises(AssertionError):
        chart(histogram=False)


def test_a_band_has_both_sides():
    line = Series(role=Role.SUBJECT, x=(0.0, 1.0), y=(1.0, 1.0), low=(0.0, 0.0))
    with pytest.raises(AssertionError):
        chart(series=(line,), histogram=False)
