"""What the bits of a run depend on is told apart, and what was set before comes back."""

import pytest
import torch

from expunge.engine import fingerprint as prints


def test_it_is_the_same_twice():
    assert prints.fingerprint() == prints.fingerprint()
    assert {"torch", "threads", "CPU instructions", "kernels", "expunge"} <= prints.fingerprint().keys()


def test_threads_and_kernels_are_in_it():
    with prints.pinned(1):
        one = prints.fingerprint()
    with prints.pinned(2):
        two = prints.fingerprint()
    assert (one["threads"], two["threads"]) == ("1", "2")
    assert one["deterministic algorithms"] == "on"
    assert any(line.startswith("threads: 1, now 2") for line in prints.differences(one, two))


def test_what_was_set_before_comes_back():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ZeroDivisionError), prints.pinned(2):
        raise ZeroDivisionError
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_kernel_that_gives_other_bits_is_seen(monkeypatch):
    before = prints.fingerprint()
    real = torch.tanh
    monkeypatch.setattr(torch, "tanh", lambda x: real(x) * (1 + 2**-22))
    assert prints.differences(before, prints.fingerprint()) == [
        f"kernels: {before['kernels']}, now {prints.fingerprint()['kernels']}"
    ]


def test_what_one_of_them_lacks_is_told():
    assert prints.differences({"a": "1"}, {"b": "2"}) == ["a: 1, now unknown", "b: unknown, now 2"]


def test_memory_is_not_filled_meanwhile():
    with prints.pinned(1):
        assert torch.empty(1000).isnan().all()
        with prints.unfilled():
            assert not torch.utils.deterministic.fill_uninitialized_memory
        with pytest.raises(ZeroDivisionError), prints.unfilled():
            raise ZeroDivisionError
        assert torch.empty(1000).isnan().all()
