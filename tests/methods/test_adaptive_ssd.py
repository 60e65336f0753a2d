import math

import numpy as np
import pytest
import torch

from expunge.methods.adaptive_ssd import AdaptiveSsd, percentile
from tests.support import toys


@pytest.mark.parametrize(("share", "wanted"), [(0.01, 100 - math.log(2)), (0.1, 97.602104727), (1.0, 95.384879483)])
def test_the_percentile_follows_from_the_share_that_is_forgotten(share, wanted):
    assert percentile(share) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("forget", [30, 120])
def test_so_many_parameters_are_selected_as_the_percentile_leaves(forget):
    class Wide(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(4, 300), torch.nn.Tanh(), torch.nn.Linear(300, 3))

    problem = toys.problem(count=240, forget=forget, build=Wide, trainer=None)
    outcome = AdaptiveSsd().unlearn(problem, toys.context(problem))
    count = sum(p.numel() for p in outcome.model.parameters())
    assert outcome.touched == pytest.approx(1 - percentile(forget / 240) / 100, abs=1.5 / count)


def test_ratios_that_are_no_numbers_set_no_threshold():
    """0/0 and x/0 are left out; of 0, 1, ..., 9 the 97.6th percentile is 8.784, NumPy's linear rule by hand."""
    whole = {"weight": torch.cat([torch.zeros(3), torch.ones(10)])}
    forget = {"weight": torch.cat([torch.tensor([0.0, 0.0, 5.0]), torch.arange(10.0)])}
    problem = toys.problem(count=120, forget=12)
    alpha, strength = AdaptiveSsd().bounds(forget, whole, problem)
    assert alpha == pytest.approx(9 * percentile(0.1) / 100)
    assert strength == 1.0
    assert np.isfinite(alpha)
    few = toys.problem(train=toys.records(12), calibration=toys.records(36, prefix="c", seed=5), trainer=None)
    assert AdaptiveSsd().bounds(forget, whole, few)[0] == pytest.approx(9 * percentile(0.25) / 100)
    nothing = {"weight": torch.zeros(4)}
    assert AdaptiveSsd().bounds(nothing, nothing, problem) == (0.0, 1.0)
