"""Kill `expunge erase` with SIGKILL at ten random moments and let the same command finish: is the result the same?

Goes the whole way on examples/own_classifier twice: once undisturbed, once killed again and again (workers and all:
the whole process group).

    python benchmarks/interrupted.py [--json] [--save FILE]        about 4 minutes on two cores
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _table import Row, arguments, finish

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_classifier"
COMMAND = [str(Path(sys.executable).with_name("expunge")), "erase", "job.toml"]
RUN = Path("runs/example-1")


def main() -> int:
    """Run both, compare, print; 0 where everything is the same."""
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        whole, killed = Path(home) / "whole", Path(home) / "killed"
        shutil.copytree(EXAMPLE, whole, ignore=shutil.ignore_patterns("runs", "__pycache__", "model.safetensors"))
        subprocess.run([sys.executable, "-m", "project.train"], cwd=whole, check=True, capture_output=True)
        shutil.copytree(whole, killed)
        first = _finish(whole)
        stages = sorted((whole / RUN / "stages").iterdir())
        draw = random.Random(given.seed)
        moments = sorted(draw.randrange(len(stages)) for _ in range(given.kills))
        done = sum(_kill(killed, stage, draw.uniform(0, 2)) for stage in moments)
        rows = _rows(whole, killed, codes=(first, _finish(killed)), kills=done, wanted=given.kills)
    finish(rows, given)
    return 0 if all(row.value == row.target for row in rows) else 1


def _finish(folder: Path) -> int:
    return subprocess.run(COMMAND, cwd=folder, stderr=subprocess.DEVNULL, check=False).returncode


def _kill(folder: Path, stages: int, after: float) -> bool:
    """Start the command; kill it some time after that many stages are finished. Return whether it still ran."""
    process = subprocess.Popen(COMMAND, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and _finished(folder) < stages:
        time.sleep(0.02)
    time.sleep(after)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def _finished(folder: Path) -> int:
    where = folder / RUN / "stages"
    return len(list(where.glob("*.json"))) if where.is_dir() else 0


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / RUN / "report.json").read_text())
    return report


def _measured(report: dict[str, Any]) -> list[Any]:
    """Return everything that was measured and decided; not when, and not what work was done twice."""
    audits = [report["control"], *(audit for attempt in report["attempts"] for audit in attempt["audits"])]
    return [(audit["model"], audit["alpha"], audit["references"], audit["findings"]) for audit in audits]


def _rows(whole: Path, killed: Path, *, codes: tuple[int, int], kills: int, wanted: int) -> list[Row]:
    one, other = _report(whole), _report(killed)
    log = [json.loads(line) for line in (killed / RUN / "events.jsonl").read_text().splitlines()]
    finished = Counter(event["stage"] for event in log if event["event"] == "finished")
    left = [path for path in killed.rglob(".aside-*")]
    facts = [
        ("kills while it ran", kills, wanted, "kills"),
        ("same exit code", int(codes[0] == codes[1]), 1, "yes = 1"),
        ("same digest of the model", int(one["model_after"] == other["model_after"]), 1, "yes = 1"),
        ("same measurements, in every audit", int(_measured(one) == _measured(other)), 1, "yes = 1"),
        ("same verdict", int(one["verdict"] == other["verdict"]), 1, "yes = 1"),
        ("same claim", int(one["claim"] == other["claim"]), 1, "yes = 1"),
        ("stages finished more than once", sum(count > 1 for count in finished.values()), 0, "stages"),
        ("files left half-written", len(left), 0, "files"),
    ]
    return [
        Row(
            name=name,
            value=value,
            target=target,
            better="lower" if target == 0 else "higher",
            unit=unit,
            against="an uninterrupted run",
            n=wanted,
        )
        for name, value, target, unit in facts
    ]


if __name__ == "__main__":
    sys.exit(main())
