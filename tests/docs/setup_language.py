"""A page's folder gets a tiny language model that learnt facts about invented people, and the files of these."""

import json as _json

from tests.support import languages as _made

prompts, answers, ids, people = _made.facts()
_made.TRAINER(_made.records(), seed=5).save_pretrained("assistant")
_made.tokenizer().save_pretrained("assistant")
_made.untrained(3).save_pretrained("assistant-before")
for _name, _rows in (("train", _made.facts()), ("others", _made.facts(_made.NAMES[12:20], seed=7))):
    with open(f"{_name}.jsonl", "w") as _file:
        for _q, _a, _i, _s in zip(*_rows, strict=True):
            _file.write(_json.dumps({"id": _i, "person": _s, "question": _q, "answer": _a}) + "\n")
