from dataclasses import replace

import pytest

from expunge.render.card import card
from tests.support import reports


def test_a_card_says_what_was_done_and_names_nobody():
    report = reports.report()
    text = card(report)
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert report.shipped.title in text
    assert report.model_after in text
    assert report.title not in text  # what the request calls itself may name somebody


def test_texts_of_the_report_stay_text():
    report = reports.report()
    assert "\n# Headline" not in card(replace(report, statement="x\n# Headline"))


def test_without_a_model_there_is_no_card():
    with pytest.raises(ValueError, match="ships"):
        card(replace(reports.report(), chosen=None))
