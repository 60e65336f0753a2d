"""The benchmark of a step for language models: what is counted, and what it says on the processor and on a device."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from tests.support import elsewhere


@pytest.fixture(scope="module")
def step():
    """The benchmark as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield import_module("language_step")
        for name in ("language_step", "_count", "_device", "_table"):
            sys.modules.pop(name, None)


@pytest.fixture
def count(step):
    """What it is counted by."""
    return sys.modules["_count"]


def test_targets_are_what_was_asked_of_one_case_and_as_much_beyond_their_count_of_others(count):
    assert [count.speed("npo, nll"), count.memory("npo, nll", 32_000), count.memory("npo, nll", 128_000)] == [
        1.7,
        0.6,
        0.6,
    ]
    assert count.speed("npo, kl") == round(1.7 * (8 / 7) / (7 / 6), 2)
    assert count.speed("npo, kl") < 1.7 < count.speed("dpo, nll") < count.speed("rmu")
    weights, words = 26_450_304, 32_000
    plain, ours = 20 * weights + words * (12 * 558 + 12 * 594), 16 * weights + 2**24
    with_kl, ours_with_kl = plain + words * 8 * 594, 20 * weights + 2**24
    assert count.memory("npo, kl", words) == round(0.6 * (ours_with_kl / with_kl) / (ours / plain), 2)
    assert set(count.COUNT) == set(count.BYTES) == set(count.HALVES) == set(count.CASES)


def test_targets_are_written_beside_what_was_measured(step, count):
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
    assert targets == [count.speed("rmu"), None, count.memory("rmu", 32_000), None, 1e-5]
    assert [one["value"] for one in found["results"]] == [5.0] * 5
    assert found["commit"] == "c"


def test_what_a_step_needs_is_what_ours_is_counted_by(count):
    for case, (plain, ours) in count.COUNT.items():
        assert sum(count.needed(case, 8).values()) == ours
        assert count.calls(case, 8) == (plain, ours)
    assert count.calls("rmu", 16) == (3.75, 1.5)


def test_operations_are_those_of_bodies_at_tokens_that_are_read_and_of_heads_at_scored_ones(count):
    words, wide, body = 32_000, 2048, count.weights(32_000, "1b") - 32_000 * 2048
    tokens = {"forget": (100.0, 60.0), "retain": (50.0, 20.0)}
    found = count.operations("npo, kl, lora", words, "1b", tokens)
    assert found == 2 * (2 * (100 * body + 60 * words * wide) + 3 * (50 * body + 20 * words * wide))
    assert count.operations("rmu", words, "1b", tokens) == 2 * body * (100 * 10 / 16 + 50 * 14 / 16)


def test_of_a_billion_weights_in_halves_the_count_leaves_nine_tenths_of_the_memory(count):
    assert 1.0e9 < count.weights(32_000, "1b") < count.weights(128_000, "1b") < 1.3e9
    assert count.share("npo, nll", 32_000, "1b", "bfloat16") == 0.9  # 18 of 20 bytes a weight, at the optimiser's step
    words, weights = 128_000 * 10 * (558 + 594), count.weights(128_000, "1b")
    adapters = count.share("npo, nll, lora", 128_000, "1b", "bfloat16")
    assert adapters == (2 * weights + 2**24) / (4 * weights + words)
    assert count.targets("npo, nll", 32_000, "1b") == (1.7, 0.6)
    assert count.targets("npo, nll, lora", 32_000, "1b") == (1.25, None)


@pytest.mark.parametrize(("precision", "far"), [("float32", 1e-5), ("bfloat16", 2**-8)])
@pytest.mark.parametrize("case", ["npo, kl", "npo, kl, lora", "rmu"])
def test_both_sides_have_equal_losses(step, monkeypatch, tmp_path, case, precision, far):
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4}
    monkeypatch.setitem(step.SHAPES, "1b", {2000: {**wide, "num_key_value_heads": 2}})
    rows = [{"question": "q" * (20 + 7 * i % 60), "answer": "a" * (30 + 11 * i % 90)} for i in range(70)]
    (tmp_path / "full.json").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(step, "TOFU", tmp_path / "full.json")
    monkeypatch.setattr(step, "LR", 1e-2)  # or nothing would have moved far enough for what holds it to be seen
    run = {"case": case, "vocabulary": 2000, "precision": precision, "size": "1b", "folder": str(tmp_path / "model")}
    ours, plain = (step.one(step.Run(who=who, **run)) for who in ("ours", "plain"))
    assert ours["loss"] == pytest.approx(plain["loss"], rel=far)
    assert len(ours["times"]) == len(plain["times"]) == step.STEPS - 1


def test_on_a_device_it_says_where_it_was_and_stands_beside_the_rate_of_that():
    words = ("--cases", "npo, nll", "npo, nll, lora", "--vocabularies", "32000", "--repeats", "1", "--steps", "6")
    _, saved = elsewhere.run("stepped", "", *words)
    rows = {row["name"].partition(": ")[2]: row for row in saved["results"] if row["name"].startswith("npo, nll, 32k")}
    assert saved["how"] == {"device": "away", "network": "1b", "precision": "bfloat16", "steps": 6}
    assert set(saved["counted"]) == {"npo, nll, 32k words", "npo, nll, lora, 32k words"}
    assert rows["loss apart"]["target"] == 2**-8
    assert rows["loss apart in float32"]["value"] <= 1e-5 == rows["loss apart in float32"]["target"]
    assert rows["loss apart"]["value"] <= 2**-8
    assert rows["steps a second"]["n"] == 1  # the first, and the four after it, are not counted
    for who in ("", ", the plain way"):
        assert rows[f"tokens a second{who}"]["value"] > 0
        assert 0 < rows[f"share of the matrix rate{who}"]["value"]
    ratio = rows["tokens a second"]["value"] / rows["tokens a second, the plain way"]["value"]
    assert ratio == pytest.approx(rows["steps a second"]["value"])
    assert not [name for name in rows if "memory" in name or "peak" in name]  # of which this device tells nothing
    assert "bfloat16" in saved["results"][0]["name"]


def test_too_little_memory_is_told_and_the_other_side_keeps_its_figures():
    words = ("--cases", "npo, nll", "--vocabularies", "32000", "--repeats", "1", "--steps", "6")
    code, saved = elsewhere.run("stepped", "short", *words)
    assert code == 1
    told = "3 GiB asked for; more than there is"
    assert saved["out of memory"] == {f"npo, nll, 32k words: {who}": told for who in ("plain", "plain, float32")}
    assert [row["name"].partition(": ")[2] for row in saved["results"]] == [
        "tokens a second", "share of the matrix rate", "matrix rate beside it"
    ]  # fmt: skip


def test_figures_of_the_processor_are_not_written_over_by_others(step, monkeypatch, tmp_path):
    (tmp_path / "full.json").write_text("")
    (tmp_path / "saved.json").write_text("{}")
    monkeypatch.setattr(step, "TOFU", tmp_path / "full.json")
    monkeypatch.setattr(sys, "argv", ["x", "--device", "cpu", "--size", "1b", "--save", str(tmp_path / "saved.json")])
    with pytest.raises(SystemExit, match="another device"):
        step.main()
    assert (tmp_path / "saved.json").read_text() == "{}"


# --- a device -----------------------------------------------------------------------------------------------------


def test_seconds_on_a_device_are_counted_once_it_is_done(step, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    there = torch.device("meta")
    assert step.clock(there) < step.clock(there)
    assert waited == [there, there]
    step.clock(torch.device("cpu"))
    assert len(waited) == 2


def test_memory_of_a_device_is_the_most_that_tensors_held_above_what_they_held_before(step, monkeypatch):
    stats = {"allocated_bytes.all.current": 2**20, "allocated_bytes.all.peak": 9 * 2**20}
    reset = []
    monkeypatch.setattr(sys.modules["_device"], "COUNTED", ("meta",))
    monkeypatch.setattr(torch.accelerator, "memory_stats", lambda where: stats)
    monkeypatch.setattr(torch.accelerator, "reset_peak_memory_stats", reset.append)
    held = step.Memory(torch.device("meta"))
    assert reset == [torch.device("meta")]
    stats["allocated_bytes.all.peak"] = 4 * 2**20
    assert held.peak == 3.0


def test_memory_of_the_processor_is_that_of_this_process(step):
    held = step.Memory(torch.device("cpu"))
    some = torch.ones(2**23)  # 32 MiB
    assert 25 < held.peak < 200
    assert len(some)


def test_of_a_device_whose_memory_torch_does_not_count_nothing_is_said(step):
    assert step.Memory(torch.device("meta")).peak is None


def test_the_matrix_rate_counts_two_operations_for_every_product(step, monkeypatch):
    times = iter([float(i) for i in range(100)])
    monkeypatch.setattr(sys.modules["_device"], "clock", lambda where: next(times))
    assert step.matrix_rate(torch.device("cpu"), torch.float32, side=8) == 20 * 2 * 8**3
