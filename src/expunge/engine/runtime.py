"""Where work runs: seeds, threads, worker processes, and what the environment was."""

from __future__ import annotations

import ctypes
import heapq
import importlib
import itertools
import os
import pickle
import platform
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import metadata
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

from expunge.core.errors import RunFailed

T = TypeVar("T")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators; ``seed`` in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # torch.manual_seed would note for every absent kind of device where it was called from: 0.3 ms
        torch.default_generator.manual_seed(seed)


def single_thread() -> None:
    """Pin torch to one thread: another number of threads gives other bits, and workers share the cores."""
    torch.set_num_threads(1)


def hold_steady() -> None:
    """Keep to kernels of devices that add in one order, where there are such: the same seed is to give the same bits.

    For what has none torch warns, and the check of the trainer sees it. Attention has some that add in any order when
    torch is told to warn alone: these are left out, so that [tokens, tokens] of each head is held.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS first works
    torch.utils.deterministic.fill_uninitialized_memory = False  # a pass over every new tensor, to find who reads none
    torch.use_deterministic_algorithms(True, warn_only=True)
    attend_by(dict.fromkeys(attended(), False))


def attended() -> dict[str, bool]:
    """Return which of torch's fast kernels of attention may be chosen, by name."""
    return {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in ("flash", "mem_efficient", "cudnn")}


def attend_by(kernels: Mapping[str, bool]) -> None:
    """Let these fast kernels of attention be chosen, or not."""
    for name, may in kernels.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(may)


def hold_memory() -> None:
    """Let the C library keep freed memory of up to half a gigabyte instead of handing it back to the system.

    Training frees and asks for the same megabytes at every step; each time the system would hand out pages anew and
    clear them, a quarter of the time of a stacked step. Only glibc has the setting (``mallopt(3)``); others do nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, at its highest
        mallopt(-1, 2**29)  # M_TRIM_THRESHOLD


def environment() -> dict[str, str]:
    """Return versions and kernel settings that the bits of a result depend on; nothing that names a machine."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "safetensors", "cryptography")
    versions = {name: metadata.version(name) for name in packages}
    return {
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.machine()}",
        "CPU instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": "1",
        "deterministic algorithms": "on" if torch.are_deterministic_algorithms_enabled() else "off",
    }


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# In a worker: the problem, so that a task carries arguments only. Unpickled by the first task, whose caller gets
# the error if that fails; an initialiser that fails looks like a process that was killed.
_payload: bytes = b""
_problem: Any = None


class Workers:
    """Processes that hold a copy of the problem; each runs one thread.

    A problem that cannot cross a process boundary (live handles that do not pickle, or that were defined in a
    script or a notebook) is worked on in this process instead, and ``process`` says so.

    Args:
        problem: needs an origin or picklable handles.
        count: number of processes; the number of cores by default.

    Attributes:
        stacks: whether several small models may be trained as one (``engine/stacked``).
    """

    stacks = True

    def __init__(self, problem: Any, count: int | None = None) -> None:
        self._problem, self._count = problem, count or cores()
        self._payload = _pickled(problem)
        self._pool: ProcessPoolExecutor | None = None
        self._shut = False

    @property
    def process(self) -> str:
        """Say where :meth:`call_fresh` runs."""
        return "fresh process" if self._payload is not None else "same process: the problem has no importable handles"

    @property
    def spawns(self) -> bool:
        """Whether tasks run in processes of their own."""
        return self._payload is not None

    def map(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call ``module:function(problem, *arguments)`` for each tuple; yield (index, result) as they finish.

        Raises:
            ExpungeError: what the function raised.
            RunFailed: a process died (memory, a signal).
        """
        if self._payload is None:
            single_thread()
            function = resolve(name)
            yield from ((index, function(self._problem, *args)) for index, args in enumerate(arguments))
        else:
            yield from _map(self._submit, name, arguments)

    def call_fresh(self, name: str, *arguments: Any) -> Any:
        """Call ``module:function(problem, *arguments)`` in a process that has done nothing before."""
        if self._payload is None:
            return next(self.map(name, [arguments]))[1]
        pool = _pool(self._payload, 1)
        try:
            return next(_map(lambda *task: pool.submit(_call, *task), name, [arguments]))[1]
        finally:
            _stop(pool)

    def in_turn(self, turns: Turns, rank: int) -> Workers:
        """Return the same workers for tasks of this rank, which wait for their turn; in this process none has to."""
        return self if self._payload is None else _InTurn(self, turns, rank)

    @contextmanager
    def beside(self, name: str, *arguments: Any) -> Iterator[Callable[[Any], Any]]:
        """Hold a function that makes a problem the one to work on here, while others, where there are any, do the same.

        They call ``module:function(problem, *arguments)`` meanwhile; workers of this kind do nothing.
        """
        yield lambda problem: problem

    def tell(self, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, and tell it to those who work beside this process."""
        return make()

    def close(self) -> None:
        """Stop the processes, whatever they are doing; nothing is begun any more."""
        with _opening:
            pool, self._pool, self._shut = self._pool, None, True
        if pool is not None:
            _stop(pool)

    def _submit(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        assert self._payload is not None
        with _opening:
            if self._shut:
                raise _stopped()
            self._pool = self._pool or _pool(self._payload, self._count)
            pool = self._pool
        return pool.submit(_call, name, arguments)


class Turns:
    """How many tasks run at a time, whichever workers do them and whichever thread asks; the lowest rank goes first.

    Args:
        count: tasks at a time.
    """

    def __init__(self, count: int) -> None:
        self._free, self._closed = count, False
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()

    def take(self, rank: int, begin: Callable[[], Future[T]]) -> Future[T]:
        """Wait until a task of this rank may run, and begin it.

        Raises:
            RunFailed: nothing begins any more.
        """
        mine = (rank, next(self._numbers))
        with self._changed:
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._closed or (self._free > 0 and self._waiting[0] == mine))
            if self._closed:
                raise _stopped()
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()
        # Not while the lock is held: a pool that breaks holds its own while it says so, and gives turns back.
        try:
            future = begin()
        except BaseException:
            self._give()
            raise
        future.add_done_callback(lambda _: self._give())
        return future

    def close(self) -> None:
        """Let nothing begin any more; whoever waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _give(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()


def _stopped() -> RunFailed:
    return RunFailed("work was stopped", where="several at a time", found="an error elsewhere", fix="see that error")


class _InTurn(Workers):
    """Workers of somebody else, who share the cores with others."""

    def __init__(self, lender: Workers, turns: Turns, rank: int) -> None:
        self._lender, self._turns, self._rank = lender, turns, rank

    def map(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        def submit(name: str, arguments: tuple[Any, ...]) -> Future[Any]:
            return self._turns.take(self._rank, lambda: self._lender._submit(name, arguments))

        yield from _map(submit, name, arguments)


class Here(Workers):
    """No processes: everything is done in this one, which whoever asks for it keeps for such work (``bench/run``)."""

    def __init__(self, problem: Any, count: int | None = None) -> None:
        super().__init__(problem, count)
        self._payload = None

    @property
    def process(self) -> str:
        """Say where :meth:`call_fresh` runs."""
        return "a process of the benchmark that made none of the models it judged"


_opening, _spawning = threading.Lock(), threading.Lock()
"""Held while a pool of processes, and while a process, is made."""


class _Process(SpawnProcess):
    """A new process that does not run the user's script again, as spawning does by default, and is deaf to Ctrl-C.

    Which reaches every process of a terminal: the parent says what that means, and stops the others.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _spawning:  # several threads may ask for processes, and the name is everybody's
            script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
            try:
                with _deaf():
                    return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]
            finally:
                sys.modules["__main__"] = script


@contextmanager
def _deaf() -> Iterator[None]:
    """Block Ctrl-C in this thread, and for good in processes that it starts meanwhile; where signals can be blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Process


def _pool(payload: bytes, count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=_Context(), initializer=_begin, initargs=(payload, os.getpid()))


def _map(
    submit: Callable[[str, tuple[Any, ...]], Future[Any]], name: str, arguments: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    futures: dict[Future[Any], int] = {}
    try:
        for index, args in enumerate(arguments):
            futures[submit(name, args)] = index
            for future in [each for each in futures if each.done()]:  # the next may have had to wait
                yield futures.pop(future), future.result()
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise RunFailed(
            "a worker process died",
            where=name,
            found="killed from outside, or out of memory",
            fix="the same command resumes; with fewer workers it needs less memory",
        ) from error
    finally:
        for future in futures:
            future.cancel()  # after an error nobody asks for the rest, and the pool may have other work to do


def _stop(pool: ProcessPoolExecutor) -> None:
    # Without this an interrupted parent would wait for work that nobody wants any more.
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)


def _pickled(problem: Any) -> bytes | None:
    try:
        payload = pickle.dumps(problem)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    # What is defined in a script or a notebook pickles by a name that another process does not have.
    return None if b"__main__" in payload else payload


def _begin(payload: bytes, parent: int) -> None:
    global _payload
    os.dup2(2, 1)  # what a user's code prints must not end up among our results on stdout
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    single_thread()
    hold_memory()
    _payload = payload


def _die_with(parent: int) -> None:
    """A parent that was killed cannot stop its workers; they look for themselves."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def resolve(name: str) -> Callable[..., Any]:
    """Return what ``module:function`` names."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    global _problem
    if _problem is None:
        _problem = pickle.loads(_payload)  # our own parent's bytes, through a private pipe
    return resolve(name)(_problem, *arguments)
