"""What a run uses up: wall time, and energy where the machine counts it. Measured, never estimated.

Processors: the counters that Linux shows under powercap (Intel RAPL, and AMD's under the same name), package
domains only: cores, graphics and memory are parts of a package or would be counted twice. NVIDIA GPUs: NVML, by
the package ``nvidia-ml-py`` where it is installed. A counter counts the whole machine, whoever works on it.

Source: https://docs.kernel.org/power/powercap/powercap.html; nvmlDeviceGetTotalEnergyConsumption in NVML's
reference (Volta and newer).

Not covered: disks, network, cooling, other machines; memory where it is outside the package.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.core.report import Usage, Used

POWERCAP = Path("/sys/class/powercap")
PROCESSORS, GRAPHICS = "processors", "NVIDIA GPUs"
READ_EVERY = 10.0
"""Seconds between readings: a counter starts anew after its range, and two such turns look like one."""
TOO_LONG = 60.0
"""Seconds without a reading after which a turn may have been missed: the smallest range in use, 65 kJ, lasts as
long at 1,090 W, more than any package draws. Longer gaps come from a process that was stopped."""


class Unreadable(Exception):
    """A counter cannot be read; the text says why."""


@dataclass(frozen=True)
class Counter:
    """One counter: ``read`` returns joules since some moment, starting anew at ``range`` (None: never)."""

    read: Callable[[], float]
    range: float | None = None


def processors(root: Path = POWERCAP) -> list[Counter]:
    """Return a counter per processor package.

    Raises:
        Unreadable: there are none, or they may not be read.
    """
    try:
        packages = [f for f in sorted(root.glob("intel-rapl:*")) if (f / "name").read_text().startswith("package")]
        found = [
            Counter(lambda file=folder / "energy_uj": _microjoules(file), _microjoules(folder / "max_energy_range_uj"))
            for folder in packages
        ]
        for counter in found:
            counter.read()
    except PermissionError:
        raise Unreadable(
            "the system lets only root read its energy counters (energy_uj under powercap); an administrator can "
            "grant reading"
        ) from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"its energy counters cannot be read ({type(error).__name__})") from None
    if not found:
        raise Unreadable("the system shows no energy counters of processors (no powercap; usual in virtual machines)")
    return found


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def graphics(nvml: Any = None) -> list[Counter]:
    """Return a counter per NVIDIA GPU of the machine; ``nvml`` is the module ``pynvml``, imported where not given.

    Raises:
        Unreadable: no such package, driver or GPU, or one that does not count.
    """
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            raise Unreadable("the package nvidia-ml-py is not installed, so none was asked") from None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        found = [Counter(lambda handle=handle: _millijoules(nvml, handle)) for handle in handles]
        for counter in found:
            counter.read()
    except nvml.NVMLError_LibraryNotFound:
        raise Unreadable("this machine has no NVIDIA driver") from None
    except nvml.NVMLError as error:
        raise Unreadable(f"NVML says: {error}") from None
    if not found:
        raise Unreadable("there are none")
    return found


def _millijoules(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except nvml.NVMLError as error:
        raise Unreadable(f"NVML says: {error}") from None


@dataclass
class _Sum:
    """What the counters of one meter have added since it was last emptied."""

    counters: Sequence[Counter]
    last: list[float]
    at: float
    joules: float = 0.0


def increase(before: float, now: float, turn: float | None) -> float:
    """Return by how much a counter rose, which starts anew at ``turn``; one turn is made good.

    Raises:
        Unreadable: it fell, and has no turn.
    """
    if now >= before:
        return now - before
    if turn is None:
        raise Unreadable("a counter was set back while the run worked")
    return now - before + turn


class Meter:
    """Counts from its making until it is closed; it reads in the background, so that no turn is missed.

    Args:
        sources: by name what gives its counters; the two of this module by default.
        clock: monotonic seconds.
        every: seconds between readings in the background; 0: none.
    """

    def __init__(
        self,
        sources: Mapping[str, Callable[[], Sequence[Counter]]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = READ_EVERY,
    ) -> None:
        self._clock = clock
        self._since = clock()
        self._sums: dict[str, _Sum] = {}
        self.unmeasured: dict[str, str] = {}
        """Why a meter says nothing, or nothing any more."""
        self._lock = threading.Lock()
        for name, find in (sources or {PROCESSORS: processors, GRAPHICS: graphics}).items():
            try:
                counters = find()
                self._sums[name] = _Sum(counters, [counter.read() for counter in counters], clock())
            except (Unreadable, OSError, ValueError) as error:
                self.unmeasured[name] = str(error)
        self._stop = threading.Event()
        if self._sums and every:
            threading.Thread(target=self._watch, args=(every,), daemon=True).start()

    def take(self) -> Used:
        """Return what was used since the last call; a meter that failed meanwhile is left out from then on."""
        with self._lock:
            self._read()
            now = self._clock()
            used = Used(now - self._since, {name: sum_.joules for name, sum_ in self._sums.items()})
            self._since = now
            for sum_ in self._sums.values():
                sum_.joules = 0.0
        return used

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()

    def _watch(self, every: float) -> None:
        while not self._stop.wait(every):
            with self._lock:
                self._read()

    def _read(self) -> None:
        for name, sum_ in list(self._sums.items()):
            now = self._clock()
            try:
                if now - sum_.at > TOO_LONG and any(counter.range is not None for counter in sum_.counters):
                    raise Unreadable(f"counters were not read for {now - sum_.at:.0f} s, and may have started anew")
                values = [counter.read() for counter in sum_.counters]
                parts = zip(sum_.last, values, sum_.counters, strict=True)
                sum_.joules += sum(increase(before, value, counter.range) for before, value, counter in parts)
                sum_.last, sum_.at = values, now
            except (Unreadable, OSError, ValueError) as error:
                self.unmeasured[name] = str(error)
                del self._sums[name]


@dataclass
class _Total:
    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    count: int = 0
    metered: dict[str, int] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any]) -> None:
        self.count += 1
        self.seconds += event["seconds"]
        for name, joules in event["joules"].items():
            self.joules[name] = self.joules.get(name, 0.0) + joules
            self.metered[name] = self.metered.get(name, 0) + 1

    def used(self) -> Used:
        """Return the sums, less those of meters that were not read every time."""
        return Used(round(self.seconds, 3), {n: round(j, 3) for n, j in self.joules.items() if self.throughout(n)})

    def throughout(self, name: str) -> bool:
        return self.metered.get(name, 0) == self.count


def usage_of(
    events: Iterable[Mapping[str, Any]], *, final: str, reference: str, unmeasured: Mapping[str, str]
) -> Usage:
    """Add up what the log of a run says, up to its last finished stage, so that it gives the same at any later time.

    Args:
        events: of the log; those that hold ``seconds`` and ``joules`` count.
        final: the stage that is not counted, because it holds the result.
        reference: how names of stages start that train a reference.
        unmeasured: reasons by meter, from the meter of this command.
    """
    log = list(events)
    work = [place for place, e in enumerate(log) if e["event"] == "finished" and e["stage"] != final]
    log = log[: work[-1] + 1] if work else []
    whole, references, lost, open_ = _Total(), _Total(), 0, False
    for event in log:
        if event["event"] == "opened":
            lost += open_
        open_ = (open_ or event["event"] == "opened") and event["event"] != "closed"
        if "seconds" in event:
            whole.add(event)
            if str(event.get("stage", "")).startswith(reference):
                references.add(event)
    reasons = {name: why for name, why in unmeasured.items() if not whole.joules.get(name)}
    for name in whole.joules:
        if not whole.throughout(name):
            reasons[name] = f"its counters could be read for {whole.metered[name]} of {whole.count} stages only"
    spent = references.used()
    each = (
        {name: round(joules / references.count, 3) for name, joules in spent.joules.items()} if references.count else {}
    )
    return Usage(
        whole=whole.used(),
        reference=Used(round(spent.seconds / references.count, 3), each) if references.count else None,
        unmeasured=dict(sorted(reasons.items())),
        lost=lost,
    )
