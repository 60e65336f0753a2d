import numpy as np
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.core.registry import load
from expunge.testbeds import two_layer
from expunge.testbeds.two_layer import TRAINER, TwoLayerNet


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "two_layer")()


def test_the_truth_is_a_retraining_on_what_remains(bed, subsets):
    for gone in subsets(bed, least=1, count=3):
        again = TRAINER(bed.records.without(gone), seed=1).state_dict()
        truth = bed.truth(gone)
        assert truth.keys() == again.keys()
        assert all(np.array_equal(truth[name], tensor.numpy()) for name, tensor in again.items())


def test_a_loop_written_by_hand_gives_the_same(bed, monkeypatch):
    # One batch of all, plain gradient steps: nothing but torch, and the initial weights of the seed.
    config = type(TRAINER.config)(epochs=5, batch_size=150, lr=0.2, optimiser="sgd", momentum=0.0)
    monkeypatch.setattr(two_layer, "TRAINER", type(TRAINER)(build=TwoLayerNet, config=config))
    keep = bed.kept(bed.ids[:40])
    torch.manual_seed(1)
    model = TwoLayerNet()
    x, y = torch.tensor(bed.x[keep]), torch.tensor(bed.y[keep])
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.2 * gradient
    truth = bed.truth(bed.ids[:40])
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(truth[name], tensor.numpy(), rtol=1e-9, atol=1e-12)


def test_it_learns_and_its_size_is_as_stated(bed):
    assert sum(p.numel() for p in TwoLayerNet().parameters()) == 195
    model = TRAINER(bed.records, seed=1)
    inputs, labels = bed.holdout.read(range(len(bed.holdout)))
    assert inputs.dtype is torch.float64
    with torch.no_grad():
        assert float((model(inputs).argmax(1) == labels).double().mean()) > 0.8


def test_the_original_is_the_truth_of_nothing_forgotten(bed):
    state = bed.problem(bed.ids[:3]).model.state_dict()
    assert all(np.array_equal(array, state[name].numpy()) for name, array in bed.truth().items())


def test_nothing_left_is_refused(bed):
    with pytest.raises(UsageError, match="0 of 150 remain"):
        bed.truth(bed.ids)
