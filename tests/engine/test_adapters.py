"""Adapters: what they compute, that nothing else moves, and that the model comes back as it went in."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from expunge.core import registry
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.engine import adapters
from expunge.engine.adapters import Adapters
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.passes import Batch, Pass, Passes
from expunge.methods.finetune import Finetune
from expunge.methods.msg import SmallGradients
from expunge.models.adapted import AdaptedModel
from expunge.plan.planner import make_plan
from tests.support import languages, toys


class Follow(Passes):
    """Away from the labels of forgotten records, and as the original on retained ones."""

    title, source, guarantee = "Toy", "none", Level.AUDITED
    needs: ClassVar = frozenset({Need.RETAIN, Need.FORGET})
    teacher = True
    seen: ClassVar[list] = []

    def passes(self, epoch):
        return [Pass("both", self.both, self.config.batch_size)]

    def both(self, batch: Batch):
        def apart(logits, target, theirs):
            return (theirs.softmax(1) * (theirs.log_softmax(1) - logits.log_softmax(1))).sum(1)

        assert not batch.teacher.forget.loss.requires_grad
        self.seen.append((batch.forget_side.ids, batch.teacher.forget.loss))
        kept = batch.retain.per_unit(apart, batch.teacher.retain).mean()
        return kept - 0.1 * batch.forget.loss.mean()

    def rewind(self, model, history, run):
        return 2


LOOP = {"epochs": 3, "batch_size": 8, "lr": 0.02, "lora": 2}


def problem(model=None):
    train = languages.records()
    held = languages.records(languages.NAMES[12:18], seed=5)
    model = languages.untrained() if model is None else model
    return Problem(
        model=model, train=train, task="causal_lm", holdout=held, request=Request(subjects=languages.NAMES[:3])
    )


def forward(model, batch):
    with torch.no_grad():
        return model(**batch[0]).logits


def test_a_layer_says_what_the_formula_says_and_so_does_its_merged_weight():
    """W x + (alpha / rank) B A x in NumPy; of transformers' Conv1D the weight is transposed."""
    torch.manual_seed(0)
    model = languages.gpt().double()
    found = adapters.layers(model, ["c_fc"])
    assert found == ["transformer.h.0.mlp.c_fc"]
    layer, inputs = model.get_submodule(found[0]), torch.randn(5, 16, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy()
    beside = Adapters(model, found, rank=3, alpha=6.0)
    a, b = (dict(model.named_parameters())[f"{found[0]}.lora_{x}.expunge.weight"] for x in "AB")
    nn.init.normal_(b)
    layer = model.get_submodule(found[0])
    plain = inputs.numpy() @ weight + bias
    wanted = plain + 2 * inputs.numpy() @ a.detach().numpy().T @ b.detach().numpy().T
    np.testing.assert_allclose(layer(inputs).detach().numpy(), wanted, atol=1e-12)
    with beside.off():
        np.testing.assert_allclose(layer(inputs).detach().numpy(), plain, atol=1e-15)
    beside.merge()
    merged = model.get_submodule(found[0])
    np.testing.assert_allclose(merged(inputs).detach().numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(merged.weight.detach().numpy(), weight + 2 * (b @ a).detach().numpy().T, atol=1e-12)


def test_the_base_is_frozen_the_original_is_one_switch_away_and_merging_is_exact_to_rounding():
    given = problem()
    batch = given.records.read(range(8))
    start = {name: tensor.clone() for name, tensor in given.source.open().state_dict().items()}
    noted = {}

    class Noting(Follow):
        def _adapters(self, model, run):
            self.beside = super()._adapters(model, run)
            return self.beside

        def stop(self, model, epoch, run):
            state = {name.replace("base_layer.", ""): tensor for name, tensor in model.state_dict().items()}
            assert all(torch.equal(state[name], value) for name, value in start.items())
            with self.beside.off():
                assert torch.equal(forward(model.eval(), batch), forward(given.source.open(), batch))
            noted[epoch] = forward(model, batch)
            return ""

    Follow.seen.clear()
    model = Noting(LOOP).unlearn(given, toys.context(given)).model
    after, before = forward(model, batch), forward(given.source.open(), batch)
    assert float((noted[2] - before).abs().max()) > 0.05  # they did something
    assert float((after - noted[2]).abs().max()) < 1e-5  # gone back to the second epoch, and merged
    assert float((after - noted[3]).abs().max()) > 1e-3
    original = given.source.open()
    for ids, taught in Follow.seen:  # the teacher is the original, though no second model was opened
        mine = given.records.read([given.records.position[name] for name in ids])
        torch.testing.assert_close(taught, given.meaning.units(original, mine).loss, atol=1e-6, rtol=0)


def test_what_comes_back_is_what_went_in():
    given = problem()
    original = given.source.open()
    movable = [p.requires_grad for p in original.parameters()]
    outcome = Finetune(LOOP).unlearn(given, toys.context(given))
    model = outcome.model
    assert type(model) is type(original)
    assert vars(model).keys() == vars(original).keys()
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in original.named_modules()]
    assert model.state_dict().keys() == original.state_dict().keys()
    assert [p.requires_grad for p in model.parameters()] == movable
    assert model.lm_head.weight is model.transformer.wte.weight
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, original.get_parameter(n))}
    assert moved == {f"transformer.h.0.{n}.weight" for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    sizes = sum(p.numel() for n, p in original.named_parameters() if n in moved)
    assert outcome.touched == pytest.approx(sizes / sum(p.numel() for p in original.parameters()), abs=0.01)


def test_the_optimiser_and_the_checkpoints_hold_adapters_alone(tmp_path):
    held = []

    class Dying(Checkpoints):
        def offer(self, model, optimiser, place):
            names = {id(p): name for name, p in opened.named_parameters()}
            held.append(({names[id(p)] for g in optimiser.param_groups for p in g["params"]}, set(model.state_dict())))
            super().offer(model, optimiser, place)
            raise KeyboardInterrupt

    class Opened(Follow):
        def _adapters(self, model, run):
            nonlocal opened
            opened = model
            return super()._adapters(model, run)

    given, opened = problem(), None
    whole = Follow(LOOP).unlearn(given, toys.context(given))
    with pytest.raises(KeyboardInterrupt):
        Opened(LOOP).unlearn(given, toys.context(given, checkpoints=Dying(tmp_path, every_s=0)))
    ((moving, saved),) = held
    assert moving == saved
    assert all(".lora_A." in name or ".lora_B." in name for name in saved)
    assert len(saved) == 8
    resumed = Follow(LOOP).unlearn(given, toys.context(given, checkpoints=Checkpoints(tmp_path, every_s=0)))
    assert toys.same(whole.model, resumed.model)
    assert whole.history == resumed.history


def test_layers_with_a_share_in_other_weights_and_heads_get_none():
    model = nn.ModuleDict({"one": nn.Linear(3, 3), "two": nn.Linear(3, 3), "three": nn.Linear(3, 3)})
    model["two"].weight = model["one"].weight
    assert adapters.layers(model) == ["three"]
    model["three"].weight.requires_grad_(False)
    assert adapters.layers(model) == []
    inside = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), nn.Linear(4, 2))
    assert adapters.layers(inside) == ["1"]
    assert adapters.layers(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))), ["1.0"]) == ["1.0"]
    untied = languages.gpt(tie_word_embeddings=False)
    assert "lm_head" not in adapters.layers(untied)


def test_adapters_go_to_no_other_layer_of_a_like_name():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    Adapters(model, ["0"], rank=1, alpha=1.0)
    assert {name.split(".lora")[0] for name, p in model.named_parameters() if p.requires_grad} == {"0"}


def test_what_cannot_have_adapters_says_so():
    given = toys.problem(build=toys.Mlp)
    assert not Finetune({"lora": 2}).obstacles(given)
    (found,) = Finetune({"lora": 2, "lora_layers": ["q_proj"]}).obstacles(given)
    assert "q_proj" in found.where
    assert "0, 2" in found.expected
    (found,) = Finetune({"lora": 2}).obstacles(toys.problem(build=toys.Softmax))
    assert found.fix == "set lora = 0: all weights move"
    assert any("weights themselves" in each.what for each in SmallGradients({"lora": 2}).obstacles(given))


def test_adapters_of_half_precision_are_held_in_single():
    model = languages.gpt().to(torch.bfloat16)
    beside = Adapters(model, adapters.layers(model), rank=2, alpha=4.0)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    beside.merge()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_what_moved_before_may_move_again_once_they_are_merged():
    model = languages.gpt()
    model.transformer.wpe.weight.requires_grad_(False)
    movable = {name: p.requires_grad for name, p in model.named_parameters()}
    adapters.drawn(model, rank=2, alpha=4.0, names=("c_fc",), seed=1).merge()
    assert {name: p.requires_grad for name, p in model.named_parameters()} == movable


def test_another_rank_is_not_taken_for_a_checkpoint_of_this_one():
    beside = Adapters(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), ["0"], rank=1, alpha=1.0)
    with pytest.raises(KeyError, match="other adapters"):
        beside.load_state_dict({})


# --- adapters that came with the model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    return AdaptedModel(languages.adapted(tmp_path_factory.mktemp("came")))


def test_merged_adapters_say_the_same_and_all_weights_may_move(came):
    batch = languages.records().read(range(9))
    model = came.open()
    wanted = forward(model, batch)
    whole = adapters.merged(model)
    assert whole is model
    np.testing.assert_allclose(forward(whole, batch), wanted, atol=1e-5)
    names = {name for name, _ in whole.named_parameters()}
    assert names == {name for name, _ in languages.untrained().named_parameters()}
    assert all(p.requires_grad for p in whole.parameters())


def test_a_model_without_adapters_is_left_as_it_is():
    model = languages.untrained()
    frozen = next(model.parameters()).requires_grad_(False)
    assert adapters.merged(model) is model
    assert not frozen.requires_grad


def test_adapters_that_came_get_none_of_their_own(came):
    assert not [name for name in adapters.layers(came.open()) if "lora" in name]
    (found,) = Finetune({"lora": 2}).obstacles(problem(came))
    assert found.fix == "set lora = 0: the base stays, and the adapters that came move"


UNLABELLED = (
    "balance",
    "boundary_expand",
    "boundary_shrink",
    "cfw",
    "fcs",
    "kde",
    "last_layer",
    "prmq",
    "random_label",
)
CANNOT = {
    **dict.fromkeys((*UNLABELLED, "distill_anew", "retain_distill", "rum", "salun", "unsir"), "class labels"),
    **dict.fromkeys(("delta_grad", "replay", "retrain", "sharded"), "needs a trainer"),
    "alt_dpo": "another answer to every forgotten record",
    "ct": "kernels of convolutions",
    "fisher": "no head whose rows are the classes",
    "native": "cannot forget by itself",
    "noisy_finetune": "nobody declared that what does not move never saw",
    "rmu": "matrices of the base",
}
"""Methods that cannot act on adapters of a language model without a trainer, and what is said of why."""


def brief(name):
    kind = registry.load("methods", name)
    return kind({"epochs": 1} if "epochs" in kind.Config.__dataclass_fields__ else {})


@pytest.mark.parametrize("name", sorted({*registry.names("methods")} - CANNOT.keys()))
def test_whatever_a_method_does_the_base_stays(came, name, tmp_path):
    """The source refuses to save anything else."""
    given = problem(came)
    made = brief(name).unlearn(given, toys.context(given, folder=tmp_path)).model
    assert came.digest(made)
    assert all(p.requires_grad is (".lora_" in each) for each, p in made.named_parameters())


def test_the_plan_says_of_all_others_why_they_cannot_before_any_work(came, monkeypatch):
    def work(*given, **more):
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(torch.autograd, "backward", work)
    monkeypatch.setattr(torch.autograd, "grad", work)
    course = {"references": 0, "choosing_references": 0, "audit": Cost(), "passes": None}
    plan = make_plan(problem(came), budget=1.0, **course)
    told = {option.method: option.why for option in plan.options if option.method in CANNOT}
    assert told.keys() == CANNOT.keys()
    assert {name: reason in told[name] for name, reason in CANNOT.items()} == dict.fromkeys(CANNOT, True)
    assert not CANNOT.keys() & {*plan.order, *(option.method for option in plan.on_request)}
