import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from expunge.numerics import privacy

DELTA = 1e-5
SETTINGS = {
    "V1": ({"clip_model": 0.1, "clip_gradient": 10, "lr": 1e-3, "decay": 50, "steps": 10, "sigma": 0.0772563}, 6.573),
    "V2": ({"clip_model": 10, "clip_gradient": 1, "lr": 1e-2, "decay": 0, "steps": 1000, "sigma": 0.6324555}, 9.997),
    "V3": ({"clip_model": 10, "clip_gradient": 1, "lr": 1e-2, "decay": 1e-7, "steps": 1000, "sigma": 0.894427}, 6.573),
}


def exact_delta(epsilon, mu):
    """The curve with 60 digits."""
    with mpmath.workdps(60):
        epsilon, mu = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * mpmath.ncdf(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize("mu", [0.05, 0.2681, 1.0, 4.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 5.0])
def test_the_curve_is_the_mass_by_which_one_density_exceeds_the_other(epsilon, mu):
    # By definition: the integral of (p - e^eps q)+ over the line, p and q normal with means mu and 0.
    from_here = epsilon / mu + mu / 2
    excess = integrate.quad(
        lambda x: stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x), from_here, from_here + 40, epsabs=1e-16
    )[0]
    assert privacy.gaussian_delta(epsilon, mu=mu) == pytest.approx(excess, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("mu", [1e-9, 1e-3, 0.0325, 0.0999, 0.1001, 0.3, 1.0, 1.5, 10.0, 50.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.1, 1.0, 6.573, 30.0, 600.0])
def test_the_curve_keeps_its_digits_where_its_terms_cancel(epsilon, mu):
    expected = float(exact_delta(epsilon, mu))
    assert privacy.gaussian_delta(epsilon, mu=mu) == pytest.approx(expected, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(
    ("epsilon", "mu"), [(0.1, 0.0325), (0.5, 0.1422), (1, 0.2681), (2, 0.5016), (5, 1.121)], ids=str
)
def test_the_shift_allowed_is_the_known_one(epsilon, mu):
    assert privacy.gaussian_mu(epsilon, DELTA) == pytest.approx(mu, abs=6e-4 if mu > 1 else 6e-5)


def test_the_noise_of_balle_and_wang():
    # For sensitivity 1, epsilon 1, delta 1e-5, by the authors' own code (BorjaBalle/analytic-gaussian-mechanism).
    assert 1 / privacy.gaussian_mu(1.0, DELTA) == pytest.approx(3.730632, abs=1e-6)


@pytest.mark.parametrize("delta", [1e-30, 1e-12, 1e-5, 0.3])
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 1.0, 10.0, 200.0])
def test_inversions_err_on_the_safe_side_and_hardly(epsilon, delta):
    mu = privacy.gaussian_mu(epsilon, delta)
    assert exact_delta(epsilon, mu) <= delta < exact_delta(epsilon, mu * (1 + 1e-7))
    back = privacy.gaussian_epsilon(mu, delta)
    assert exact_delta(back, mu) <= delta
    assert back == pytest.approx(epsilon, rel=1e-6, abs=1e-6)


def test_a_shift_that_delta_alone_hides_needs_no_epsilon():
    assert privacy.gaussian_epsilon(1e-6, DELTA) == 0.0
    assert privacy.gaussian_epsilon(0.0, DELTA) == 0.0
    assert privacy.gaussian_delta(0.0, mu=0.0) == 0.0


def test_releases_compose_as_one_release_of_all_coordinates():
    # k shifts of independent normals are one shift, of the length of the vector.
    assert privacy.composed([3.0, 4.0]) == 5.0
    assert privacy.composed([]) == 0.0
    each = privacy.gaussian_mu(1.0, DELTA) / math.sqrt(5000)
    assert privacy.gaussian_epsilon(privacy.composed([each] * 5000), DELTA) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_noisy_fine_tuning_is_accounted_soundly(name):
    settings, known = SETTINGS[name]
    mu = privacy.noisy_finetuning_mu(**settings)
    epsilon = privacy.gaussian_epsilon(mu, DELTA)
    assert epsilon == pytest.approx(known, abs=1e-3)
    # Never below: the curve at what was returned, with the mu of 60 digits, is no more than delta.
    with mpmath.workdps(60):
        rho = 1 - mpmath.mpf(settings["lr"]) * settings["decay"]
        powers = [rho**j for j in range(settings["steps"])]
        shift = 2 * rho ** settings["steps"] * settings["clip_model"]
        shift += 2 * mpmath.mpf(settings["lr"]) * settings["clip_gradient"] * sum(powers)
        exact = shift / (settings["sigma"] * mpmath.sqrt(sum(p * p for p in powers)))
        assert mu >= exact
        assert exact_delta(epsilon, exact) <= DELTA


def test_without_decay_it_is_the_closed_form():
    settings = {"clip_model": 2.0, "clip_gradient": 0.5, "lr": 0.1, "decay": 0.0, "steps": 16}
    expected = (2 * 2.0 + 2 * 0.1 * 0.5 * 16) / (0.3 * 4)
    assert privacy.noisy_finetuning_mu(**settings, sigma=0.3) == pytest.approx(expected, rel=1e-8)
    sigma = privacy.noisy_finetuning_sigma(**settings, mu=expected)
    assert sigma == pytest.approx(0.3, rel=1e-8)
    assert privacy.noisy_finetuning_mu(**settings, sigma=sigma) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("decay", [0.0, 2.0, 10.0])
def test_two_runs_on_a_line_that_always_pull_apart_are_as_far_as_said(decay):
    # The worst case is reached on a line: starts at the two ends, gradients that push outwards in every step. The last
    # points are then normal with equal variance, so that mu is the distance of their means in standard deviations.
    for steps in (1, 7):
        rho, mean, variance = 1 - 0.1 * decay, 2.0, 0.0
        for _ in range(steps):
            mean, variance = rho * mean + 0.1 * 0.5, rho**2 * variance + 0.3**2
        apart = 2 * mean / math.sqrt(variance)
        bound = privacy.noisy_finetuning_mu(
            clip_model=2.0, clip_gradient=0.5, lr=0.1, decay=decay, steps=steps, sigma=0.3
        )
        assert bound == pytest.approx(apart, rel=1e-8)


@pytest.mark.parametrize(
    "wrong",
    [{"clip_model": 0}, {"clip_gradient": -1}, {"lr": math.nan}, {"decay": -1}, {"decay": 11}, {"steps": 0}, {"mu": 0}],
    ids=str,
)
def test_settings_without_meaning_are_refused(wrong):
    settings = {"clip_model": 1, "clip_gradient": 1, "lr": 0.1, "decay": 1, "steps": 5, "mu": 1.0}
    with pytest.raises(ValueError, match="it takes"):
        privacy.noisy_finetuning_sigma(**{**settings, **wrong})


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, np.nan])
def test_delta_lies_between_0_and_1(delta):
    with pytest.raises(ValueError, match="between 0 and 1"):
        privacy.gaussian_mu(1.0, delta)
    with pytest.raises(ValueError, match="between 0 and 1"):
        privacy.gaussian_epsilon(1.0, delta)


@pytest.mark.parametrize("epsilon", [-1.0, math.inf, math.nan])
def test_epsilon_is_a_number(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        privacy.gaussian_mu(epsilon, DELTA)
