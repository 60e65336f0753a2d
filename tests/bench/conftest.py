"""A small benchmark, run once for all tests that look at one: three scenarios, two methods, two seeds."""

import pytest

from expunge.bench import run as running
from expunge.bench.site import Bench, Site
from expunge.engine.runtime import Here

POLICY = """
name = "small"
references = 3
choosing_references = 0

[checks.forget_accuracy]
margin = 0.08
reason = "small"

[checks.retain_accuracy]
margin = 0.02
reason = "small"
"""


def small(folder, **changes):
    """Return the settings of the small benchmark; its policy lies in ``folder``."""
    (folder / "policy.toml").write_text(POLICY)
    made = {
        "network": "mlp",
        "records": 240,
        "epochs": 12,
        "scenarios": ("class", "drift", "given"),
        "methods": ("noop", "finetune"),
        "configs": {"finetune": {"epochs": 3}},
        "seeds": 2,
        "policy": str(folder / "policy.toml"),
    }
    return Bench(**{**made, **changes})


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    """Return the results directory of the small benchmark, with every cell done."""
    folder = tmp_path_factory.mktemp("bench")
    site = Site.begin(small(folder), folder / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Workers", Here)  # a process of its own would be the same work, later
        running.run(site)
    return site
