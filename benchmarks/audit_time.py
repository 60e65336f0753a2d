"""How long an audit takes on this machine: the digits demo's true retrain, judged as a model from elsewhere.

Counted is everything from the command on: looking at the problem, checking the trainer, training the references on as
many processes as there are cores (20 by the standard policy, 50 by the deep one), asking all models, the verdict and
the report. Original and audited model are there.

    python benchmarks/audit_time.py [--json] [--save FILE]        about three minutes
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from _table import Row, arguments, finish

from expunge.core.storage import write_folder
from expunge.core.verdict import Verdict
from expunge.engine.progress import Progress
from expunge.engine.runtime import single_thread
from expunge.models.torch import TorchModel
from expunge.testbeds import digits
from expunge.workflow import audit

TARGETS = {"standard": 60.0, "deep": None}
"""Seconds on two cores, by policy."""


def main() -> int:
    """Measure, print; 0 where the target is met and every verdict is right."""
    given = arguments(__doc__).parse_args()
    single_thread()
    load = os.getloadavg()[0]
    rows, right = [], True
    with tempfile.TemporaryDirectory() as folder:
        problem = digits.prepare(Path(folder) / "demo", 0, Progress())
        model = digits.TRAINER(problem.retain_view, seed=77)
        write_folder(Path(folder) / "retrained", lambda aside: TorchModel.adopt(model).save(model, aside))
        for policy, target in TARGETS.items():
            start = time.perf_counter()
            result = audit(problem, model=Path(folder) / "retrained", out=Path(folder) / policy, policy=policy)
            spent = time.perf_counter() - start
            assert result.report is not None
            right = right and result.verdict is Verdict.ERASED
            verdict = f"verdict on a true retrain: {result.verdict.value if result.verdict else 'none'}"
            rows += [
                _row(f"{policy} audit of the digits demo, references included", spent, target)
                | {"unit": f"seconds on {os.cpu_count()} cores; {verdict}"},
                _row("  its work", result.report.total or 0.0, None) | {"unit": "retrainings"},
            ]
    found = [Row(**row) for row in rows]
    finish(found, given, load_before=round(load, 2), cores=os.cpu_count())
    return 0 if all(row.met != "MISSED" for row in found) and right else 1


def _row(name: str, value: float, target: float | None) -> dict[str, Any]:
    return {"name": name, "value": value, "target": target, "better": "lower", "against": "the clock", "n": 1}


if __name__ == "__main__":
    raise SystemExit(main())
