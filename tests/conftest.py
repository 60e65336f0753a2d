"""What holds for every test: one thread, no network, the same examples on every run."""

import os
import sys

# Before anything imports torch, which reads these once. With every core busy, two threads per worker are many
# times slower than one; and results are only bitwise equal at equal thread counts.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import hypothesis
import pytest

# A gate must not depend on luck or on a loaded machine: fixed examples, no deadline for one example.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis.settings.load_profile("gate")


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Undo what an earlier test did to the thread count; imports no torch for tests that need none."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
