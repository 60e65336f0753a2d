"""Blocks by their slope in NumPy; what moves, what rests, and what is told."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from expunge.core import registry
from expunge.core.method import Cost, Need
from expunge.engine import localised
from expunge.engine.passes import Passes
from expunge.methods.finetune import Finetune
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.neg_grad_plus import NegGradPlus
from tests.support import toys
from tests.support.languages import gpt, spoken

LOOP = {"epochs": 1, "batch_size": 16, "lr": 1e-2}


class Deep(nn.Sequential):
    """Four layers; the third may not move."""

    def __init__(self):
        super().__init__(*(nn.Linear(a, b) for a, b in ((4, 8), (8, 8), (8, 8), (8, 3))))


def posed():
    model = toys.network(Deep)
    for p in model[2].parameters():
        p.requires_grad_(False)
    return toys.problem(build=Deep, model=model)


def slopes(problem):
    """Lengths of the slope by layer, from the whole forget set at once."""
    model = problem.source.open()
    inputs, labels = problem.forget_view.read(range(len(problem.forget_view)))
    F.cross_entropy(model(inputs), labels).backward()
    flat = {i: np.concatenate([p.grad.double().numpy().ravel() for p in model[i].parameters()]) for i in (0, 1, 3)}
    return {str(i): float(np.linalg.norm(each)) for i, each in flat.items()}


def test_blocks_are_ranked_by_the_length_of_their_slope_over_all_forgotten_records():
    given, wanted = posed(), slopes(posed())
    model = given.source.open()
    found = localised.narrow(model, given, share=0.6, size=5).blocks
    ranked = sorted(wanted, key=wanted.get, reverse=True)
    assert [block.name for block in found] == ["0", "1", "3"], "from the input on"
    assert {block.name for block in found if block.moves} == set(ranked[:2])  # 0.6 of three, rounded up
    for block in found:
        assert block.share == pytest.approx(wanted[block.name] / sum(wanted.values()), rel=1e-5)
    free = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert free == set(ranked[:2])
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("lora", [0, 2])
def test_the_others_keep_their_bits_and_what_may_move_is_as_it_was(lora):
    given = posed()
    ranked = sorted(slopes(given), key=slopes(given).get, reverse=True)
    method = NegGradPlus({**LOOP, "blocks": 0.3, "lora": lora})
    run = toys.context(given)
    outcome, original = method.unlearn(given, run), given.source.open()
    moved = {
        n.split(".")[0] for n, p in outcome.model.named_parameters() if not torch.equal(p, original.get_parameter(n))
    }
    assert moved == {ranked[0]}
    assert [p.requires_grad for p in outcome.model.parameters()] == [p.requires_grad for p in original.parameters()]
    assert any(
        text.startswith(
            f"1 of 3 blocks moved, by their share of the slope of the forgotten records' loss: {ranked[0]} "
        )
        for text in outcome.warnings
    )
    (chart,) = outcome.charts
    total = sum(slopes(given).values())
    assert chart.series[0].y == pytest.approx([each / total for each in slopes(given).values()], rel=1e-5)
    assert chart.n == len(given.forget_view)
    assert f"Moved: {list(slopes(given)).index(ranked[0]) + 1};" in chart.note
    assert outcome.cost.trained == method.cost(given).trained
    whole = NegGradPlus(LOOP).cost(given)
    assert method.cost(given) == whole + Cost(trained=len(given.forget_view))


def test_of_a_language_model_blocks_are_those_of_the_stack_and_a_tied_head_counts_once():
    given = spoken(gpt(n_layer=3))
    found = localised.narrow(given.source.open(), given, share=1.0, size=4).blocks
    names = {block.name for block in found}
    assert {f"transformer.h.{i}" for i in range(3)} <= names
    assert "lm_head" not in names
    assert all(block.moves for block in found)
    assert sum(block.share for block in found) == pytest.approx(1.0)
    outcome = NegGradPlus({**LOOP, "blocks": 0.2}).unlearn(given, toys.context(given))
    assert outcome.model.lm_head.weight is outcome.model.transformer.wte.weight


def test_who_does_not_read_them_cannot_tell():
    (found,) = Finetune({"blocks": 0.5}).obstacles(posed())
    assert "does not read" in found.what
    assert not GradientAscent({"blocks": 0.5}).obstacles(posed())


def test_fisher_information_is_that_of_every_record_alone():
    given = posed()
    model = given.source.open()
    inputs, labels = given.forget_view.read(range(len(given.forget_view)))
    traces = dict.fromkeys("013", 0.0)
    for x, y in zip(inputs, labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(x[None]), y[None]).backward()
        for name in traces:
            traces[name] += sum(float((p.grad.double() ** 2).sum()) for p in model[int(name)].parameters())
    model.zero_grad(set_to_none=True)
    found = localised.narrow(model, given, share=0.3, size=5, measure="fisher")
    assert found.measure == "fisher"
    assert {b.name: b.share for b in found.blocks} == pytest.approx(
        {name: each / sum(traces.values()) for name, each in traces.items()}, rel=1e-5
    )
    assert [b.name for b in found.blocks if b.moves] == [max(traces, key=traces.get)]


class Adding(nn.Module):
    """What it is given, and more."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.outer(self.inner(x))


class Stream(nn.Sequential):
    """Three blocks that add, and a head that does not."""

    def __init__(self):
        super().__init__(Adding(), Adding(), Adding(), nn.Linear(4, 3))


def test_patching_is_the_loss_without_what_a_block_adds():
    model = toys.network(Stream)
    with torch.no_grad():
        model[1].inner.weight.zero_()  # adds the same to every record: its mean is all there is
    given = toys.problem(build=Stream, model=model)
    found = localised.narrow(given.source.open(), given, share=0.5, size=5, measure="patching").blocks

    x, labels = (each.numpy() for each in given.forget_view.read(range(len(given.forget_view))))

    def layer(module):
        return module.weight.detach().double().numpy().T, module.bias.detach().double().numpy()

    def loss(patched):
        h = x.astype(float)
        for place in range(3):
            (w, b), (v, c) = layer(model[place].inner), layer(model[place].outer)
            added = (h @ w + b) @ v + c
            h = h + (added.mean(axis=0) if place == patched else added)
        w, b = layer(model[3])
        logits = h @ w + b
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]))

    risen = [max(0.0, loss(place) - loss(None)) for place in range(3)]
    assert [block.name for block in found] == ["0", "1", "2"], "the head adds nothing"
    assert risen[1] == pytest.approx(0.0, abs=1e-6)
    assert max(risen) > 0.01
    assert [block.share for block in found] == pytest.approx([each / sum(risen) for each in risen], abs=1e-4)
    assert sum(block.moves for block in found) == 2


def test_patching_costs_a_look_for_every_block_and_is_refused_where_none_adds():
    given = spoken(gpt(n_layer=3))
    method = GradientAscent({**LOOP, "blocks": 0.3, "located": "patching"})
    assert not method.obstacles(given)
    outcome = method.unlearn(given, toys.context(given))
    assert any("1 of 3 blocks moved, by their share of the forgotten records' loss that" in w for w in outcome.warnings)
    plain = GradientAscent(LOOP)
    parts = 6  # two embeddings, three blocks with the norm behind the last, the head
    n = len(given.forget_view)
    assert method.cost(given) == plain.cost(given) + Cost(read=(1 + parts) * n), "the most"
    assert outcome.cost == plain.unlearn(given, toys.context(given)).cost + Cost(read=(1 + 3) * n)
    (found,) = GradientAscent({**LOOP, "blocks": 0.3, "located": "patching"}).obstacles(toys.problem(build=Deep2))
    assert found.where == "[methods.gradient_ascent] located"
    assert "gradient" in found.fix


class Deep2(nn.Sequential):
    """Two layers of other shapes than they are given."""

    def __init__(self):
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_of_texts_what_a_block_adds_is_averaged_over_tokens_and_the_last_norm_stays():
    given = spoken(gpt(n_layer=3))
    model = given.source.open()
    body, records = model.transformer, given.forget_view
    alone = [records.read([i]) for i in range(len(records))]

    def states(ids, patched=None, mean=None):
        h, added = body.wte(ids) + body.wpe(torch.arange(ids.shape[1])), []
        for place, block in enumerate(body.h):
            out = block(h)
            out = out[0] if isinstance(out, tuple) else out
            added.append(out - h)
            h = h + mean if place == patched else out
        return body.ln_f(h), added

    def loss(patched=None, mean=None):
        found = []
        for inputs, labels in alone:
            logits = model.lm_head(states(inputs["input_ids"], patched, mean)[0])[:, :-1]
            asked = labels[:, 1:] >= 0
            found.append(F.cross_entropy(logits[asked], labels[:, 1:][asked], reduction="none"))
        return float(torch.cat(found).double().mean())

    with torch.no_grad():
        seen = [states(inputs["input_ids"])[1] for inputs, _ in alone]
        means = [
            torch.cat([one[place].flatten(0, 1) for one in seen]).double().mean(dim=0).float() for place in range(3)
        ]
        risen = [max(0.0, loss(place, means[place]) - loss()) for place in range(3)]
    assert len({inputs["input_ids"].shape[1] for inputs, _ in alone}) > 1, "texts of several lengths"
    found = localised.narrow(model, given, share=0.3, size=4, measure="patching").blocks
    assert [block.name for block in found] == [f"transformer.h.{i}" for i in range(3)]
    assert [block.share for block in found] == pytest.approx([each / sum(risen) for each in risen], abs=1e-3)


class Named(Adding):
    """Is given its input by name, and returns more than what it says."""

    def forward(self, hidden_states):
        return super().forward(hidden_states), "more"


class Calling(nn.Module):
    """The stream of three blocks, called the way models of transformers call theirs."""

    def __init__(self):
        super().__init__()
        self.stack, self.head = nn.ModuleList(Named() for _ in range(3)), nn.Linear(4, 3)

    def forward(self, x):
        for block in self.stack:
            x, _ = block(hidden_states=x)
        return self.head(x)


def test_blocks_that_are_called_by_name_and_return_more_are_patched_alike():
    plain, named = toys.network(Stream), toys.network(Calling)
    for mine, theirs in zip(named.parameters(), plain.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    shares = []
    for build, model in ((Stream, plain), (Calling, named)):
        given = toys.problem(build=build, model=model)
        found = localised.narrow(given.source.open(), given, share=0.5, size=5, measure="patching").blocks
        shares.append([block.share for block in found])
    assert shares[0] == pytest.approx(shares[1])
    assert len(shares[0]) == 3


def test_blocks_that_may_not_move_are_not_told_apart():
    model = toys.network(Stream)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("3."))
    (found,) = GradientAscent({**LOOP, "blocks": 0.3, "located": "patching"}).obstacles(
        toys.problem(build=Stream, model=model)
    )
    assert found.where == "[methods.gradient_ascent] located"


def test_one_block_moves_at_the_least_and_models_are_opened_once_for_the_count(monkeypatch):
    given = toys.problem(build=Stream, model=toys.network(Stream))
    found = localised.narrow(given.source.open(), given, share=1e-10, size=5)
    assert sum(block.moves for block in found.blocks) == 1
    opened = []
    whole = given.source.open
    monkeypatch.setattr(given.source, "open", lambda: opened.append(1) or whole())
    costs = {localised.most(given, "patching") for _ in range(5)}
    assert costs == {Cost(read=5 * len(given.forget_view))}
    assert len(opened) == 1


def reading():
    """Names of the methods that train a network further and read what is to be forgotten, on the problem here."""
    names = (name for name in registry.names("methods"))
    kinds = {name: registry.load("methods", name) for name in names}
    passes = {name: kind for name, kind in kinds.items() if issubclass(kind, Passes) and Need.FORGET in kind.needs}
    return sorted(name for name, kind in passes.items() if not kind({"blocks": 0.3}).obstacles(posed()))


@pytest.mark.parametrize("name", reading())
def test_what_rests_keeps_its_bits_with_every_method_whatever_it_prepares(name):
    given = posed()
    method = registry.load("methods", name)({"epochs": 1, "blocks": 0.3})
    outcome, original = method.unlearn(given, toys.context(given)), given.source.open()
    before = dict(original.named_parameters())
    moved = {n.split(".")[0] for n, p in outcome.model.named_parameters() if not torch.equal(p, before[n])}
    ranked = sorted(slopes(given), key=slopes(given).get, reverse=True)
    assert moved <= {ranked[0]}
