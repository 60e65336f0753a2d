import pytest

from expunge.core.errors import Refused
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.registry import load
from expunge.engine.progress import Progress
from expunge.engine.references import build
from expunge.engine.runs import RunDirectory
from expunge.engine.runtime import Workers
from expunge.methods.retrain import Retrain
from tests.support import toys


@pytest.fixture
def retrained(tmp_path):
    """Retrain a problem, each time in a run directory of its own; returns the outcome."""
    places = iter(range(100))

    def retrain(problem, seed=3):
        def local(records, *, seed):
            return trainer(records, seed=seed)

        trainer, problem.trainer = problem.trainer, local  # what does not pickle is trained in this process
        run = RunDirectory(tmp_path / str(next(places)), {"job": 1})
        workers = Workers(problem)

        def once(seed):
            (made,) = build(problem, run, [seed], workers=workers, progress=Progress(), label="retrain")
            return problem.source.reopen(run.open_artefact(made.artefact)), made

        outcome = Retrain().unlearn(problem, toys.context(problem, seed=seed, retrain=once))
        run.close()
        return outcome

    return retrain


def test_it_is_the_trainers_model_on_what_remains(retrained):
    problem = toys.problem()
    outcome = retrained(problem, seed=3)
    assert toys.same(outcome.model, toys.TRAINER(problem.retain_view, seed=3))
    assert outcome.cost == Cost(trained=4.0 * 48)
    assert outcome.touched == 1.0
    assert any("assumption" in line for line in outcome.evidence)
    assert Retrain.guarantee is Level.EXACT


def test_no_tensor_is_the_originals(retrained):
    problem = toys.problem(build=toys.Noisy, model=toys.TRAINER(toys.records(60), seed=8))
    outcome, original = retrained(problem), problem.source.open()
    places = [{t.data_ptr() for t in m.state_dict().values()} for m in (outcome.model, original)]
    assert not places[0] & places[1]
    for (name, new), old in zip(outcome.model.named_parameters(), original.parameters(), strict=True):
        assert not (new == old).any(), f"{name} was taken over from the original"


def test_the_forget_set_is_never_read(retrained):
    problem = toys.problem()
    retrained(problem)
    assert set(problem.records.seen) == set(problem.retain_view.ids)


def test_the_labels_of_forgotten_records_change_nothing(retrained):
    problem, permuted = toys.problem(), toys.problem()
    permuted.records.y[:12] = (permuted.records.y[:12] + 1) % toys.CLASSES
    assert toys.same(retrained(problem).model, retrained(permuted).model)


def test_a_forgotten_class_leaves_the_number_of_outputs_alone(retrained):
    train = toys.records(60)
    train.ids = tuple(sorted(train.ids, key=lambda name: int(train.y[int(name[1:])]) != 0))
    order = [int(name[1:]) for name in train.ids]
    train.x, train.y = train.x[order], train.y[order]
    problem = toys.problem(train=train, forget=int((train.y == 0).sum()))
    assert 0 not in problem.retain_view.read(range(len(problem.retain_view)))[1]
    assert retrained(problem).model[2].out_features == toys.CLASSES


def test_seeds_give_other_models(retrained):
    assert not toys.same(retrained(toys.problem(), seed=1).model, retrained(toys.problem(), seed=2).model)


def test_without_a_trainer_it_is_refused():
    problem = toys.problem(trainer=None)
    method = load("methods", "retrain")()
    assert [obstacle.what for obstacle in method.obstacles(problem)] == ["retrain needs a trainer"]
    with pytest.raises(Refused):
        method.unlearn(problem, toys.context(problem))


def test_the_cost_is_one_retraining():
    problem = toys.problem()
    assert Retrain().cost(problem) == Cost(trained=4.0 * 48)
    assert Retrain().cost(toys.problem(trainer=lambda records, *, seed: None)) == Cost(trained=48.0)
