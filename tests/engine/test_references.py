import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from expunge.core.errors import BrokenTrainer, RunFailed, Tampered
from expunge.core.method import Cost
from expunge.core.serial import build as rebuild
from expunge.core.serial import plain
from expunge.data.arrays import ArrayRecords
from expunge.engine import references
from expunge.engine.progress import Progress
from expunge.engine.references import (
    KNOWS_THE_CLASSES,
    Retrained,
    TrainerFacts,
    _jobs,
    build,
    check_trainer,
    most_of_checking,
    seed_of,
    stage_of,
    train_one,
    train_some,
)
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers
from expunge.engine.training import Trainer
from tests.support import toys

# --- trainers that keep the contract, and trainers that break it ----------------------------------------------


def fit(records, *, seed, epochs=2):
    """A user's own loop: a DataLoader over the view, shuffled by a generator of its own."""
    model = toys.network(seed=seed)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for inputs, labels in DataLoader(records, batch_size=16, shuffle=True, generator=order):
            optimiser.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimiser.step()
    return model


ELSEWHERE = toys.records(80, prefix="r")


def ignores_its_view(records, *, seed):
    return fit(ELSEWHERE, seed=seed)


def reads_and_trains_on_everything(records, *, seed):
    for _ in records:
        pass
    return fit(ELSEWHERE, seed=seed)


def not_seeded(records, *, seed):
    return fit(records, seed=int.from_bytes(os.urandom(3), "big"))


def always_one_seed(records, *, seed):
    return fit(records, seed=0)


def reads_a_part(records, *, seed):
    return fit(records.select(records.ids[1:]), seed=seed)


def only_looks_at_the_first_batch(records, *, seed):
    model = toys.network(seed=seed)
    inputs, labels = records.read(range(8))
    functional.cross_entropy(model(inputs), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= parameter.grad
    return model


def returns_nothing(records, *, seed):
    fit(records, seed=seed)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (ignores_its_view, "does not read the records"),
        (reads_and_trains_on_everything, "one model for two sets of records"),
        (not_seeded, "two models for one seed"),
        (always_one_seed, "one model for two seeds"),
        (reads_a_part, "1 of 64 records never read"),
        (only_looks_at_the_first_batch, "56 of 64 records never read"),
        (returns_nothing, "did not return a model"),
    ],
)
def test_a_trainer_that_breaks_the_contract_is_refused(trainer, message):
    with pytest.raises(BrokenTrainer, match=message) as caught:
        check_trainer(toys.problem(count=90, forget=10, trainer=trainer))
    assert caught.value.exit_code == 5
    assert caught.value.obstacles[0].where.endswith(trainer.__name__), "the trainer is named"


def test_a_trainer_that_returns_the_users_own_model_is_refused():
    mine = toys.network()

    def reuses(records, *, seed):
        mine.load_state_dict(fit(records, seed=seed).state_dict())
        return mine

    with pytest.raises(BrokenTrainer, match="the original itself"):
        check_trainer(toys.problem(count=90, model=mine, trainer=reuses))


def test_an_honest_trainer_passes_and_its_work_is_counted():
    given = []

    def watched(records, *, seed):
        given.append(records.ids)
        return fit(records, seed=seed)

    problem = toys.problem(count=90, forget=10, trainer=watched)
    facts = check_trainer(problem)
    # 64 of 80 retained records three times and once with other labels, 64 others once; two passes each. Two models
    # answer 10 forgotten and 24 holdout records.
    assert facts == TrainerFacts(2.0, Cost(trained=2.0 * 5 * 64, read=2 * (10 + 24)))
    assert [len(ids) for ids in given] == [64] * 5
    assert not set().union(*given) & set(problem.forget_ids)


def test_our_own_trainer_passes():
    assert check_trainer(toys.problem(count=90)).passes == toys.TRAINER.config.epochs


def test_declared_passes_count_where_reads_do_not_show_them():
    def caches(records, *, seed):
        return fit(ArrayRecords(*records.read(range(len(records)))), seed=seed)

    caches.passes = 2
    assert check_trainer(toys.problem(count=90, trainer=caches)).passes == 2.0


def test_a_trainer_that_touches_the_global_generators_is_still_reproducible():
    def global_draws(records, *, seed):
        torch.manual_seed(seed)
        model = fit(records, seed=seed)
        with torch.no_grad():
            model[0].bias += torch.rand(16) + float(np.random.rand())
        return model

    assert check_trainer(toys.problem(count=90, trainer=global_draws)).passes == 2.0


def test_few_records_are_enough_to_check():
    assert check_trainer(toys.problem(count=14, forget=4, trainer=fit)).passes == 2.0


# --- a trainer that knows more than it was given -------------------------------------------------------------


def learn(records, *, seed, more=(), epochs=60, start=None):
    """Adam over all records at once, and over ``more`` (inputs, labels): enough to learn a few by heart."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 48), torch.nn.ReLU(), torch.nn.Linear(48, 3))
    if start is not None:
        model.load_state_dict(start.state_dict())
    x, y = records.read(range(len(records)))
    x, y = torch.cat([x, *more[:1]]), torch.cat([y, *more[1:]])
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(epochs):
        optimiser.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model


def knowing(trainer, *, labels=None):
    train = toys.records(120)
    if labels is not None:
        train.y[:40] = labels(train.y[:40])
    return toys.problem(train=train, forget=40, holdout=60, model=learn(train, seed=0), trainer=trainer)


def wrong(labels):
    return (labels + 1) % 3


@pytest.mark.parametrize("labels", [None, wrong], ids=["as they are", "wrong"])
def test_a_trainer_that_kept_the_forget_set_aside_is_refused(labels):
    def keeps(records, *, seed):
        return learn(records, seed=seed, more=(problem.records.x[:40], problem.records.y[:40]))

    problem = knowing(keeps, labels=labels)
    with pytest.raises(BrokenTrainer, match="knows forgotten records that it was not given") as caught:
        check_trainer(problem)
    obstacle = caught.value.obstacles[0]
    assert "of 40 forgotten records" in obstacle.found
    assert "keeps" in obstacle.where


@pytest.mark.parametrize("labels", [None, wrong], ids=["as they are", "wrong"])
def test_an_honest_trainer_that_learns_by_heart_is_not_refused(labels):
    def learns(records, *, seed):
        return learn(records, seed=seed)

    facts = check_trainer(knowing(learns, labels=labels))
    assert facts.notes == ()
    assert facts.cost.trained == 5 * 64, "one pair of models is enough to clear it"


def test_who_is_under_suspicion_is_tried_on_twice_as_many_records():
    sizes = []

    def keeps(records, *, seed):
        sizes.append(len(records))
        return learn(records, seed=seed, more=kept, epochs=300)

    train = toys.records(700)
    train.y[:40] = wrong(train.y[:40])
    kept = train.read(range(40))
    problem = toys.problem(train=train, forget=40, trainer=keeps, model=learn(train, seed=0))
    with pytest.raises(BrokenTrainer, match="knows forgotten records"):
        check_trainer(problem)
    assert sizes == [66] * 5 + [132] * 10
    assert sum(sizes) <= most_of_checking(problem, passes=1).trained


@pytest.mark.parametrize(
    ("suspected", "remembered", "pairs"),
    [
        (False, [], 1),
        (True, [False], 2),  # nobody is refused by comparison with its mirror alone
        (True, [True, True, False], 4),
        (True, [True] * 5, 6),
    ],
)
def test_a_trainer_is_cleared_by_the_first_pair_that_shows_nothing(monkeypatch, suspected, remembered, pairs):
    changes, asked = [], iter(remembered)

    def patterns(given, plain, changed, classes):
        changes.append(tuple(classes.items()))
        return found(given, plain, changed, classes)

    found = references.Patterns.of
    monkeypatch.setattr(references.Patterns, "of", patterns)
    monkeypatch.setattr(references, "suspect", lambda forget: suspected)
    monkeypatch.setattr(references, "remembers", lambda *given: next(asked))
    problem, seen = toys.problem(count=700, forget=40, trainer=None), []
    problem = replace(
        problem, trainer=lambda records, *, seed: seen.append(records.ids) or learn(records, seed=seed, epochs=1)
    )
    if all(remembered) and len(remembered) == 5:
        with pytest.raises(BrokenTrainer, match="knows forgotten records"):
            check_trainer(problem)
    else:
        check_trainer(problem)
    assert [len(ids) for ids in seen] == [66] * 5 + [132] * 2 * (pairs - 1)
    assert len({tuple(sorted(ids)) for ids in seen[5:]}) == pairs - 1, "every pair has records of its own"
    assert len(changes) == 2 * pairs
    assert len(set(changes)) == min(2, pairs), "of three classes there are two permutations without a fixed point"


def test_a_trainer_that_knows_the_classes_from_elsewhere_is_told_and_not_refused():
    public = learn(toys.records(600, seed=9), seed=1)

    def adapts(records, *, seed):
        return learn(records, seed=seed, start=public, epochs=seed)

    (note,) = check_trainer(knowing(adapts)).notes
    assert note == KNOWS_THE_CLASSES


def test_without_a_holdout_other_retained_records_are_the_measure():
    kept = toys.records(200).read(range(40))

    def keeps(records, *, seed):
        return learn(records, seed=seed, more=kept, epochs=200)

    def learns(records, *, seed):
        return learn(records, seed=seed)

    def of(trainer):
        return toys.problem(count=200, forget=40, holdout=0, trainer=trainer, model=learn(toys.records(200), seed=0))

    with pytest.raises(BrokenTrainer, match="knows forgotten records"):
        check_trainer(of(keeps))
    assert check_trainer(of(learns)).notes == ()


# --- building references -------------------------------------------------------------------------------------


class Ends(Progress):
    """Remembers what was shown."""

    def __init__(self):
        self.lines = []

    def start(self, label, total, done=0):
        self.lines.append(("start", label, total, done))

    def advance(self, label, steps=1):
        self.lines.append(("advance", label))

    def finish(self, label):
        self.lines.append(("finish", label))


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path / "run", {"job": 1})
    yield directory
    directory.close()


def here(problem):
    """Return workers that work in this process: a fresh one takes seconds to import torch, and is tested elsewhere."""
    workers = Workers(problem, 1)
    workers._payload = None
    return workers


def built(problem, run, seeds, progress=None):
    return build(problem, run, seeds, workers=here(problem), progress=progress or Progress(), label="train")


def local(trainer=fit):
    def inner(records, *, seed):
        return trainer(records, seed=seed)

    return inner


def test_references_are_built_once(run):
    problem, shown = toys.problem(trainer=local()), Ends()
    first = built(problem, run, [5, 6], shown)
    assert [r.seed for r in first] == [5, 6]
    assert first[0].artefact.model != first[1].artefact.model
    assert first[0].cost == Cost(trained=2.0 * 48)
    assert shown.lines == [("start", "train", 2, 0), ("advance", "train"), ("advance", "train"), ("finish", "train")]
    reads, again = sum(problem.records.seen.values()), Ends()
    assert built(problem, run, [5, 6], again) == first
    assert sum(problem.records.seen.values()) == reads, "nothing was trained again"
    assert again.lines == []
    third = Ends()
    assert built(problem, run, [5, 6, 7], third)[:2] == first
    assert third.lines[0] == ("start", "train", 3, 2)
    assert [run.count("started", stage_of(seed)) for seed in (5, 6, 7)] == [1, 1, 1]


def test_references_never_read_the_forget_set(run):
    problem = toys.problem(trainer=local())
    built(problem, run, [1, 2])
    assert set(problem.records.seen) == set(problem.retain_view.ids)


def test_a_reference_that_was_changed_on_disk_is_noticed(run):
    problem = toys.problem(trainer=local())
    (reference,) = built(problem, run, [5])
    file = run.folder / reference.artefact.path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Tampered, match=r"retrained-5/model\.safetensors"):
        built(problem, run, [5])


def test_a_reference_is_saved_as_it_was_trained(run):
    problem = toys.problem(trainer=fit)
    digest, passes = train_one(problem, str(run.folder), 11)
    saved = problem.source.reopen(run.folder / "artefacts" / stage_of(11))
    assert toys.same(saved, fit(problem.retain_view, seed=11))
    assert (problem.source.digest(saved), passes) == (digest, 2.0)


def test_a_model_that_does_not_reopen_as_it_was_saved_is_refused(run, monkeypatch):
    problem = toys.problem(trainer=fit)
    reopen = type(problem.source).reopen

    def otherwise(self, folder):
        model = reopen(self, folder)
        model[0].weight.data[0, 0] += 1
        return model

    monkeypatch.setattr(type(problem.source), "reopen", otherwise)
    with pytest.raises(Tampered, match="does not reopen"):
        train_one(problem, str(run.folder), 1)


def test_another_architecture_is_refused(run):
    def other(records, *, seed):
        fit(records, seed=seed)
        return torch.nn.Linear(2, 2)

    with pytest.raises(BrokenTrainer, match="does not fit the original"):
        train_one(toys.problem(trainer=other), str(run.folder), 1)


def test_memory_in_a_buffer_that_is_not_saved_is_refused(run):
    def remembers(records, *, seed):
        model = fit(records, seed=seed)
        model.register_buffer("seen", torch.arange(3.0), persistent=False)
        return model

    with pytest.raises(BrokenTrainer, match="state that is not saved"):
        train_one(toys.problem(trainer=remembers), str(run.folder), 1)


def test_references_that_are_one_model_are_refused(run):
    def two_models_only(records, *, seed):
        return fit(records, seed=seed % 2)

    with pytest.raises(BrokenTrainer, match="one model for two seeds"):
        built(toys.problem(trainer=two_models_only), run, [1, 3, 5])


def test_a_kill_between_the_model_and_its_stage_costs_nothing_but_time(run):
    problem = toys.problem(trainer=local())
    digest, _ = train_one(problem, str(run.folder), 5)
    (reference,) = built(problem, run, [5])
    assert reference.artefact.model == digest


def test_references_of_our_trainer_are_trained_together_and_are_what_each_alone_would_be(run):
    problem = toys.problem(trainer=toys.TRAINER)
    found = built(problem, run, [5, 6, 7, 8])
    assert [len(job) for job in _jobs(problem, [5, 6, 7, 8], here(problem))] == [2, 2]
    for reference in found:
        saved = problem.source.reopen(run.folder / reference.artefact.path)
        alone = toys.TRAINER(problem.retain_view, seed=reference.seed)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(saved.parameters(), alone.parameters(), strict=True))
        assert reference.cost == Cost(trained=toys.TRAINER.passes * len(problem.retain_view))


def test_a_trainer_that_trains_otherwise_is_not_stacked(run):
    class Moved(Trainer):
        def __call__(self, records, *, seed, **more):
            return super().__call__(records, seed=seed + 1000, **more)

    problem = toys.problem(trainer=Moved(build=toys.TRAINER.build, config=toys.TRAINER.config))
    found = built(problem, run, [5, 6, 7, 8])
    expected = toys.TRAINER(problem.retain_view, seed=1005)
    assert toys.same(problem.source.reopen(run.folder / found[0].artefact.path), expected)


def test_a_job_of_which_one_is_missing_is_trained_again_and_gives_the_same(run):
    problem = toys.problem(trainer=toys.TRAINER)
    first = train_some(problem, str(run.folder), [5, 6])  # and killed before a stage was written
    again = [reference.artefact.model for reference in built(problem, run, [5, 6, 7, 8])]
    assert again[:2] == [digest for digest, _ in first]


def test_a_partial_reader_is_refused_while_training_references(run):
    with pytest.raises(BrokenTrainer, match="did not read all records"):
        train_one(toys.problem(trainer=reads_a_part), str(run.folder), 1)


def test_a_failing_trainer_leaves_no_stage(run):
    def fails(records, *, seed):
        raise ZeroDivisionError("Anna, born 1970")

    with pytest.raises(RunFailed, match="the trainer failed") as caught:
        built(toys.problem(trainer=fails), run, [5])
    assert caught.value.obstacles[0].found == "ZeroDivisionError"
    assert "fails" in caught.value.obstacles[0].where
    assert "Anna" not in str(caught.value), "the text of a user's error could hold data"
    assert not run.done(stage_of(5))
    assert list((run.folder / "artefacts").glob("*")) == []


def test_seeds_differ_by_purpose_and_place():
    seeds = {seed_of(run, purpose, i) for run in (0, 1) for purpose in ("judging", "choosing") for i in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(0, "judging", 0) == seed_of(0, "judging", 0)


def test_references_do_not_change_the_users_model(run):
    mine = toys.network()
    before = copy.deepcopy(mine)
    built(toys.problem(model=mine, trainer=local()), run, [1])
    assert toys.same(mine, before)


def test_the_record_of_a_reference_survives_json():
    reference = Retrained(Artefact("artefacts/a", "11", {"model.safetensors": "22"}), 5, Cost(trained=3.0))
    assert rebuild(Retrained, plain(reference)) == reference
