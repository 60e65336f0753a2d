"""Networks: parameter counts as published, and what each maps to what."""

import pickle

import pytest
import torch

from expunge.bench.networks import NETWORKS, Build
from expunge.core.errors import UsageError
from expunge.engine.anatomy import reset, unresettable

IMAGE = (3, 32, 32)
PUBLISHED = {
    "resnet18": 11_173_962,  # kuangliu/pytorch-cifar, as printed in its issues and many papers
    "resnet20": 269_722,  # He et al. 2016 with option A; 272,474 with convolutions in the shortcuts
}


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_network(name):
    assert count(Build(name, IMAGE, 10)()) == PUBLISHED[name]


def test_shortcuts_of_option_a_have_no_parameters_and_keep_what_they_carry():
    from expunge.bench.networks import _Block

    block = _Block(4, 8, 2, project=False).eval()
    torch.nn.init.zeros_(block.conv2.weight)  # the inner path says nothing
    x = torch.rand(2, 4, 6, 6)
    out = block(x)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()
    assert not [name for name, _ in block.named_parameters() if "shortcut" in name]


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("resnet18", "transformer")])
@pytest.mark.parametrize("shape", [(1, 8, 8), IMAGE])
def test_images_become_logits(name, shape):
    model = Build(name, shape, 7)().eval()
    assert model(torch.rand(2, *shape)).shape == (2, 7)


def test_padding_of_a_text_changes_nothing():
    torch.manual_seed(0)
    model = Build("transformer", (12,), 3)().eval()
    text = torch.tensor([[5, 9, 2, 7, 0, 0]])
    longer = torch.nn.functional.pad(text, (0, 6))
    torch.testing.assert_close(model(text), model(longer))
    other = torch.tensor([[5, 9, 2, 8, 0, 0]])
    assert not torch.allclose(model(text), model(other))
    assert torch.isfinite(model(torch.zeros(1, 4, dtype=torch.long))).all()


def test_layers_of_a_transformer_start_apart():
    first, second = Build("vit", (1, 8, 8), 10)().encoder.layers.layers[:2]
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize(("name", "shape"), [("vit", (1, 16, 16)), ("transformer", (12,))])
def test_a_transformer_is_drawn_anew_by_the_law_of_its_construction(name, shape):
    build = Build(name, shape, 10)
    torch.manual_seed(0)
    model, like = build(), build()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(3.0)
    assert unresettable(model) == []
    reset(model)
    drawn = model.state_dict()
    for path, made in like.state_dict().items():
        new = drawn[path]
        if not made.std():
            assert torch.equal(new, made), path
            continue
        assert not torch.equal(new, made), path
        noise = 5 / made.numel() ** 0.5
        assert float(new.std()) == pytest.approx(float(made.std()), rel=noise), path
        assert float((new.mean() - made.mean()).abs()) < 2 * noise * float(made.std()), path
    assert float(drawn["place"].std()) == pytest.approx(0.02, rel=0.2)


def test_one_layer_of_a_transformer_is_drawn_as_in_the_whole():
    model = Build("vit", (1, 8, 8), 10)()
    layer = model.encoder.layers.layers[2]
    reset(layer)
    for weight in (layer.linear1.weight, layer.linear2.weight, layer.self_attn.out_proj.weight):
        assert float(weight.detach().std()) == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)


def test_what_builds_crosses_to_another_process_and_says_what_it_builds():
    build = Build("mlp", (4,), 3)
    again = pickle.loads(pickle.dumps(build))
    assert again.__qualname__ == build.__qualname__ == "mlp(4, 3)"
    assert count(again()) == 4 * 128 + 128 + 128 * 128 + 128 + 128 * 3 + 3


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="resnet20"):
        Build("resnet", IMAGE, 10)
