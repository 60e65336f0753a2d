"""Other answers, by preference: the loss by hand, which answer is drawn, and what the original is asked for."""

import math

import pytest
import torch
from torch.nn import functional as F

from expunge.core.method import Cost
from expunge.core.variants import variant_of
from expunge.engine.instead import Instead
from expunge.numerics.preference import dpo, npo
from tests.support import toys
from tests.support.languages import spoken

LOOP = {
    "epochs": 2,
    "lr": 0.05,
    "batch_size": 3,
    "optimiser": "sgd",
    "momentum": 0.0,
    "retain": "none",
    "until": "guess",
}


class Toy(Instead):
    """Two other towns or works for everyone."""

    title, source = "Toy", "none"

    def others(self, problem, run):
        return problem.records.answered(
            {name: ["he was born in lima .", "he is a judge ."] for name in problem.forget_ids}
        )

    def count(self, problem):
        return 2 * len(problem.forget_ids)


def summed(model, batch):
    """Sums of minus log-probabilities from the whole model's logits."""
    inputs, labels = batch
    logits = model(**inputs).logits[:, :-1]
    losses = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none")
    return losses.reshape(len(labels), -1).sum(1)


def test_the_loss_of_every_step_is_the_one_by_hand():
    """Swapping the answers, or leaving the original out, would be far off."""
    given, seen = spoken(), []

    class Noting(Toy):
        def forgotten(self, batch):
            drawn = []
            keep, self._drawn = self._drawn, lambda places: drawn.append(keep(places)) or drawn[-1]
            value = super().forgotten(batch)
            self._drawn = keep
            state = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
            seen.append((batch.forget_side, drawn, state, float(value.detach()), self._others))
            return value

    outcome = Noting(LOOP).unlearn(given, toys.context(given))
    original, model, values = given.source.open(), given.source.open(), []
    for side, drawn, state, value, others in seen:
        assert [variant_of(others.ids[place]) for place in drawn] == list(side.ids)
        model.load_state_dict(state)
        with torch.no_grad():
            old, new = side.batch, others.read(drawn)
            now, then, other, other_then = (summed(of, b) for b in (old, new) for of in (model, original))
        inside = 0.1 * ((other_then - other) - (then - now))
        wanted = float(-20 * F.logsigmoid(inside).mean())
        assert value == pytest.approx(wanted, rel=1e-5)
        values.append(
            (value, float(-20 * F.logsigmoid(-inside).mean()), float(-20 * F.logsigmoid(0.1 * (now - other)).mean()))
        )
    assert values[0][0] == pytest.approx(20 * math.log(2), rel=1e-5)  # at the original
    assert all(abs(a - b) > 0.5 and abs(a - c) > 0.5 for a, b, c in values[1:])
    assert len({place % 2 for _, drawn, *_ in seen for place in drawn}) == 2  # both are drawn
    assert outcome.cost.trained == 2 * 2 * 6  # every step trains on the old answer and on a new one
    assert Toy(LOOP).cost(given).trained == outcome.cost.trained


def test_without_the_other_answers_it_is_npo_and_swapping_them_flips_the_sign():
    now, then, other, other_then = (torch.tensor(x, dtype=torch.float64) for x in ([1.5], [0.5], [1.1], [2.1]))
    nothing = torch.zeros(1, dtype=torch.float64)
    assert dpo(now, then, nothing, nothing, beta=0.1) == npo(now, then, beta=0.1)
    a, b = dpo(now, then, other, other_then, beta=0.1), dpo(other, other_then, now, then, beta=0.1)
    difference = 0.1 * float((now - then) - (other - other_then))
    assert float(b - a) == pytest.approx(20 * difference)  # log s(x) - log s(-x) = x
    sheet = [torch.tensor([x], dtype=torch.float64) for x in (1.533941, 0.494651, 1.084421, 2.129963)]
    assert float(dpo(*sheet, beta=0.1)) == pytest.approx(11.886579, abs=2e-6)


def test_the_original_is_asked_once_for_every_answer():
    given = spoken()
    run = toys.context(given)
    method = Toy(LOOP)
    assert method.prepare(given.source.open(), given, run) == Cost(read=6 + 12)
    assert method.preparation(given) == Cost(read=6 + 12)
    original = given.source.open()
    with torch.no_grad():
        for place, name in enumerate(method._others.ids):
            told = float(summed(original, method._others.read([place])))
            assert method._other_then[name] == pytest.approx(told, rel=1e-5)


def test_the_new_answers_become_the_likelier_ones():
    given = spoken()
    method = Toy({**LOOP, "epochs": 12, "lr": 3e-3, "optimiser": "adamw"})
    model = method.unlearn(given, toys.context(given)).model
    others = method.others(given, None)
    with torch.no_grad():
        old = given.forget_view.read(range(6))
        new = others.read(range(0, 12, 2))
        gaps = [float((summed(of, old) - summed(of, new)).mean()) for of in (given.source.open(), model)]
    assert gaps[0] < 0 < gaps[1]


@pytest.mark.parametrize("retain", ["nll", "none"])
def test_repairs_read_no_other_answers_and_count_none(retain, monkeypatch):
    given, seen = spoken(), []
    units, settings = type(given.meaning).units, {**LOOP, "epochs": 1, "retain": retain, "repairs": 1.0}

    def counting(task, model, batch):
        if torch.is_grad_enabled():
            seen.append(len(batch[1]))
        return units(task, model, batch)

    monkeypatch.setattr(type(given.meaning), "units", counting)
    method = Toy(settings)
    outcome = method.unlearn(given, toys.context(given))
    beside = 6 if retain == "nll" else 0
    assert sum(seen) == outcome.cost.trained == method.cost(given).trained == 2 * 6 + beside + 18
