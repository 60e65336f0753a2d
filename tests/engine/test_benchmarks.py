"""Tasks of lm-eval: asked of a model in memory, with what cannot be asked told before."""

import importlib.util
import json
import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from expunge.audit import policy as policies
from expunge.audit.foresight import audit_cost
from expunge.core.check import EvidenceKind
from expunge.core.errors import MissingExtra, UsageError
from expunge.engine import benchmarks
from expunge.engine.benchmarks import Bench, Benchmarks
from expunge.engine.parts import Parts
from expunge.engine.split import split
from expunge.workflow.planning import policy_of
from expunge.workflow.settings import Settings
from tests.support import languages as L
from tests.support import toys

there = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs lm-eval, which the extra lm-eval brings"
)
TASK = """
task: born
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: right
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the task ``born``: who was born where, of two answers one."""
    folder = tmp_path_factory.mktemp("tasks")
    facts = list(zip(*L.facts(L.NAMES[:6], seed=0), strict=True))
    rows = [{"question": q, "choices": [a, facts[i - 1][1]], "right": 0} for i, (q, a, *_) in enumerate(facts)]
    (folder / "born.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "born.yaml").write_text(TASK.format(data=folder / "born.jsonl"))
    likely = TASK.replace("higher_is_better: true", "higher_is_better: false").replace("task: born", "task: likely")
    (folder / "likely.yaml").write_text(likely.format(data=folder / "born.jsonl"))
    unsafe = TASK.replace("task: born", "task: unsafe\nunsafe_code: true")
    (folder / "unsafe.yaml").write_text(unsafe.format(data=folder / "born.jsonl"))
    (folder / "gone.yaml").write_text(TASK.replace("born", "gone").format(data=folder / "gone.jsonl"))
    return folder


def test_without_lm_eval_the_extra_is_named(monkeypatch):
    benchmarks._opened.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(MissingExtra, match="expunge\\[lm-eval\\]"):
        benchmarks.look(toys.problem(), Benchmarks(tasks=("arc_easy",)))


def test_a_policy_shows_the_tasks_and_does_not_decide_by_them(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmarks, "look", lambda problem, tasks: seen.append(tasks))
    problem = L.spoken(L.untrained(3), trainer=L.TRAINER)
    plain = policy_of(problem, Settings())
    asked = policy_of(problem, Settings(lm_eval={"tasks": ["one", "two"], "limit": 10}))
    assert seen == [Benchmarks(tasks=("one", "two"), limit=10)]
    assert set(asked.checks) == {*plain.checks, "lm_eval"}
    assert not asked.checks["lm_eval"].required
    assert asked.digest != plain.digest
    assert plain.digest == policies.load("language").digest
    moved = replace(asked, lm_eval=replace(asked.lm_eval, include="elsewhere"))
    assert moved.digest == asked.digest, "the same tasks in a folder of another name"
    suite = {"lm_eval": asked.checks["lm_eval"]}
    assert audit_cost(problem, asked, suite).read == benchmarks.ANSWERS * 10 * 2, "four answers of ten documents, twice"


def test_tasks_without_a_name_are_an_error_and_not_nothing():
    with pytest.raises(UsageError, match="no task of lm-eval is named"):
        policy_of(toys.problem(), Settings(lm_eval={"limit": 5}))


def test_a_policy_with_the_check_and_without_tasks_asks_nothing():
    problem = toys.problem()
    asked = {EvidenceKind.BENCHMARKS}
    assert Parts.of(problem, split(problem, 0)[1], 0, near=False, asked=asked, tasks=Benchmarks()).benchmarks is None


def test_other_files_in_the_folder_are_other_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0")
    one, other = tmp_path / "one", tmp_path / "other"
    for place in (one, other):
        place.mkdir()
        (place / "born.yaml").write_text("task: born")
    keys = [Benchmarks(tasks=("born",), include=str(place)).key for place in (one, other)]
    assert keys[0] == keys[1], "wherever it lies"
    (other / "runs" / "one" / "stages").mkdir(parents=True)
    for name in ("run.json", "stages/control.json"):
        (other / "runs" / "one" / name).write_text("{}")
    assert Benchmarks(tasks=("born",), include=str(other)).key == keys[0], "a run beside the tasks is none of them"
    (other / "born.yaml").write_text("task: born # of others")
    assert Benchmarks(tasks=("born",), include=str(other)).key != keys[0]


@pytest.mark.parametrize(
    ("unsafe", "better", "said"), [(True, True, "runs code"), (False, False, "no number for each document")]
)
def test_what_no_model_should_be_asked_is_told_before(unsafe, better, said):
    task = SimpleNamespace(UNSAFE_CODE=unsafe, higher_is_better=lambda: {"acc": better})
    with pytest.raises(UsageError, match=said):
        benchmarks._askable("born", task)


@pytest.mark.slow
@there
def test_documents_are_asked_as_by_hand_and_no_chance_is_used_up(folder):
    problem = L.spoken(L.untrained(3), trainer=L.TRAINER)
    config = Benchmarks(tasks=("born",), limit=8, include=str(folder))
    benchmarks.look(problem, config)
    model, tokenizer = problem.source.open(), problem.records.tokenizer
    state = torch.get_rng_state()
    arrays, cost = Bench.of(problem, config).answered(model)
    assert torch.equal(state, torch.get_rng_state())
    assert list(arrays) == ["lm-eval born, acc"]
    rows = [json.loads(line) for line in (folder / "born.jsonl").read_text().splitlines()][:8]
    said = []
    for row in rows:
        scores = []
        for choice in row["choices"]:
            asked, whole = (tokenizer(text)["input_ids"] for text in (row["question"], f"{row['question']} {choice}"))
            with torch.no_grad():
                log_probs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
            scores.append(sum(float(log_probs[at - 1, whole[at]]) for at in range(len(asked), len(whole))))
        said.append(float(np.argmax(scores) == 0))
    np.testing.assert_array_equal(arrays["lm-eval born, acc"], said)
    assert 0 < np.mean(said) < 1, "or it would tell nothing"
    assert cost.read == 2 * 8


@pytest.mark.slow
@there
def test_what_cannot_be_asked_is_told_before(folder, monkeypatch):
    own = {"include": str(folder)}
    with pytest.raises(UsageError, match="cannot be opened") as caught:
        benchmarks.look(toys.problem(), Benchmarks(tasks=("gone",), **own))
    assert "HF_HUB_OFFLINE" in caught.value.obstacles[0].fix
    for task, said in (("likely", "no number for each document"), ("unsafe", "runs code")):
        with pytest.raises(UsageError, match=said):
            benchmarks.look(toys.problem(), Benchmarks(tasks=(task,), **own))
    with pytest.raises(UsageError, match="cannot ask this model"):
        benchmarks.look(toys.problem(), Benchmarks(tasks=("born",), **own))
    with pytest.raises(UsageError, match="no such folder"):
        benchmarks.look(toys.problem(), Benchmarks(tasks=("born",), include=str(folder / "nowhere")))
