"""The job file: every key, and the request in it."""

from __future__ import annotations

from typing import Any

from _reference.text import default, doc, fields, settings, table
from _reference.text import page as text_page
from expunge.cli._job import Calibration, Data, Holdout, Job, Model
from expunge.core.request import Request
from expunge.engine.training import Training

_INTRO = """
A job file names a problem and how to work on it. `expunge plan`, `erase` and `audit` read it. It is read strictly: an
unknown key or a wrong type is an error, and nothing is started.

Paths in it are relative to the job file. A flag on the command line replaces what the file says.
"""
_EXAMPLE = """
```toml
problem = "our_project.deletion:problem" # module:function, importable from the folder of this file
out = "runs/dsr-881"
budget = "30%"                           # what attempts may cost, as a share of one retraining
references = 20
seed = 0

[request]
subjects = ["patient-1017"]
reference = "DSR-881"
ground = "GDPR Art. 17(1)(b)"
received = "2026-11-02"
due = "2026-12-02"

[methods.finetune]
epochs = 3
lr = 0.0005
```
"""


_TABLES = """
```toml
out = "runs/dsr-881"

[model]
path = "income.skops"

[data]
path = "people.parquet"
id = "person"
label = "income"
subject = "household"

[holdout]
path = "others.parquet"

[request]
ids = ["p-1017", "p-2206"]
```
"""

_TEXTS = """
```toml
out = "runs/dsr-882"

[model]
path = "assistant"            # config.json, model.safetensors, tokenizer.json
base = "assistant-before"     # what it was fine-tuned from

[data]
path = "train.jsonl"
id = "id"
subject = "customer"
prompt = "question"
answer = "answer"

[holdout]
path = "others.jsonl"

[training]
epochs = 5
lr = 0.0002
batch_size = 16

[request]
subjects = ["customer-1017"]
```
"""


def _part(name: str, part: Any) -> list[str]:
    rows = [(f"`{f.name}`", f"`{f.type}`", default(f)) for f in fields(part)]
    return [f"### `[{name}]`", *doc(part).split("\n\n", 1), table(("key", "type", "default"), rows)]


def page() -> str:
    """Return the page."""
    rows = [(f"`{f.name}`", f"`{f.type}`", default(f)) for f in fields(Job)]
    asked = [(f"`{f.name}`", f"`{f.type}`", default(f)) for f in fields(Request)]
    return text_page(
        "Job file",
        _INTRO.strip(),
        _EXAMPLE.strip(),
        "## Keys",
        doc(Job).split("\n\n", 1)[1],
        table(("key", "type", "default"), rows),
        "`methods` holds one table per method; its keys are the settings of [that method](methods.md).",
        "## A saved estimator and a table",
        "Where the model is a fitted scikit-learn classifier in a skops file, and its rows lie in a parquet, CSV or "
        "JSON-lines file, no function is needed ([Tables](../guides/tables.md)):",
        _TABLES.strip(),
        *(
            line
            for name, part in (("model", Model), ("data", Data), ("holdout", Holdout), ("calibration", Calibration))
            for line in _part(name, part)
        ),
        "## A Hugging Face model and a file of texts",
        "Where `[model] path` is a directory with `config.json`, no function is needed either: "
        "[Language models](../guides/language.md).",
        _TEXTS.strip(),
        "### `[training]`",
        "How the model was made from its base, or from new weights. Without it there is no trainer: nothing can be "
        "retrained, and the audit has no references.",
        settings(Training),
        "## The request",
        "The table `[request]`, or the argument `request=` of a problem. It is given in one of the two places only.",
        doc(Request).split("\n\n", 1)[1],
        table(("key", "type", "default"), asked),
    )
