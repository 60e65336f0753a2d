from dataclasses import replace

import pytest

from expunge.core import wording
from expunge.render.card import card
from expunge.render.text import summary
from tests.support import reports


def test_a_card_says_what_was_done_and_names_nobody():
    report = reports.report()
    text = card(report)
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert report.shipped.title in text
    assert report.model_after in text
    assert report.title not in text  # what the request calls itself may name somebody


def test_a_card_names_what_opens_the_directory():
    assert card(reports.report(), library="peft").startswith("---\nlibrary_name: peft\n")


def test_copies_that_stay_are_told_on_the_card_and_at_the_top_of_the_report():
    report = reports.report()
    copied = replace(report, not_covered=(*report.not_covered, wording.COPIES))
    assert "retained records repeat forgotten ones" not in card(report) + summary(report)
    assert "etained records repeat forgotten ones" in card(copied)
    assert "retained records repeat forgotten ones" in " ".join(summary(copied).split())


def test_texts_of_the_report_stay_text():
    report = reports.report()
    assert "\n# Headline" not in card(replace(report, statement="x\n# Headline"))


def test_without_a_model_there_is_no_card():
    with pytest.raises(ValueError, match="ships"):
        card(replace(reports.report(), chosen=None))
