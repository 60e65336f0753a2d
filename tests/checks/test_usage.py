import numpy as np
import pytest

from expunge.checks.usage import LEAST, Usage
from expunge.core.check import NotMeasured
from expunge.engine.evidence import Evidence


def evidence(used, *, records=400, references=20, memory=8.0, seed=0):
    """``used`` of the forgotten records are in use in the candidate, all of them in the original."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(-3, 1, records)

    def arrays(share):
        phi = hard + draw.normal(0, 1, records) + memory * (np.arange(records) < share * records)
        return {"forget": np.stack([phi, np.zeros(records)], 1)}

    names = tuple(f"r{k}" for k in range(references))
    models = {"c": arrays(used), "o": arrays(1.0), **{name: arrays(0.0) for name in names}}
    return Evidence(
        models,
        {"forget": np.zeros(records, int)},
        candidate="c",
        original="o",
        references=names,
        alpha=0.025,
        corrections=None,
    )


@pytest.mark.parametrize("used", [0.0, 0.05, 0.25, 0.5, 1.0])
def test_the_share_is_the_share(used):
    found = Usage().measure(evidence(used))
    assert found.value == pytest.approx(used, abs=0.025)
    assert found.original == pytest.approx(1.0)
    assert np.mean(found.references) == pytest.approx(0.0, abs=1e-12)
    assert found.interval.low <= found.difference <= found.interval.high
    assert (found.interval.low > 0) == (used > 0)


def test_an_attack_that_misses_records_is_put_right():
    """Weaker memory: some of what is in use is missed, on the original as well, and the share holds."""
    weak = [Usage().measure(evidence(0.5, memory=3.5, seed=seed)).value for seed in range(8)]
    assert np.mean(weak) == pytest.approx(0.5, abs=0.05)


def test_the_details_are_in_words():
    found = Usage().measure(evidence(0.25))
    share, low, high = (
        int(part.strip("%(): "))
        for part in found.details["in use"].split()
        if part.strip("(:)")[:1].isdigit() and "95" not in part
    )
    assert low <= 25 <= high
    assert abs(share - 25) <= 2


def test_an_original_that_shows_nothing_gives_no_share():
    found = Usage().measure(evidence(0.0, memory=0.0))
    assert isinstance(found, NotMeasured)
    assert f"{LEAST:.0%} more" in found.because
