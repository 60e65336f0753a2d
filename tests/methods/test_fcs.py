import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.methods.fcs import ForgetByContrast
from tests.support import regressions, toys

RATES = {"uniform_lr": 0.3, "contrast_lr": 0.2, "contrast_lr_end": 0.01, "lr": 0.4, "weight_decay": 0.05}


def by_hand(problem, *, shared=False, decay_all=False, both=False, temperature=1.15):
    """Return the parameters after two rounds over whole sets."""
    values, moments = regressions.parameters(problem.source.open()), defaultdict(lambda: [0.0, 0.0])
    forget, retain = (regressions.read(part)[0] for part in (problem.forget_view, problem.retain_view))

    def step(name, rate, slopes, decay=0.0):
        decay = 0.05 if decay_all else decay
        name = "" if shared else name
        slopes = [g + decay * v for g, v in zip(slopes, values, strict=True)]
        moments[name] = [0.9 * m + g for m, g in zip(moments[name], slopes, strict=True)]
        return [v - rate * m for v, m in zip(values, moments[name], strict=True)]

    def logits(inputs):
        return inputs @ values[0].T + values[1]

    values = step("level", 0.3, regressions.back(forget, (softmax(logits(forget), axis=1) - 1 / 3) / 12))
    for done in (0, 1):
        z, v = logits(forget), logits(retain)
        by_products = (softmax(z @ v.T / temperature, axis=1) - 1 / 48) / 12 / temperature
        slopes = regressions.back(forget, by_products @ v)
        if both:
            slopes = [a + b for a, b in zip(slopes, regressions.back(retain, by_products.T @ z), strict=True)]
        values = step("contrast", 0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * done / 2)), slopes)
        values = step("repair", 0.4, regressions.slope(values, problem.retain_view), decay=0.05)
    return values


def test_two_rounds_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    model = ForgetByContrast({**RATES, "epochs": 2}).unlearn(problem, toys.context(problem)).model
    assert regressions.distance(model, by_hand(problem)) < 1e-13
    for slip in ({"shared": True}, {"decay_all": True}, {"both": True}, {"temperature": 1.0}):
        assert regressions.distance(model, by_hand(problem, **slip)) > 1e-3, slip


def test_the_pass_towards_uniform_answers_comes_once():
    method = ForgetByContrast()
    assert [len(method.passes(epoch)) for epoch in (1, 2, 8)] == [3, 2, 2]


def test_the_rate_of_the_contrast_falls_from_step_to_step_over_all_rounds():
    problem, seen = toys.problem(), []

    class Spy(ForgetByContrast):
        def passes(self, epoch):
            found = super().passes(epoch)
            if hasattr(self, "_steps"):
                seen.append([found[-2].factor(step) * self.config.lr for step in range(self._steps)])
            return found

    Spy({"epochs": 3, "batch_size": 5}).unlearn(problem, toys.context(problem))
    rates = np.array(seen[-3:]).ravel()  # 12 forgotten records: three steps a round
    torch_s = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torch_s, T_max=9, eta_min=1e-6)
    expected = []
    for _ in range(9):
        expected.append(schedule.get_last_lr()[0])
        torch_s.step()
        schedule.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [5, 64])
def test_work_is_counted(batch_size):
    problem = toys.problem()
    outcome = ForgetByContrast({"epochs": 2, "batch_size": batch_size}).unlearn(problem, toys.context(problem))
    beside = {5: 15, 64: 48}[batch_size]
    assert outcome.cost.trained == 12 + 2 * (12 + beside + 48)
