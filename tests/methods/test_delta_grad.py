"""DeltaGrad: as near the run without the records as it says, what it reads, and what it refuses."""

import dataclasses

import pytest
import torch
from torch import nn

import expunge
from expunge.core.errors import Tampered
from expunge.engine.ledger import Ledger
from expunge.engine.loop import LoopConfig
from expunge.engine.recorded import recorded
from expunge.methods.delta_grad import DeltaGrad, _unlike
from tests.support import languages, running, toys
from tests.support import recordings as own

in_process = running.in_process


def linear():
    """Softmax regression: convex, strongly so with weight decay."""
    return nn.Linear(own.DIMS, own.CLASSES)


def perceptron():
    """One hidden layer."""
    return nn.Sequential(nn.Linear(own.DIMS, 16), nn.Tanh(), nn.Linear(16, own.CLASSES))


PLAIN = LoopConfig(epochs=10, lr=0.5, optimiser="sgd", momentum=0.0, weight_decay=0.01)
STEPS = 4


def trainer(build=linear, config=PLAIN, **more):
    return recorded(build, config=config, steps=STEPS, **{"checkpoints": config.epochs * STEPS, **more})


def posed(folder, made, forget=("r3",)):
    model = expunge.train(made, own.records(), seed=2, ledger=folder / "ledger")
    return expunge.Problem(
        model=model, train=own.records(), forget=list(forget), trainer=made, ledger=folder / "ledger"
    )


def numbers(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).double()


def walked(problem, **config):
    """Return the result, and its distance from a run without the records as a share of the original's."""
    without = numbers(problem.trainer.run(problem.retain_view, seed=2).model)
    outcome = DeltaGrad(config).unlearn(problem, toys.context(problem))
    off = (numbers(outcome.model) - without).norm() / (numbers(problem.source.open()) - without).norm()
    return outcome, float(off)


@pytest.mark.parametrize("build", [linear, perceptron])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_with_exact_gradients_alone_it_is_the_run_without_the_records(tmp_path, build, schedule):
    problem = posed(tmp_path, trainer(build, dataclasses.replace(PLAIN, schedule=schedule)), ["r3", "r40", "r77"])
    _, off = walked(problem, period=1)
    assert off < 1e-4, "but for rounding"


WHOLE = recorded(linear, config=dataclasses.replace(PLAIN, epochs=40), steps=1, checkpoints=40)
"""Each step reads all records, as in theorem 1."""


@pytest.mark.parametrize("forget", [["r3"], [f"r{i}" for i in range(12)]])
def test_corrected_gradients_bring_a_convex_model_near_it(tmp_path, forget):
    problem = posed(tmp_path, WHOLE, forget)
    outcome, off = walked(problem, period=5, burn_in=2)
    assert off < 0.1
    _, crude = walked(problem, period=1000, burn_in=1)
    assert 3 * off < crude < 1, "one exact gradient says less"
    assert outcome.cost.trained < 0.65 * problem.trainer.passes * len(problem.retain_view)


def test_steps_of_a_quarter_of_the_records_are_followed_less_closely(tmp_path):
    _, off = walked(posed(tmp_path, trainer()), period=5, burn_in=2)
    assert 0.1 < off < 0.4, "one step's curvature is not another's"


def test_without_curvature_it_is_further_off(tmp_path, monkeypatch):
    problem = posed(tmp_path, WHOLE)
    _, off = walked(problem, period=5, burn_in=2)
    monkeypatch.setattr("expunge.numerics.quasi_newton.Hessian.add", lambda self, weights, gradients: None)
    _, flat = walked(problem, period=5, burn_in=2)
    assert flat > 10 * off


def test_what_is_announced_is_what_is_read(tmp_path):
    problem = posed(tmp_path, trainer(), ["r3", "r40"])
    method = DeltaGrad({"period": 4, "burn_in": 3})
    outcome = method.unlearn(problem, toys.context(problem))
    assert outcome.cost == method.cost(problem)
    assert "recorded steps anew" in outcome.stopped


def test_a_step_of_forgotten_records_alone_is_not_made(tmp_path):
    made = recorded(linear, config=PLAIN, steps=60, checkpoints=600)  # two records a step
    problem = posed(tmp_path, made, [f"r{i}" for i in range(40)])
    _, off = walked(problem, period=1)
    assert off < 1e-4


def test_a_record_that_was_never_met_changes_nothing(tmp_path):
    made = trainer(enters=lambda name: 100.0 if name == "r3" else 0.0)
    problem = posed(tmp_path, made)
    outcome = DeltaGrad().unlearn(problem, toys.context(problem))
    assert torch.equal(numbers(outcome.model), numbers(problem.source.open()))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: trainer(config=dataclasses.replace(PLAIN, momentum=0.9)), "gradient descent without momentum"),
        (lambda: trainer(config=dataclasses.replace(PLAIN, optimiser="adamw")), "gradient descent without momentum"),
        (lambda: trainer(config=dataclasses.replace(PLAIN, clip=1.0)), "gradient descent without momentum"),
        (lambda: trainer(rule="mask"), "gradient descent without momentum"),
        (lambda: trainer(own.dropped), "draws at random"),
        (lambda: trainer(own.normed), "mixes the records"),
        (lambda: trainer(checkpoints=5), "were not kept"),
    ],
)
def test_what_it_cannot_read_off_a_path_is_refused(tmp_path, made, said):
    assert said in DeltaGrad().obstacles(posed(tmp_path, made()))[0].what


def test_another_model_and_parts_that_may_not_move_are_refused(tmp_path):
    problem = posed(tmp_path, trainer())
    other = dataclasses.replace(problem, model=problem.trainer(own.records(), seed=9))
    assert "not the one that the recorded run ended with" in DeltaGrad().obstacles(other)[0].what
    still = problem.source.open()
    still.bias.requires_grad_(False)
    assert "no longer move" in DeltaGrad().obstacles(dataclasses.replace(problem, model=still))[0].what
    assert DeltaGrad().obstacles(problem) == []


def test_half_precision_is_refused(tmp_path):
    problem = posed(tmp_path, trainer())
    model = problem.source.open().to(torch.bfloat16)
    assert any("half precision" in o.what for o in _unlike(Ledger(problem.ledger), problem.trainer, model))


def test_texts_are_refused(tmp_path):
    """A step of theirs is a mean over tokens, and its gradients do not add up by record."""
    problem = posed(tmp_path, trainer())
    told = trainer(languages.based, task="causal_lm")
    assert any("means over tokens" in o.what for o in _unlike(Ledger(problem.ledger), told, problem.source.open()))


def test_a_state_that_was_changed_is_told(tmp_path):
    problem = posed(tmp_path, trainer())
    state = Ledger(problem.ledger).checkpoints[17] / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    with pytest.raises(Tampered, match="before step 17"):
        DeltaGrad().unlearn(problem, toys.context(problem))


def test_the_whole_way(tmp_path, in_process):
    problem = posed(tmp_path, trainer())
    found = expunge.erase(problem, out=tmp_path / "run", methods=("delta_grad",), references=0)
    assert found.report.attempts[0].method == "delta_grad"
    assert found.report.attempts[0].model
