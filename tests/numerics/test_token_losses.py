import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from expunge.numerics import tokens
from expunge.numerics.losses import distillation
from expunge.numerics.token_losses import flatness, lowered, place, saturated_ascent, weighted_ascent, without
from tests.support.answers import KINDS, LABELS, MODEL, ORIGINAL, answer

ALL = torch.ones(3, dtype=torch.bool)


@pytest.fixture(params=[*KINDS, "in chunks"])
def kind(request, monkeypatch):
    """Units that hold logits, make them at once, and make those of one token at a time."""
    if request.param == "in chunks":
        monkeypatch.setattr(tokens, "CHUNK", 4)
        return "made"
    return request.param


def slope(loss, kind, **more):
    logits = MODEL.clone().requires_grad_()
    loss(answer(kind, model=logits, **more)).backward()
    return logits.grad.numpy()


def test_the_losses_of_tokens_are_those_of_the_sheet(kind):
    assert answer(kind).loss.numpy().round(6).tolist() == [0.342350, 0.185182, 1.006409]


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (lambda units, original: distillation(units, original), 0.155808),
        (lambda units, original: weighted_ascent(units, beta=1.0), -0.254951),
        (lambda units, original: saturated_ascent(units, known=5.0, unsure=1.0), -0.011496),
        (lambda units, original: lowered(units, original, beta=10.0), 2.291391),
        (lambda units, original: without(units, ALL), 2.077097),
        (lambda units, original: without(units, place(units) >= 1), 2.020132),
        (lambda units, original: flatness(units), 2.651042),
    ],
    ids=["divergence", "wga", "satimp", "undial", "ce_u", "ce_u, the first skipped", "pdu"],
)
def test_the_values_are_those_of_the_sheet(loss, value, kind):
    assert round(float(loss(answer(kind), answer(kind, model=ORIGINAL))), 6) == value


def test_weights_of_nothing_are_plain_ascent(kind):
    plain = slope(lambda units: -units.loss.mean(), kind)
    np.testing.assert_allclose(slope(lambda units: weighted_ascent(units, beta=0.0), kind), plain, atol=1e-15)
    found = slope(lambda units: saturated_ascent(units, known=0.0, unsure=0.0), kind)
    np.testing.assert_allclose(found, plain, atol=1e-15)


def test_weights_carry_no_gradient(kind):
    """The slope of minus a token's loss in its logits is 1[target] - p; a weight scales its row, and no more."""
    shares = softmax(MODEL.numpy(), axis=1)
    p = shares[range(3), LABELS]
    rows = (np.eye(4)[LABELS] - shares) / 3
    found = slope(lambda units: weighted_ascent(units, beta=0.7), kind)
    np.testing.assert_allclose(found, p[:, None] ** 0.7 * rows, atol=1e-14)
    found = slope(lambda units: saturated_ascent(units, known=5.0, unsure=2.0), kind)
    np.testing.assert_allclose(found, (p**5 * (1 - p) ** 2)[:, None] * rows, atol=1e-14)


def test_what_is_forgotten_or_certain_has_no_weight_and_is_a_number():
    sure = torch.tensor([[800.0, 0, 0, 0], [0, 800.0, 0, 0]], dtype=torch.float64)
    units = answer(model=sure, labels=torch.tensor([0, 0]))
    assert float(weighted_ascent(units, beta=1.0)) == 0.0
    assert float(saturated_ascent(units, known=5.0, unsure=1.0)) == 0.0
    assert torch.isfinite(without(units, torch.ones(2, dtype=torch.bool)))


def test_the_weight_is_largest_in_between():
    p = torch.linspace(0.01, 0.99, 197, dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], dim=1)
    weights = [
        float(saturated_ascent(answer(model=row[None], labels=torch.tensor([0])), known=5.0, unsure=1.0) / row[0])
        for row in logits
    ]
    assert float(p[int(np.argmax(weights))]) == pytest.approx(5 / 6, abs=0.005)


def test_a_lowered_aim_is_never_reached_below_its_entropy(kind):
    aim = softmax(ORIGINAL.numpy() - 10 * np.eye(4)[LABELS], axis=1)
    assert round(entropy(aim, axis=1).mean(), 6) == 1.048170
    original = answer(kind, model=ORIGINAL)
    at_aim = answer(kind, model=torch.tensor(np.log(aim)))
    assert float(lowered(at_aim, original, beta=10.0)) == pytest.approx(entropy(aim, axis=1).mean())
    found = slope(lambda units: lowered(units, original, beta=10.0), kind)
    np.testing.assert_allclose(found, (softmax(MODEL.numpy(), axis=1) - aim) / 3, atol=1e-14)


def test_nothing_lowered_leaves_the_original_where_it_is(kind):
    found = slope(lambda units: lowered(units, answer(kind), beta=0.0), kind)
    np.testing.assert_allclose(found, 0, atol=1e-15)


def test_lowered_without_end_the_own_answer_is_the_aim_of_ce_u():
    assert float(lowered(answer(), answer(), beta=1e9)) == pytest.approx(float(without(answer(), ALL)))


def test_the_pull_on_the_target_vanishes_as_it_is_forgotten(kind):
    shares = softmax(MODEL.numpy(), axis=1)
    found = slope(lambda units: without(units, ALL), kind)
    np.testing.assert_allclose(found[range(3), LABELS], shares[range(3), LABELS] / 3, atol=1e-15)
    rest = np.where(np.eye(4)[LABELS] > 0, 0, shares) / (1 - shares[range(3), LABELS])[:, None]
    np.testing.assert_allclose(found, (shares - rest) / 3, atol=1e-14)


def test_places_start_again_with_every_record():
    assert place(answer(record=[0, 0, 2])).tolist() == [0, 1, 0]
    assert place(answer(record=[1, 1, 1])).tolist() == [0, 1, 2]


def test_flat_logits_have_no_loss_and_a_constant_changes_none(kind):
    assert float(flatness(answer(kind, model=torch.full((3, 4), 7.0, dtype=torch.float64)))) == 0.0
    torch.testing.assert_close(flatness(answer(kind, model=MODEL + 100)), flatness(answer(kind)))


def test_a_divergence_has_a_direction_and_does_not_see_a_constant(kind):
    one, other = answer(kind), answer(kind, model=ORIGINAL)
    assert float(distillation(one, one)) == 0.0
    assert abs(float(distillation(one, other)) - float(distillation(other, one))) > 0.01
    torch.testing.assert_close(distillation(answer(kind, model=MODEL + 100), other), distillation(one, other))
