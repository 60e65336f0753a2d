"""Settings refuse what means nothing; a result says what came of a request."""

import pytest

from expunge import workflow
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("references", value) for value in ("3", 2.5, True, ["reference-0"])],
        *[("seed", value) for value in ("x", -1, 1.5)],
        *[("workers", value) for value in (0, -2, "two")],
        *[("budget", value) for value in ("much", float("nan"))],
        *[("floor", value) for value in ("90%", -0.1, 1.5, float("nan"), True)],
        *[("policy", value) for value in (None, 3)],
        *[("configs", value) for value in (["finetune"], {"finetune": 3})],
        *[("given_references", value) for value in (5, None, [3], [None])],
        *[("methods", value) for value in (None, [3])],
        ("also", [3]),
        ("out", 3),
        ("key", 3),
        ("keep", "yes"),
        ("escalate", 1),
    ],
)
def test_a_value_of_another_kind_is_named(name, value):
    with pytest.raises(UsageError) as caught:
        Settings(**{name: value})
    (obstacle,) = caught.value.obstacles
    assert name in obstacle.where
    assert obstacle.found
    assert obstacle.expected


def test_what_settings_take_is_taken(tmp_path):
    Settings(
        references=0, budget=2, floor=1, seed=7, workers=1, out=tmp_path, policy=tmp_path / "own.toml", methods=["noop"]
    )


def test_an_unknown_keyword_is_named_with_the_nearest():
    for call in (
        lambda: workflow.plan(None, metods=("noop",)),
        lambda: workflow.erase(None, metods=("noop",)),
        lambda: workflow.audit(None, model="theirs", metods=("noop",)),
    ):
        with pytest.raises(UsageError, match="no setting called 'metods'") as caught:
            call()
        assert "write methods=" in caught.value.obstacles[0].fix


def test_a_result_without_a_report_claims_nothing(tmp_path):
    result = Result(tmp_path, None, None, nothing_to_do=True)
    assert (result.claim, result.verdict, result.folder, result.model) == (None, None, None, None)
    assert result.page == tmp_path / "report.html"
