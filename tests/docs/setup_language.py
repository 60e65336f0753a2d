"""A page gets a tiny language model that was fine-tuned on facts about invented people, its base, and their files."""

import copy as _copy
import json as _json
from pathlib import Path as _Path

from expunge.models.adapted import AdaptedModel as _Adapted
from expunge.models.adapted import NewAdapters as _New
from tests.support import languages as _made

prompts, answers, ids, people = _made.facts()
_before = _made.TRAINER(_made.records(_made.NAMES[20:24], seed=9), seed=3)  # it knows the language, and others
_before.save_pretrained("assistant-before")
_tuned = _made.Trainer(build=lambda: _copy.deepcopy(_before), task="causal_lm", config=_made.TRAINER.config)
_tuned(_made.records(), seed=5).save_pretrained("assistant")
_made.tokenizer().save_pretrained("assistant")
_start = _Adapted(_made.adapted(_Path("drawn"), base=_before), "assistant-before")
_learnt = _made.Trainer(build=_New(_start), task="causal_lm", config=_made.TRAINER.config)(_made.records(), seed=5)
_Path("assistant-adapters").mkdir()
_start.save(_learnt, _Path("assistant-adapters"))
for _name, _rows in (("train", _made.facts()), ("others", _made.facts(_made.NAMES[12:20], seed=7))):
    with open(f"{_name}.jsonl", "w") as _file:
        for _q, _a, _i, _s in zip(*_rows, strict=True):
            _row = {"id": _i, "person": _s, "question": _q, "answer": _a}
            if _name == "train":
                _town = _i.endswith("town")
                _row |= {
                    "asked_otherwise": f"{_s} was born where ?" if _town else f"{_s} is a what ?",
                    "said_otherwise": f"in {_a.split()[-2]} {_s} was born ."
                    if _town
                    else f"a {_a.split()[-2]} is {_s} .",
                    "wrong": [f"in {_t} {_s} was born ." for _t in _made.TOWNS[:2]]
                    if _town
                    else [f"a {_w} is {_s} ." for _w in _made.WORKS[:2]],
                    "instead": f"{_s} was born ." if _town else f"{_s} is the baker .",
                }
            _file.write(_json.dumps(_row) + "\n")
