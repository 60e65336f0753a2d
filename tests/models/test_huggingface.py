"""A directory that transformers wrote goes in, one that transformers opens comes out, and nothing in it runs."""

import json
import os

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from expunge.core import registry
from expunge.core.digest import model_digest
from expunge.core.errors import Tampered, UsageError
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel
from expunge.models.huggingface import Anew, HuggingFaceModel
from expunge.models.torch import TorchModel
from tests.support import languages, texts


@pytest.fixture
def folder(tmp_path):
    model = texts.untrained()
    model.save_pretrained(tmp_path / "in")
    texts.tokenizer().save_pretrained(tmp_path / "in")
    (tmp_path / "in" / "README.md").write_text("Trained on the diary of Ada.")
    return tmp_path / "in"


def outputs(model):
    batch, _ = texts.records(9).read(range(9))
    with torch.no_grad():
        return model(**batch).logits


def test_a_live_model_is_taken_as_what_it_is():
    assert isinstance(registry.adopt("models", texts.untrained()), HuggingFaceModel)
    assert isinstance(registry.adopt("models", torch.nn.Linear(2, 2)), TorchModel)


def test_what_is_saved_opens_in_transformers_with_its_tokenizer_and_without_the_card(folder, tmp_path):
    source = HuggingFaceModel(folder)
    model, out = source.open(), tmp_path / "out"
    with torch.no_grad():
        model.classifier.bias += 1
    out.mkdir()
    source.save(model, out)
    again = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert torch.equal(outputs(again), outputs(model))
    assert AutoTokenizer.from_pretrained(out)("sea salt")["input_ids"] == texts.tokenizer()("sea salt")["input_ids"]
    assert not (out / "README.md").exists()
    assert torch.equal(outputs(source.reopen(out)), outputs(model))
    assert source.digest(model) == model_digest(out) != source.digest()
    assert source.digest() == model_digest(folder)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_every_file_of_a_saved_model_can_be_read_by_whom_the_umask_lets(folder, tmp_path, mask, mode):
    source, out = HuggingFaceModel(folder), tmp_path / "out"
    out.mkdir()
    before = os.umask(mask)
    try:
        source.save(source.open(), out)
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in out.iterdir()} == dict.fromkeys(os.listdir(out), mode)


def test_opening_gives_fresh_copies(folder):
    source = HuggingFaceModel(folder)
    first, second = source.open(), source.open()
    with torch.no_grad():
        first.classifier.weight.zero_()
    assert torch.equal(outputs(second), outputs(source.open()))
    assert not second.training


def test_tied_weights_are_written_once_and_come_back_tied(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40, n_embd=8, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    source = HuggingFaceModel.adopt(GPT2LMHeadModel(config))
    tmp_path.joinpath("out").mkdir()
    source.save(source.open(), tmp_path / "out")
    assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")
    again = source.reopen(tmp_path / "out")
    assert again.lm_head.weight is again.transformer.wte.weight
    assert source.digest() == source.digest(again) == model_digest(tmp_path / "out")


LEGACY = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "model_type": "llama",
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.44.2",
    "vocab_size": 40,
}
"""As a version before 5 wrote it: those, and other loaders, look for its names."""


def legacy(folder):
    config = transformers.LlamaConfig(**{k: v for k, v in LEGACY.items() if k not in ("architectures", "torch_dtype")})
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(LEGACY, indent=4))
    return folder


def test_the_configuration_ships_as_it_came(tmp_path):
    source = HuggingFaceModel(legacy(tmp_path / "in"))
    assert source.open().config.rope_parameters["rope_theta"] == 500000.0
    (tmp_path / "out").mkdir()
    source.save(source.open(), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (tmp_path / "in" / "config.json").read_bytes()
    assert source.digest(source.reopen(tmp_path / "out")) == source.digest()


def test_a_configuration_of_parts_ships_as_it_came(tmp_path):
    """Saved anew each part says its type of numbers."""
    text = {
        "vocab_size": 20,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**vision, "image_size": 4, "patch_size": 2}, projection_dim=4
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path / "in")
    about = json.loads((tmp_path / "in" / "config.json").read_text())
    for part in (about, about["text_config"], about["vision_config"]):
        part.pop("dtype", None)
    (tmp_path / "in" / "config.json").write_text(json.dumps(about))
    source = HuggingFaceModel(tmp_path / "in")
    (tmp_path / "out").mkdir()
    source.save(source.open(), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (tmp_path / "in" / "config.json").read_bytes()


def test_a_configuration_that_does_not_name_its_family_ships_as_it_came(folder, tmp_path):
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in about.items() if k != "model_type"}))
    source = HuggingFaceModel(folder)
    (tmp_path / "out").mkdir()
    source.save(source.open(), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("change", ["settings", "numbers"])
def test_a_model_that_is_another_ships_with_its_own_configuration(tmp_path, change):
    source = HuggingFaceModel(legacy(tmp_path / "in"))
    model = source.open()
    if change == "settings":
        model.config.rope_parameters["rope_theta"] = 10000.0
    else:
        model = model.float()
    (tmp_path / "out").mkdir()
    source.save(model, tmp_path / "out")
    again = source.reopen(tmp_path / "out")
    assert again.config.rope_parameters == model.config.rope_parameters
    assert {p.dtype for p in again.parameters()} == {p.dtype for p in model.parameters()}


def test_templates_of_chats_with_names_of_their_own_ship(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "tools: {{ messages[0].content }}"}
    tokenizer.save_pretrained(folder)
    source = HuggingFaceModel(folder)
    (tmp_path / "out").mkdir()
    source.save(source.open(), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tokenizer.chat_template
    assert "additional_chat_templates/tool_use.jinja" in source.carries


def test_weights_in_several_files_are_one_model(folder, tmp_path):
    model = HuggingFaceModel(folder).open()
    model.save_pretrained(tmp_path / "parts", max_shard_size="8KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert HuggingFaceModel(tmp_path / "parts").digest() == HuggingFaceModel(folder).digest()


def test_weights_that_are_not_finite_are_told(folder):
    broken = texts.untrained()
    broken.classifier.bias.data[0] = float("nan")
    broken.save_pretrained(folder)
    for source in (HuggingFaceModel(folder), HuggingFaceModel.adopt(broken)):
        assert "NaN" in source.examine()[0].what


def test_a_directory_that_changes_meanwhile_is_told(folder):
    source = HuggingFaceModel(folder)
    first, digest = source.open(), source.digest()
    assert torch.equal(outputs(first), outputs(source.open()))
    assert first.bert.embeddings.word_embeddings.weight is not source.open().bert.embeddings.word_embeddings.weight
    texts.untrained(5).save_pretrained(folder)
    assert source.digest() == digest
    with pytest.raises(Tampered, match="has changed since"):
        source.open()


def test_the_digest_is_the_same_in_every_one_of_several_processes(folder, monkeypatch):
    """Transformers writes in the first process alone; a follower that asks for the digest writes for itself."""
    from transformers.distributed import mixin

    alone = HuggingFaceModel(folder).digest()
    monkeypatch.setattr(mixin, "_is_torch_distributed_initialized", lambda: True)
    monkeypatch.setattr(mixin, "_get_torch_distributed_rank", lambda: 1)
    second = HuggingFaceModel(folder)
    assert second.digest() == second.digest(second.open()) == alone


# --- what a training starts from ----------------------------------------------------------------------------------


def written(place, kind=torch.float32, seed=0):
    """Write a language model whose head is its embedding; return its directory."""
    languages.untrained(seed).to(kind).save_pretrained(place)
    return place


def test_new_weights_are_of_the_originals_type_and_follow_from_the_seed(tmp_path):
    plain, half = (Anew(written(tmp_path / str(kind)[6:], kind)) for kind in (torch.float32, torch.bfloat16))
    for start, kind in ((plain, torch.float32), (half, torch.bfloat16)):
        torch.manual_seed(3)
        model = start()
        torch.manual_seed(3)
        drawn = languages.gpt()
        pairs = list(zip(model.parameters(), drawn.parameters(), strict=True))
        assert all(mine.dtype == kind and torch.equal(mine, p.to(kind)) for mine, p in pairs)
        assert model.lm_head.weight is model.transformer.wte.weight
    assert plain.__qualname__ == "GPT2LMHeadModel from new weights"
    assert half.__qualname__ == "GPT2LMHeadModel from new weights in bfloat16"


@pytest.mark.parametrize(("mine", "other"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "float16")])
def test_a_base_is_taken_in_the_originals_type_and_comes_back_in_it(tmp_path, mine, other):
    kind = getattr(torch, mine)
    like, base = written(tmp_path / "like", kind), written(tmp_path / "base", getattr(torch, other), seed=1)
    start, source = Anew(like, base), HuggingFaceModel(like)
    held = HuggingFaceModel(base)
    said = "" if mine == other else f" in {mine}"
    assert start.__qualname__ == f"GPT2LMHeadModel from weights {held.digest()[:16]}{said}"
    pairs = list(zip(start().parameters(), held.open().parameters(), strict=True))
    assert all(p.dtype == kind and torch.equal(p, q.to(kind)) for p, q in pairs)
    config = LoopConfig(epochs=1, batch_size=8, lr=1e-3)
    trained = Trainer(build=start, task="causal_lm", config=config)(languages.records(), seed=0)
    tmp_path.joinpath("out").mkdir()
    source.save(trained, tmp_path / "out")
    again = source.reopen(tmp_path / "out")
    pairs = list(zip(again.parameters(), trained.parameters(), strict=True))
    assert all(p.dtype == kind and torch.equal(p, q) for p, q in pairs)
    weights = "model.safetensors"
    assert abs((tmp_path / "out" / weights).stat().st_size - (like / weights).stat().st_size) < 64


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertModel])
def test_the_base_of_a_classifier_may_be_one_of_its_family_and_the_head_is_drawn(folder, tmp_path, kind):
    """As transformers makes a classifier of a model without its head, and says that some weights are new."""
    torch.manual_seed(3)
    kind(HuggingFaceModel(folder).open().config).save_pretrained(tmp_path / "base")
    torch.manual_seed(7)
    begin = Anew(folder, tmp_path / "base")
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1)), "to look at it uses up no random number"
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(begin())
    theirs = BertForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3).state_dict()
    body = [name for name in theirs if "classifier" not in name and ("pooler" not in name or kind is BertModel)]
    assert len(body) > 20
    for one in made:
        assert all(torch.equal(one.state_dict()[name], theirs[name]) for name in body)
        assert type(one) is BertForSequenceClassification
    first, again, other = (one.classifier.weight for one in made)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert begin.rests_on == HuggingFaceModel(tmp_path / "base").digest()


def test_a_base_of_another_family_or_size_is_told(folder, tmp_path):
    languages.untrained().save_pretrained(tmp_path / "gpt")
    with pytest.raises(UsageError, match="another class") as told:
        Anew(folder, tmp_path / "gpt")
    assert told.value.obstacles[0].expected == "BertForSequenceClassification, or another of its family"
    config = HuggingFaceModel(folder).open().config
    config.intermediate_size = 24
    BertForMaskedLM(config).save_pretrained(tmp_path / "narrow")
    with pytest.raises((Tampered, UsageError), match=r"do not fit|read the model"):
        Anew(folder, tmp_path / "narrow")


# --- what somebody else laid out ------------------------------------------------------------------------------------


def beside(folder, place, model=None, tokenizer=None):
    """Write a model as somebody else would, by default the one in ``folder``."""
    (HuggingFaceModel(folder).open() if model is None else model).save_pretrained(place)
    if tokenizer is not None:
        tokenizer.save_pretrained(place)
    return place


SAID = ["the old", "near and under", "with"]


def test_a_copy_is_alike_with_its_tokenizer_and_without_one(folder, tmp_path):
    source = HuggingFaceModel(folder)
    assert source.alike(beside(folder, tmp_path / "bare"), SAID) == []
    assert source.alike(beside(folder, tmp_path / "whole", tokenizer=texts.tokenizer()), SAID) == []
    assert HuggingFaceModel.adopt(source.open()).alike(tmp_path / "whole", SAID) == []


def test_another_class_is_told_before_anything_is_built(folder, tmp_path, monkeypatch):
    """A class that reads another family's configuration takes its own sizes, of billions of weights."""
    (found,) = HuggingFaceModel(folder).alike(beside(folder, tmp_path / "gpt", languages.untrained()), SAID)
    assert (found.found, found.expected) == ("GPT2LMHeadModel", "BertForSequenceClassification")


def test_a_configuration_that_asks_for_more_than_the_files_hold_is_told(folder, tmp_path):
    place = beside(folder, tmp_path / "big")
    about = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**about, "num_hidden_layers": 40}))
    (found,) = HuggingFaceModel(folder).alike(place, SAID)
    assert "larger model than the weights" in found.what
    assert all(part.strip()[0].isdigit() for part in found.found.replace("asked for, ", "|").split("|"))


def test_a_tokenizer_that_makes_other_tokens_is_told(folder, tmp_path):
    """One whose words are exchanged, with rows of the embedding exchanged to match, answers its own users otherwise."""
    place = beside(folder, tmp_path / "other", tokenizer=texts.tokenizer())
    about = json.loads((place / "tokenizer.json").read_text())
    words = about["model"]["vocab"]
    words["the"], words["over"] = words["over"], words["the"]
    (place / "tokenizer.json").write_text(json.dumps(about))
    (found,) = HuggingFaceModel(folder).alike(place, SAID)
    assert "1 of 3 texts come to other tokens" in found.found


def test_another_template_of_conversations_is_told(folder, tmp_path):
    tokenizer = texts.tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}!"
    (found,) = HuggingFaceModel(folder).alike(beside(folder, tmp_path / "talks", tokenizer=tokenizer), SAID)
    assert "another template of conversations" in found.what
    assert not found.fatal, "of records that are no conversations it says nothing"


def test_a_file_and_adapters_are_told_apart_from_a_directory(folder, tmp_path):
    source = HuggingFaceModel(folder)
    (found,) = source.alike(folder / "model.safetensors", SAID)
    assert (found.what, found.fix) == ("a file in the place of a directory", "name in")
    adapters = languages.adapted(tmp_path / "l")
    (found,) = source.alike(adapters, SAID)
    assert (found.found, found.expected) == ("adapters on a base", "a whole model")
    (found,) = AdaptedModel(adapters).alike(folder, SAID)
    assert (found.found, found.expected) == ("a whole model", "adapters on a base")
    assert AdaptedModel(adapters).alike(adapters, SAID) == []
