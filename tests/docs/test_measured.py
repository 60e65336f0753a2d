"""Every table of figures in the documentation is that of the committed results."""

import pytest

from tests.docs import measured
from tests.docs.blocks import ROOT

PAGES = {
    "concepts/classifiers.md": [
        *measured.figures("classifiers"),
        *measured.classifiers("classifiers"),
        *measured.figures("classifiers_mnist"),
        *measured.classifiers("classifiers_mnist"),
        *measured.classifiers("classifiers_as_they_come"),
        *measured.figures("cifar10"),
        *measured.figures("cifar10_other_images"),
        *measured.figures("descent_overhead"),
    ],
    "concepts/language.md": [
        *measured.figures("tofu"),
        *measured.tofu(),
        *measured.figures("tofu_all_questions"),
        *measured.tofu("tofu_all_questions"),
        *measured.figures("language_step"),
    ],
    "concepts/cheats.md": list(measured.cheats()),
    "guides/tuning.md": [
        row
        for name in ("tuning", "tuning_eu_k", "tuning_forgetting", "tuning_one_label", "tuning_texts")
        for row in measured.figures(name)
    ],
    "guides/find.md": [*measured.find(), *measured.nothing_to_find()],
    "concepts/many-models.md": [
        *measured.figures("stacked"),
        *measured.figures("stacked_avx512"),
        *measured.figures("attacks"),
    ],
    "concepts/exact-costs.md": [
        row
        for name in ("recording", "replay", "forest", "linear", "certified", "noisy_head")
        for row in measured.figures(name)
    ],
}


@pytest.mark.parametrize("page", PAGES)
def test_every_row_is_on_its_page(page):
    lines = (ROOT / "docs" / page).read_text().splitlines()
    assert [row for row in PAGES[page] if row not in lines] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_row_of_figures_is_left_over(page):
    lines = (ROOT / "docs" / page).read_text().splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith(("| what", "| kind"))]
    assert [line for line in tables if line not in PAGES[page]] == []
