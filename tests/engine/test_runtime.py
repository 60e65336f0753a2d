import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.core.errors import Diverged, InvalidProblem, RunFailed, UsageError
from expunge.core.problem import Origin
from expunge.engine import runtime
from expunge.engine.runtime import Here, Workers, cores, environment, seed_everything, single_thread
from tests.support import toys


@pytest.fixture(scope="module")
def problem():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys.ROOT)  # workers inherit the path, and find tests.support there
        yield toys.problem()


@pytest.fixture(scope="module")
def workers(problem):
    shared = Workers(problem, 1)
    yield shared
    shared.close()


# --- seeds, threads, environment ------------------------------------------------------------------------------


def test_every_generator_is_seeded():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(2**32 - 1)
    first = draw()
    seed_everything(2**32 - 1)
    assert draw() == first
    seed_everything(1)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_one_thread():
    torch.set_num_threads(2)
    single_thread()
    assert torch.get_num_threads() == 1


def test_the_environment_names_versions_and_no_machine():
    facts = environment()
    assert facts["torch"] == torch.__version__
    assert facts["numpy"] == np.__version__
    assert not any(os.uname().nodename in value or "/" in value for value in facts.values())
    assert 1 <= cores() <= (os.cpu_count() or 1)


# --- workers --------------------------------------------------------------------------------------------------


def test_results_come_with_their_place(workers):
    results = dict(workers.map("tests.support.toys:add", [(1, 2), (3, 4), ("a", "b")]))
    assert {index: total for index, (total, _) in results.items()} == {0: 3, 1: 7, 2: "ab"}
    assert os.getpid() not in {process for _, process in results.values()}
    assert workers.process == "fresh process"


def test_workers_hold_the_same_problem_on_one_thread(workers, problem):
    ((_, (process, threads, digest)),) = workers.map("tests.support.toys:who", [()])
    assert (threads, digest) == (1, problem.source.digest())
    assert process != os.getpid()


def test_errors_cross_the_boundary_intact(workers):
    with pytest.raises(Diverged) as caught:
        list(workers.map("tests.support.toys:diverge", [()]))
    obstacle = caught.value.obstacles[0]
    assert (obstacle.what, obstacle.where, obstacle.found, obstacle.fix) == (
        "training diverged",
        "epoch 3",
        "NaN",
        "lower the rate",
    )
    with pytest.raises(InvalidProblem) as several:
        list(workers.map("tests.support.toys:refuse", [()]))
    assert [(o.what, o.fatal, o.found) for o in several.value.obstacles] == [
        ("first", False, ""),
        ("second", True, "2"),
    ]
    assert str(several.value).startswith("the problem has 2 obstacle(s)")
    with pytest.raises(ZeroDivisionError, match="one by zero"):
        list(workers.map("tests.support.toys:stumble", [()]))


def test_a_fresh_call_has_a_process_of_its_own(workers):
    ((_, (shared, _, _)),) = workers.map("tests.support.toys:who", [()])
    fresh = workers.call_fresh("tests.support.toys:who")[0]
    assert len({shared, fresh, os.getpid()}) == 3


def test_ctrl_c_is_for_the_parent_alone(workers):
    """A terminal sends it to all: a worker that answered would print a trace beside the parent's one line."""
    ((_, (process, *_)),) = workers.map("tests.support.toys:who", [()])
    os.kill(process, signal.SIGINT)
    assert [who for _, (who, *_) in workers.map("tests.support.toys:who", [()])] == [process]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "here it still ends the command"


def test_a_killed_worker_is_a_failed_run(problem):
    workers = Workers(problem, 1)
    with pytest.raises(RunFailed, match="a worker process died") as caught:
        list(workers.map("tests.support.toys:die", [()]))
    assert caught.value.exit_code == 3
    workers.close()


def test_no_work_starts_no_process(problem):
    workers = Workers(problem, 1)
    assert list(workers.map("tests.support.toys:add", [])) == []
    assert workers._pool is None
    workers.close()


def test_closing_does_not_wait_for_work(problem, tmp_path):
    workers = Workers(problem, 1)
    place = tmp_path / "pid"
    failures = []

    def run():
        try:
            list(workers.map("tests.support.toys:dawdle", [(str(place),)]))
        except RunFailed as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    process = wait_for(place)
    begun = time.monotonic()
    workers.close()
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 20
    assert not alive(process)
    assert failures


def wait_for(place):
    for _ in range(2400):  # a busy machine takes its time to import torch
        if place.exists() and place.read_text():
            return int(place.read_text())
        time.sleep(0.05)
    raise AssertionError("the worker never started")


def alive(process):
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_handles_that_do_not_pickle_are_worked_on_here():
    def local(records, *, seed):
        raise AssertionError("never run here")

    workers = Workers(toys.problem(trainer=local), 2)
    assert workers.process == "same process: the problem has no importable handles"
    assert list(workers.map("tests.support.toys:add", [(1, 2)])) == [(0, (3, os.getpid()))]
    torch.set_num_threads(2)
    assert workers.call_fresh("tests.support.toys:who")[:2] == (os.getpid(), 1)
    with pytest.raises(Diverged):
        list(workers.map("tests.support.toys:diverge", [()]))
    workers.close()


def test_a_problem_that_cannot_be_made_again_says_why(problem):
    broken = problem.made_by(Origin("tests.support.no_such_module:make", ""))
    workers = Workers(broken, 1)
    with pytest.raises(UsageError, match="no_such_module"):
        list(workers.map("tests.support.toys:who", [()]))
    workers.close()


SCRIPT = """
import os
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from expunge.engine.runtime import Workers
from tests.support import toys
print("script", flush=True)
{definition}
workers = Workers(toys.problem(trainer={trainer}), 1)
print(workers.process.split(":")[0].replace(" ", "-"))
print(*["other" if r[1][1] != os.getpid() else "own" for r in workers.map("tests.support.toys:add", [(1, 2)])])
workers.close()
"""


@pytest.mark.parametrize(
    ("as_script", "definition", "trainer", "expected"),
    [
        (True, "", "toys.TRAINER", ["script", "fresh-process", "other"]),
        (False, "def train(records, *, seed): ...", "train", ["script", "same-process", "own"]),
    ],
    ids=["a script", "a notebook, nearly"],
)
def test_the_users_code_needs_no_guard(tmp_path, as_script, definition, trainer, expected):
    # Spawning runs the main script again unless that is prevented: an unguarded one would start processes for ever.
    text = SCRIPT.format(definition=definition, trainer=trainer)
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script) if as_script else "-"],
        input=None if as_script else text,
        env={**os.environ, "PYTHONPATH": str(toys.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == expected, done.stderr


def test_workers_die_with_a_parent_that_is_killed(tmp_path):
    script = """
import sys
from expunge.engine.runtime import Workers
from tests.support import toys
list(Workers(toys.problem(), 1).map("tests.support.toys:dawdle", [(sys.argv[1],)]))
"""
    place = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place)], env={**os.environ, "PYTHONPATH": str(toys.ROOT)}
    ) as parent:
        worker = wait_for(place)
        assert alive(worker)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for _ in range(200):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


def test_the_problem_that_crosses_is_the_problem(problem):
    again = pickle.loads(pickle.dumps(problem))
    assert again.spec == problem.spec


def test_here_everything_is_done_in_this_process(problem):
    here = Here(problem, 3)
    own = (os.getpid(), 1, problem.source.digest())
    assert list(here.map("tests.support.toys:who", [(), ()])) == [(0, own), (1, own)]
    assert here.call_fresh("tests.support.toys:who") == own
    assert "made none of the models" in here.process
    here.close()


def test_after_an_error_what_was_not_begun_is_not_done():
    """The pool may have other work to do."""
    made = [Future() for _ in range(3)]

    def submit(name, args):
        if args == (2,):
            made[0].set_exception(Diverged("a trainer"))
        return made[args[0]]

    with pytest.raises(Diverged):
        list(runtime._map(submit, "any:function", [(0,), (1,), (2,)]))
    assert [each.cancelled() for each in made] == [False, True, True]


def test_what_is_done_is_told_before_the_next_has_its_turn():
    """A reference that is trained is written down at once, also while other scenarios use the cores."""
    made = [Future() for _ in range(2)]
    made[0].set_result("first")
    asked = []
    told = runtime._map(lambda name, args: (asked.append(args), made[args[0]])[1], "any:function", [(0,), (1,)])
    assert next(told) == (0, "first")
    assert asked == [(0,)]
    made[1].set_result("second")
    assert list(told) == [(1, "second")]


def begun(turns, rank, log):
    """Ask for a turn in a thread of its own; return the thread once it waits, and what was begun."""
    future = Future()
    before = len(turns._waiting)

    def ask():
        with suppress(RunFailed):
            turns.take(rank, lambda: (log.append(rank), future)[1])

    thread = threading.Thread(target=ask)
    thread.start()
    while len(turns._waiting) == before and thread.is_alive():
        time.sleep(0.001)
    return thread, future


def test_a_core_goes_to_the_lowest_rank_that_waits():
    turns, log = runtime.Turns(1), []
    holding = turns.take(9, Future)
    waiting = {rank: begun(turns, rank, log) for rank in (2, 0, 1)}
    assert log == []
    holding.set_result(None)
    for rank in (0, 1, 2):
        thread, future = waiting[rank]
        thread.join(10)
        assert log == list(range(rank + 1)), "one at a time, the earlier first"
        future.set_result(None)


def test_no_more_tasks_run_than_there_are_turns():
    turns, log = runtime.Turns(2), []
    futures = [begun(turns, rank, log)[1] for rank in (0, 1)]
    late, _ = begun(turns, 2, log)
    late.join(0.05)
    assert sorted(log) == [0, 1]
    futures[1].set_exception(Diverged("a trainer"))  # a failed task has had its turn as well
    late.join(10)
    assert log[-1] == 2


def test_once_closed_nobody_waits_and_nothing_begins():
    turns, log = runtime.Turns(1), []
    turns.take(0, Future)
    late, _ = begun(turns, 1, log)
    turns.close()
    late.join(10)
    assert not late.is_alive()
    assert log == []
    with pytest.raises(RunFailed, match="stopped"):
        turns.take(0, Future)


def test_workers_in_turn_do_the_same_work_and_give_the_turn_back(workers):
    shared = workers.in_turn(runtime.Turns(1), 0)

    def added():
        return [total for _, (total, _) in sorted(shared.map("tests.support.toys:add", [(1, 2), (3, 4), (5, 6)]))]

    assert added() == [3, 7, 11]
    with pytest.raises(Diverged):
        list(shared.map("tests.support.toys:diverge", [()]))
    assert added() == [3, 7, 11]


def test_in_this_process_nobody_waits_for_a_turn(problem):
    here = Here(problem)
    assert (here.spawns, here.in_turn(runtime.Turns(1), 0)) == (False, here)
