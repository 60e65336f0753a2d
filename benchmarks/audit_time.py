"""How long an audit takes on this machine: the digits demo's true retrain, judged as a model from elsewhere.

Counted is everything from the command on: looking at the problem, checking the trainer, training 20 references on as
many processes as there are cores, asking all models, the verdict and the report. Original and audited model are there.

    python benchmarks/audit_time.py [--json] [--save FILE]        about a minute
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from _table import Row, arguments, finish

from expunge.core.storage import write_folder
from expunge.core.verdict import Verdict
from expunge.engine.progress import Progress
from expunge.engine.runtime import single_thread
from expunge.models.torch import TorchModel
from expunge.testbeds import digits
from expunge.workflow import audit


def main() -> int:
    """Measure, print; 0 where the target is met and the verdict is right."""
    given = arguments(__doc__).parse_args()
    single_thread()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        problem = digits.prepare(Path(folder) / "demo", 0, Progress())
        model = digits.TRAINER(problem.retain_view, seed=77)
        write_folder(Path(folder) / "retrained", lambda aside: TorchModel.adopt(model).save(model, aside))
        start = time.perf_counter()
        result = audit(problem, model=Path(folder) / "retrained", out=Path(folder) / "run")
        spent = time.perf_counter() - start
    row = Row(
        name="standard audit of the digits demo, references included",
        value=spent,
        target=60.0,
        better="lower",
        unit=f"seconds on {os.cpu_count()} cores; verdict on a true retrain: {result.verdict.value}",
        against="the clock",
        n=1,
    )
    finish([row], given, load_before=round(load, 2), cores=os.cpu_count())
    return 0 if row.met == "met" and result.verdict is Verdict.ERASED else 1


if __name__ == "__main__":
    raise SystemExit(main())
