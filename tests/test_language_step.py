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


def test_targets_are_what_was_asked_of_one_case_and_as_much_beyond_their_count_of_others(step):
    assert [step.speed("npo, nll"), step.memory("npo, nll", 32_000), step.memory("npo, nll", 128_000)] == [
        1.7,
        0.6,
        0.6,
    ]
    assert step.speed("npo, kl") == round(1.7 * (8 / 7) / (7 / 6), 2)
    assert step.speed("npo, kl") < 1.7 < step.speed("dpo, nll") < step.speed("rmu")
    weights, words = 26_450_304, 32_000
    plain, ours = 20 * weights + words * (12 * 558 + 12 * 594), 16 * weights + 2**24
    with_kl, ours_with_kl = plain + words * 8 * 594, 20 * weights + 2**24
    assert step.memory("npo, kl", words) == round(0.6 * (ours_with_kl / with_kl) / (ours / plain), 2)
    assert set(step.COUNT) == set(step.BYTES) == set(step.CASES)


def test_targets_are_written_beside_what_was_measured(step):
    def row(what, target=None):
        return {"name": f"rmu, 32k words (26M weights): {what}", "value": 5.0, "target": target}

    whats = ("steps a second", "fastest step", "peak memory", "peak memory of the whole run", "loss apart")
    earlier = {
        "results": [row(what, 1e-5 if what == "loss apart" else None) for what in whats],
        "commit": "c",
        "count": 1,
    }
    found = step.retargeted(earlier)
    targets = [one["target"] for one in found["results"]]
    assert targets == [step.speed("rmu"), None, step.memory("rmu", 32_000), None, 1e-5]
    assert [one["value"] for one in found["results"]] == [5.0] * 5
    assert found["commit"] == "c"
