"""Settings refuse what means nothing; a result says what came of a request."""

import dataclasses

import pytest

from expunge import workflow
from expunge.core import registry
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


def _limited():
    """Yield (method, setting, a value outside its limits) of every setting that has some."""
    for name in registry.names("methods"):
        for field in dataclasses.fields(registry.load("methods", name).Config):
            meta = field.metadata
            if meta.get("choices"):
                yield name, field.name, "no such"
            elif meta.get("low") is not None or meta.get("above") is not None:
                edge = meta["low"] if meta["low"] is not None else meta["above"]
                yield name, field.name, (int if field.type.startswith("int") else float)(edge - 1)


def test_what_is_wrong_with_a_setting_is_said_of_the_table_and_key_that_hold_it():
    count = 0
    for name, key, value in _limited():
        with pytest.raises(UsageError) as told:
            Settings.of({"configs": {name: {key: value}}})
        (said,) = told.value.obstacles
        assert said.where == f"[methods.{name}] {key}"
        assert said.found
        assert said.expected
        assert said.fix
        count += 1
    assert count > 100


@pytest.mark.parametrize(
    ("name", "config", "key"),
    [
        ("finetune", {"schedule": "step", "warmup": 0.1}, "warmup"),
        ("rum", {"methods": []}, "methods"),
        ("rum", {"methods": ["replay"]}, "methods"),
        ("rum", {"methods": ["finetune"], "settings": [{"lr": -1.0}]}, "settings[0].lr"),
        ("tau", {"settings": [{}]}, "settings"),
        ("tau", {"settings": [{"lr": "x"}, {}]}, "settings[0].lr"),
        ("negmerge", {"factors": []}, "factors"),
        ("noisy_finetune", {"lr": 2.0, "weight_decay": 1.0}, "lr"),
        ("suppress", {"until": "soon"}, "until"),
    ],
)
def test_so_is_what_only_the_method_can_tell(name, config, key):
    with pytest.raises(UsageError) as told:
        Settings.of({"configs": {name: config}})
    (said,) = told.value.obstacles
    assert (said.where, bool(said.found and said.expected and said.fix)) == (f"[methods.{name}] {key}", True)


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
