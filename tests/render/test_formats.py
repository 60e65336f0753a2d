"""The forms of a report: each a pure function of the record, in a file of its own."""

import random

import pytest

from expunge.core.errors import UnknownName
from expunge.render.formats import ALWAYS, FORMATS, named
from expunge.render.html import page
from expunge.render.record import dump, load
from tests.render.conftest import SAMPLES


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_same_record_gives_the_same_bytes(samples, sample, name):
    report = samples[sample]
    random.seed(1)
    first = FORMATS[name].render(report)
    random.seed(2)
    assert first == FORMATS[name].render(load(dump(report)))
    assert first.decode().endswith("\n")


def test_files_differ_and_what_every_run_writes_is_among_them():
    assert len({form.file for form in FORMATS.values()}) == len(FORMATS)
    assert set(ALWAYS) <= set(FORMATS)


def test_page_and_record_are_what_they_were(samples):
    assert FORMATS["html"].render(samples["erased"]) == page(samples["erased"]).encode()
    assert load(FORMATS["json"].render(samples["erased"])) == samples["erased"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownName, match="pdf") as caught:
        named("pdf", where="--as")
    assert caught.value.obstacles[0].expected == f"one of {', '.join(FORMATS)}"
