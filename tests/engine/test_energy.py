"""Energy is measured or said to be unmeasured; a turn of a counter, a missing right and a killed command are honest."""

import threading
import time

import pytest

from expunge.core.report import Used
from expunge.engine.energy import (
    TOO_LONG,
    Counter,
    Meter,
    Unreadable,
    graphics,
    increase,
    processors,
    usage_of,
)

RANGE = 262_143_328_850


def domain(root, name, label, energy, turn=RANGE):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{turn}\n")
    return folder


@pytest.fixture
def tree(tmp_path):
    """Two packages; what is a part of one, or counts the whole board again, lies beside them as in Linux."""
    domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    domain(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    domain(tmp_path, "intel-rapl:0:0", "core", 900_000)
    domain(tmp_path, "intel-rapl:0:1", "dram", 400_000)
    domain(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def meter(tree, clock=None, **more):
    return Meter({"processors": lambda: processors(tree)}, clock=clock or Clock(), every=0, **more)


def test_packages_alone_are_counted_and_each_once(tree):
    assert [counter.read() for counter in processors(tree)] == [1.0, 5.0]
    clock = Clock()
    counting = meter(tree, clock)
    (tree / "intel-rapl:0" / "energy_uj").write_text("3500000")
    (tree / "intel-rapl:1" / "energy_uj").write_text("5250000")
    clock.now += 4
    assert counting.take() == Used(4.0, {"processors": 2.75})
    assert counting.take() == Used(0.0, {"processors": 0.0})


def test_a_counter_that_starts_anew_is_made_good(tree):
    (tree / "intel-rapl:0" / "energy_uj").write_text(str(RANGE - 1_000_000))
    counting = meter(tree)
    (tree / "intel-rapl:0" / "energy_uj").write_text("500000")
    assert counting.take().joules["processors"] == pytest.approx(1.5)


def test_a_turn_that_may_have_been_missed_measures_nothing(tree):
    clock = Clock()
    counting = meter(tree, clock)
    clock.now += TOO_LONG + 1
    assert counting.take() == Used(TOO_LONG + 1, {})
    assert "61 s" in counting.unmeasured["processors"]


def test_a_counter_without_a_turn_may_be_read_late_but_not_set_back():
    value, clock = [1.0], Clock()
    counting = Meter({"x": lambda: [Counter(lambda: value[0])]}, clock=clock, every=0)
    clock.now += 10 * TOO_LONG
    value[0] = 7.0
    assert counting.take().joules == {"x": 6.0}
    value[0] = 2.0
    assert counting.take().joules == {}
    assert "set back" in counting.unmeasured["x"]
    with pytest.raises(Unreadable):
        increase(2.0, 1.0, None)


def denied(*words, **options):
    raise PermissionError(13, "Permission denied")


def test_without_the_right_to_read_it_says_so(tree, monkeypatch):
    monkeypatch.setattr("expunge.engine.energy._microjoules", denied)
    counting = meter(tree)
    assert counting.take().joules == {}
    assert "only root" in counting.unmeasured["processors"]


def test_without_counters_it_says_so(tmp_path):
    counting = meter(tmp_path / "none")
    assert counting.take().joules == {}
    assert "no energy counters" in counting.unmeasured["processors"]


def test_a_counter_that_vanishes_is_left_out_from_then_on(tree):
    counting = meter(tree)
    (tree / "intel-rapl:1" / "energy_uj").write_text("nonsense")
    assert counting.take().joules == {}
    (tree / "intel-rapl:1" / "energy_uj").write_text("9000000")
    assert counting.take().joules == {}
    assert counting.unmeasured["processors"]


def test_it_reads_in_the_background_until_it_is_closed():
    read = threading.Semaphore(0)

    def count():
        read.release()
        return 1.0

    counting = Meter({"x": lambda: [Counter(count, 10.0)]}, every=0.005)
    assert [read.acquire(timeout=5) for _ in range(4)] == [True] * 4
    counting.close()
    time.sleep(0.05)
    while read.acquire(blocking=False):
        pass
    time.sleep(0.05)
    assert not read.acquire(blocking=False)


class Nvml:
    """What we use of pynvml."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    def __init__(self, *millijoules, broken=None):
        self.values, self.broken = list(millijoules), broken

    def nvmlInit(self):
        if self.broken:
            raise self.broken

    def nvmlDeviceGetCount(self):
        return len(self.values)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.values[handle] is None:
            raise self.NVMLError("Not Supported")
        return self.values[handle]


def test_gpus():
    nvml = Nvml(1000, 2500)
    counting = Meter({"gpus": lambda: graphics(nvml)}, clock=Clock(), every=0)
    nvml.values[:] = [4000, 3000]
    assert counting.take().joules == {"gpus": 3.5}


@pytest.mark.parametrize(
    ("nvml", "word"),
    [
        (Nvml(1000, None), "Not Supported"),
        (Nvml(), "none"),
        (Nvml(1, broken=Nvml.NVMLError_LibraryNotFound()), "no NVIDIA driver"),
        (Nvml(1, broken=Nvml.NVMLError("Driver Not Loaded")), "Driver Not Loaded"),
    ],
)
def test_gpus_that_do_not_count_say_why(nvml, word):
    with pytest.raises(Unreadable, match=word):
        graphics(nvml)


def test_without_the_package_no_gpu_is_asked(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(Unreadable, match="nvidia-ml-py is not installed"):
        graphics()


# --- the log ------------------------------------------------------------------------------------------------


def finished(stage, seconds=1.0, **joules):
    return {"event": "finished", "stage": stage, "seconds": seconds, "joules": joules}


OPENED, CLOSED = {"event": "opened"}, {"event": "closed", "seconds": 5.0, "joules": {"processors": 50.0}}


def usage(*events, **unmeasured):
    return usage_of(events, final="final", reference="retrained-", unmeasured=unmeasured)


def test_stages_add_up_over_commands_and_their_mean_is_one_retraining():
    found = usage(
        *(OPENED, finished("trainer", 1.0, processors=10.0), finished("retrained-1", 2.0, processors=30.0), CLOSED),
        *(OPENED, finished("retrained-2", 4.0, processors=50.0), finished("attempt-1", 3.0, processors=20.0)),
    )
    assert found.whole == Used(15.0, {"processors": 160.0})
    assert found.reference == Used(3.0, {"processors": 40.0})
    assert (found.lost, found.unmeasured) == (0, {})


def test_what_comes_after_the_last_stage_does_not_count_so_that_the_report_stays_the_same():
    events = [OPENED, finished("control", 2.0)]
    assert usage(*events) == usage(*events, finished("final", 9.0), CLOSED, OPENED, CLOSED)
    assert usage(OPENED).whole == Used(0.0, {})


def test_a_killed_command_is_told():
    found = usage(OPENED, finished("trainer"), OPENED, OPENED, CLOSED, OPENED, finished("control"))
    assert found.lost == 2
    assert usage(OPENED, finished("trainer"), CLOSED, OPENED, finished("control")).lost == 0


def test_a_meter_that_was_read_now_and_then_measures_nothing():
    found = usage(OPENED, finished("trainer", processors=5.0), finished("control"), gpus="there are none")
    assert found.whole.joules == {}
    assert found.unmeasured == {
        "gpus": "there are none",
        "processors": "its counters could be read for 1 of 2 stages only",
    }
