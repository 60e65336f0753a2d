import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from expunge.conformance import _language
from expunge.conformance import problems as own
from expunge.core import registry
from expunge.core.method import Need
from expunge.data.arrays import ArrayRecords
from expunge.data.language import NOT_SCORED
from expunge.engine.forgetting import Forgetting, summed
from expunge.engine.loop import LoopConfig
from expunge.engine.passes import Passes
from expunge.engine.training import Trainer
from expunge.plan.auto import candidate
from tests.support import languages, toys
from tests.support.pushing import STEP, far, regression


class Down(Forgetting):
    """Nothing is done to forgotten records but to look at them."""

    name, title, source = "down", "down", "down"

    def forgotten(self, batch):
        self.seen = batch
        return 0 * batch.forget.loss.mean()


class Up(Down):
    def forgotten(self, batch):
        return -batch.forget.loss.mean()


class Recalling(Down):
    remembers: ClassVar[bool] = True

    def forgotten(self, batch):
        """Nothing, where the original says what the model says."""
        return (batch.forget.sum_by_record(batch.forget.loss) - self.then(batch)).square().mean()


class Copying(Down):
    distils: ClassVar[bool] = True


SMALL = {"epochs": 2, "batch_size": 4}


def talking():
    """Return a problem whose model has no dropout: in training mode it says what it says in evaluation."""
    return own.problem(language=True, build=_language.llama)


def run(problem, cls, **settings):
    return cls({**SMALL, **settings}).unlearn(problem, own.context(problem))


def test_summed_losses_are_those_of_each_record_alone():
    problem = talking()
    model, records = problem.source.open().double(), problem.forget_view
    found = summed(model, problem, records, size=5)
    assert list(found) == list(records.ids)
    for index, name in enumerate(records.ids):
        inputs, labels = records.read([index])
        with torch.no_grad():
            logits = model(**inputs).logits[0, :-1].numpy()
        asked = labels[0, 1:].numpy()
        at = np.flatnonzero(asked != NOT_SCORED)
        shares = logits[at] - np.log(np.exp(logits[at]).sum(axis=1, keepdims=True))
        assert found[name] == pytest.approx(-shares[range(len(at)), asked[at]].sum(), rel=1e-12)


def test_what_the_original_said_is_found_again_by_record_in_batches_of_other_lengths():
    outcome = run(talking(), Recalling, retain="none", optimiser="sgd")
    assert max(row["objective"] for row in outcome.history) < 1e-9


def test_at_the_original_the_divergence_from_it_is_nothing_and_pulls_nowhere():
    outcome = run(talking(), Down, retain="kl", optimiser="sgd")
    assert max(abs(row["objective"]) for row in outcome.history) < 1e-9
    moved = run(talking(), Up, retain="kl", lr=1e-3, epochs=3)
    free = run(talking(), Up, retain="none", lr=1e-3, epochs=3)
    problem = talking()
    kept = problem.retain_view.read(range(8))
    with torch.no_grad():
        said = [problem.meaning.units(m, kept).logits for m in (problem.source.open(), moved.model, free.model)]
    held, wild = ((each - said[0]).abs().mean() for each in said[1:])
    assert held < wild


def test_an_epoch_is_one_pass_over_the_forget_set_and_teachers_answer_what_is_asked_of_them():
    problem = regression()  # 12 forgotten records, 48 retained ones
    looks = 2 * 4  # the choosing part, after each of two epochs
    reads = {}
    for name, cls, retain in (
        ("nothing", Down, "none"),
        ("nll", Down, "nll"),
        ("kl", Down, "kl"),
        ("then", Recalling, "nll"),
        ("distils", Copying, "nll"),
        ("both", Copying, "kl"),
    ):
        method = cls({"epochs": 2, "batch_size": 6, "beside": 2, "retain": retain, "until": "guess"})
        outcome = method.unlearn(problem, toys.context(problem))
        assert outcome.cost.trained == method.cost(problem).trained == 2 * (12 + (24 if retain != "none" else 0))
        reads[name] = outcome.cost.read
        assert method.cost(problem).read == pytest.approx(reads[name], abs=12), "looks at held-out records vary"
    base = reads["nothing"]
    assert base >= looks
    more = {name: value - base for name, value in reads.items()}
    assert more == {"nothing": 0, "nll": 0, "kl": 48, "then": 12, "distils": 24, "both": 72}


def test_repairs_pass_over_the_retained_records_alone_after_each_pass_over_the_forgotten():
    problem, seen = regression(), []

    class Noting(Up):
        def forgotten(self, batch):
            seen.append(("forget", batch.retain is None))
            return super().forgotten(batch)

        def kept(self, batch):
            seen.append(("retain", batch.forget is None))
            return super().kept(batch)

    settings = {"epochs": 2, "batch_size": 6, "beside": 2, "until": "guess"}
    method = Noting({**settings, "repairs": 1})
    outcome = method.unlearn(problem, toys.context(problem))
    steps = 2 * [("forget", True), ("retain", True)]  # one by one: sides of a step have a graph each
    assert seen == 2 * [*steps, *4 * [("retain", True)]]
    assert outcome.cost.trained == method.cost(problem).trained == 2 * (12 + 24 + 48)
    alone = Noting({**settings, "repairs": 1, "retain": "none"})
    assert Need.RETAIN in alone.needs
    assert alone.unlearn(problem, toys.context(problem)).cost.trained == 2 * (12 + 48)
    taught = Copying({**settings, "repairs": 1, "retain": "kl"})
    assert taught.cost(problem).read - method.cost(problem).read == 2 * (12 + 24 + 48)


def test_a_fraction_of_a_repair_reads_so_many_retained_records_and_others_each_time():
    problem = toys.problem()
    settings = {**STEP, "batch_size": 4, "beside": 1, "epochs": 2, "until": "guess", "retain": "none"}
    seen = []

    class Watching(Up):
        def kept(self, batch):
            seen.append(batch.retain_side.ids)
            return super().kept(batch)

    method = Watching({**settings, "repairs": 0.5})
    outcome = method.unlearn(problem, toys.context(problem))
    half, forgotten = len(problem.retain_view) // 2, len(problem.forget_ids)
    assert outcome.cost.trained == method.cost(problem).trained == 2 * (forgotten + half)
    first, second = (sum(part, ()) for part in (seen[: len(seen) // 2], seen[len(seen) // 2 :]))
    assert len(set(first)) == len(first) == len(second) == half
    assert set(first) != set(second)
    more = Watching({**settings, "repairs": 1.5})
    assert more.cost(problem).trained == 2 * (forgotten + 3 * half)
    none = Up({**settings, "repairs": 0.001}).unlearn(problem, toys.context(problem))
    assert all("objective" in row for row in none.history), "a pass without a step is none"


def test_repairs_bring_back_what_was_retained():
    lost = {}
    for repairs in (0, 1):
        problem = regression()
        settings = {**STEP, "batch_size": 4, "epochs": 2, "retain": "none", "until": "guess", "repairs": repairs}
        outcome = Up(settings).unlearn(problem, toys.context(problem))
        lost[repairs] = toys.context(problem).mean_loss(outcome.model, problem.retain_view)
    assert lost[1] < lost[0] - 0.1


def test_it_stops_where_retrained_models_stand_and_else_at_an_even_guess():
    problem = regression()
    settings = {**STEP, "epochs": 30, "retain": "none", "lr": 0.1}
    target = 1.5

    class Said(torch.nn.Module):
        """A retrained model whose loss on every record is the target."""

        def forward(self, x):
            rest = math.log((1 - math.exp(-target)) / 2)
            rows = torch.full((len(x), 3), rest, dtype=torch.float64)
            labels = {tuple(row.tolist()): int(y) for row, y in zip(problem.records.x, problem.records.y, strict=True)}
            rows[range(len(x)), [labels[tuple(row.tolist())] for row in x]] = -target
            return rows

    outcome = Up(settings).unlearn(problem, toys.context(problem, models=[Said()]))
    losses = [row["forget loss"] for row in outcome.history]
    assert outcome.stopped.endswith("reached that of a retrained model, 1.5")
    assert losses[-1] >= target > losses[-2]
    outcome = Up({**settings, "until": "guess"}).unlearn(problem, toys.context(problem, models=[far(problem)]))
    losses = [row["forget loss"] for row in outcome.history]
    assert "even guess" in outcome.stopped
    assert losses[-1] > math.log(3)
    assert all(loss <= math.log(3) for loss in losses[:-1])


def test_it_can_stop_where_held_out_records_stand_without_a_retrained_model():
    problem = toys.problem(trainer=None)
    run = replace(toys.context(problem), choosing_models=lambda: pytest.fail("a model was trained for it"))
    outcome = Up({**STEP, "epochs": 30, "retain": "none", "lr": 0.1, "until": "strangers"}).unlearn(problem, run)
    losses = [row["forget loss"] for row in outcome.history]
    assert "reached that of held-out records" in outcome.stopped
    assert losses[-1] >= run.loss_of_strangers
    assert all(loss < run.loss_of_strangers for loss in losses[:-1])


def test_where_nothing_holds_the_others_none_are_needed():
    problem = toys.problem(count=12, forget=12)
    assert Need.RETAIN in Up().needs
    assert "retained records" in " ".join(each.what for each in Up().obstacles(problem))
    alone = Up({"retain": "none"})
    assert Need.RETAIN not in alone.needs
    assert alone.obstacles(problem) == []
    assert Need.RETAIN in Up.needs


def test_numbers_have_no_logits_to_push():
    rows = ArrayRecords(torch.randn(20, toys.DIMS), torch.randn(20))
    problem = toys.problem(train=rows, holdout=0, task="regression", trainer=None, model=torch.nn.Linear(toys.DIMS, 1))
    assert [each.what for each in Up().obstacles(problem)] == ["down needs logits"]


def test_with_adapters_the_model_without_them_is_the_original(monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed")
    wanted = run(talking(), Up, retain="kl", lr=1e-3, lora=2)
    monkeypatch.setattr(Passes, "teachers", lambda *_: pytest.fail("a second model was opened"))
    found = run(talking(), Up, retain="kl", lr=1e-3, lora=2)
    assert own.same(wanted.model, found.model)
    assert found.history[1]["objective"] < found.history[0]["objective"]


def test_of_texts_a_search_begins_with_the_training_made_gentler():
    trainer = Trainer(build=_language.llama, task="causal_lm", config=LoopConfig(epochs=6, batch_size=24, lr=4e-3))
    texts = replace(talking(), trainer=trainer)
    start = Down.start(texts)
    assert start["lr"] == pytest.approx(0.4 * 4e-3)
    assert start["batch_size"] == 6
    assert Down(start).config.schedule == "cosine"
    plain = replace(trainer, config=replace(trainer.config, optimiser="sgd", momentum=0.5))
    assert Down(Down.start(replace(texts, trainer=plain))).config.optimiser == "sgd", "whose rate it is"
    assert Down.start(replace(texts, trainer=plain))["momentum"] == 0.5
    small = replace(trainer, config=replace(trainer.config, batch_size=4))
    assert Down.start(replace(texts, trainer=small))["batch_size"] == 2, "never one alone"
    assert Down.start(replace(texts, trainer=lambda records, *, seed: None)) == {}, "it says nothing of its rate"
    assert start["until"] == "guess"
    assert start["relearner"] == 2, "of 14 texts in batches of six a pass has three steps"
    one = replace(trainer, config=replace(trainer.config, batch_size=4))
    assert Down.start(replace(texts, trainer=one))["relearner"] == 3, "two fifths of seven"
    for name, beta in (("wga", 0.3), ("npo", None)):
        assert registry.load("methods", name).start(texts).get("beta") == beta
    found = candidate(texts, "texts", "wga", {})
    assert (found.base["beta"], "beta" in found.fixed) == (0.3, True), "what the start settles is not searched"


def test_of_classes_as_well_but_they_are_pushed_no_further_than_strangers():
    trainer = Trainer(build=toys.network, config=LoopConfig(epochs=6, batch_size=24, lr=4e-3))
    start = Down.start(toys.problem(trainer=trainer))
    assert start["lr"] == pytest.approx(0.3 * 4e-3)
    assert start["repairs"] > 0
    assert "relearner" not in start
    assert Down(start).config.until == "strangers", "no retrained model is trained to know where to stop"
    small = replace(trainer, config=replace(trainer.config, batch_size=8))
    assert Down.start(toys.problem(trainer=small))["batch_size"] == 3, "a lone record cannot be normalised"


def test_what_the_training_settles_is_not_searched_but_for_adapters():
    trainer = Trainer(build=_language.llama, task="causal_lm", config=LoopConfig(epochs=6, batch_size=24, lr=4e-3))
    texts = replace(talking(), trainer=trainer)
    cases = (
        ({}, ("batch_size", "beta", "lr")),
        ({"lr": 1e-4}, ("batch_size", "beta", "lr")),
        ({"lora": 8}, ("lora",)),
        ({"optimiser": "sgd"}, ("optimiser",)),
    )
    for given, fixed in cases:
        found = candidate(texts, "texts", "wga", given)
        assert found.fixed == fixed, given
        assert found.base["lr"] == given.get("lr", pytest.approx(0.4 * 4e-3))
        assert found.start == "the training"


# --- dropout ------------------------------------------------------------------------------------------------------

DROPPING = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
"""Those of GPT-2, as transformers has them."""
ONE_STEP = {"epochs": 1, "batch_size": 64, "until": "guess"}


@pytest.fixture(params=["sdpa", "eager"])
def dropping(request):
    """Return a problem whose model knows its facts by heart, and drops out everywhere when it trains."""
    model = languages.gpt(**DROPPING, attn_implementation=request.param)
    model.load_state_dict(languages.spoken().model.state_dict())
    return languages.spoken(model.eval())


def first(problem, name, **settings):
    """Return the objective of a method's first step, all forgotten records in it."""
    method = registry.load("methods", name)({**ONE_STEP, **settings})
    return method.unlearn(problem, toys.context(problem)).history[0]


def test_what_is_compared_with_the_original_begins_there_although_the_model_has_dropout(dropping):
    for name in ("npo", "idk_dpo"):
        assert first(dropping, name, beta=0.1, retain="none")["objective"] == pytest.approx(20 * math.log(2), rel=1e-6)
    for name in ("kl_min", "grad_diff", "simnpo"):
        assert first(dropping, name, forget_weight=0.0, retain="kl")["objective"] == pytest.approx(0, abs=1e-6)
    assert first(dropping, "kl_min", forget_weight=0.0, retain="kl", lora=2)["objective"] == pytest.approx(0, abs=1e-6)


def test_a_bound_that_was_measured_without_dropout_is_met_without_it(dropping):
    """Its slack is a hundredth of what dropout costs the original."""
    settings = {**ONE_STEP, "epochs": 4, "forget_weight": 0.0, "slack": 0.01, "dual_after": 0, "beside": 18}
    rows = registry.load("methods", "pdu")(settings).unlearn(dropping, toys.context(dropping)).history
    weights = [100.0, *(row["retain weight"] for row in rows)]
    assert weights == sorted(weights, reverse=True)


def test_a_method_that_asks_no_original_trains_with_dropout(dropping):
    seen = []

    class Watching(Up):
        def forgotten(self, batch):
            seen.append(float(batch.forget.loss.detach().mean()))
            return 0 * super().forgotten(batch)

    for retain, wanted in (("none", False), ("kl", True)):
        seen.clear()
        Watching({**SMALL, "epochs": 1, "batch_size": 6, "retain": retain}).unlearn(dropping, toys.context(dropping))
        with torch.no_grad():
            told = dropping.meaning.units(dropping.source.open(), dropping.forget_view.read(range(6))).loss.mean()
        assert (seen[0] == pytest.approx(float(told), rel=1e-6)) is wanted


HELD = {
    "rmu": ("alpha", {}),
    "sga": ("retain_weight", {"retain": "kl", "threshold": 0.0}),
    "task_arithmetic": ("retain_weight", {"retain": "kl"}),
    "whp": ("retain_weight", {"retain": "kl", "until": "guess"}),
}


@pytest.mark.parametrize("name", HELD)
def test_what_holds_to_the_original_is_nothing_at_first_whatever_it_weighs(dropping, name):
    weight, settings = HELD[name]
    found = []
    for value in (1.0, 1e3):
        method = registry.load("methods", name)({"epochs": 1, "batch_size": 64, weight: value, **settings})
        found.append(method.unlearn(dropping, toys.context(dropping)).history[0]["objective"])
    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_methods_whose_papers_train_a_student_with_dropout_do_so():
    assert not any(registry.load("methods", name)().compares for name in ("scrub", "bad_teacher", "kde", "prmq"))
