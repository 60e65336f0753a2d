"""RMU: its formula by hand, what moves, where it looks, and what stops early."""

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PhiConfig, PhiForCausalLM

from expunge.conformance.problems import same
from expunge.core.errors import InvalidProblem
from expunge.core.method import Need
from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.methods.rmu import MisdirectedRepresentations as Rmu
from expunge.models.adapted import AdaptedModel
from tests.support import languages, toys

SIZES = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 5,
    "vocab_size": len(languages.WORDS),
    "max_position_embeddings": 24,
    "intermediate_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
STEP = {"epochs": 1, "batch_size": 6, "lr": 1e-2, "optimiser": "sgd", "momentum": 0.0, "c": 3.0, "alpha": 2.0}


def network(kind="llama", **more):
    torch.manual_seed(0)
    if kind == "gpt2":
        return languages.gpt(n_layer=5, **more).eval()
    config, model = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "neox": (GPTNeoXConfig, GPTNeoXForCausalLM),
        "phi": (PhiConfig, PhiForCausalLM),
    }[kind]
    return model(config(**SIZES, **more)).eval()


def problem(model=None, **more):
    train = languages.records()
    model = network() if model is None else model
    given = {"request": Request(subjects=languages.NAMES[:3]), **more}
    return Problem(model=model, train=train, task="causal_lm", **given)


def lengths(hidden, labels):
    """Mean over tokens of a record, then over records."""
    asked = labels[:, 1:] != -100
    return [hidden[i, :-1][asked[i]] for i in range(len(labels))]


def by_hand(method, model, original, forget, retain, *, place, scale=1.0, alpha=2.0, squares="mean"):
    """The loss with hidden states of the whole model, from transformers itself, in float64 NumPy."""

    def said(of, batch):
        with torch.no_grad():
            states = of.model(**batch[0], output_hidden_states=True).hidden_states[place + 1]
        return [part.double().numpy() for part in lengths(states, batch[1])]

    over = np.mean if squares == "mean" else np.sum
    aim = scale * method._aim.double().numpy()
    away = np.mean([np.mean([over((h - aim) ** 2) for h in part]) for part in said(model, forget)])
    pairs = zip(said(model, retain), said(original, retain), strict=True)
    held = np.mean([np.mean([over((h - g) ** 2) for h, g in zip(*pair, strict=True)]) for pair in pairs])
    return away + alpha * held


class Noting(Rmu):
    """Keeps the batches and the loss of its steps."""

    def objective(self, batch):
        value = super().objective(batch)
        kept = None if batch.retain_side is None else batch.retain_side.batch
        self.steps.append((batch.forget_side.batch, kept, float(value.detach())))
        return value


def test_the_loss_is_the_one_by_hand():
    given = problem(network(initializer_range=0.2))
    method = Noting({**STEP, "block": 2, "epochs": 2, "batch_size": 4, "lr": 1.0})
    method.steps, models = [], []
    method.before_update = lambda model, step, steps: models.append(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}
    )
    run = toys.context(given)
    kept = {}

    def prepare(model, problem, run):
        cost = Rmu.prepare(method, model, problem, run)
        kept["aim"] = method._aim
        return cost

    method.prepare = prepare
    method._unlearn(given, run)
    assert float(kept["aim"].norm()) == pytest.approx(3.0, rel=1e-6)
    assert len(models) == len(method.steps) == 4
    for state, (forget, retain, value) in zip(models, method.steps, strict=True):
        model, original = given.source.open(), given.source.open()
        model.load_state_dict(state)
        wanted = by_hand(method, model, original, forget, retain, place=2)
        assert value == pytest.approx(wanted, rel=1e-5)
        for slip in ({"scale": 1 / 3}, {"squares": "sum"}):
            assert abs(value - by_hand(method, model, original, forget, retain, place=2, **slip)) > 0.1
        for slip in ({"place": 1}, {"place": 3}):
            assert abs(value - by_hand(method, model, original, forget, retain, **slip)) > 1e-4
    held = by_hand(method, model, original, forget, retain, place=2) - by_hand(
        method, model, original, forget, retain, place=2, alpha=0.0
    )
    assert held > 1e-4  # the last step saw how far the retained ones had gone from the original


def test_one_step_is_the_rate_times_the_gradient_of_the_whole_model():
    """The forward that stops, and the two other models that are none, change no gradient."""
    given = problem()
    method = Noting({**STEP, "block": 2, "lr": 0.5, "alpha": 0.0})
    method.steps = []
    after = method._unlearn(given, toys.context(given)).model
    ((forget, _, _),) = method.steps
    model = given.source.open()
    states = model.model(**forget[0], output_hidden_states=True).hidden_states[3]
    parts = [(part - method._aim).square().mean(1).mean() for part in lengths(states, forget[1])]
    torch.stack(parts).mean().backward()
    for i in range(3):
        weight = model.model.layers[i].mlp.down_proj.weight
        torch.testing.assert_close(
            after.model.layers[i].mlp.down_proj.weight, weight - 0.5 * weight.grad, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "model.layers.{}.mlp.down_proj.weight"),
        ("gpt2", "transformer.h.{}.mlp.c_proj.weight"),
        ("neox", "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"),
        ("phi", "model.layers.{}.mlp.fc2.weight"),
    ],
)
def test_only_what_the_steered_block_and_the_two_before_it_write_with_moves(kind, name):
    given = problem(network(kind))
    original = given.source.open()
    for block, places in ((3, (1, 2, 3)), (1, (0, 1))):
        model = Rmu({**STEP, "block": block}).unlearn(given, toys.context(given)).model
        state, start = model.state_dict(), original.state_dict()
        moved = {key for key in start if not torch.equal(state[key], start[key])}
        assert moved == {name.format(i) for i in places}


def test_nothing_behind_the_block_is_run_and_no_second_model_is_opened():
    given, ran = problem(), []
    original = given.source._original
    for i, layer in enumerate(original.model.layers):
        layer.register_forward_hook(lambda *_, i=i: ran.append(i))
    opened = []
    source, real = given.source, given.source.open
    source.open = lambda: opened.append(len(ran)) or real()
    method = Rmu({**STEP, "block": 1})
    method._unlearn(given, toys.context(given))
    assert set(ran) == {0, 1}
    assert opened == [0, len(ran)]  # what is trained, and, when all is over, what it is compared with


def test_forgotten_tokens_go_where_they_are_sent_and_the_weight_holds_the_others():
    given = problem(network(initializer_range=0.1))
    task, original = given.meaning, given.source.open()
    forget, retain = (view.read(range(6)) for view in (given.forget_view, given.retain_view))
    left, gone = {}, {}
    for alpha in (0.0, 30.0):
        method = Rmu({**STEP, "block": 1, "epochs": 25, "lr": 0.03, "optimiser": "adamw", "alpha": alpha})
        outcome = method.unlearn(given, toys.context(given))
        method.prepare(given.source.open(), given, toys.context(given))  # draws the same direction
        with torch.no_grad():
            now, then = (task.hidden(model, forget, 2) for model in (outcome.model, original))
            away = task.hidden(outcome.model, retain, 2) - task.hidden(original, retain, 2)
        left[alpha] = float((now - method._aim).norm(dim=1).mean() / (then - method._aim).norm(dim=1).mean())
        gone[alpha] = float(away.norm(dim=1).mean())
    assert left[0.0] < 0.3
    assert gone[30.0] < 0.2 * gone[0.0]
    lengths = torch.cat([task.hidden(original, given.forget_view.read([i]), 2) for i in range(6)]).norm(dim=1).detach()
    assert outcome.history[-1]["c over median length"] == pytest.approx(3.0 / float(lengths.median()), rel=1e-5)


def test_the_direction_is_the_seeds_own_and_of_unit_length():
    aims = {}
    for draw in ("uniform", "normal"):
        for seed in range(6):
            given = problem()
            method = Rmu({**STEP, "block": 1, "direction": draw})
            method.prepare(given.source.open(), given, toys.context(given, seed=seed))
            aims[draw, seed] = method._aim / 3
    assert all(float(aim.norm()) == pytest.approx(1, rel=1e-6) for aim in aims.values())
    cosines = {
        draw: np.mean([float(aims[draw, i] @ aims[draw, j]) for i in range(6) for j in range(i)])
        for draw in ("uniform", "normal")
    }
    assert cosines["uniform"] == pytest.approx(0.75, abs=0.1)
    assert abs(cosines["normal"]) < 0.25
    given = problem()
    again = Rmu({**STEP, "block": 1})
    again.prepare(given.source.open(), given, toys.context(given, seed=5))
    assert torch.equal(again._aim / 3, aims["uniform", 5])


def test_the_block_by_default_is_the_last_of_the_first_quarter():
    for count, place in ((1, 0), (5, 0), (8, 1), (32, 7)):
        given = problem(languages.gpt(n_layer=count))
        method = Rmu(STEP)
        method.prepare(given.source.open(), given, toys.context(given))
        assert method._layer == place + 1


def test_padding_and_neighbours_change_nothing():
    given = problem()
    method = Rmu({**STEP, "block": 1})
    model = given.source.open()
    method.prepare(model, given, toys.context(given))
    losses = []
    for rows in ([0], [0, 1, 2]):
        inputs, labels = given.forget_view.read(rows)
        wide = {
            name: torch.cat([part, torch.zeros(len(part), 3, dtype=torch.long)], 1) for name, part in inputs.items()
        }
        wider = torch.cat([labels, torch.full((len(labels), 3), -100)], 1)
        said = [method._said(batch) for batch in ((inputs, labels), (wide, wider))]
        torch.testing.assert_close(*said, atol=1e-6, rtol=0)
        losses.append(said[0][: int((labels[0] != -100).sum())])
    torch.testing.assert_close(*losses, atol=1e-6, rtol=0)


def test_what_it_cannot_look_into_is_refused():
    assert "blocks of a language model" in Rmu().obstacles(toys.problem())[0].what
    (own,) = Rmu({"blocks": 0.5}).obstacles(problem())
    assert "says itself which blocks move" in own.what
    (found,) = Rmu({"block": 5}).obstacles(problem())
    assert found.expected == "at most 4"
    model = network()
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.requires_grad_(False)
    with pytest.raises(InvalidProblem, match="may move"):
        Rmu(STEP).unlearn(problem(model), toys.context(problem(model)))
    assert any("lora" in each.where for each in Rmu({"lora": 2}).obstacles(problem()))


def test_without_lengths_to_go_it_is_the_same_model_twice():
    given = problem()
    one, two = (Rmu(STEP).unlearn(given, toys.context(given)).model for _ in range(2))
    assert same(one, two)


def answered(model, batch):
    """Logits and targets of the scored tokens, from transformers itself."""
    inputs, labels = batch
    asked = labels[:, 1:] != -100
    return model(**inputs).logits[:, :-1][asked], labels[:, 1:][asked]


def kept_by_hand(retain, model, original, batch):
    (logits, target), (theirs, _) = (answered(each, batch) for each in (model, original))
    if retain == "nll":
        return torch.nn.functional.cross_entropy(logits, target)
    mine, theirs = (each.log_softmax(1) for each in (logits, theirs))
    return (theirs.exp() * (theirs - mine)).sum(1).mean()


@pytest.mark.parametrize("retain", ["nll", "kl"])
def test_retained_records_may_be_held_by_what_is_answered(retain):
    """Their loss, or how far their answers are from the original's, beside the distance from the aim; in every step."""
    given, states = problem(network(initializer_range=0.2)), []

    class Watching(Noting):
        def before_update(self, model, step, steps):
            states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            self.grads = [p.grad.clone() for p in self._moving]

    settings = {**STEP, "block": 2, "epochs": 3, "lr": 1.0, "retain": retain, "retain_weight": 0.7}
    method = Watching({**settings, "alpha": 1e9})  # of no meaning here
    method.steps = []
    kept, prepare = {}, method.prepare
    method.prepare = lambda *parts: (prepare(*parts), kept.update(aim=method._aim))[0]
    outcome = method._unlearn(given, toys.context(given))
    assert len(method.steps) == 3
    model, original = given.source.open(), given.source.open()
    for state, (forget, rest, value) in zip(states, method.steps, strict=True):
        model.load_state_dict(state)
        away = by_hand(method, model, original, forget, rest, place=2, alpha=0.0)
        held = kept_by_hand(retain, model, original, rest)
        assert value == pytest.approx(away + 0.7 * float(held.detach()), rel=1e-5)
    assert float(held.detach()) > 1e-3  # by the last step answers have moved
    model.zero_grad()
    states_of = model.model(**forget[0], output_hidden_states=True).hidden_states[3]
    parts = [(part - method._aim).square().mean(1).mean() for part in lengths(states_of, forget[1])]
    (torch.stack(parts).mean() + 0.7 * kept_by_hand(retain, model, original, rest)).backward()
    for found, layer in zip(method.grads, model.model.layers[:3], strict=True):
        torch.testing.assert_close(found, layer.mlp.down_proj.weight.grad, atol=1e-6, rtol=1e-4)
    assert outcome.cost == Rmu(settings).cost(given)


@pytest.mark.parametrize(
    ("more", "trained", "asked"),
    [
        ({"retain": "hidden", "beside": 2}, 18, 12),
        ({"retain": "hidden", "alpha": 0.0}, 6, 0),
        ({"retain": "nll"}, 12, 0),
        ({"retain": "kl"}, 12, 6),
        ({"retain": "none"}, 6, 0),
    ],
    ids=str,
)
def test_the_cost_is_every_record_that_went_into_the_first_block(more, trained, asked):
    """Trained on with gradients, read without; the original's reads of retained records, up to the block, as well."""
    given, rows = problem(), {True: 0, False: 0}

    def count(module, inputs, output):
        rows[torch.is_grad_enabled()] += len(inputs[0])

    given.source._original.model.layers[0].register_forward_hook(count)
    method = Rmu({**STEP, "block": 1, "epochs": 2, **more})
    outcome = method.unlearn(given, toys.context(given))
    assert (outcome.cost.trained, outcome.cost.read) == (rows[True], rows[False])
    assert outcome.cost == method.cost(given)
    assert rows[True] == 2 * trained
    assert rows[False] == 7 + 2 * asked


def test_held_by_nothing_no_retained_record_is_read():
    given = problem()
    assert Need.RETAIN in Rmu().needs
    assert Rmu({"retain": "none"}).needs == {Need.FORGET}
    method = Rmu({**STEP, "retain": "none"})
    outcome = method.unlearn(given, toys.context(given))
    assert same(outcome.model, Rmu({**STEP, "alpha": 0.0}).unlearn(given, toys.context(given)).model)
    assert outcome.cost.trained == method.cost(given).trained == 6
    away = {retain: Rmu({**STEP, "retain": retain}).unlearn(given, toys.context(given)) for retain in ("none", "nll")}
    assert not same(away["none"].model, away["nll"].model)
    assert away["nll"].cost.trained == 12


def test_of_adapters_it_says_before_any_work_that_its_matrices_stay(tmp_path):
    (told,) = Rmu().obstacles(languages.spoken(AdaptedModel(languages.adapted(tmp_path))))
    assert "matrices of the base" in told.what
