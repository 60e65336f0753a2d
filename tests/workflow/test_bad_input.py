"""Bad input: one error that says what, where, found, expected and how to fix it; nothing half-written, no secret."""

import io
import json
import os
import pickle
import resource
import shutil
import sys
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from expunge import workflow
from expunge.certify import keys
from expunge.cli.main import main
from expunge.core import wording
from expunge.core.errors import InvalidProblem, UsageError
from expunge.models._skops import save_object
from expunge.workflow.bad_input import look
from tests.support import running
from tests.support.tiny import tiny_problem as tiny

PARTS = ("what", "where", "found", "expected", "fix")
HEAD = """
import torch
import expunge
from expunge import workflow
import tiny_problem as tiny
from tiny_problem import make
"""
NOISY = """
class Noisy(expunge.ArrayRecords):
    def __getitem__(self, index):
        return self.x[index] + torch.rand(20), self.y[index]
"""


def job(project, code="", **settings):
    """Write a job whose problem is made by ``code`` (the body of ``problem()``, or a whole module)."""
    given = {"problem": "case:problem" if code else "tiny_problem:problem", "out": "run", "policy": "policy.toml"}
    if code:
        body = code if "def problem" in code else f"def problem():\n    return {code}\n"
        (project / "case.py").write_text(HEAD + NOISY + body)
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**given, **settings}.items()]
    (project / "job.toml").write_text("\n".join(lines) + "\n")
    return project / "job.toml"


def sound(called, code, *words):
    """Check the exit code, that every problem says all its parts and no secret; return the problems."""
    assert called.code == code, called.out + called.err
    assert [line for line in called.err.splitlines() if not line.startswith("·")] == []
    problems = called.json["error"]["problems"]
    for problem in problems:
        assert [part for part in PARTS if not problem[part]] == [], problem
    text = json.dumps(problems, ensure_ascii=False)
    assert [secret for secret in tiny.SECRETS if secret in text] == []
    assert [word for word in words if word not in text] == []
    return problems


# --- the problem --------------------------------------------------------------------------------------------

NAN = "torch.where(torch.arange(96)[:, None] == 7, float('nan'), tiny.tables()[0])"
INFINITE = NAN.replace("nan", "inf")
BROKEN_NET = """
def problem():
    model = tiny.original()
    with torch.no_grad():
        model.layers[0].bias[3] = float("nan")
    return make(model=model)
"""
INVALID = {
    "unknown ids": ("make(request=expunge.Request(ids=('zebra-003', 'zebra-x')))", ["position 1", "1 of 2"]),
    "some unknown subjects": (
        "make(request=expunge.Request(subjects=('okapi-0', 'okapi-x')))",
        ["no records", "1 of 2"],
    ),
    "ids twice in the request": ("make(request=expunge.Request(ids=('zebra-003',) * 2))", ["twice", "position 0"]),
    "duplicate ids": (
        "make(train=tiny.training(ids=['zebra-000', 'zebra-000'] + [f'zebra-{i}' for i in range(94)]))",
        ["duplicate", "position 0"],
    ),
    "all records": (
        "make(request=expunge.Request(ids=tuple(tiny.training().ids)))",
        ["all records", "96 of 96"],
    ),
    "overlap": ("make(holdout=tiny.training())", ["overlaps", "96 ids"]),
    "labels outside the classes": (
        "make(train=tiny.training(y=tiny.tables()[1] + 1))",
        ["labels outside", "0 to 1", "training records"],
    ),
    "labels that are no classes": (
        "make(train=tiny.training(y=tiny.tables()[1].float()))",
        ["not class numbers", "float"],
    ),
    "NaN inputs": (f"make(train=tiny.training(x={NAN}))", ["NaN", "position 7", "1 of 96"]),
    "infinite inputs": (f"make(train=tiny.training(x={INFINITE}))", ["infinite", "position 7"]),
    "NaN weights": (BROKEN_NET, ["weights", "layers.0.bias", "1 of 4"]),
    "a model for other inputs": ("make(model=torch.nn.Linear(3, 2))", ["does not fit", "RuntimeError"]),
    "a model with one output": ("make(model=torch.nn.Linear(20, 1))", ["does not fit", "(2, 1)"]),
    "unstable reading": (
        "make(train=Noisy(*tiny.tables()[:2], ids=tiny.training().ids, subjects=tiny.training().subjects))",
        ["read twice", "96 of 96", "augmentation"],
    ),
    "unknown task": ("make(task='clasification')", ["no task called", "did you mean 'classification'"]),
    "corrections of what stays": (
        "make(request=expunge.Request(subjects=('okapi-0',), corrections={'zebra-090': 1}))",
        ["true labels", "1 of 1"],
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_problem(project, call, name):
    code, words = INVALID[name]
    path = job(project, code)
    sound(call("erase", path, "--json"), 2, *words)
    assert not (project / "run").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("make(train=tiny.training(ids=['zebra-0']))", ["ids and records differ in number", "96"]),
        ("make(train=tiny.training(ids=list(range(96))))", ["ids must be strings", "position 0", "int"]),
        ("make(train=tiny.training(y=torch.zeros(3)))", ["inputs and labels differ", "96"]),
        ("make(train=tiny.training(subjects=['okapi-0']))", ["subjects and records differ", "96"]),
        ("make(train=object())", ["cannot use a object", "dataset"]),
        ("make(model=object())", ["cannot use a object", "torch"]),
    ],
    ids=["too few ids", "ids of numbers", "too few labels", "too few subjects", "no data", "no model"],
)
def test_data_that_is_none(project, call, code, words):
    sound(call("erase", job(project, code), "--json"), 2, *words)
    assert not (project / "run").exists()


WRONG_LABELS = tiny.tables()[1] + 5


def everything_wrong():
    broken = tiny.original()
    with torch.no_grad():
        broken.layers[0].bias[3] = float("inf")
    request = tiny.expunge.Request(ids=("zebra-x",), subjects=("okapi-x",))
    return tiny.make(
        model=broken, train=tiny.training(y=WRONG_LABELS), holdout=tiny.training(y=WRONG_LABELS), request=request
    )


def test_validate_lists_everything_at_once():
    found = everything_wrong().validate()
    told = " ".join(obstacle.what for obstacle in found)
    for what in ("weights", "not in the training data", "no records", "overlaps", "outside the classes"):
        assert what in told
    with pytest.raises(InvalidProblem) as caught:
        everything_wrong().check()
    assert len(caught.value.obstacles) == len([o for o in found if o.fatal]) >= 5
    assert [secret for secret in tiny.SECRETS if secret in str(caught.value)] == []


def test_an_empty_request_is_a_result(project, call):
    result = call("erase", job(project, "make(request=expunge.Request())"), "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json["nothing_to_do"] is True


# --- the trainer --------------------------------------------------------------------------------------------

TRAINERS = {
    "ignores its view": (5, "return tiny.train(tiny.training(), seed=seed)", ["does not read", "64 of 64"]),
    "reads and ignores it": (
        5,
        "list(records); return tiny.train(tiny.training(), seed=seed)",
        ["two sets of records", "trains on something else"],
    ),
    "ignores the seed": (5, "return tiny.train(records, seed=7)", ["one model for two seeds"]),
    "is random": (5, "return tiny.train(records, seed=torch.seed() % 2**31)", ["two models for one seed"]),
    "returns nothing": (5, "tiny.train(records, seed=seed)", ["did not return", "NoneType"]),
    "fails": (3, "raise ValueError('zebra-001 is bad')", ["the trainer failed", "ValueError", "case.py, line"]),
    "takes no seed": (3, "", ["the trainer failed", "TypeError"]),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_that_breaks_its_contract(project, call, name):
    exit_code, body, words = TRAINERS[name]
    head = "def trainer(records, *, seed):" if body else "def trainer(records):"
    path = job(project, f"{head}\n    {body or 'pass'}\ndef problem():\n    return make(trainer=trainer)\n")
    sound(call("erase", path, "--json"), exit_code, *words)
    assert running.leftovers(project / "run") == []
    assert not (project / "run" / "report.json").exists()
    assert (project / "run").exists() == (exit_code == 3), "of what may pass another time, the same command resumes"


def test_without_a_trainer_the_plan_says_what_that_removes(project, call):
    path = job(project, "make(trainer=None)")
    planned = call("plan", path, "--json").json
    (retrain,) = [option for option in planned["options"] if option["method"] == "retrain"]
    assert (retrain["planned"], retrain["why"]) == (False, "retrain needs a trainer")
    assert "Without a trainer" in planned["advice"][0]
    result = call("erase", path, "--json")
    assert (result.code, result.json["verdict"], result.json["claim"]) == (1, None, None)
    assert result.json["certificate"] is None


# --- the job file -------------------------------------------------------------------------------------------

JOBS = {
    "unknown key": ('problem = "a:b"\nmetod = "noop"', ["unknown key 'metod'", "methods"]),
    "unknown key below": ('problem = "a:b"\n[request]\nid = ["zebra-1"]', ["unknown key 'id'", "job.toml.request"]),
    "wrong type": ('problem = "a:b"\nseed = "one"', ["wrong type", "job.toml.seed", "a text", "a whole number"]),
    "missing key": ("seed = 1", ["names no problem"]),
    "not TOML": ("problem = a:b", ["cannot read the job file", "line 1"]),
    "not text": (b"\xff\xfe\x00", ["cannot read the job file"]),
    "no budget": ('problem = "tiny_problem:problem"\nbudget = "20"', ["not a budget", "20%"]),
    "negative references": ('problem = "tiny_problem:problem"\nreferences = -1', ["references", "-1"]),
    "unknown method": ('problem = "tiny_problem:problem"\n[methods.noob]', ["no method called 'noob'", "noop"]),
    "unknown setting": (
        'problem = "tiny_problem:problem"\n[methods.finetune]\nepoch = 2',
        ["'epoch'", "[methods.finetune]", "did you mean 'epochs'?"],
    ),
    "wrong setting": (
        'problem = "tiny_problem:problem"\n[methods.finetune]\nlr = -1.0',
        ["out of range", "[methods.finetune] lr", "> 0"],
    ),
    "a setting of a part": (
        'problem = "tiny_problem:problem"\n[methods.tau]\nsettings = [{}, {lr = -1.0}]',
        ["out of range", "[methods.tau] settings[1].lr", "> 0"],
    ),
    "no module": ('problem = "no_such_module:problem"', ["cannot import", "ModuleNotFoundError"]),
    "no function": ('problem = "tiny_problem:nothing"', ["cannot import", "AttributeError"]),
    "no colon": ('problem = "tiny_problem"', ["cannot import", "module:function"]),
    "not callable": ('problem = "tiny_problem:EPOCHS"', ["cannot call", "int"]),
    "no Problem": ('problem = "tiny_problem:training"', ["did not return a Problem", "ArrayRecords"]),
    "request twice": (
        'problem = "tiny_problem:problem"\n[request]\nids = ["zebra-001"]',
        ["given twice", "one place"],
    ),
    "no policy": ('problem = "tiny_problem:problem"\npolicy = "none.toml"', ["cannot read the policy", "No such"]),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_file_that_is_wrong(project, call, name):
    text, words = JOBS[name]
    path = project / "job.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    sound(call("erase", path, "--json", "--out", project / "run"), 2, *words)
    assert not (project / "run").exists()


def test_a_job_file_that_is_missing(project, call):
    sound(call("plan", project / "jbo.toml", "--json"), 2, "cannot read the job file", "jbo.toml", "No such file")


def test_a_module_that_fails_while_it_is_imported(project, call):
    (project / "case.py").write_text("import json\n\njson.loads('zebra-001')")
    path = project / "job.toml"
    path.write_text('problem = "case:problem"')
    sound(call("plan", path, "--json"), 2, "cannot import", "JSONDecodeError", "case.py, line 3")


def test_a_module_that_is_no_python(project, call):
    (project / "case2.py").write_text("import json\n\nzebra = = 1\n")
    path = project / "job.toml"
    path.write_text('problem = "case2:problem"')
    sound(call("plan", path, "--json"), 2, "cannot import", "SyntaxError", "case2.py, line 3")


ROWS = "id,person,size,label\n" + "".join(f"zebra-{i},okapi-{i % 5},{i % 7}.5,{i % 2}\n" for i in range(40))
SAVED = """
[model]
path = "model.skops"
[data]
path = "rows.csv"
id = "id"
subject = "person"
label = "label"
[request]
subjects = ["okapi-1"]
"""
SLIPS = {
    "a model that is not there": ("model.skops", "modle.skops", ["no such model", "modle.skops", "[model] path"]),
    "rows that are not there": ("rows.csv", "rwos.csv", ["rwos.csv", "No such file"]),
    "an address": ("rows.csv", "https://example.org/zebra-1.csv", ["[data] path", "https://...", "fetches nothing"]),
    "an address of a model": ("model.skops", "http://localhost:80/m", ["[model] path", "fetches nothing"]),
    "a folder": ('"rows.csv"', '"."', ["a folder", ".csv or .jsonl"]),
    "an empty file": ("rows.csv", "empty.csv", ["empty.csv", "an empty file"]),
    "a head alone": ("rows.csv", "head.csv", ["without rows", "4 columns and no row"]),
    "a CSV file in the place of JSON lines": ("rows.csv", "rows.jsonl", ["rows.jsonl, line 1", "no JSON object"]),
    "JSON lines in the place of a CSV file": ("rows.csv", "lines.csv", ["lacks columns", "first line that names"]),
    "a file without a head": ("rows.csv", "bare.csv", ["lacks columns", "4 entries, none of them asked for"]),
    "a column that is misspelt": ('id = "id"', 'id = "idd"', ["lacks columns", "did you mean 'id'?"]),
    "a holdout that is not there": ("[model]", 'holdout = { path = "h.csv" }\n[model]', ["h.csv", "No such file"]),
    "a key that is misspelt": ("label =", "lable =", ["unknown key 'lable'", "did you mean 'label'?"]),
    "a negative seed": ("[model]", "seed = -1\n[model]", ["seed", "-1", "0 or more"]),
    "a policy that is misspelt": ("[model]", 'policy = "standrad"\n[model]', ["did you mean 'standard'?"]),
    "a policy that is no text": ("[model]", 'policy = "model.skops"\n[model]', ["cannot read the policy", "no text"]),
    "a method that cannot act": ("[model]", 'method = "finetune"\n[model]', ["trains a network", "no network"]),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_a_job_of_files_is_told_with_all_its_parts_and_no_record(project, call, name):
    there, here, words = SLIPS[name]
    frame = pandas.read_csv(io.StringIO(ROWS))
    save_object(LogisticRegression().fit(frame[["size"]], frame["label"]), project / "model.skops")
    texts = {"rows.csv": ROWS, "rows.jsonl": ROWS, "empty.csv": "", "head.csv": ROWS.split("\n")[0] + "\n"}
    texts |= {"bare.csv": ROWS.partition("\n")[2], "lines.csv": frame.to_json(orient="records", lines=True)}
    for file, text in texts.items():
        (project / file).write_text(text)
    assert there in SAVED
    (project / "job.toml").write_text(SAVED.replace(there, here))
    sound(call("erase", project / "job.toml", "--json", "--out", project / "run"), 2, *words)
    assert not (project / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["erase", "job.toml", "--seed", "-1"], ["--seed", "'-1'", "greater than or equal to 0"]),
        (["erase", "job.toml", "--references=many"], ["--references", "'many'", "integer"]),
        (["erase", "job.toml", "--method", "retrian"], ["retrian", "did you mean 'retrain'?"]),
        (["erase", ".", "--method", "retrain"], ["cannot read the job file", "Is a directory"]),
        (["erase", "job.toml", "--method", "replay"], ["needs the ledger"]),
        (["verify", "job.toml", "--model", ".", "--key", "none.pub"], ["none.pub", "No such file"]),
        (["verify", "none.json", "--model", ".", "--key", "own.pub"], ["none.json", "No such file"]),
    ],
)
def test_a_slip_on_the_command_line_is_told_with_all_its_parts(project, call, monkeypatch, words, said):
    monkeypatch.chdir(project)
    assert call("keygen", "--out", "own").code == 0
    sound(call(*words, "--json"), 2, *said)


# --- the output directory -----------------------------------------------------------------------------------


def test_a_directory_of_another_job_is_refused(project, call):
    path = job(project)
    assert call("erase", path, "--method", "noop").code == 1
    before = snapshot(project / "run")
    sound(call("erase", path, "--seed", "1", "--json"), 5, "another job", "seed", "--out")
    sound(call("erase", job(project, "make(holdout=None)"), "--json"), 5, "another job", "problem")
    assert snapshot(project / "run") == before


def test_a_directory_with_other_files_is_refused(project, call):
    (project / "run").mkdir()
    (project / "run" / "thesis.tex").write_text("mine")
    sound(call("erase", job(project), "--json"), 5, "other files", "--out")
    assert [file.name for file in (project / "run").iterdir()] == ["thesis.tex"]


def test_a_job_that_cannot_be_done_leaves_nothing_behind_and_a_corrected_one_is_welcome(project, call):
    path = job(project, out="runs/mine")
    assert call("erase", path, "--method", "replay").code == 2
    assert not (project / "runs").exists()
    corrected = call("erase", path, "--method", "noop", "--references", "0", "--seed", "3", "--json")
    assert (corrected.code, corrected.json["claim"]) == (1, None)


def test_nor_does_it_touch_what_an_earlier_run_left_there(project, call):
    path = job(project)
    assert call("erase", path, "--method", "noop").code == 1
    before = snapshot(project / "run")
    assert call("erase", path, "--method", "replay").code == 2
    after = snapshot(project / "run")
    assert after.pop("events.jsonl").startswith(before.pop("events.jsonl"))
    assert after == before


def test_a_file_in_place_of_the_directory(project, call):
    (project / "run").write_text("mine")
    sound(call("erase", job(project), "--json"), 2, "not a directory")
    assert (project / "run").read_text() == "mine"


def test_an_output_that_cannot_be_made(project, call):
    (project / "file").write_text("mine")
    path = job(project, out="file/run")
    sound(call("erase", path, "--json"), 3, "cannot write", "Not a directory", "--out")


def test_an_output_that_becomes_unwritable(project, call):
    """A file where a folder must go stands for a disk that turns read-only, also for root."""
    path = job(project)
    assert call("erase", path, "--method", "noop").code == 1
    shutil.rmtree(project / "run" / "artefacts" / "attempt-1")
    before = snapshot(project / "run")
    (project / "run" / "checkpoints").write_text("")
    shutil.move(project / "run" / "artefacts", project / "run" / "moved")
    (project / "run" / "artefacts").write_text("")
    sound(call("erase", path, "--method", "retrain", "--json"), 3, "fix")
    (project / "run" / "artefacts").unlink()
    (project / "run" / "checkpoints").unlink()
    shutil.move(project / "run" / "moved", project / "run" / "artefacts")
    after = snapshot(project / "run")
    assert {name: after[name] for name in before if name != "events.jsonl"} == {
        name: data for name, data in before.items() if name != "events.jsonl"
    }
    assert running.leftovers(project / "run") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output(project, call):
    (project / "closed").mkdir(mode=0o500)
    sound(call("erase", job(project, out="closed/run"), "--json"), 3, "cannot write", "Permission denied")


@pytest.mark.parametrize("limit", [1000, 4000, 9000])
def test_a_full_disk(project, call, limit):
    """No file may grow beyond ``limit`` bytes: at three depths of the run, the system refuses as a full disk does."""
    path, whole = job(project), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, whole[1]))
    try:
        result = call("erase", path, "--method", "retrain", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    sound(result, 3, "cannot write", "too large", "--out")
    assert running.leftovers(project / "run") == []
    for file in (project / "run").rglob("*.json"):
        json.loads(file.read_text())
    assert not (project / "run" / "certificate.json").exists()
    assert call("erase", path, "--method", "retrain").code == 0


# --- what lies in the run directory, and models --------------------------------------------------------------


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def corrupt(path, how):
    data = path.read_bytes()
    changed = bytes([data[len(data) // 2] ^ 1])
    path.write_bytes(
        data[: len(data) // 2] if how == "truncated" else data[: len(data) // 2] + changed + data[len(data) // 2 + 1 :]
    )


FILES = [
    "stages/control.json",
    "stages/original.json",
    "stages/trainer.json",
    "artefacts/original/model.safetensors",
    "artefacts/attempt-1/model.safetensors",
    "artefacts/retrained-*/model.safetensors",
    "artefacts/retrained-*/architecture.json",
    "private/outputs/*.safetensors",
    "events.jsonl",
    "run.json",
]


def alone(folder, *words):
    """Run a command in this process, outside of any test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr("expunge.engine.runtime._pickled", lambda problem: None)
        return main([str(word) for word in words])


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run that ended without a claim, with one method still to try."""
    folder = running.copy_project(tmp_path_factory.mktemp("judged") / "project")
    assert alone(folder, "erase", job(folder), "--method", "noop") == 1
    return folder


@pytest.mark.parametrize("how", ["truncated", "changed"])
@pytest.mark.parametrize("name", FILES)
def test_a_corrupt_file_of_the_run_is_noticed(judged, project, call, name, how):
    shutil.copytree(judged / "run", project / "run")
    (path, *_) = sorted((project / "run").glob(name))
    corrupt(path, how)
    if name.startswith("artefacts"):  # else what the model said is known already, and it is not opened again
        shutil.rmtree(project / "run" / "private" / "outputs")
    (project / "run" / "stages" / "attempt-1-audit.json").unlink()
    method = "noop" if "attempt" in name else "retrain"
    sound(
        call("erase", job(project), "--method", method, "--json"),
        3,
        Path(name).parts[-2 if "/" in name else 0].split("-*")[0],
    )
    assert running.leftovers(project / "run") == []
    assert not (project / "run" / "certificate.json").exists()


def test_a_corrupt_checkpoint_is_noticed(judged, project, call):
    shutil.copytree(judged / "run", project / "run")
    folder = project / "run" / "checkpoints" / "attempt-2" / "000001"
    folder.mkdir(parents=True)
    (folder / "place.json").write_text('{"groups": [], "scalars": {}')
    (folder / "state.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    sound(call("erase", job(project), "--method", "finetune", "--json"), 3, "checkpoint", "attempt-2/000001")


PICKLE = pickle.dumps({"layers.0.weight": 1})


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_pickle_is_refused_and_never_loaded(project, call, name):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (project / "executed",))

    (project / name).write_bytes(pickle.dumps(Trap()))
    path = job(project, f"make(model=expunge.TorchModel(tiny.Net, weights={str(project / name)!r}))")
    sound(call("erase", path, "--json"), 5, "pickle", name, "safetensors")
    assert not (project / "executed").exists()
    assert not (project / "run").exists()


def test_a_model_to_audit(project, call):
    """Everything that can be wrong with the folder that `audit` is given."""
    path, folder = job(project), project / "theirs"
    sound(call("audit", path, "--model", folder, "--json"), 2, "no weights", "theirs")
    folder.mkdir()
    sound(call("audit", path, "--model", folder, "--json"), 2, "no weights", "model.safetensors")
    (folder / "model.safetensors").write_bytes(PICKLE)
    sound(call("audit", path, "--model", folder, "--json"), 5, "pickle")
    save_file({"layers.0.weight": torch.zeros(64, 20)}, folder / "model.safetensors")
    sound(call("audit", path, "--model", folder, "--json"), 2, "do not fit", "layers.0.bias")
    save_file(tiny.original().state_dict(), folder / "model.safetensors")
    corrupt(folder / "model.safetensors", "truncated")
    sound(call("audit", path, "--model", folder, "--json"), 2, "model.safetensors")  # the same command never helps
    save_file({k: v * float("nan") for k, v in tiny.original().state_dict().items()}, folder / "model.safetensors")
    sound(call("audit", path, "--model", folder, "--json"), 2, "NaN")


# --- certificate, report and keys ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A run that ended with a certificate."""
    folder = running.copy_project(tmp_path_factory.mktemp("certified") / "project")
    keys.generate(folder / "key")
    assert alone(folder, "erase", job(folder, key="key"), "--method", "retrain") == 0
    return folder


@pytest.mark.parametrize("how", ["truncated", "changed"])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("certificate.json", ("envelope", "signature", "statement")),
        ("report.json", ("report",)),
        ("model/model.safetensors", ("file model.safetensors",)),
    ],
)
def test_what_does_not_fit_the_certificate_is_named(certified, project, call, name, part, how):
    shutil.copytree(certified / "run", project / "run")
    corrupt(project / "run" / name, how)
    run = project / "run"
    words = ["verify", run / "certificate.json", "--model", run / "model", "--report", run / "report.json"]
    result = call(*words, "--key", certified / "key.pub", "--json")
    assert (result.code, result.json["ok"], result.json["claim"]) == (1, False, None)
    wrong = next(found for found in result.json["parts"] if not found["ok"])
    assert wrong["name"] in part
    assert wrong["found"]
    assert wrong["expected"]


def test_the_same_command_mends_report_and_certificate(certified, project, call):
    shutil.copytree(certified / "run", project / "run")
    shutil.copy(certified / "key", project / "key")
    whole = (certified / "run" / "report.json").read_bytes()
    corrupt(project / "run" / "report.json", "changed")
    assert call("erase", job(project, key="key"), "--method", "retrain").code == 0
    assert (project / "run" / "report.json").read_bytes() == whole


def test_a_wrong_key_at_verification(certified, call, tmp_path):
    run, other = certified / "run", keys.generate(tmp_path / "other")
    words = ["verify", run / "certificate.json", "--model", run / "model", "--json", "--key"]
    result = call(*words, other.public)
    assert (result.code, result.json["ok"]) == (1, False)
    assert [found["name"] for found in result.json["parts"] if not found["ok"]] == ["signature"]
    for wrong in (other.private, tmp_path / "none.pub", run / "report.json"):
        result = call(*words, wrong)
        assert result.code == 2
        (problem,) = result.json["error"]["problems"]
        assert problem["where"] == str(wrong)
        assert problem["found"]
        assert problem["fix"]


@pytest.mark.parametrize("wrong", ["none", "key.pub", "policy.toml"])
def test_a_wrong_signing_key_is_told_before_any_work(project, call, wrong):
    keys.generate(project / "key")
    result = call("erase", job(project, key=wrong), "--json")
    (problem,) = result.json["error"]["problems"]
    assert (result.code, problem["where"]) == (2, str(project / wrong))
    assert "private key" in problem["what"]
    assert problem["found"]
    assert "expunge keygen" in problem["fix"]
    assert not (project / "run").exists()


# --- what stops nothing, and must be said -------------------------------------------------------------------


def report_of(project):
    return json.loads((project / "run" / "report.json").read_text())


def notes_of(problem):
    return "\n".join(map(str, look(problem)[0]))


def test_a_holdout_of_another_kind_is_said_in_plan_and_report(project, call):
    moved = "tiny.expunge.ArrayRecords(tiny.tables()[2] + 1.5, tiny.tables()[3], ids=tiny.holdout().ids)"
    path = job(project, f"make(holdout={moved})")
    planned = call("plan", path, "--json").json
    (told,) = [line for line in planned["advice"] if "another distribution" in line]
    assert "membership then measures the shift" in told
    assert call("erase", path, "--method", "noop", "--json").code == 1
    assert any("another distribution" in note for note in report_of(project)["notes"])
    assert "another distribution" not in notes_of(tiny.make())


def test_copies_that_stay_are_listed_for_the_holder_alone(project, call):
    twice = "torch.cat([tiny.tables()[0][:95], tiny.tables()[0][:1]])"
    path = job(
        project,
        f"make(train=tiny.training(x={twice}, y=torch.cat([tiny.tables()[1][:95], tiny.tables()[1][:1]])))",
    )
    assert call("erase", path, "--method", "noop", "--json").code == 1
    (note,) = [note for note in report_of(project)["notes"] if "exact copies" in note]
    assert "1 of 72 retained" in note
    assert "no audit can show more" in note
    listed = (project / "run" / "private" / "copies.csv").read_text()
    assert listed == "forgotten,retained,distance,exact,held\nzebra-000,zebra-095,0,1,0\n"
    assert "private/copies.csv" in report_of(project)["kept"]
    assert wording.COPIES in report_of(project)["not_covered"]
    assert f"Not covered: {wording.COPIES}" in (project / "run" / "report.html").read_text(), "at the top of the page"
    for file in ("report.json", "report.html"):
        assert "zebra" not in (project / "run" / file).read_text()


def test_an_original_with_constant_outputs_is_said(project, call):
    code = """
def problem():
    model = tiny.original()
    with torch.no_grad():
        model.layers[2].weight.zero_()
    return make(model=model)
"""
    planned = call("plan", job(project, code), "--json")
    assert planned.code == 0
    assert any("The outputs of the model are constant" in line for line in planned.json["advice"])


def saved(project, model):
    folder = project / "theirs"
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def test_a_model_that_answers_with_nan_is_refused_before_work(project, call):
    model = tiny.original()
    with torch.no_grad():
        model.layers[0].weight.fill_(3e38)  # finite, and its answers are not
    problems = sound(
        call("audit", job(project), "--model", saved(project, model), "--json"), 2, "NaN", "model to audit"
    )
    assert len(problems) == 1
    assert not (project / "run").exists()


def test_a_constant_model_is_never_called_erased(project, call):
    """One check, which it passes: models that never saw the wrong labels get none of them right, and so does it."""
    constant = tiny.original()
    with torch.no_grad():
        constant.layers[2].weight.zero_()
        constant.layers[2].bias.zero_()
    (project / "lax.toml").write_text(
        'name = "lax"\nalpha = 0.2\nreferences = 3\n[checks.forget_accuracy]\nmargin = 0.99\nreason = "a test"\n'
    )
    path = job(project, policy="lax.toml")
    found = call("audit", path, "--model", saved(project, constant), "--json")
    assert found.json["verdict"] != "erased"
    assert any("outputs of the model are constant" in note for note in report_of(project)["notes"])


def test_references_whose_training_failed_are_said(project, call):
    """Of three, those with an even seed answer everything alike."""
    code = """
def train(records, *, seed):
    model = tiny.train(records, seed=seed)
    with torch.no_grad():
        model.layers[2].weight.mul_(seed % 2)
        model.layers[2].bias.add_(0.001 * (seed % 97))
    return model


def problem():
    return make(trainer=train)
"""
    found = call("audit", job(project, code, references=5), "--model", saved(project, tiny.original()), "--json")
    assert found.json["verdict"] != "erased"
    (note,) = [note for note in report_of(project)["notes"] if "answer everything alike" in note]
    assert "of 5 retrained models" in note
    assert 1 <= int(note.split()[0]) <= 4


def test_what_is_no_problem_and_no_folder_is_named():
    for call in (lambda: workflow.plan("job.toml"), lambda: workflow.erase(None)):
        with pytest.raises(UsageError, match=r"an expunge.Problem"):
            call()
    for model in (None, tiny.original()):
        with pytest.raises(UsageError, match="what is judged is what is shipped"):
            workflow.audit(tiny.make(), model=model)


# --- too little for the question ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5])
def test_few_records_are_inconclusive_and_it_is_said_what_is_needed(project, call, count):
    ids = json.dumps([f"zebra-{i:03d}" for i in range(count)])
    path = job(project, f"make(request=expunge.Request(ids={ids}))")
    found = call("erase", path, "--method", "noop", "--json")
    assert (found.code, found.json["verdict"]) == (1, "inconclusive")
    said = " ".join(step["why"] for step in found.json["next"]) + " ".join(report_of(project)["notes"])
    assert "references instead of" in said or "records instead of" in said or f"({count} to forget)" in said
    assert "NaN" not in said


@pytest.mark.parametrize("count", [1, 2])
def test_few_references_are_inconclusive_and_it_is_said_how_many_are_needed(project, call, count):
    found = call("erase", job(project), "--method", "noop", "--references", str(count), "--json")
    assert (found.code, found.json["verdict"]) == (1, "inconclusive")
    report = report_of(project)
    becauses = {f["result"].get("because") for f in report["attempts"][0]["audits"][0]["findings"]}
    assert becauses == {f"needs 3 retrained references or more, there are {count}"}
    assert any(
        f"Only {count} references are planned: 3 or more are needed" in line for line in report["plan"]["advice"]
    )
