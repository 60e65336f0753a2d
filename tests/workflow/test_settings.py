"""Settings refuse what means nothing; a result says what came of a request."""

import pytest

from expunge.core.errors import UnknownName, UsageError
from expunge.workflow.settings import Result, Settings


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"budget": -0.1}, UsageError),
        ({"references": -1}, UsageError),
        ({"methods": ("finetun",)}, UnknownName),
        ({"methods": "finetune"}, UsageError),
        ({"given_references": "reference-0"}, UsageError),
        ({"configs": {"finetun": {}}}, UnknownName),
        ({"configs": {"finetune": {"epoch": 1}}}, UsageError),
        ({"configs": {"finetune": {"lr": -1.0}}}, UsageError),
    ],
)
def test_what_means_nothing_is_refused(wrong, kind):
    with pytest.raises(kind) as caught:
        Settings(**wrong)
    (obstacle,) = caught.value.obstacles
    assert obstacle.where
    assert obstacle.found
    assert obstacle.expected
    assert obstacle.fix


def test_an_unknown_keyword_is_no_setting():
    with pytest.raises(TypeError):
        Settings(metods=("noop",))


def test_a_result_without_a_report_claims_nothing(tmp_path):
    result = Result(tmp_path, None, None, nothing_to_do=True)
    assert (result.claim, result.verdict, result.folder, result.model) == (None, None, None, None)
    assert result.page == tmp_path / "report.html"
