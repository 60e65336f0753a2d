"""What lies in a directory is looked at before anything is opened: no pickle, no code, no half of a model."""

import json
import pickle

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, LlamaConfig, RobertaConfig, RobertaForSequenceClassification

from expunge.core.errors import RunFailed, Tampered, UnsafeFile, UsageError
from expunge.models._directory import classes_of, context_of
from expunge.models.huggingface import HuggingFaceModel
from tests.support import texts


@pytest.fixture
def folder(tmp_path):
    texts.untrained().save_pretrained(tmp_path / "in")
    texts.tokenizer().save_pretrained(tmp_path / "in")
    return tmp_path / "in"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB"),
        MemoryError(),
    ],
    ids=["processor", "device", "python"],
)
def test_memory_that_does_not_suffice_to_open_it_is_no_fault_of_the_directory(folder, monkeypatch, error):
    def exhausted(*given, **named):
        raise error

    source = HuggingFaceModel(folder)
    monkeypatch.setattr(type(source.open()), "from_pretrained", exhausted)
    with pytest.raises(RunFailed, match="memory does not suffice") as told:
        source.open()
    assert not isinstance(told.value, Tampered)
    size = (folder / "model.safetensors").stat().st_size / 2**30
    assert f"{size:.2g} GiB of weights" in told.value.obstacles[0].found
    assert ("1 GiB asked for" in told.value.obstacles[0].found) is not isinstance(error, MemoryError)
    assert f"every worker fewer saves {size:.2g} GiB" in told.value.obstacles[0].fix


def test_pickled_weights_and_code_of_the_directory_are_refused(folder):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsafeFile, match="pickled"):
        HuggingFaceModel(folder)
    weights.write_bytes(pickle.dumps({"x": 1}, protocol=4))
    with pytest.raises(UnsafeFile, match="pickle"):
        HuggingFaceModel(folder)
    weights.write_bytes(data)
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "auto_map": {"AutoModel": "evil.Evil"}}))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeFile, match="code from its own directory"):
        HuggingFaceModel(folder)


def broken(folder, what):
    weights, config = folder / "model.safetensors", folder / "config.json"
    state, about = load_file(weights), json.loads(config.read_text())
    if what == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == "missing head":
        save_file({k: v for k, v in state.items() if "classifier" not in k}, weights, metadata={"format": "pt"})
    elif what == "other shape":
        state["classifier.bias"] = torch.zeros(7)
        save_file(state, weights, metadata={"format": "pt"})
    elif what == "no weights":
        weights.unlink()
    elif what == "no config":
        config.unlink()
    elif what == "bad config":
        config.write_text("{")
    elif what == "unknown class":
        config.write_text(json.dumps({**about, "architectures": ["NoSuchModel"]}))


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("truncated", Tampered, "safetensors"),
        ("missing head", Tampered, "do not fit"),
        ("other shape", Tampered, "read the model|do not fit"),
        ("no weights", UsageError, "no weights"),
        ("no config", UsageError, "no Hugging Face model"),
        ("bad config", Tampered, "configuration"),
        ("unknown class", UsageError, "NoSuchModel"),
    ],
)
def test_a_broken_directory_is_refused_with_what_is_wrong(folder, what, error, said):
    broken(folder, what)
    with pytest.raises(error, match=said):
        HuggingFaceModel(folder)


def test_nothing_is_printed_and_no_random_number_is_used_up(folder, capfd):
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    source = HuggingFaceModel(folder)
    source.digest()
    assert torch.rand(1) == wanted
    assert transformers.utils.logging.is_progress_bar_enabled() == bars
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("named", "found"),
    [({"0": "praise", "1": "blame"}, {"praise": 0, "blame": 1}), ({"0": "x", "1": "x"}, {}), (None, {})],
)
def test_names_of_classes_are_taken_where_each_has_its_own(tmp_path, named, found):
    (tmp_path / "config.json").write_text(json.dumps({"id2label": named}))
    assert classes_of(tmp_path) == found


def test_the_context_is_what_the_model_reads(tmp_path):
    """Of RoBERTa's places those up to the pad token's number are never filled: one token more is out of range."""
    sizes = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    config = RobertaConfig(**sizes, num_attention_heads=2, max_position_embeddings=20, pad_token_id=1)
    config.save_pretrained(tmp_path)
    longest = context_of(tmp_path)
    assert longest == 18
    model = RobertaForSequenceClassification(config).eval()
    model(torch.full((1, longest), 5))
    with pytest.raises((RuntimeError, IndexError)):
        model(torch.full((1, longest + 1), 5))
    for other in (BertConfig, LlamaConfig):
        other(**sizes, num_attention_heads=2, max_position_embeddings=20, pad_token_id=1).save_pretrained(tmp_path)
        assert context_of(tmp_path) == 20
    (tmp_path / "config.json").unlink()
    assert context_of(tmp_path) is None
