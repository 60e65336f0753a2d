"""Who is raised, by how much, and when it ends."""

import numpy as np
import pytest
import torch

from expunge.core.method import Need
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.memorised import extraction_likelihood, shares
from expunge.methods.sga import SelectiveAscent as Sga
from expunge.numerics.extraction import outlier_threshold
from expunge.numerics.losses import distillation
from tests.support import toys
from tests.support.languages import spoken, untrained

STEP = {"epochs": 1, "lr": 0.1, "optimiser": "sgd", "momentum": 0.0}
UP = {"epochs": 40, "lr": 3e-3, "batch_size": 6}


def test_the_threshold_is_that_of_outliers_among_the_unseen_texts_of_the_choosing_part():
    given = spoken()
    run, model = toys.context(given), given.source.open()
    method = Sga()
    method.prepare(model, given, run)
    unseen = shares(run, model, run.choosing.holdout)
    assert len(unseen) == 8
    assert method._limits[0] == outlier_threshold(unseen)
    assert 0.3 < method._limits[0] < 1
    method = Sga({"threshold": 0.25})
    method.prepare(model, given, run)
    assert method._limits[0] == 0.25
    assert not Sga({"threshold": 0.25}).obstacles(spoken(held=0))
    assert "unseen text" in Sga().obstacles(spoken(held=0))[0].what


def test_a_step_is_the_gradient_of_the_records_above_the_threshold_and_of_no_other():
    """Their mean loss of a token, record by record; the others might as well not be there."""
    given = spoken()
    model, run = given.source.open(), toys.context(given)
    values = shares(run, model, given.forget_view)
    limit = float(np.sort(values)[2])  # some above, some below
    above = [i for i, value in enumerate(values) if value > limit]
    assert 0 < len(above) < len(values)
    outcome = Sga({**STEP, "threshold": limit}).unlearn(given, run)
    inputs, labels = given.forget_view.read(above)
    logits, losses = model(**inputs).logits[:, :-1], []
    for row, label in zip(logits, labels[:, 1:], strict=True):
        losses.append(torch.nn.functional.cross_entropy(row, label, ignore_index=-100))
    torch.stack(losses).mean().backward()
    for found, start in zip(outcome.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, start + 0.1 * start.grad, atol=1e-6, rtol=0)
    assert outcome.history[0]["trained"] == len(above)


def test_it_ends_when_none_is_left_and_not_before():
    given = spoken()
    run, counts = toys.context(given), []

    class Counting(Sga):
        def stop(self, model, epoch, run):
            values = shares(toys.context(given), model, given.forget_view)
            counts.append(int((values > self._limits[0]).sum()))
            assert self._raised.ids == tuple(
                name for name, value in zip(given.forget_view.ids, values, strict=True) if value > self._limits[0]
            )
            return super().stop(model, epoch, run)

    outcome = Counting(UP).unlearn(given, run)
    assert counts[-1] == 0
    assert all(counts[:-1])
    assert 1 < len(counts) < 40
    assert outcome.stopped.startswith("no record is left")
    assert [row["above"] for row in outcome.history] == counts
    assert outcome.history[-1]["worst"] <= 1


def test_the_order_of_the_records_decides_nothing_but_rounding():
    models = []
    for turn in (1, -1):
        given = spoken()
        given.train = given.train.select(given.train.ids[::turn])
        models.append(Sga({**STEP, "epochs": 3, "threshold": 0.5}).unlearn(given, toys.context(given)).model)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_rule_of_the_mean_takes_one_step_an_epoch_and_ends_at_both_thresholds():
    """Never while only one of both holds."""
    given = spoken()
    run = toys.context(given)
    model, held = given.source.open(), run.choosing.holdout
    limits = [
        float(shares(run, model, held).mean()),
        float(extraction_likelihood(run, model, held, n=3, end=2).mean()),
    ]
    steps = []

    class Counting(Sga):
        def _up(self, batch):
            steps.append(batch.forget_side.ids)
            return super()._up(batch)

    settings = {**UP, "rule": "mean", "ngram": 3, "batch_size": 2}
    outcome = Counting(settings).unlearn(given, run)
    rows = outcome.history
    assert len(steps) == len(rows) > 1
    assert all(set(ids) == set(given.forget_ids) for ids in steps)
    both = [[row["mean"] < limits[0], row["extraction likelihood"] < limits[1]] for row in rows]
    assert [all(each) for each in both] == [False] * (len(rows) - 1) + [True]
    method = Sga(settings)
    method._limits = tuple(limits)
    for share, likelihood, ends in ((1e-9, 1.0, False), (1.0, 1e-9, False), (1e-9, 1e-9, True)):
        method._seen = {"mean": share, "extraction likelihood": likelihood}
        assert bool(method.stop(model, 1, run)) == ends
    outcome = Sga({**STEP, "rule": "mean", "ngram": 3}).unlearn(given, run)
    given.meaning.units(model, given.forget_view.read(range(6))).loss.mean().backward()
    for found, start in zip(outcome.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, start + 0.1 * start.grad, atol=1e-6, rtol=0)


def test_interrupted_it_raises_the_same_records(tmp_path):
    class Dying(Checkpoints):
        def offer(self, *parts):
            super().offer(*parts)
            if parts[2]["epoch"] == 2:
                raise KeyboardInterrupt

    given, settings = spoken(), {**UP, "epochs": 6, "batch_size": 2}
    whole = Sga(settings).unlearn(given, toys.context(given))
    with pytest.raises(KeyboardInterrupt):
        Sga(settings).unlearn(given, toys.context(given, checkpoints=Dying(tmp_path, every_s=0)))
    resumed = Sga(settings).unlearn(given, toys.context(given, checkpoints=Checkpoints(tmp_path, every_s=0)))
    assert toys.same(whole.model, resumed.model)
    assert whole.history == resumed.history


def test_with_nothing_known_by_heart_nothing_is_done():
    given = spoken(untrained())
    outcome = Sga({**UP, "threshold": 0.9}).unlearn(given, toys.context(given))
    assert toys.same(outcome.model, given.source.open())
    assert len(outcome.history) == 1
    assert any("no effect" in text for text in outcome.warnings)


def test_a_threshold_that_nobody_can_reach_is_told():
    """Outliers of shares may lie above 1 where unseen texts are known unevenly."""
    given = spoken(untrained())
    method = Sga({"threshold": 1.0, "epochs": 1})
    assert any("no record can stand out" in text for text in method.unlearn(given, toys.context(given)).warnings)
    assert not any(
        "stand out" in text for text in Sga({**UP, "epochs": 1}).unlearn(spoken(), toys.context(spoken())).warnings
    )


def test_a_classifier_has_no_tokens():
    assert "tokens" in Sga().obstacles(toys.problem())[0].what


@pytest.mark.parametrize("rule", ["each", "mean"])
def test_retained_records_may_be_held_by_their_loss(rule):
    """Beside each step as many as are raised; the papers read none."""
    given = spoken()
    model, rows = given.source.open(), []

    class Noting(Sga):
        def _held(self, batch):
            rows.append(batch.retain_side.ids)
            return super()._held(batch)

    held = {"retain": "nll", "retain_weight": 0.6, "beside": 2}
    method = Noting({**STEP, **held, "rule": rule, "threshold": 0.0, "ngram": 3, "batch_size": 6})
    assert Need.RETAIN not in Sga().needs
    assert method.needs == {Need.RETAIN, Need.FORGET}
    outcome = method.unlearn(given, toys.context(given))
    ((ids),) = rows
    assert len(set(ids)) == 2 * 6
    assert set(ids) <= set(given.retain_view.ids)
    up = given.meaning.units(model, given.forget_view.read(range(6)))
    raised = up.loss.mean() if rule == "mean" else up.by_record(up.loss).mean()
    some = given.records.select(ids)
    (-raised + 0.6 * given.meaning.units(model, some.read(range(12))).loss.mean()).backward()
    for found, start in zip(outcome.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, start - 0.1 * start.grad, atol=1e-6, rtol=0)
    assert outcome.cost.trained == method.cost(given).trained == 18


def test_held_by_the_divergence_answers_to_retained_records_stay_nearer():
    apart, reads = {}, {}
    for retain in ("none", "kl"):
        given = spoken()
        settings = {**UP, "epochs": 3, "threshold": 0.0, "retain": retain, "retain_weight": 20.0}
        outcome = Sga(settings).unlearn(given, toys.context(given))
        mine, theirs = (
            given.meaning.units(model, given.retain_view.read(range(18))) for model in (outcome.model, given.model)
        )
        apart[retain] = float(distillation(mine, theirs).detach())
        reads[retain] = outcome.cost.read
        assert outcome.cost.read <= Sga(settings).cost(given).read
    assert apart["kl"] < 0.3 * apart["none"]
    assert reads["kl"] == reads["none"] + 3 * 6, "what the original reads is counted"


def test_with_adapters_the_original_is_the_model_without_them():
    given, opened = spoken(), []
    real = given.source.open
    given.source.open = lambda: opened.append(1) or real()
    Sga({**UP, "epochs": 1, "lora": 2, "retain": "kl", "threshold": 0.0})._unlearn(given, toys.context(given))
    assert len(opened) == 2  # what is trained, and, when all is over, what it is compared with
