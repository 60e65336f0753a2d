"""The benchmark of a step for language models: cases that are measured anew stand among those of earlier."""

import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def step():
    """The benchmark as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield import_module("language_step")
        for name in ("language_step", "_table"):
            sys.modules.pop(name, None)


def test_new_rows_replace_those_of_their_name_and_stand_in_the_order_of_cases(step):
    def row(case, words, value):
        name = f"{case}, {words}k words (26M weights): steps a second"
        return step.Row(name=name, value=value, target=None, better="higher", unit="", against="", n=1)

    earlier = [row("npo, nll", 32, 1.0), row("rmu", 32, 2.0), row("npo, nll", 128, 3.0)]
    new = [row("dpo, nll", 32, 4.0), row("rmu", 32, 5.0), row("dpo, nll", 128, 6.0)]
    found = step.beside_earlier(new, [vars(one) for one in earlier])
    assert [one.value for one in found] == [1.0, 4.0, 5.0, 3.0, 6.0]
