import pytest
import torch
from torch import nn

from expunge.conformance import _language
from expunge.conformance.problems import Convolution, Headless
from expunge.core.errors import InvalidProblem
from expunge.engine.anatomy import (
    blocks,
    classes_of,
    deciding,
    drawing,
    freeze_all_but,
    head,
    head_of,
    last,
    narrow,
    no_head,
    reset,
    stem,
    unresettable,
    widen,
)
from tests.support import texts, toys


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(width, width), nn.BatchNorm1d(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.second(torch.relu(self.norm(self.first(x))))


class Deep(nn.Module):
    """A stem, two stages of residual blocks, a head that is defined last."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.stages = nn.Sequential(nn.Sequential(Residual(8), Residual(8)), nn.Sequential(Residual(8)))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.stages(self.stem(x)))


class Bare(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)


class Stubborn(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


def kinds(model):
    return [[type(part).__name__ for part in block] for block in blocks(model)]


def test_statistics_without_parameters_belong_to_the_block_before_them_and_in_front_to_the_first():
    bare = nn.Sequential(
        nn.BatchNorm1d(4, affine=False), nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False), nn.ReLU(), nn.Linear(6, 3)
    )
    assert kinds(bare) == [["Linear", "BatchNorm1d", "BatchNorm1d"], ["Linear"]]
    front = nn.Module()
    front.norm, front.net = nn.BatchNorm1d(4, affine=False), Deep()
    assert kinds(front) == [["Linear", "BatchNorm1d", "BatchNorm1d"], *kinds(Deep())[1:]]
    wrapped = nn.Sequential(nn.Linear(4, 6), Bare(6), nn.Linear(6, 3), Bare(3))
    assert kinds(wrapped) == [["Linear", "Bare"], ["Linear", "Bare"]]
    alone = Bare(4)
    alone.scale = nn.Parameter(torch.ones(4))
    assert kinds(alone) == [["Bare"]]
    bare(torch.rand(8, 4))
    reset(bare, last(bare, 1))
    assert int(bare[2].num_batches_tracked) == 0, "what it had learnt of the records goes with the layer before it"


def test_blocks_come_in_order_and_take_their_normalisation_along():
    wanted = [["Linear", "BatchNorm1d"], ["Residual"], ["Residual"], ["Residual"], ["Linear"]]
    assert kinds(Deep()) == kinds(nn.Sequential(Deep())) == wanted
    assert kinds(toys.Noisy()) == [["Linear", "BatchNorm1d"], ["Linear"]]
    assert kinds(Convolution()) == [["Conv2d", "BatchNorm2d"], ["Conv2d"], ["Linear"]]


class Rescaling(nn.Module):
    """A norm of nobody's, as models of transformers have their own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return self.weight * x


def test_a_foreign_norm_belongs_to_the_block_before_it():
    assert kinds(nn.Sequential(nn.Linear(4, 5), Rescaling(), nn.Linear(5, 2))) == [["Linear", "Rescaling"], ["Linear"]]
    assert kinds(nn.Sequential(Rescaling(), nn.Linear(5, 2))) == [["Rescaling"], ["Linear"]], "nothing is before it"


def test_a_transformer_s_layers_are_blocks():
    wanted = [["BertEmbeddings"], ["BertLayer"], ["BertLayer"], ["Linear"], ["Linear"]]
    assert kinds(texts.untrained()) == wanted


@pytest.mark.parametrize("build", [Deep, toys.Noisy, Convolution, texts.classifier])
def test_every_parameter_of_a_layer_is_in_one_block(build):
    model = build()
    inside = [id(p) for block in blocks(model) for part in block for p in part.parameters()]
    assert sorted(inside) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize(("build", "place"), [(Deep, -1), (toys.Mlp, -1), (Convolution, -1)])
def test_the_head_is_what_ran_last(build, place):
    problem = toys.problem(build=build)
    model = problem.source.open()
    assert head(model, problem) is [m for m in model.modules() if isinstance(m, nn.Linear)][place]


def test_the_head_may_be_a_convolution():
    problem = toys.problem(build=Headless)
    model = problem.source.open()
    assert head(model, problem) is model.layers[3]


def test_reset_draws_nested_parameters_and_statistics_anew():
    model = Deep()
    with torch.no_grad():
        model(torch.randn(16, 4))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    nn.init.uniform_(model.stages[0][0].norm.weight)
    changed = model.stages[0][0].norm.weight.clone()
    reset(model, blocks(model)[1])
    after = model.state_dict()
    part = "stages.0.0."
    assert all(
        not torch.equal(before[n], after[n])
        for n in after
        if n.startswith(part) and n.endswith(".weight") and "norm" not in n
    )
    assert not torch.equal(changed, after[part + "norm.weight"])
    assert not torch.equal(before[part + "norm.running_mean"], after[part + "norm.running_mean"])
    assert all(torch.equal(before[n], after[n]) for n in after if not n.startswith(part))


def test_what_a_layer_says_of_its_parts_comes_after_what_they_say():
    attention = nn.MultiheadAttention(8, 2)
    assert not attention.out_proj.bias.any(), "torch's own law, which the linear layer inside does not know"
    nn.init.ones_(attention.out_proj.bias)
    reset(nn.Sequential(attention))
    assert not attention.out_proj.bias.any()
    assert attention.out_proj.weight.any()


def test_what_may_not_move_is_not_reset():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5))
    model(torch.randn(16, 4))
    for p in (model[0].bias, *model[1].parameters()):
        p.requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    reset(model)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"0.weight", "2.running_mean", "2.running_var", "2.num_batches_tracked"}


@pytest.mark.parametrize("build", [_language.gpt, _language.llama])
def test_a_model_of_transformers_is_drawn_as_this_draws_a_new_one(build):
    """Its norms and transposed layers say nothing themselves; what came from a file is marked to be left alone."""
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(3.0)
            p._is_hf_initialized = True
    still = model.get_input_embeddings().weight.requires_grad_(False)
    assert unresettable(model) == []
    reset(model)
    assert bool((still == 3.0).all())
    again = build()
    for (name, p), like in zip(model.named_parameters(), again.parameters(), strict=True):
        if p is still:
            continue
        p, like = p.detach(), like.detach()
        spread = float(like.std())
        assert float(p.std()) == pytest.approx(spread, rel=0.3), name
        assert float(p.mean()) == pytest.approx(float(like.mean()), abs=0.01), name
        assert spread == 0 or not torch.equal(p, like)
    shared = model.get_output_embeddings().weight is still
    assert shared == (again.get_output_embeddings().weight is again.get_input_embeddings().weight)


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "Bert"])
def test_parts_of_it_are_drawn_as_the_whole_draws_them(kind):
    """A block of it has no law of its own: torch's norms and linear layers have one, which is another."""
    import transformers

    sizes = {"vocab_size": 9, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = getattr(transformers, f"{kind}Config")(
        **sizes,
        num_attention_heads=2,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    parts = last(model, 1)
    assert not any(part is model for part in parts)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert unresettable(model, parts) == []
    reset(model, parts)
    inside = {id(p) for part in parts for p in part.parameters()}
    seen = 0
    for name, p in model.named_parameters():
        if id(p) not in inside:
            assert torch.equal(p, before[name])
        elif name.endswith("bias"):
            assert not p.any(), name
        elif p.dim() == 2 and "c_proj" not in name:  # GPT-2 draws what closes a block smaller
            assert float(p.detach().std()) == pytest.approx(0.5, rel=0.2), name
            seen += 1
    assert seen >= 2


def test_parts_that_a_model_does_not_draw_are_said():
    class Speaking(_language.gpt().__class__):
        def __init__(self, config):
            super().__init__(config)
            self.more = Stubborn()

    assert [type(part) for part in unresettable(Speaking(_language.gpt().config))] == [Stubborn]


def test_the_stem_is_the_first_layer_that_multiplies():
    convolution, linear = nn.Conv2d(1, 2, 3), nn.Linear(4, 5)
    assert stem(nn.Sequential(nn.BatchNorm2d(1), nn.Sequential(convolution), linear)) is convolution
    assert stem(nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), linear)) is linear
    assert stem(nn.Embedding(9, 4)) is None


def test_what_cannot_be_reset_is_said():
    with pytest.raises(InvalidProblem, match="Stubborn"):
        reset(nn.Sequential(Stubborn()))


def test_only_what_is_named_and_could_move_moves():
    model = Deep()
    model.head.bias.requires_grad_(False)
    freeze_all_but(model, [model.head])
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight"]


def test_the_last_blocks_are_the_head_and_so_many_before_it():
    model = Deep()
    assert last(model, 0) == [model.head]
    assert last(model, 2) == [model.stages[0][1], model.stages[1][0], model.head]
    # All blocks are the whole model: with what belongs to none of them.
    assert last(model, 4) == last(model, 9) == [model]


def test_a_head_has_one_row_for_each_class_or_is_none():
    problem = toys.problem(build=Headless)
    model = problem.source.open()
    assert head_of(model, problem, 3) is model.layers[3]
    with pytest.raises(InvalidProblem, match="a last layer with 3 rows"):
        head_of(model, problem, 4)


def test_a_network_without_linear_layers_has_no_head():
    class Prototypes(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            return -torch.cdist(x, self.places)

    problem = toys.problem(build=Prototypes)
    with pytest.raises(InvalidProblem, match="no layer"):
        head_of(problem.source.open(), problem, 3)


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), nn.Conv2d(2, 3, (1, 3)), nn.Linear(5, 3, bias=False)])
def test_a_widened_layer_keeps_its_rows_and_is_as_it_was_when_narrowed(layer):
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    same = list(layer.parameters())
    widen(layer)
    assert all(p is q for p, q in zip(layer.parameters(), same, strict=True))
    assert all(len(p) == 4 and torch.equal(p[:3], before[name]) for name, p in layer.named_parameters())
    assert layer.weight[3].abs().max() <= layer.weight[0].numel() ** -0.5
    assert layer.weight[3].abs().min() > 0
    given = torch.randn(1, 5) if isinstance(layer, nn.Linear) else torch.randn(1, 2, 1, 3)
    assert layer(given).shape[1] == 4
    narrow(layer)
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())
    assert layer(given).shape[1] == getattr(layer, "out_features", getattr(layer, "out_channels", 0)) == 3


def test_classes_are_counted_in_the_answer():
    problem = toys.problem()
    assert classes_of(problem.source.open(), problem) == 3
    assert len(problem.records.seen) == 1
    everything = toys.problem(forget=60)
    assert classes_of(everything.source.open(), everything) == 3
    numbers = toys.problem(model=nn.Linear(4, 1), task="regression")
    with pytest.raises(InvalidProblem, match="no classes"):
        classes_of(numbers.source.open(), numbers)


def test_that_there_is_no_head_is_an_obstacle_of_the_method_that_changes_it():
    assert head(toys.network(toys.Alone), toys.problem(build=toys.Alone)) is None
    assert str(no_head("x resets the head")).startswith("x resets the head (the model)")


@pytest.mark.parametrize(
    ("layer", "draws"),
    [
        (lambda rate: nn.Dropout(rate), "Dropout"),
        (lambda rate: nn.LSTM(4, 4, num_layers=2, dropout=rate), "LSTM"),
        (lambda rate: nn.MultiheadAttention(4, 2, dropout=rate), "MultiheadAttention"),
    ],
)
def test_what_draws_in_training_is_known_where_no_layer_of_dropout_stands_in_it(layer, draws):
    assert [type(each).__name__ for each in drawing(nn.Sequential(nn.Linear(4, 4), layer(0.1)))] == [draws]
    assert not drawing(nn.Sequential(nn.Linear(4, 4), layer(0.0)))


def test_what_draws_by_a_rate_in_a_block_of_transformers_is_known():
    from transformers import BartConfig, BartForSequenceClassification

    sizes = {"d_model": 8, "vocab_size": 20, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 12}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    one, none = (BartForSequenceClassification(BartConfig(**sizes, **heads, dropout=rate)) for rate in (0.1, 0.0))
    assert {type(each).__name__ for each in drawing(one)} >= {"BartEncoderLayer", "BartDecoderLayer"}
    assert not drawing(none)
    words = torch.arange(1, 11).reshape(2, 5)
    for held in (False, True):
        one.train()
        for part in deciding(one) if held else ():
            part.training = False
        said = [one.model(input_ids=words).last_hidden_state for _ in range(2)]
        assert torch.equal(*said) is held
    assert one.training


def test_what_holds_a_layer_of_dropout_decides_but_no_list_no_whole_model_and_nothing_beside():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)

    inner = Dense()
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1)), inner, nn.LSTM(4, 4, 2, dropout=0.3))
    assert set(deciding(model)) == {model[0][1], inner.drop, inner}
    assert set(deciding(inner)) == {inner.drop}


def test_of_a_gpt_its_attention_decides_and_the_body_stays_in_training():
    model = _language.gpt()
    found, block = set(deciding(model)), model.transformer.h[0]
    assert {block.attn, block.attn.attn_dropout, block.attn.resid_dropout, model.transformer.drop} <= found
    assert found.isdisjoint({model, model.transformer, block, block.attn.c_attn})
