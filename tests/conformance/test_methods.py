"""What the watch on a method sees: models, modes, records, gradients, generators. The cases are in test_planted.py."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expunge.conformance import problems as own
from expunge.conformance._watch import watching
from expunge.conformance.methods import made, posed
from expunge.conformance.run import Result, conform
from expunge.core import registry
from expunge.core.errors import Obstacle
from expunge.core.method import Cost
from expunge.engine.passes import Passes
from expunge.methods.influence import Influence
from expunge.methods.neg_grad_plus import NegGradPlus
from tests.conformance.cases import outcome


def seen(act, records=None):
    records = own.records(8) if records is None else records
    model = own.Noisy()
    with watching(records) as watch:
        act(model, records)
    return watch


def step(model, records, indices=range(4)):
    inputs, labels = records.read(indices)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    functional.cross_entropy(model(inputs), labels).backward()
    optimiser.step()
    optimiser.zero_grad()


def test_calls_of_models_are_seen_with_their_records_and_layers_are_not():
    watch = seen(step)
    (visit,) = watch.visits
    assert visit.ids == ("r0", "r1", "r2", "r3")
    assert (visit.graded, visit.training, visit.torn, visit.unused) == (True, True, (), False)
    assert (watch.steps, len(watch.models)) == (1, 1)
    assert watch.training_ids() == [visit.ids]


def test_inputs_that_are_no_records_have_no_name():
    watch = seen(lambda model, records: model(records.x[:2] + 1))
    assert watch.visits[0].ids == (None, None)


def test_layers_in_another_mode_are_seen_unless_they_are_frozen():
    def act(model, records):
        model[1].eval()
        step(model, records)
        for parameter in model[1].parameters():
            parameter.requires_grad_(False)
        step(model, records)

    assert [visit.torn for visit in seen(act).visits] == [("1",), ()]


def test_gradients_thrown_away_are_seen_and_used_ones_are_not():
    def act(model, records):
        step(model, records)
        functional.cross_entropy(model(records.x), records.y).backward()
        model.zero_grad()
        step(model, records)
        step(model, records)

    assert [visit.unused for visit in seen(act).visits] == [False, False, True, False]


def test_accumulated_gradients_are_not_thrown_away():
    def act(model, records):
        for indices in (range(4), range(4, 8)):
            inputs, labels = records.read(indices)
            functional.cross_entropy(model(inputs), labels).backward()

    assert not any(visit.unused for visit in seen(act).visits)


def test_shared_memory_is_seen_and_parts_of_a_model_are_not_taken_for_it():
    def shallow(model, records):
        model(records.x), copy.copy(model)(records.x)

    def deep(model, records):
        model(records.x), copy.deepcopy(model)(records.x)

    def part(model, records):
        model(records.x), model[0](records.x), nn.Sequential(model, nn.Identity())(records.x)

    assert [len(seen(act).sharing()) for act in (shallow, deep, part)] == [1, 0, 0]


def test_seeds_are_counted_and_generators_work_as_before():
    def act(model, records):
        for _ in range(2):
            drawn.append(torch.rand(2, generator=torch.Generator().manual_seed(3)))
        np.random.default_rng(4)

    drawn = []
    watch = seen(act)
    assert torch.equal(*drawn)
    assert watch.seeds == {("torch.Generator", 3): 2, ("numpy.random.default_rng", 4): 1}
    assert torch.Generator.__module__ != "expunge.conformance._watch", "put back"


def test_what_was_hooked_is_free_again():
    watch = seen(step)
    step(own.Noisy(), own.records(8))
    assert len(watch.visits) == 1


def test_trial_settings_fit_the_problem_and_may_be_overridden():
    cls = registry.load("methods", "finetune")
    assert (made(cls).config.epochs, made(cls).config.batch_size) == (2, 16)
    tried = type("Tried", (cls,), {"trial": {"epochs": 7}, "name": "tried"})
    assert (made(tried).config.epochs, made(tried, epochs=1).config.epochs) == (7, 1)


def test_tokens_that_go_in_by_name_are_seen_whatever_they_are_padded_to():
    records = own.talk(8)
    lengths = [len(tokens) for tokens, _ in records.held()]
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    problem = own.problem(language=True)
    with watching(records) as watch, torch.no_grad():
        for indices in ([short], [short, long]):
            problem.meaning.units(problem.model, records.read(indices))
    assert [visit.ids for visit in watch.visits] == [(f"r{short}",), (f"r{short}", f"r{long}")]


class OfTokens(NegGradPlus):
    """A method that no classifier can be given."""

    name = "of_tokens"

    def obstacles(self, problem):
        words = [Obstacle(what="no tokens")] if problem.task != "causal_lm" else []
        return [*super().obstacles(problem), *words]


def test_what_only_language_models_can_do_is_tried_on_one():
    assert posed(OfTokens).task == "causal_lm"
    assert posed(NegGradPlus).task == "classification"
    results = conform("methods", OfTokens).tried
    assert {one.case: one.because for one in results if one.result is Result.FAILED} == {}
    passed = {one.case for one in results if one.result is Result.PASSED}
    assert passed >= {"work_is_counted", "no_record_is_skipped", "frozen_parts_stay", "modes_are_right"}


def test_more_looks_than_announced_are_seen():
    class Secretive(NegGradPlus):
        name = "secretive"
        observation = Passes.observation

    result, because, _ = outcome("methods", Secretive, "work_is_counted")
    assert result is Result.FAILED
    assert "reading visits" in because
    assert outcome("methods", NegGradPlus, "work_is_counted")[0] is Result.PASSED


def test_forgotten_records_that_are_taken_for_all_there_are_are_seen():
    class Alone(Influence):
        name = "alone"

        def _solve(self, model, problem, run, vector):
            count = len(problem.forget_view) + len(problem.retain_view)
            return super()._solve(model, problem, run, vector * count / len(problem.records))

    class Counting(Influence):
        name = "counting"

        def work(self, problem):
            return super().work(problem) + Cost(trained=len(problem.records))

    case = "calibration_stands_for_what_stays"
    assert outcome("methods", Influence, case)[0] is Result.PASSED
    result, because, _ = outcome("methods", Alone, case)
    assert (result, because[:13]) == (Result.FAILED, "another model")
    result, because, _ = outcome("methods", Counting, case)
    assert (result, because[:20]) == (Result.FAILED, "cost() is another: c")
