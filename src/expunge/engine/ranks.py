"""Several processes that hold one model together, as ``torchrun`` or ``accelerate launch`` starts them.

The first one leads: it alone reads the job, holds the run directory, writes and prints. The others follow: they wait to
be told which function to call, and call it at the same time as the leader, with the same arguments. So what runs in
all of them is one programme, in step; a follower writes nothing (``core/storage``).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from expunge.core import storage
from expunge.core.errors import ExpungeError, RunFailed, UsageError
from expunge.engine.pulse import HUB, Pulse
from expunge.engine.runtime import Workers, hold_steady, resolve, single_thread

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long one process waits for the others in the middle of a step: the leader may be writing a large model."""
_GRACE = timedelta(minutes=1)
"""How long processes wait for each other after an error, before the one that has it ends."""
_PAUSE = 0.25
"""The longest time in seconds between two looks at whether another has said something."""
_FAREWELL = timedelta(seconds=5)
"""How long the leader waits for each follower at the end."""


def launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


_BY_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""How many processes Open MPI started, and MPICH, Intel MPI and others with their PMI."""


def apart() -> str:
    """Return what says that MPI started several processes, none of which knows how to meet the others; else nothing.

    Where a launcher said it as torch asks for it, or one process of it says that it is alone (``RANK``), that counts.
    """
    sizes = {name: os.environ.get(name, "") for name in _BY_MPI if "RANK" not in os.environ}
    return next((f"{name} = {size}" for name, size in sizes.items() if size.isdecimal() and int(size) > 1), "")


def joined() -> bool:
    """Return whether this process works together with others."""
    return _here is not None


def leads() -> bool:
    """Return whether this process is the one that writes: always, where it works alone."""
    return _here is None or _here.rank == 0


def count() -> int:
    """Return how many processes work together."""
    return 1 if _here is None else _here.count


def number() -> int:
    """Return which of them this is: 0 for the first, which leads."""
    return 0 if _here is None else _here.rank


def mesh() -> DeviceMesh:
    """Return the devices that models are spread over, one for each process."""
    assert _here is not None
    return _here.mesh


def join() -> None:
    """Meet the other processes of this launch; each takes the accelerator of its number, or the processor."""
    store, rank, size = next(iter(dist.rendezvous("env://")))
    again, _, _ = next(iter(dist.rendezvous("env://")))  # a second connection to the same store
    join_by(store, rank, size)
    assert _here is not None
    others = range(1, size) if rank == 0 else [0]
    _here.pulse = Pulse(dist.PrefixStore("pulse", again), rank, others, _GRACE.total_seconds())
    _here.pulse.start()


def join_by(store: dist.Store, rank: int, size: int) -> None:
    """Meet the processes that share ``store``."""
    global _here
    from torch.distributed.device_mesh import init_device_mesh  # half a second that a process alone does not wait

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    backend = "gloo"
    if device is not None:
        hold_steady()
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", rank)))
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
    dist.init_process_group(
        backend, store=dist.PrefixStore("work", store), rank=rank, world_size=size, timeout=PATIENCE
    )
    whole = init_device_mesh("cpu" if device is None else device.type, (size,))
    _here = _Here(rank, size, whole, dist.PrefixStore("said", store))


def leave() -> None:
    """Part from the others; a leader tells them that there is nothing more to do.

    It waits a little until they have heard it: what they hear it by may end with this process.
    """
    global _here
    if _here is None:
        return
    here, _here = _here, None
    with suppress(dist.DistError, RunFailed):  # what went wrong before is what there is to tell
        if here.rank == 0:
            here.say("stop", None)
            for rank in range(1, here.count):
                _wait(here, f"left {rank}", _FAREWELL)
        else:
            here.store.set(f"left {here.rank}", b"")
    if here.pulse is not None:
        here.pulse.stop()
    dist.destroy_process_group()


def meet() -> None:
    """Wait until all processes are here: what one has written, the others can read from now on."""
    if _here is not None:
        dist.barrier()


def told(make: Callable[[], T]) -> T:
    """Return what ``make`` gives the leader, in every process; the others do not call it."""
    if _here is None:
        return make()
    said = [make() if leads() else None]
    dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    return said[0]  # type: ignore[return-value]


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which every process holds a part, as one; all of them must ask."""
    ask = getattr(tensor, "full_tensor", None)
    return tensor if ask is None else ask()  # type: ignore[no-any-return]


def collected(tensor: Tensor) -> Tensor:
    """Return a tensor as one, in the leader and on the processor; nothing of it in the others, which must ask, too."""
    if not hasattr(tensor, "full_tensor"):
        return tensor
    one = whole(tensor)
    return one.cpu() if leads() else one.new_zeros(0)


def loose(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters of a spread model of which every process has all, and that move: adapters."""
    parameters = list(model.parameters())
    apart = any(hasattr(p, "full_tensor") for p in parameters)
    return [p for p in parameters if apart and p.requires_grad and not hasattr(p, "full_tensor")]


def add_up(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Add up the gradients of all processes, each from its own records, so that all make the same step."""
    for p in parameters:
        if p.grad is not None:
            dist.all_reduce(p.grad)


def gradients(model: torch.nn.Module, parameters: Sequence[torch.nn.Parameter]) -> list[Tensor | None]:
    """Return the gradients of ``parameters`` from the records of all processes; what stands in each stays its own."""
    apart = {id(p) for p in loose(model)}
    found = [None if p.grad is None else p.grad.clone() if id(p) in apart else p.grad for p in parameters]
    for p, gradient in zip(parameters, found, strict=True):
        if gradient is not None and id(p) in apart:
            dist.all_reduce(gradient)
    return found


def norm(tensors: Iterable[Tensor]) -> float:
    """Return the Euclidean norm of all numbers of all tensors, the parts that others hold included; none is copied."""
    parts = [whole(torch.linalg.vector_norm(tensor)).double() for tensor in tensors]
    return float(torch.linalg.vector_norm(torch.stack(parts))) if parts else 0.0


def parted(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of ``value``, as it holds a part of ``like``."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class _Here:
    """This process among the others: its number, how many there are, and what the leader says, in order."""

    def __init__(self, rank: int, size: int, devices: DeviceMesh, store: dist.Store) -> None:
        self.rank, self.count, self.mesh, self.store = rank, size, devices, store
        self.place = 0
        self.problem: Any = None
        self.pulse: Pulse | None = None

    def say(self, kind: str, what: Any) -> int:
        """Tell the followers something; return its place."""
        self.place += 1
        self.store.set(f"{self.place}", pickle.dumps((kind, what)))
        return self.place

    def hear(self) -> tuple[str, Any]:
        """Return what the leader says next, however long that takes.

        Raises:
            RunFailed: the leader is gone.
        """
        self.place += 1
        _wait(self, f"{self.place}", None)
        kind, what = pickle.loads(self.store.get(f"{self.place}"))  # what the leader of this very launch wrote
        return kind, what

    def listen(self) -> tuple[str, Any]:
        """Do what the leader says until it says something else than a call; return that."""
        while True:
            kind, what = self.hear()
            if kind == "problem":
                self.problem = spread(pickle.loads(what))
            elif kind == "call":
                self._follow(*what)
            else:
                return kind, what

    def _follow(self, name: str, arguments: tuple[Any, ...]) -> None:
        place = self.place
        try:
            resolve(name)(self.problem, *arguments)
            said = ""
        except (Exception, SystemExit) as error:  # noqa: BLE001  # told below, or here where nobody listens
            at = traceback.extract_tb(error.__traceback__)[-1]
            unexpected = f"unexpected {type(error).__name__} ({Path(at.filename).name}, line {at.lineno}, {at.name})"
            said = str(error) if isinstance(error, ExpungeError) else unexpected  # its text could quote records
        self.store.set(f"{place} by {self.rank}", said)
        # The leader of an error that all have ends the call as well; one that only this process has, it waits for.
        if said and not _wait(self, f"{place} over", _GRACE):
            sys.stderr.write(f"process {self.rank}: {said}\n")
            sys.stderr.flush()
            os._exit(3)


_here: _Here | None = None


def serve() -> int:
    """Follow the leader until it stops; return the exit code.

    Raises:
        RunFailed: the leader is gone.
    """
    assert _here is not None
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_DFL)  # waiting happens outside of Python, where no handler of it runs
    os.dup2(2, 1)  # what a user's code prints must not end up among the leader's results
    storage.only_read()
    single_thread()
    _here.listen()
    return 0


def heard() -> Any:
    """Return, in a follower, what the leader tells; meanwhile do what it says.

    Raises:
        RunFailed: the leader failed, or is gone.
    """
    assert _here is not None
    kind, what = _here.listen()
    if kind != "value":
        raise RunFailed("the first process failed")
    return what


class Ranks(Workers):
    """The processes of this launch in the place of workers: all do the same, each on its part of model and batch.

    Args:
        problem: needs an origin or picklable handles.
        count: not used: there are as many as were launched.

    Raises:
        UsageError: the problem cannot cross a process boundary.
    """

    stacks = False

    def __init__(self, problem: Any, count: int | None = None) -> None:
        super().__init__(problem, count)
        assert _here is not None
        if self._payload is None:
            raise UsageError(
                "the other processes cannot make this problem",
                where="several processes",
                found="handles that live in this process only",
                expected="a job file, or importable handles",
                fix='name the problem in a job file as problem = "module:function"',
            )
        self._together = spread(problem)
        _here.say("problem", self._payload)

    @property
    def process(self) -> str:
        """Say where :meth:`call_fresh` runs."""
        return f"the {count()} processes that made it, from the saved file: they hold one model together"

    def map(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call ``module:function(problem, *arguments)`` in all processes; yield (index, result) in order."""
        for index, each in enumerate(arguments):
            with self.beside(name, *each):
                result = resolve(name)(self._together, *each)
            yield index, result

    def call_fresh(self, name: str, *arguments: Any) -> Any:
        """Call ``module:function(problem, *arguments)`` in all processes; return what the leader's returns."""
        return next(self.map(name, [arguments]))[1]

    @contextmanager
    def beside(self, name: str, *arguments: Any) -> Iterator[Callable[[Any], Any]]:
        """Let the followers call ``name`` while the leader does the same in its own way.

        Raises:
            RunFailed: a follower failed, is gone, or did not keep up.
        """
        assert _here is not None
        here, place = _here, _here.say("call", (name, arguments))
        try:
            yield spread
        except Exception:
            here.store.set(f"{place} over", b"")
            _reports(here, place, _GRACE)
            raise
        failed = _reports(here, place, None)
        here.store.set(f"{place} over", b"")
        if failed:
            raise RunFailed("another process failed", where=failed[0], found=failed[1], fix="the same command resumes")

    def tell(self, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, and tell it to the followers that wait for it (:func:`heard`)."""
        assert _here is not None
        try:
            found = make()
        except Exception:
            _here.say("failed", None)
            raise
        _here.say("value", found)
        return found


def gathered(problem: Any, model: Any) -> Any:
    """Return a model of the problem as one; None in followers, where it is spread."""
    if _here is None:
        return model
    from expunge.engine import spread as room  # which needs this module

    return room.gathered(problem, model)


def spread(problem: Any) -> Any:
    """Return the problem with its models spread over the processes (``engine/spread``)."""
    from expunge.engine import spread as room  # which needs this module

    return room.spread(problem)


def _reports(here: _Here, place: int, limit: timedelta | None) -> tuple[str, str] | None:
    """Wait until every follower has reported; return (which, what) of the first that failed."""
    failed = None
    for rank in range(1, here.count):
        if not _wait(here, f"{place} by {rank}", limit):
            raise RunFailed("another process does not keep up", where=f"process {rank}", fix="the same command resumes")
        said = here.store.get(f"{place} by {rank}").decode()
        if said and failed is None:
            failed = (f"process {rank}", said)
    return failed


def _wait(here: _Here, key: str, limit: timedelta | None) -> bool:
    """Wait for a key, for ever without a limit; return whether it came.

    Raises:
        RunFailed: a process that could write it is gone.
    """
    end = time.monotonic() + (float("inf") if limit is None else limit.total_seconds())
    pause = 0.001
    while time.monotonic() < end:
        try:
            if here.store.check([key]):
                return True
            gone = here.pulse.gone if here.pulse is not None else ""
        except dist.DistNetworkError:
            gone = HUB
        if gone:
            raise RunFailed(
                "another process is gone", where=gone, fix="look at what ended it; the same command resumes"
            )
        time.sleep(pause)  # not the store's own wait: that would hear of nobody's end
        pause = min(2 * pause, _PAUSE)
    return False
