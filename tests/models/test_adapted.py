"""Adapters on a base go in and out as peft and transformers open them, and the base stays where it is."""

import json
import pickle
from functools import partial

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
)

from expunge.core import registry
from expunge.core.digest import BASE_FILE, base_digest, base_of, model_digest, tree_digests
from expunge.core.errors import RunFailed, Tampered, UnsafeFile, UsageError
from expunge.core.problem import Problem
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel, NewAdapters
from expunge.models.huggingface import HuggingFaceModel
from tests.support import languages as L
from tests.support import texts as T

# peft itself asks transformers for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")


@pytest.fixture
def folder(tmp_path):
    return L.adapted(tmp_path)


def logits(model):
    batch, _ = L.records().read(range(9))
    with torch.no_grad():
        return model.eval()(**batch).logits


def moved(source):
    """Return a model all of whose parameters that may move are others."""
    model = source.open()
    torch.manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_()
    return model


def saved(source, model, folder):
    folder.mkdir()
    source.save(model, folder)
    return folder


def rewritten(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_it_opens_what_peft_opens(folder):
    whole = AutoModelForCausalLM.from_pretrained(folder.parent / "base")
    plain = logits(whole)
    theirs = logits(peft.PeftModel.from_pretrained(whole, folder))
    mine = logits(AdaptedModel(folder).open())
    assert torch.equal(mine, theirs)
    assert not torch.allclose(mine, plain, atol=1e-2)


def test_what_is_saved_opens_in_peft_and_in_transformers_and_merges_to_the_same(folder, tmp_path):
    source = AdaptedModel(folder)
    before = tree_digests(tmp_path / "base")
    model = moved(source)
    out = saved(source, model, tmp_path / "out")
    wanted = logits(model)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(logits(peft.PeftModel.from_pretrained(base, out)), wanted)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(out)), wanted)
    whole = peft.AutoPeftModelForCausalLM.from_pretrained(out).merge_and_unload()
    assert float((logits(whole) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    assert AutoTokenizer.from_pretrained(out)("where was kaba ?") == L.tokenizer()("where was kaba ?")
    assert (out / "adapter_config.json").read_bytes() == (folder / "adapter_config.json").read_bytes()
    mine, theirs = (load_file(each / "adapter_model.safetensors") for each in (out, folder))
    assert {name: t.shape for name, t in mine.items()} == {name: t.shape for name, t in theirs.items()}
    assert not any(file.name.startswith("model") for file in out.iterdir())
    assert tree_digests(tmp_path / "base") == before
    assert torch.equal(logits(source.reopen(out)), wanted)


def test_the_adapters_alone_may_move_and_every_copy_is_fresh(folder):
    source = AdaptedModel(folder)
    one = source.open()
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name, p in one.named_parameters() if p.requires_grad} == {
        "c_attn",
        "c_fc",
    }
    assert all(".lora_" in name for name, p in one.named_parameters() if p.requires_grad)
    before = logits(one)
    with torch.no_grad():
        next(p for p in one.parameters() if p.requires_grad).add_(1)
    assert torch.equal(logits(source.open()), before)


def test_the_digest_is_over_adapters_settings_and_base(folder, tmp_path):
    source = AdaptedModel(folder)
    out = saved(source, source.open(), tmp_path / "out")
    assert source.digest() == source.digest(source.open()) == model_digest(out)
    assert base_of(out) == source.rests_on == base_digest(tmp_path / "base") != model_digest(tmp_path / "base")
    assert AdaptedModel(out).digest() == source.digest()
    assert source.digest(moved(source)) != source.digest()
    L.untrained(7).save_pretrained(tmp_path / "other")
    assert AdaptedModel(folder, tmp_path / "other").digest() != source.digest()
    rewritten(folder, lora_alpha=9.0)
    assert AdaptedModel(folder).digest() != source.digest()


def test_what_lies_below_the_base_is_no_part_of_it(folder, tmp_path):
    wanted = AdaptedModel(folder).digest()
    folder.rename(tmp_path / "base" / "tuned")
    inside = AdaptedModel(tmp_path / "base" / "tuned")
    assert inside.digest() == wanted
    assert inside.rests_on == base_digest(tmp_path / "base")


def test_a_base_that_moved_is_not_left_behind_unsaid(folder, tmp_path):
    source = AdaptedModel(folder)
    model = source.open()
    with torch.no_grad():
        next(p for p in model.parameters() if not p.requires_grad)[0, 0] += 1
    with pytest.raises(RunFailed, match="base has changed"):
        saved(source, model, tmp_path / "out")
    with pytest.raises(RunFailed, match="base has changed"):
        source.digest(model)


def test_opening_uses_up_no_random_number_and_new_adapters_follow_from_the_seed(folder):
    source = AdaptedModel(folder)
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    source.open()
    assert torch.equal(torch.rand(1), wanted)
    trainer = Trainer(build=NewAdapters(source), task="causal_lm", config=L.TRAINER.config)
    one, again, other = (source.digest(trainer.begin(seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert source.rests_on[:16] in trainer.describe()


# --- modules that are trained whole beside them ---------------------------------------------------------------------

_ROBERTA = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
_LLAMA = {**_ROBERTA, "max_position_embeddings": 24, "tie_word_embeddings": False, "pad_token_id": 0}
_OF = {"r": 4, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}


def kinds():
    """Return by name: a base, the class of what is trained on it, what that is read with, and settings of peft's."""
    torch.manual_seed(3)
    words = len(T.WORDS)
    roberta = RobertaForMaskedLM(RobertaConfig(vocab_size=words, max_position_embeddings=20, **_ROBERTA))
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=len(L.WORDS), **_LLAMA))
    llama_of = {"r": 4, "modules_to_save": ["lm_head", "embed_tokens"], "task_type": "CAUSAL_LM"}
    gpt_of = {**_OF, "target_modules": ["c_attn"], "fan_in_fan_out": True}
    distil = DistilBertForMaskedLM(DistilBertConfig(vocab_size=words, dim=16, n_layers=1, n_heads=2, hidden_dim=16))
    distil_of = {**_OF, "target_modules": ["q_lin", "v_lin"]}
    sizes = {"num_labels": 6, "ignore_mismatched_sizes": True}
    return {
        "a layer before it": (distil, DistilBertForSequenceClassification, {"num_labels": 3}, distil_of),
        "other classes": (T.untrained(), BertForSequenceClassification, sizes, _OF),
        "a head of the base": (T.untrained(), BertForSequenceClassification, {}, _OF),
        "a head of its own": (roberta, RobertaForSequenceClassification, {"num_labels": 5}, _OF),
        "a decoder's head": (
            L.untrained(),
            GPT2ForSequenceClassification,
            {"num_labels": 4, "pad_token_id": 0},
            gpt_of,
        ),
        "embeddings": (llama, LlamaForCausalLM, {}, llama_of),
    }


def with_whole(folder, what, *, base=None):
    """Write a base and adapters with such modules, all drawn; return their directory and a function to read it."""
    whole, kind, more, settings = kinds()[what]
    (base or whole).save_pretrained(folder / "base")
    read = partial(kind.from_pretrained, folder / "base", **more)
    made = peft.get_peft_model(read(), peft.LoraConfig(**settings))
    torch.manual_seed(4)
    with torch.no_grad():
        for p in made.parameters():
            if p.requires_grad:
                p.normal_()
    made.save_pretrained(folder / "adapters")
    T.tokenizer().save_pretrained(folder / "adapters")
    return folder / "adapters", lambda place: peft.PeftModel.from_pretrained(read(), place).eval()


def answers(model):
    batch, _ = T.records(9).read(range(9))
    with torch.no_grad():
        return model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


@pytest.mark.parametrize(
    "what",
    ["a head of the base", "a head of its own", "a decoder's head", "embeddings", "a layer before it", "other classes"],
)
def test_modules_trained_whole_go_in_and_out_as_peft_opens_them(tmp_path, what):
    folder, opened = with_whole(tmp_path, what)
    before, source = tree_digests(tmp_path / "base"), AdaptedModel(folder)
    assert torch.equal(answers(source.open()), answers(opened(folder)))
    model = moved(source)
    out = saved(source, model, tmp_path / "out")
    assert torch.equal(answers(opened(out)), answers(model))
    assert torch.equal(answers(source.reopen(out)), answers(model))
    mine, theirs = (load_file(each / "adapter_model.safetensors") for each in (out, folder))
    assert {name: t.shape for name, t in mine.items()} == {name: t.shape for name, t in theirs.items()}
    assert any(".lora_" not in name for name in mine)
    assert source.digest(model) == model_digest(out) != source.digest()
    assert tree_digests(tmp_path / "base") == before
    with torch.no_grad():
        next(p for p in model.parameters() if not p.requires_grad).add_(1)
    with pytest.raises(RunFailed, match="base has changed"):
        source.digest(model)


def test_where_they_begin_is_the_base_and_a_head_that_it_has_not_follows_from_the_seed(tmp_path):
    source = AdaptedModel(with_whole(tmp_path / "1", "embeddings")[0])
    begun, base = NewAdapters(source)(), LlamaForCausalLM.from_pretrained(tmp_path / "1" / "base")
    assert torch.equal(begun.lm_head.weight, base.lm_head.weight)
    assert torch.equal(begun.model.embed_tokens.weight, base.model.embed_tokens.weight)
    source = AdaptedModel(with_whole(tmp_path / "2", "a head of its own")[0])
    trainer = Trainer(build=NewAdapters(source), config=L.TRAINER.config)
    one, again, other = (trainer.begin(seed) for seed in (1, 1, 2))
    assert torch.equal(one.classifier.dense.weight, again.classifier.dense.weight)
    assert not torch.equal(one.classifier.dense.weight, other.classifier.dense.weight)
    assert one.config.num_labels == 5
    assert float(one.classifier.dense.weight.detach().std()) == pytest.approx(one.config.initializer_range, rel=0.3)


def test_a_module_that_is_tied_to_the_base_is_to_be_merged_first(folder):
    rewritten(folder, modules_to_save=["lm_head"])
    with pytest.raises(UsageError, match="shares its weights") as told:
        AdaptedModel(folder)
    assert "merge_and_unload" in told.value.obstacles[0].fix


def test_what_nobody_saved_of_a_classifier_is_told(tmp_path):
    """BERT's pooler is drawn anew for each who opens a base without it, and peft saves the last layer alone."""
    torch.manual_seed(3)
    with_whole(tmp_path, "a head of the base", base=BertForMaskedLM(T.untrained().config))
    with pytest.raises(Tampered, match="do not fit") as told:
        AdaptedModel(tmp_path / "adapters")
    assert "pooler" in told.value.obstacles[0].where


def test_a_head_of_another_type_than_the_base_is_told(tmp_path):
    folder, _ = with_whole(tmp_path, "a head of its own")
    kinds()["a head of its own"][0].to(torch.bfloat16).save_pretrained(tmp_path / "base")
    with pytest.raises(UsageError, match="of another type than the base") as told:
        AdaptedModel(folder)
    assert (told.value.obstacles[0].found, told.value.obstacles[0].expected) == ("float32", "bfloat16")
    assert "dtype=torch.float32" in told.value.obstacles[0].fix


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [("no head", UsageError, "no head to classify with"), ("odd head", Tampered, "fits no classifier")],
)
def test_a_classifier_without_a_head_that_fits_is_told(tmp_path, what, error, said):
    folder, _ = with_whole(tmp_path, "a head of its own")
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    name = next(n for n in state if n.endswith("out_proj.weight"))
    if what == "no head":
        state = {n: t for n, t in state.items() if ".lora_" in n}
    else:
        state[name] = state[name][:, :-1].clone()
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(error, match=said):
        AdaptedModel(folder)


def test_new_adapters_say_at_first_what_the_base_says(folder):
    rewritten(folder, init_lora_weights=True)
    base = AutoModelForCausalLM.from_pretrained(folder.parent / "base")
    assert torch.equal(logits(NewAdapters(AdaptedModel(folder))()), logits(base))


def test_adapters_on_a_base_in_half_precision_are_held_in_single(tmp_path):
    source = AdaptedModel(L.adapted(tmp_path, base=L.untrained().to(torch.bfloat16)))
    kinds = {p.requires_grad: p.dtype for p in source.open().parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    out = saved(source, source.open(), tmp_path / "out")
    assert source.digest() == model_digest(out)


def test_the_base_may_be_named_and_is_never_fetched(folder, tmp_path):
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not on this machine"):
        AdaptedModel(folder)
    rewritten(folder, base_model_name_or_path="some/model")
    with pytest.raises(UsageError, match="nothing is fetched"):
        AdaptedModel(folder)
    out = saved(AdaptedModel(folder, tmp_path / "elsewhere"), AdaptedModel(folder, tmp_path / "elsewhere").open(),
                tmp_path / "out")  # fmt: skip
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/model"


def test_the_tokenizer_may_lie_with_the_base(folder, tmp_path):
    assert AdaptedModel(folder).tokens == folder
    (folder / "tokenizer.json").rename(tmp_path / "base" / "tokenizer.json")
    assert AdaptedModel(folder).tokens == tmp_path / "base"


def test_pickles_are_refused(folder):
    weights = folder / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(UnsafeFile, match="pickled"):
        AdaptedModel(folder)
    weights.write_bytes(pickle.dumps({"x": 1}, protocol=4))
    with pytest.raises(UnsafeFile, match="pickle"):
        AdaptedModel(folder)
    weights.write_bytes(data)
    whole = folder.parent / "base" / "model.safetensors"
    whole.rename(whole.with_name("pytorch_model.bin"))
    with pytest.raises(UnsafeFile, match="pickled"):
        AdaptedModel(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"modules_to_save": "lm_head"}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),  # which changes the base
        ({"of_tomorrow": {"x": 1}}, "of_tomorrow"),
        ({"r": None}, "no rank"),
    ],
)
def test_what_is_no_plain_lora_is_to_be_merged_first(folder, change, said):
    rewritten(folder, **change)
    with pytest.raises(UsageError, match="merge_and_unload") as told:
        AdaptedModel(folder)
    assert told.value.obstacles[0].found == said


@pytest.mark.parametrize(
    "change",
    [{"target_modules": ["q_proj"]}, {"target_modules": 3}, {"r": "4"}, {"lora_alpha": None}, {"rank_pattern": 3}],
)
def test_settings_that_mean_nothing_in_the_base_are_told(folder, change):
    rewritten(folder, **change)
    with pytest.raises(Tampered, match="adapters of these settings") as told:
        AdaptedModel(folder)
    assert "GPT2LMHeadModel" in told.value.obstacles[0].found


@pytest.mark.parametrize("what", ["missing", "extra", "other shape", "truncated", "of another base"])
def test_adapters_that_do_not_fit_are_told(folder, what):
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    name = min(state)
    if what == "missing":
        state.pop(name)
    elif what == "extra":
        state["base_model.model.lm_head.weight"] = torch.zeros(2, 2)
    elif what == "other shape":
        state[name] = state[name][:-1].clone()
    save_file(state, file, metadata={"format": "pt"})
    if what == "truncated":
        file.write_bytes(file.read_bytes()[:-4])
    if what == "of another base":
        (folder / BASE_FILE).write_text(json.dumps({"base": "77" * 32}))
    with pytest.raises(Tampered, match="another base" if "base" in what else "do not fit|not a whole"):
        AdaptedModel(folder)


def test_what_is_reopened_has_the_settings_and_the_base_of_the_original(folder, tmp_path):
    source = AdaptedModel(folder)
    out = saved(source, source.open(), tmp_path / "out")
    rewritten(out, base_model_name_or_path="elsewhere", task_type=None, target_modules=["c_fc", "c_attn"])
    assert source.digest(source.reopen(out)) == source.digest()  # that says nothing of what they compute
    rewritten(out, r=8)
    with pytest.raises(UsageError, match="of another kind") as told:
        source.reopen(out)
    assert told.value.obstacles[0].found == "8"


def test_directories_that_change_meanwhile_are_told(folder, tmp_path):
    out = saved(AdaptedModel(folder), AdaptedModel(folder).open(), tmp_path / "out")
    for place in (folder / "adapter_model.safetensors", tmp_path / "base" / "model.safetensors"):
        source = AdaptedModel(folder)
        place.write_bytes(place.read_bytes())
        for opened in (source.open, lambda source=source: source.reopen(out)):
            with pytest.raises(Tampered, match="has changed since"):
                opened()


def test_a_whole_model_and_adapters_in_one_directory_are_refused(folder, tmp_path):
    for file in folder.glob("adapter_*"):
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match="in one directory"):
        HuggingFaceModel(tmp_path / "base")


def test_a_live_model_with_adapters_is_told_to_be_saved(folder, tmp_path):
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    for live in (peft.PeftModel.from_pretrained(whole, folder), AutoModelForCausalLM.from_pretrained(folder)):
        with pytest.raises(UsageError, match="AdaptedModel"):
            Problem(model=live, train=L.records(), task="causal_lm", forget=["kaba-town"]).spec  # noqa: B018


def test_weights_that_are_not_finite_are_told(folder):
    source = AdaptedModel(folder)
    assert source.examine() == []
    model = source.open()
    next(p for p in model.parameters() if p.requires_grad).data[0, 0] = float("nan")
    assert "NaN" in registry.adopt("models", model).examine()[0].what


def test_no_adapters_are_told(tmp_path):
    with pytest.raises(UsageError, match="no adapters here"):
        AdaptedModel(tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"adapter_config\.json alone"):
        AdaptedModel(tmp_path)
