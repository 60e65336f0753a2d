import numpy as np
import pytest
import torch

from expunge.conformance import _language
from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine import inside
from expunge.engine.available import available
from tests.support import languages as L


def gpt():
    return L.gpt(n_layer=3, initializer_range=0.5)


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {**_language.SIZES, "vocab_size": len(L.WORDS), "num_hidden_layers": 3, "intermediate_size": 24}
    return LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=24, initializer_range=0.5))


def posed(build):
    torch.manual_seed(0)
    train = L.records()
    return Problem(model=build().eval(), train=train, forget=train.ids[:4], task="causal_lm")


def by_hand(model, norm, head, records):
    """Return what every inner block says after the norm, and the last one, of scored tokens in float64; and these."""
    states, targets = [], []
    for inputs, labels in (records[i] for i in range(len(records))):
        with torch.no_grad():
            said = model(input_ids=inputs["input_ids"][None], output_hidden_states=True).hidden_states
            states.append([*(norm(block[0, :-1]) for block in said[1:-1]), said[-1][0, :-1]])
        targets.append(labels[1:])
    asked = torch.cat(targets) >= 0
    blocks = [torch.cat(block)[asked].double().numpy() for block in zip(*states, strict=True)]
    target = torch.cat(targets)[asked].numpy()

    def log_probs(state):
        logits = state @ head.weight.detach().double().numpy().T
        return logits[np.arange(len(target)), target] - np.log(np.exp(logits).sum(axis=1))

    return blocks, log_probs


@pytest.mark.parametrize(
    ("build", "norm"), [(gpt, lambda m: m.transformer.ln_f), (llama, lambda m: m.model.norm)], ids=["gpt", "llama"]
)
def test_blocks_are_read_as_by_hand(build, norm):
    problem = posed(build)
    model = problem.source.open()
    arrays, cost = inside.read(problem, model, problem.forget_view, problem.retain_view)
    (forgotten, log_probs), (known, _) = (
        by_hand(model, norm(model), model.lm_head, part) for part in (problem.forget_view, problem.retain_view)
    )
    assert arrays["lens"].shape == arrays["probe"].shape == (len(forgotten[0]), 2)
    for block in range(2):
        np.testing.assert_allclose(arrays["lens"][:, block], log_probs(forgotten[block]), rtol=1e-4, atol=1e-4)
        # Least squares with a penalty, as rows of data: sqrt(n penalty) times the unit matrix, against 0.
        x, y = known[block], known[-1]
        penalty = inside.RIDGE * x.var(axis=0).mean()
        rows = np.vstack([x - x.mean(0), np.sqrt(len(x) * penalty) * np.eye(x.shape[1])])
        weight = np.linalg.lstsq(rows, np.vstack([y - y.mean(0), np.zeros_like(rows[len(x) :])]), rcond=None)[0]
        mapped = (forgotten[block] - x.mean(0)) @ weight + y.mean(0)
        np.testing.assert_allclose(arrays["probe"][:, block], log_probs(mapped), rtol=1e-3, atol=1e-3)
    assert cost == Cost(read=len(problem.forget_view) + len(problem.retain_view))


def test_of_a_model_that_says_nan_every_reading_is_nan():
    """So that it is told as answers that are no numbers, and not as blocks that cannot be read."""
    problem = posed(gpt)
    model = problem.source.open()
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    arrays, _ = inside.read(problem, model, problem.forget_view, problem.retain_view)
    assert np.isfinite(arrays["lens"][:, 0]).all(), "the first block still says something"
    assert np.isnan(arrays["lens"][:, 1]).all()
    assert np.isnan(arrays["probe"]).all(), "a map to what the last block says, which is nothing"


class Wrapped(torch.nn.Module):
    """A model that says its logits and nothing else."""

    def __init__(self):
        super().__init__()
        self.inner = gpt()

    def forward(self, input_ids, attention_mask=None):
        return self.inner(input_ids, attention_mask=attention_mask).logits


@pytest.mark.parametrize("build", [L.gpt, Wrapped], ids=["one block", "of nobody's library"])
def test_what_has_no_inner_block_is_not_read(build):
    problem = posed(build)
    assert inside.read(problem, problem.source.open(), problem.forget_view, problem.retain_view)[0] == {}
    assert EvidenceKind.INNER not in available(problem)


def test_several_blocks_are_known_before():
    assert EvidenceKind.INNER in available(posed(gpt))
