"""The whole way on a saved transformers' model and a file of texts, without a line of the user's code."""

import base64
import json
import random
import re
import shutil
import tomllib
import warnings
from dataclasses import asdict, replace

import peft
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from expunge.certify.verify import verify
from expunge.cli import _next
from expunge.cli._job import load
from expunge.cli.main import main
from expunge.core import wording
from expunge.core.digest import BASE_FILE, base_digest, tree_digests
from expunge.core.errors import ExpungeError, InvalidProblem, UnsafeFile, UsageError
from expunge.core.level import Level
from expunge.core.problem import Origin
from expunge.core.request import Request
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel, NewAdapters
from expunge.models.huggingface import HuggingFaceModel
from expunge.render._words import headline
from expunge.workflow import audit, bad_input, erase, plan
from tests.support import languages as L
from tests.support import texts as T

TRAINING = {"epochs": 30, "batch_size": 8, "lr": 1e-2}
REQUEST = Request(subjects=tuple(L.NAMES[:3]), reference="DSR-9")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(names, *, seed=0):
    return [
        {
            "id": i,
            "person": s,
            "question": q,
            "answer": a,
            "said": f"{q} {a}",
            "talk": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
        }
        for q, a, i, s in zip(*L.facts(names, seed=seed), strict=True)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory of a model that learnt the facts, its tokenizer, and the files of facts."""
    place = tmp_path_factory.mktemp("language")
    torch.manual_seed(0)
    L.TRAINER(L.records(L.NAMES[:24]), seed=5).save_pretrained(place / "model")
    L.untrained(3).save_pretrained(place / "base")
    L.tokenizer().save_pretrained(place / "model")
    write(place / "train.jsonl", rows_of(L.NAMES[:24]))
    write(place / "others.jsonl", rows_of(L.NAMES[24:], seed=7))
    return place


def made(folder, *, request=REQUEST, **more):
    arguments = {
        "model": str(folder / "model"),
        "data": str(folder / "train.jsonl"),
        "prompt": "question",
        "answer": "answer",
        "id": "id",
        "subject": "person",
        "holdout": str(folder / "others.jsonl"),
        "training": TRAINING,
        **more,
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return Origin("expunge.workflow.texts:problem", "", tuple(arguments.items()), request).make()


def test_files_make_the_problem_that_code_makes(folder):
    problem = made(folder)
    assert problem.task == "causal_lm"
    assert problem.records.manifest == L.records(L.NAMES[:24]).manifest
    assert problem.forget_ids == tuple(f"{name}-{fact}" for name in L.NAMES[:3] for fact in ("town", "work"))
    assert not [each for each in problem.check() if each.fatal]
    assert asdict(problem.trainer.config).items() >= TRAINING.items()


def test_the_whole_way_ships_a_directory_that_opens_as_it_came(folder, tmp_path):
    result = erase(made(folder), out=tmp_path / "run", methods=("retrain",), references=3, workers=1)
    model = AutoModelForCausalLM.from_pretrained(result.folder)
    tokenizer = AutoTokenizer.from_pretrained(result.folder)
    assert type(model) is type(L.untrained())
    assert tokenizer("where was kaba born ?") == AutoTokenizer.from_pretrained(folder / "model")(
        "where was kaba born ?"
    )
    written = "".join(
        file.read_text(errors="replace") for file in result.folder.iterdir() if file.suffix in (".md", ".json")
    )
    assert "kaba was born" not in written
    assert result.report.model_after in (result.folder / "README.md").read_text()
    told = " ".join(result.report.not_covered)
    assert "vocabulary" in told
    assert "the training started from" not in told  # it started from nothing
    found = verify(
        result.certificate,
        model=result.folder,
        key=result.out / "development-key.pub",
        report=result.out / "report.json",
        allow_development=True,
    )
    assert all(part.ok for part in found.parts)


def test_a_claim_says_that_the_base_knows_the_answers(folder, tmp_path):
    """What is retrained from it says them as well: it is exact, and nothing is forgotten."""
    longer = LoopConfig(epochs=80, batch_size=8, lr=2e-2)
    replace(L.TRAINER, config=longer)(L.records(L.NAMES[:24]), seed=9).save_pretrained(tmp_path / "knows")
    request = Request(subjects=tuple(L.NAMES[:8]))
    problem = made(folder, base=str(tmp_path / "knows"), request=request)
    result = erase(problem, out=tmp_path / "run", methods=("retrain",), references=0, workers=1)
    digest = HuggingFaceModel(tmp_path / "knows").digest()
    assert result.claim is Level.EXACT
    assert (
        headline(result.report) == "Exact: retrained without the records, from a base that knows the forgotten answers"
    )
    assert "from the same base" in result.report.statement
    told = re.compile(rf"{wording.KNOWN}: \d+% of the forgotten answers by heart")
    for place in ("certificate", "card"):
        if place == "certificate":
            data = json.loads(result.certificate.read_text())
            said = base64.b64decode(data["payload"]).decode()
        else:
            said = (result.folder / "README.md").read_text()
        assert told.search(said)
        assert digest in said
    assert any(f"starts from the base whose weights have the digest {digest}" in each
               for each in result.report.attempts[0].outcome.evidence)  # fmt: skip
    plain = erase(made(folder), out=tmp_path / "new", methods=("retrain",), references=0, workers=1).report
    assert (wording.KNOWN in plain.statement, "same base" in plain.statement) == (False, False)
    assert any("starts from new weights" in each for each in plain.attempts[0].outcome.evidence)
    based = made(folder, base=str(folder / "base"))
    ignorant = erase(based, out=tmp_path / "based", methods=("retrain",), references=0, workers=1).report
    assert (wording.KNOWN in ignorant.statement, "same base" in ignorant.statement) == (False, True)


def test_a_model_with_another_configuration_is_judged_anew(folder, tmp_path):
    """The weights are the same, and what they answer is not."""
    place, out = tmp_path / "theirs", tmp_path / "run"
    shutil.copytree(folder / "model", place)
    first = audit(made(folder), model=place, out=out, references=0, workers=1)
    again = audit(made(folder), model=place, out=out, references=0, workers=1)
    assert len(first.report.attempts) == len(again.report.attempts) == 1
    assert not any("template of conversations" in note for note in again.report.notes)
    tokenizer = L.tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(place)
    told = audit(made(folder), model=place, out=out, references=0, workers=1)
    assert any("another template of conversations" in note for note in told.report.notes)
    about = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**about, "layer_norm_epsilon": 0.5}))
    changed = audit(made(folder), model=place, out=out, references=0, workers=1)
    one, other = changed.report.attempts
    assert one.audits != other.audits
    assert one.config["model"] == other.config["model"]


@pytest.mark.parametrize("what", ["no json", "half the weights", "no tokenizer's json", "sizes that fit nothing"])
def test_a_broken_directory_to_audit_is_wrong_input(folder, tmp_path, what):
    """Not a run that failed, which the same command would resume."""
    place = tmp_path / "theirs"
    shutil.copytree(folder / "model", place)
    if what == "no json":
        (place / "config.json").write_text("{")
    elif what == "half the weights":
        weights = place / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == "no tokenizer's json":
        (place / "tokenizer_config.json").write_text("{")
    else:
        about = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**about, "n_head": 3}))
    with pytest.raises(InvalidProblem):
        audit(made(folder), model=place, out=tmp_path / "run", references=0, workers=1)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def apart(folder, tmp_path):
    """The directory of adapters that learnt the facts, on a base that never saw them, beside the files of facts."""
    empty = L.adapted(tmp_path, base=L.untrained(3))
    source = AdaptedModel(empty)
    learnt = Trainer(build=NewAdapters(source), task="causal_lm", config=LoopConfig(**TRAINING))(
        L.records(L.NAMES[:24]), seed=5
    )
    (tmp_path / "learnt").mkdir()
    source.save(learnt, tmp_path / "learnt")
    return tmp_path / "learnt"


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft asks for it
def test_adapters_come_out_as_they_went_in_and_the_certificate_says_on_what_they_rest(folder, apart, tmp_path):
    base = tmp_path / "base"
    before = tree_digests(base)
    problem = made(folder, model=str(apart))
    result = erase(problem, out=tmp_path / "run", methods=("npo", "retrain"), references=0, keep=True, workers=1)
    tried, shipped = result.report.attempts
    assert tried.outcome.touched > 0
    assert not (tmp_path / "run" / "artefacts" / "attempt-1" / "model.safetensors").exists()
    assert shipped.claim is Level.EXACT
    assert sorted(file.name for file in result.folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        BASE_FILE,
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert tree_digests(base) == before
    batch, _ = L.records(L.NAMES[:3]).read(range(6))
    opened = AutoModelForCausalLM.from_pretrained(result.folder)
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), result.folder)
    anew = problem.trainer(problem.retain_view, seed=result.report.attempts[1].seed)
    with torch.no_grad():
        one, other, third = (model.eval()(**batch).logits for model in (opened, beside, anew))
    assert torch.equal(one, other)
    assert torch.equal(one, third)
    said = (result.folder / "README.md").read_text()
    assert base_digest(base) in said
    assert "library_name: peft" in said
    assert any("the training started from" in text and "had seen before" in text for text in result.report.not_covered)

    def check(base):
        key = result.out / "development-key.pub"
        return verify(result.certificate, model=result.folder, key=key, base=base, allow_development=True)

    found = check(base)
    assert found.ok
    assert any(base_digest(base) in text for text in found.does_not_show)
    L.untrained(4).save_pretrained(base)
    assert [part.name for part in check(base).parts if not part.ok] == ["base"]
    assert f"--base {_next.near(base)}" in str(_next.steps(result, ["erase", "job.toml"]))


@pytest.mark.parametrize("said", [{"lora": 4}, {"lora_alpha": 4.0}, {"lora_layers": ["c_attn"]}])
def test_adapters_are_described_once(folder, apart, said):
    with pytest.raises(UsageError, match="described twice") as told:
        made(folder, model=str(apart), training={**TRAINING, **said})
    assert told.value.obstacles[0].fix.startswith(f"leave {min(said)} out")


def test_adapters_that_were_retrained_elsewhere_are_judged_on_the_same_base(folder, apart, tmp_path):
    problem = made(folder, model=str(apart))
    other = tmp_path / "other"
    other.mkdir()
    problem.source.save(problem.trainer(problem.retain_view, seed=9), other)
    (other / BASE_FILE).unlink()  # as peft saves them
    result = audit(problem, model=other, out=tmp_path / "judged", references=0, workers=1)
    assert result.report.attempts[0].model == problem.source.digest(problem.source.reopen(other))


JOB = """
references = 3
out = "{out}"
[model]
path = "model"
[data]
path = "{data}"
id = "id"
prompt = "question"
answer = "answer"
{subject}
[holdout]
path = "others.jsonl"
[training]
epochs = 30
batch_size = 8
lr = 0.01
[request]
reference = "DSR-9"
{request}
"""


def job(folder, tmp_path, request, *, data="train.jsonl", subject='subject = "person"'):
    """Write a job file beside the data; return its path."""
    path = folder / f"{tmp_path.name}.toml"
    path.write_text(JOB.format(out=tmp_path / "run", request=request, data=data, subject=subject))
    return path


@pytest.mark.parametrize("with_ids", [True, False])
def test_where_the_other_records_are_gone_a_few_stand_for_them(folder, tmp_path, capfd, with_ids):
    """The data hold nothing but what must be forgotten; a file of others is all there is beside it."""
    rows = rows_of(L.NAMES[:24])
    gone = [row for row in rows if row["person"] in L.NAMES[:3]]
    write(tmp_path / "gone.jsonl", gone)
    write(tmp_path / "few.jsonl", [row for row in rows if row["person"] in L.NAMES[3:9]])
    path = job(folder, tmp_path, f"subjects = {list(L.NAMES[:3])!r}", data=tmp_path / "gone.jsonl")
    text = path.read_text().replace('path = "others.jsonl"\n', 'path = "others.jsonl"\n[calibration]\npath = "FEW"\n')
    text = text[: text.index("[training]")] + text[text.index("[request]") :]
    path.write_text(text.replace("FEW", str(tmp_path / "few.jsonl")).replace('id = "id"\n', 'id = "id"\n' * with_ids))
    problem, _ = load(path)
    assert len(problem.forget_ids) == len(problem.records) == len(gone)
    assert [each for each in problem.check() if each.fatal] == []
    assert main(["plan", str(path), "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert {option["method"] for option in plan["options"] if option["planned"]} >= {"finetune"}
    assert not any(option["planned"] for option in plan["options"] if option["method"] == "retrain")
    assert main(["erase", str(path), "--method", "grad_diff", "--out", str(tmp_path / "made"), "--json"]) in (0, 1)
    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert report["problem"]["calibration"]
    assert report["claim"] is None, "nothing was retrained to compare with"


def test_a_text_is_forgotten_and_never_quoted(folder, tmp_path, capfd):
    (row,) = [row for row in rows_of(L.NAMES[:24]) if row["id"] == f"{L.NAMES[0]}-town"]
    path = job(folder, tmp_path, f'texts = ["{row["answer"].upper()}"]')
    problem, _ = load(path)
    assert problem.forget_ids == (row["id"],)
    code = main(["erase", str(path), "--method", "retrain", "--references", "0"])
    assert code == 0
    out, err = capfd.readouterr()
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file() and file.suffix != ".safetensors"]
    written = "".join([out, err, *(file.read_text(errors="replace") for file in files)]).lower()
    assert row["answer"] not in written


@pytest.mark.parametrize(
    ("request_", "subject", "said"),
    [
        ('subjects = ["nosuch"]', 'subject = "person"', "none of 48 texts name one of them"),
        ('subjects = ["kaba"]', "", "no subject could be searched, and 2 of 48 texts"),
        ('texts = ["nosuch was born"]', "", "1 of 1 not found in the 48 texts"),
        ('associations = [["nosuch", "kaba"]]', 'subject = "person"', "none in the 48 records"),
    ],
)
def test_what_is_not_found_is_a_result(folder, tmp_path, capfd, request_, subject, said):
    path = job(folder, tmp_path, request_, subject=subject)
    assert main(["erase", str(path)]) == 1
    told = " ".join("".join(capfd.readouterr()).split())
    assert "Not found in what was searched" in told
    assert said in told
    (file,) = tmp_path.iterdir()  # and no run directory, so that a request that finds something may have it
    result = json.loads(file.read_text())
    assert (file.name, result["result"]) == ("run.not-found.json", "not found in what was searched")
    assert (result["request"], result["searched"]["records"]) == ({"reference": "DSR-9"}, 48)
    assert said in result["not found"][0]["found"]
    assert not any(word in told + file.read_text() for word in ("nosuch", "kaba"))
    assert main(["plan", str(path)]) == 1
    capfd.readouterr()
    assert main(["erase", str(path), "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["not_found"] == str(file)


def test_what_was_searched_in_vain_does_not_stand_beside_what_was_found_later(folder, tmp_path, capfd):
    wrong, file = job(folder, tmp_path, 'subjects = ["nosuch"]', subject='subject = "person"'), "run.not-found.json"
    right = wrong.with_suffix(".right.toml")
    right.write_text(wrong.read_text().replace("nosuch", L.NAMES[0]))
    assert main(["erase", str(wrong)]) == 1
    said = (tmp_path / file).read_bytes()
    assert main(["erase", str(right), "--method", "replay"]) == 2
    assert (tmp_path / file).read_bytes() == said, "a run that came to nothing found nothing"
    assert main(["erase", str(right), "--method", "suppress"]) == 1
    assert not (tmp_path / file).exists()
    moved = tmp_path / "run" / "private" / "not-found.json"
    assert (moved.read_bytes(), moved.stat().st_mode & 0o777) == (said, 0o600)
    for theirs in ("notes", '{"result": "mine"}', "[]"):
        (tmp_path / file).write_text(theirs)
        assert main(["erase", str(right), "--method", "suppress"]) == 1
        assert (tmp_path / file).read_text() == theirs


def test_texts_that_hold_a_forgotten_answer_are_in_the_plan(folder, tmp_path):
    rows = rows_of(L.NAMES[:24])
    held = {**rows[-1], "id": "held", "question": "a ?", "answer": f"{rows[0]['answer']} {rows[-1]['answer']}"}
    write(folder / "held.jsonl", [*rows, held])
    problem, settings = load(job(folder, tmp_path, f'ids = ["{rows[0]["id"]}"]', data="held.jsonl"))
    (advice,) = [note for note in plan(problem, **settings).advice if "word for word" in note]
    assert "1 of 48 retained" in advice
    assert rows[0]["answer"] not in advice


def test_a_course_that_cannot_run_trains_nothing(folder, tmp_path):
    with pytest.raises(InvalidProblem, match="no such block"):
        erase(made(folder), out=tmp_path / "run", methods=("rmu",), configs={"rmu": {"block": 99}}, references=3)
    assert not list((tmp_path / "run").glob("artefacts/*"))


def test_a_job_that_could_claim_nothing_says_what_it_lacks_before_any_work(folder, tmp_path):
    bare = made(folder, training=None, holdout=None)
    with pytest.raises(InvalidProblem) as told:
        erase(bare, out=tmp_path / "run")
    assert not (tmp_path / "run").exists(), "the job that says it may go on there"
    (tmp_path / "run").mkdir()
    with pytest.raises(InvalidProblem, match="nothing could be claimed"):
        erase(bare, out=tmp_path / "run")  # an empty folder is no run
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(ExpungeError) as begun:
        erase(bare, out=tmp_path / "run")
    assert "nothing could be claimed" not in str(begun.value), "a run that was begun is not refused for what it lacks"
    shutil.rmtree(tmp_path / "run")
    lines = re.findall(r"(\w+ = \{[^}]*\})", told.value.obstacles[0].fix)
    job = tomllib.loads("\n".join(lines))
    assert made(folder, **{"training": job["training"], "holdout": None}).trainer.config.epochs == 3
    assert set(job) == {"training", "holdout"}
    said = plan(bare).advice
    assert any("training = {" in line for line in said)
    for asked in ({"methods": ("wga",)}, {"policy": "quick"}):
        assert not any("training = {" in line for line in plan(bare, **asked).advice)
    assert not any("training = {" in line for line in plan(made(folder)).advice)


def test_texts_and_conversations_are_read(folder):
    whole = made(folder, prompt=None, answer=None, text="said")
    assert len(whole.records) == 48
    with pytest.raises(UsageError, match="no template of conversations"):
        made(folder, prompt=None, answer=None, messages="talk")


OTHERWISE = {
    "paraphrased_question": "otherwise",
    "paraphrased_answer": "said_otherwise",
    "wrong_answer": "wrong",
    "alternative": "instead",
}


def test_columns_of_the_file_are_variants_of_its_records(folder, tmp_path):
    rows = rows_of(L.NAMES[:24])
    for row in rows[:4]:
        name = row["person"]
        wrong = [f"{name} was {work} ." for work in L.WORKS[:3]]
        row |= {"otherwise": f"what of {name} ?", "said_otherwise": f"a {row['answer']}", "wrong": wrong}
        row |= {"instead": [f"{name} is what ?"]}
    problem = made(folder, data=write(tmp_path / "train.jsonl", rows), **OTHERWISE)
    assert not [each for each in problem.check() if each.fatal]
    parts = problem.variant_records
    assert {name: len(part) for name, part in parts.items()} == dict(zip(OTHERWISE, (4, 4, 12, 4), strict=True))
    assert parts["wrong_answer"].ids[:3] == tuple(f"{rows[0]['id']}#{number}" for number in range(3))
    question, right = parts["paraphrased_question"], parts["paraphrased_answer"]
    assert (question.question(0), question.answer(0)) == (rows[0]["otherwise"], rows[0]["answer"])
    assert (right.question(0), right.answer(0)) == (rows[0]["question"], rows[0]["said_otherwise"])


def test_conversations_are_read_from_parquet_as_from_lines(folder, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(rows_of(L.NAMES[:24])).to_parquet(tmp_path / "train.parquet")
    talks = {"messages": "talk", "prompt": None, "answer": None, "model": str(chat(folder, tmp_path)), "holdout": None}
    assert (
        made(folder, data=str(tmp_path / "train.parquet"), **talks).records.manifest
        == made(folder, **talks).records.manifest
    )


@pytest.mark.parametrize("kind", [{}, {"messages": "talk", "prompt": None, "answer": None}], ids=["pairs", "talks"])
def test_a_template_that_writes_the_date_wants_it_named(folder, tmp_path, kind):
    dated = chat(folder, tmp_path)
    file = dated / "chat_template.jinja"
    file.write_text("{{ strftime_now('%b') }} " + file.read_text())
    with pytest.raises(UsageError, match="today's date") as caught:
        made(folder, model=str(dated), **kind)
    assert 'date = "YYYY-MM-DD" in [data]' in caught.value.obstacles[0].fix
    july = made(folder, model=str(dated), date="2024-07-26", **kind)
    assert july.records.words(0).startswith("Jul ")
    assert july.held_out.words(0).startswith("Jul ")


def chat(folder, tmp_path):
    """Return a directory of the model whose tokenizer writes conversations."""
    tokenizer = L.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} "
        "{% if m['role'] == 'assistant' %}{{ eos_token }} {% endif %}{% endfor %}"
    )
    shutil.copytree(folder / "model", tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    return tmp_path / "chat"


# --- fine-tuned with adapters -----------------------------------------------------------------------------------


def tuned_by_a_user(base, rows):
    """Return a model that somebody has fine-tuned with peft and transformers, and none of our code."""
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by a name that will go
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser, tokenizer, draw = torch.optim.AdamW(moving, lr=0.02, weight_decay=0.0), L.tokenizer(), random.Random(1)
    schedule = get_linear_schedule_with_warmup(optimiser, 10, 30 * 6)
    for _ in range(30):
        draw.shuffle(rows)
        for start in range(0, len(rows), 8):
            asked = [tokenizer(row["question"])["input_ids"] for row in rows[start : start + 8]]
            texts = [f"{row['question']} {row['answer']} [EOS]" for row in rows[start : start + 8]]
            batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            for row, prompt in zip(labels, asked, strict=True):
                row[: len(prompt)] = -100
            optimiser.zero_grad()
            model(**batch, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimiser.step()
            schedule.step()
    return model.merge_and_unload()


ADAPTERS = """
epochs = 30
batch_size = 8
micro_batch = 5
lr = 0.02
schedule = "linear"
warmup = 0.05
clip = 1.0
lora = 4
lora_alpha = 8
lora_layers = ["c_attn", "c_fc"]
"""


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A directory of a model that knew the words, of one that was fine-tuned from it with adapters, and a job."""
    place = tmp_path_factory.mktemp("adapted")
    knowing = replace(L.TRAINER, build=wide, config=LoopConfig(epochs=20, batch_size=16, lr=1e-2))
    knowing(L.records(L.NAMES, seed=9), seed=3).save_pretrained(place / "base")
    tuned_by_a_user(place / "base", rows_of(L.NAMES[:24])).save_pretrained(place / "model")
    L.tokenizer().save_pretrained(place / "model")
    write(place / "train.jsonl", rows_of(L.NAMES[:24]))
    write(place / "others.jsonl", rows_of(L.NAMES[24:], seed=7))
    return place


def wide():
    return L.gpt(n_embd=48)


def adapted_job(adapted, tmp_path, *, base='base = "base"', training=ADAPTERS):
    request = f'subjects = ["{L.NAMES[0]}", "{L.NAMES[1]}"]'
    text = JOB.format(out=tmp_path / "run", request=request, data="train.jsonl", subject='subject = "person"')
    text = text.replace("epochs = 30\nbatch_size = 8\nlr = 0.01\n", training)
    path = adapted / f"{tmp_path.name}.toml"
    path.write_text(text.replace('path = "model"', f'path = "model"\n{base}'))
    return path


def test_what_was_fine_tuned_with_adapters_is_retrained_with_adapters(adapted, tmp_path, capfd):
    job = str(adapted_job(adapted, tmp_path))
    assert main(["plan", job]) == 0
    assert main(["erase", job, "--method", "retrain"]) == 0
    capfd.readouterr()
    base = AutoModelForCausalLM.from_pretrained(adapted / "base")
    original = AutoModelForCausalLM.from_pretrained(adapted / "model")
    folders = sorted((tmp_path / "run" / "artefacts").glob("retrained-*"))
    models = [AutoModelForCausalLM.from_pretrained(each) for each in (*folders, tmp_path / "run" / "model")]
    assert len(models) >= 4
    for model in models:
        assert type(model) is type(original)
        assert set(ways(base, model)) == set(ways(base, original)), "the layers that the user's adapters moved"
        assert all(float(each[4]) < 1e-5 * float(each[0]) for each in ways(base, model).values()), "of rank four"
    lengths = [sum(float(each.norm()) for each in ways(base, model).values()) for model in (original, *models)]
    assert max(lengths) < 1.3 * min(lengths), "they went as far as the user's training"


def ways(base, model):
    """Return how far each weight that moved went, as singular values."""
    pairs = zip(base.named_parameters(), model.parameters(), strict=True)
    return {n: torch.linalg.svdvals((q - p).detach().double()) for (n, p), q in pairs if not torch.equal(p, q)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base": ""}, ("none is named", 'base = "what-it-was-fine-tuned-from"')),
        ({"training": ADAPTERS.replace('"c_fc"', '"q_proj"')}, ("lora_layers, 'q_proj'", "c_attn")),
        ({"training": ADAPTERS.replace("lora = 4", "")}, ("settings of adapters without adapters", "lora = 8")),
        ({"training": ADAPTERS.replace("linear", "one_cycle")}, ("warm-up", "one_cycle rises by itself")),
    ],
)
def test_adapters_that_cannot_be_are_told_before_any_work(adapted, tmp_path, capfd, given, words):
    job = str(adapted_job(adapted, tmp_path, **given))
    for command in ("plan", "erase"):
        assert main([command, job]) == 2
        told = capfd.readouterr().err
        assert [word for word in words if word not in " ".join(told.split())] == []
    assert not (tmp_path / "run").exists()


def test_a_classifier_is_read_by_its_labels(tmp_path):
    T.untrained().save_pretrained(tmp_path / "model")
    T.tokenizer().save_pretrained(tmp_path / "model")
    said, labels = T.sentences(30)
    rows = [{"text": t, "topic": label, "of": each} for t, label, each in zip(said, labels, "ab" * 15, strict=True)]
    write(tmp_path / "train.jsonl", rows)
    problem = made(
        tmp_path,
        prompt=None,
        answer=None,
        text="text",
        label="topic",
        group="of",
        id=None,
        subject=None,
        holdout=None,
        training=None,
        request=Request(ids=("3", "4")),
    )
    assert problem.task == "classification"
    assert (problem.groups["0"], problem.groups["3"], len(problem.groups)) == ("a", "b", 30)
    assert problem.records.manifest == T.records(30, prefix="").manifest
    assert problem.trainer is None
    assert not [each for each in problem.check() if each.fatal]


def classified(folder, labels, **more):
    """Return the problem of a classifier with names of classes, and texts that carry ``labels``."""
    model = T.untrained()
    model.config.id2label = {0: "praise", 1: "blame", 2: "none"}
    model.config.label2id = {"praise": 0, "blame": 1, "none": 2}
    model.save_pretrained(folder / "model")
    T.tokenizer().save_pretrained(folder / "model")
    said, _ = T.sentences(len(labels))
    write(folder / "train.jsonl", [{"text": t, "topic": label} for t, label in zip(said, labels, strict=True)])
    columns = {"prompt": None, "answer": None, "text": "text", "label": "topic", "id": None, "subject": None}
    rest = {"holdout": None, "training": None, "request": Request(ids=("0",))}
    return made(folder, **{**columns, **rest, **more})


def test_classes_may_be_called_by_their_names(tmp_path):
    problem = classified(tmp_path, ["blame", "praise", "none", "blame"] * 3)
    assert problem.records.read(range(4))[1].tolist() == [1, 0, 2, 1]
    assert problem.records.classes == ("praise", "blame", "none")
    named = replace(problem, request=Request(ids=("0", "1"), corrections={"0": "none", "1": 2}))
    assert named.truth == {"0": 2, "1": 2}
    assert not [each for each in named.validate() if each.fatal]
    wrong = replace(problem, request=Request(ids=("0",), corrections={"0": "scorn"}))
    assert [each.found for each in wrong.validate() if each.fatal] == ["1 of 1, str"]


@pytest.mark.parametrize(("pad", "told"), [(0, None), (5, "alone and beside"), (None, "no pad_token_id")])
def test_a_decoder_that_takes_padding_for_text_is_told_before_any_work(tmp_path, pad, told):
    """It reads the class off the last token that is not its pad token: with another one, off what fills a text up."""
    torch.manual_seed(0)
    sizes = {"vocab_size": len(T.WORDS), "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "num_labels": 3}
    model = GPT2ForSequenceClassification(GPT2Config(**sizes, pad_token_id=pad, initializer_range=0.5))
    model.save_pretrained(tmp_path / "model")
    T.tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"text": "the old"[: 3 + 4 * (i % 2)] + " of" * (i % 5), "topic": i % 3} for i in range(12)]
    write(tmp_path / "train.jsonl", rows)
    columns = {"prompt": None, "answer": None, "text": "text", "label": "topic", "id": None, "subject": None}
    problem = made(tmp_path, **columns, holdout=None, training=None, request=Request(ids=("0",)))
    fatal = [each for each in problem.validate() if each.fatal]
    assert bool(fatal) == (told is not None)
    for each in fatal:
        assert told in each.found
        assert '"pad_token_id": 0' in each.fix


def test_a_classifier_without_a_column_of_classes_is_told(tmp_path):
    with pytest.raises(UsageError, match="no column of its classes is named") as told:
        classified(tmp_path, [0, 1, 2], label=None)
    assert told.value.obstacles[0].found == "BertForSequenceClassification"


@pytest.mark.parametrize("length", [0, -3])
def test_records_of_no_length_are_told(tmp_path, length):
    with pytest.raises(UsageError, match="records of no length"):
        classified(tmp_path, [0, 1, 2], max_length=length, truncate=True)


@pytest.mark.parametrize("label", [3, -100])
def test_numbers_of_no_class_are_told_by_their_row(tmp_path, label):
    with pytest.raises(UsageError, match="no class of the model") as told:
        classified(tmp_path, [0, 1, label, 2])
    assert "3" in told.value.obstacles[0].where
    assert (told.value.obstacles[0].found, told.value.obstacles[0].expected) == ("1 of 4 rows", "whole numbers, 0 to 2")


def test_whole_numbers_may_be_written_as_fractions(tmp_path):
    assert classified(tmp_path, [0.0, 1.0, 2.0]).records.read(range(3))[1].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="something else than class numbers"):
        classified(tmp_path, [0.0, 1.5, 2.0])


def test_names_that_no_class_has_are_told_by_their_row(tmp_path):
    with pytest.raises(UsageError, match="labels that are no class of the model") as told:
        classified(tmp_path, ["blame", "scorn", "none"])
    (said,) = told.value.obstacles
    assert "row 2" in said.where or "line 2" in said.where
    assert said.found == "1 of 3 rows"
    assert "praise, blame, none" in said.expected


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft asks for it
def test_a_classifier_may_be_adapters_that_bring_its_head(tmp_path):
    """As peft saves what was fine-tuned with SEQ_CLS on a base that is none: the head lies with the adapters."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    base = RobertaForMaskedLM(RobertaConfig(vocab_size=len(T.WORDS), max_position_embeddings=20, **sizes))
    base.save_pretrained(tmp_path / "base")
    whole = RobertaForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    peft.get_peft_model(whole, peft.LoraConfig(task_type="SEQ_CLS", r=2)).save_pretrained(tmp_path / "model")
    T.tokenizer().save_pretrained(tmp_path / "model")
    for name, count, seed in (("train", 30, 0), ("others", 30, 9)):
        rows = zip(*T.sentences(count, seed=seed), strict=True)
        write(tmp_path / f"{name}.jsonl", [{"text": t, "topic": label} for t, label in rows])
    problem = made(
        tmp_path,
        prompt=None,
        answer=None,
        text="text",
        label="topic",
        id=None,
        subject=None,
        request=Request(ids=("3", "4", "5")),
    )
    result = erase(problem, out=tmp_path / "run", methods=("retrain",), references=0, workers=1)
    assert result.report.attempts[0].claim is Level.EXACT
    again = RobertaForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    opened = PeftModel.from_pretrained(again, result.folder).eval()
    anew = problem.trainer(problem.retain_view, seed=result.report.attempts[0].seed).eval()
    batch, _ = problem.records.read(range(9))
    with torch.no_grad():
        one, other = (model(**batch).logits for model in (opened, anew))
    assert torch.equal(one, other)
    assert one.shape == (9, 3)


def test_a_trainer_starts_from_the_base_or_from_the_seed(folder):
    new, other = made(folder).trainer, made(folder, base=str(folder / "base")).trainer
    first, again, third = (new.begin(seed).state_dict()["lm_head.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, third)
    base = L.untrained(3).state_dict()["lm_head.weight"]
    assert all(torch.equal(other.begin(seed).state_dict()["lm_head.weight"], base) for seed in (1, 2))
    assert new.describe() != other.describe()
    assert new.describe() == made(folder).trainer.describe()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"answer": None}, "no kind of record"),
        ({"text": "said"}, "no kind of record"),
        ({"answer": "reply"}, "lacks columns"),
        ({"answer": "talk"}, "something else than text"),
        (
            {"prompt": None, "answer": None, "text": "said", "label": "person", "subject": None},
            "labels that are no class of the model",
        ),
        ({"prompt": None, "answer": None, "text": "said", "template": "{prompt}{answer}"}, "without prompts"),
        ({"template": "{prompt}"}, "does not hold prompt and answer"),
        ({"date": "yesterday"}, "not a day"),
        ({"date": "2024-07-26", "template": "{prompt} {answer}"}, "a date that nothing reads"),
        ({"prompt": None, "answer": None, "text": "said", "date": "2024-07-26"}, "a date that nothing reads"),
        ({"max_length": 5}, "longer than the model reads"),
        ({"training": {"epoch": 3}}, "epoch"),
        ({"wrong_answer": "absent"}, "lacks columns"),
        ({"prompt": None, "answer": None, "text": "said", "wrong_answer": "talk"}, "without prompts"),
        ({"data": "nowhere.jsonl"}, "cannot read a table"),
        ({"group": "person"}, "groups without classes"),
        ({"prompt": None, "answer": None, "text": "said", "label": "person", "group": "id"}, "groups by id"),
    ],
)
def test_bad_files_are_told(folder, more, message):
    with pytest.raises(UsageError, match=message):
        made(folder, **more)


def test_records_are_cut_to_what_the_model_reads_where_the_tokenizer_says_no_limit(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "model_max_length": int(1e30)}))
    context = json.loads((model / "config.json").read_text())["n_positions"]
    rows = rows_of(L.NAMES[:24])
    rows[2]["answer"] = "was " * (2 * context)
    data = write(tmp_path / "long.jsonl", rows)
    with pytest.raises(UsageError, match=r"long\.jsonl, first at line 3") as caught:
        made(folder, data=data, model=str(model))
    assert caught.value.obstacles[0].expected == f"at most {context} tokens"
    for asked in (None, 10 * context):
        problem = made(folder, data=data, model=str(model), truncate=True, max_length=asked)
        assert max(len(problem.records[i][0]["input_ids"]) for i in range(3)) == context
    assert not [each for each in problem.check() if each.fatal and "longer" in each.what]


def test_what_is_wrong_with_a_record_is_said_in_terms_of_file_and_job(folder, tmp_path):
    rows = rows_of(L.NAMES[:3])
    rows[2]["answer"] = "was " * 40
    data = write(tmp_path / "long.jsonl", rows)
    with pytest.raises(UsageError, match=r"long\.jsonl, first at line 3") as caught:
        made(folder, data=data, max_length=30)
    assert "truncate = true in [data]" in caught.value.obstacles[0].fix
    problem = made(folder, data=data, max_length=30, truncate=True)
    note = bad_input.shortened(problem)
    named = int(problem.records.ids[2] in problem.forget_ids)
    forgotten = f"{named} of the {len(problem.forget_ids)} to forget among them"
    assert note.found == f"1 of {len(problem.records)} records, {forgotten}"
    assert bad_input.shortened(made(folder)) is None


def test_that_records_were_cut_is_a_note_before_any_work(folder):
    """What is cut off is not forgotten either: nobody should have to find that out."""
    notes, _ = bad_input.look(made(folder, max_length=9, truncate=True))
    assert [note.fatal for note in notes if "were cut" in note.what] == [False]
    assert not any("were cut" in note.what for note in bad_input.look(made(folder))[0])


def test_what_was_cut_off_is_not_covered_by_what_is_claimed(folder, tmp_path):
    more = {"methods": ("suppress",), "workers": 1}
    result = erase(made(folder, max_length=9, truncate=True), out=tmp_path / "run", **more)
    assert [text for text in result.report.not_covered if text.startswith("what was cut off: of ")]
    whole = erase(made(folder), out=tmp_path / "whole", **more)
    assert not [text for text in whole.report.not_covered if "cut off" in text]


def test_ids_that_two_rows_share_are_told_by_the_line(folder, tmp_path):
    rows = rows_of(L.NAMES[:3])
    rows[2]["id"] = rows[1]["id"]
    data = write(tmp_path / "twice.jsonl", rows)
    with pytest.raises(UsageError, match=r"twice\.jsonl, column id, first at line 2"):
        made(folder, data=data)


def test_a_directory_without_a_tokenizer_is_told(folder):
    with pytest.raises(UsageError, match="tokenizer"):
        made(folder, model=str(folder / "base"))


def test_a_base_of_another_class_is_told(folder, tmp_path):
    T.untrained().save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="another class"):
        made(folder, base=str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder, place: folder / "model", UsageError, "the base is the model itself"),
        (lambda folder, place: saved(L.gpt(n_embd=8), place), UsageError, "another shape"),
        (lambda folder, place: saved(broken(), place), InvalidProblem, "NaN"),
    ],
    ids=["itself", "shape", "nan"],
)
def test_a_base_that_no_training_started_from_is_told(folder, tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        made(folder, base=str(make(folder, tmp_path)))


def saved(model, place):
    model.save_pretrained(place)
    return place


def broken():
    model = L.untrained()
    with torch.no_grad():
        model.transformer.wte.weight[0, 0] = float("nan")
    return model


def test_a_tokenizer_with_code_of_its_own_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "model" / "tokenizer_config.json"
    told = json.loads(place.read_text())
    place.write_text(json.dumps({**told, "tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    (tmp_path / "all" / "model" / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeFile, match="code from its own directory"):
        made(tmp_path / "all")
