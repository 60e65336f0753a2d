"""The job file: read strictly, paths beside it, flags in place of its settings."""

import pytest

from expunge.cli import _job
from expunge.core.errors import UsageError
from expunge.core.variants import VARIANTS


def test_what_it_says(project):
    (project / "job.toml").write_text(
        'problem = "tiny_problem:problem"\nout = "a/b"\nbudget = "30%"\nseed = 4\nreferences = 7\nkey = "k"\n'
        'policy = "policy.toml"\nmethod = "auto"\ntuning = "20%"\nfloor = "90%"\n[methods.finetune]\nepochs = 2\n'
        '[lm_eval]\ntasks = ["arc_easy"]\ninclude = "tasks"\n'
    )
    problem, settings = _job.load(project / "job.toml")
    assert problem.origin.target == "tiny_problem:problem"
    assert settings == {
        "out": project / "a/b",
        "methods": ("auto",),
        "configs": {"finetune": {"epochs": 2}},
        "budget": 0.3,
        "tuning": 0.2,
        "floor": 0.9,
        "seed": 4,
        "device": "",
        "workers": None,
        "references": 7,
        "given_references": (),
        "lm_eval": {"tasks": ["arc_easy"], "include": str(project / "tasks")},
        "policy": project / "policy.toml",
        "key": project / "k",
    }


def test_what_it_need_not_say(project):
    (project / "job.toml").write_text('problem = "tiny_problem:problem"')
    _, settings = _job.load(project / "job.toml")
    assert (settings["out"], settings["key"], settings["policy"], settings["budget"]) == (None, None, "", 1.0)
    assert settings["floor"] is None


def test_it_may_carry_the_request(project):
    (project / "case.py").write_text(
        "import expunge, tiny_problem\ndef problem():\n    return tiny_problem.make(request=expunge.Request())\n"
    )
    (project / "job.toml").write_text(
        'problem = "case:problem"\n[request]\nids = ["zebra-003"]\n[request.corrections]\nzebra-003 = 1\n'
    )
    problem, _ = _job.load(project / "job.toml")
    assert problem.forget_ids == ("zebra-003",)
    assert problem.request.corrections == {"zebra-003": 1}


@pytest.mark.parametrize(("text", "value"), [("20%", 0.2), ("0%", 0.0), (" 150% ", 1.5), ("0.5%", 0.005)])
def test_a_share(text, value):
    assert _job.share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "", "%", "-5%", "nan%", "inf%", "a%"])
def test_no_share(text):
    with pytest.raises(UsageError, match="not a budget"):
        _job.share(text)


@pytest.mark.parametrize(("text", "value"), [("90%", 0.9), ("0%", 0.0), (" 100% ", 1.0), ("97.5%", 0.975)])
def test_an_accuracy(text, value):
    assert _job.accuracy(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["90", "0.9", "", "-5%", "101%", "nan%", "a%"])
def test_no_accuracy(text):
    with pytest.raises(UsageError, match="not an accuracy") as caught:
        _job.accuracy(text)
    assert caught.value.obstacles[0].where == "--floor"


def test_flags_replace_settings():
    assert _job.merge({"seed": 1, "out": None}, seed=0, out=None, key="k") == {"seed": 0, "out": None, "key": "k"}


def test_adapters_are_a_language_model_whose_base_may_be_named(tmp_path, monkeypatch):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    (tmp_path / "adapters" / "adapter_model.safetensors").write_text("")
    (tmp_path / "job.toml").write_text(
        '[model]\npath = "adapters"\nbase = "before"\n[data]\npath = "rows.jsonl"\nprompt = "q"\nanswer = "a"\n'
    )
    with pytest.raises(UsageError, match="base of the adapters is not on this machine"):
        _job.load(tmp_path / "job.toml")
    monkeypatch.setattr("expunge.core.problem.Origin.make", lambda origin: origin)
    origin, _ = _job.load(tmp_path / "job.toml")
    wanted = {"model": str(tmp_path / "adapters"), "base": str(tmp_path / "before")}
    assert dict(origin.arguments).items() >= wanted.items()


def test_other_questions_and_answers_are_columns_of_the_data(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    named = {name: f"column of {name}" for name in VARIANTS}
    columns = "".join(f'{name} = "{column}"\n' for name, column in named.items())
    (tmp_path / "job.toml").write_text(
        f'[model]\npath = "model"\n[data]\npath = "rows.jsonl"\nprompt = "q"\nanswer = "a"\n{columns}'
    )
    monkeypatch.setattr("expunge.core.problem.Origin.make", lambda origin: origin)
    origin, _ = _job.load(tmp_path / "job.toml")
    assert dict(origin.arguments).items() >= named.items()


# --- a saved estimator and a table ------------------------------------------------------------------------------

TABLES = """
[model]
path = "model.skops"
[data]
path = "rows.csv"
id = "person"
label = "income"
subject = "household"
[request]
ids = ["p0-001"]
subjects = ["h0-3"]
"""


@pytest.fixture
def tables(tmp_path):
    """A folder with a fitted model, its rows, and a job file."""
    from sklearn.linear_model import LogisticRegression

    from expunge.models._skops import save_object
    from tests.support.people import fitted, people

    save_object(fitted(LogisticRegression(), people()), tmp_path / "model.skops")
    people().to_csv(tmp_path / "rows.csv", index=False)
    people(40, seed=1).to_csv(tmp_path / "others.csv", index=False)
    (tmp_path / "job.toml").write_text(TABLES)
    return tmp_path


def test_it_may_name_a_model_and_its_table(tables):
    problem, settings = _job.load(tables / "job.toml")
    assert len(problem.forget_ids) == 5
    assert problem.records.columns.names == ("age", "hours")
    assert problem.held_out is None
    assert settings["policy"] == "", "that of the task"
    (tables / "job.toml").write_text(TABLES + '[holdout]\npath = "others.csv"\n')
    assert len(_job.load(tables / "job.toml")[0].held_out) == 40


def test_columns_may_be_chosen(tables):
    (tables / "job.toml").write_text(TABLES.replace("[request]", 'features = ["hours", "age"]\n[request]'))
    assert _job.load(tables / "job.toml")[0].records.columns.names == ("hours", "age")


@pytest.mark.parametrize(
    "text",
    [
        "",
        'problem = "tiny_problem:problem"\n' + TABLES,
        TABLES.replace('[model]\npath = "model.skops"', ""),
        '[model]\npath = "model.skops"\n',
        '[holdout]\npath = "others.csv"\n',
    ],
)
def test_a_problem_is_named_once_and_whole(text, tables):
    (tables / "job.toml").write_text(text)
    with pytest.raises(UsageError, match="names no problem, or not one alone"):
        _job.load(tables / "job.toml")


def test_a_column_that_is_missing_is_said(tables):
    (tables / "job.toml").write_text(TABLES.replace("household", "family"))
    with pytest.raises(UsageError, match="no family"):
        _job.load(tables / "job.toml")
