"""``expunge demo``: the whole way on real handwritten digits, on two CPU cores, without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console, _options


def command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run directory.")] = Path("runs/demo"),
    method: _options.MethodName = None,
    no_escalate: _options.NoEscalate = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    as_json: _options.AsJson = False,
) -> None:
    """Forget everything that one careless annotator labelled, and prove it.

    1,797 real digits; the demo makes a share of one annotator's labels wrong, and a small network memorises
    them. Trains the original and the references, forgets, audits, certifies.
    """
    from expunge.cli._progress import Bars
    from expunge.cli._show import show_result
    from expunge.testbeds import digits
    from expunge.workflow import erase

    if not as_json:
        _console.say(
            f"{digits.TRAINING} handwritten digits (UCI, scikit-learn's copy). {digits.CARELESS} labelled "
            f"{digits.LABELLED} of them; this demo made {digits.WRONG} of those labels wrong. A small convolutional "
            f"network was trained on all of it. The request: forget everything {digits.CARELESS} labelled."
        )
    with Bars(show_plan=not as_json) as bars:
        problem = digits.prepare(out, seed, bars)
        result = erase(
            problem,
            progress=bars,
            out=out,
            methods=(method,) if method else (),
            configs=digits.CONFIGS,
            escalate=not no_escalate,
            seed=seed,
        )
    again = ["demo", "--out", str(out), *(["--seed", str(seed)] if seed else [])]
    raise show_result(result, again=again, as_json=as_json)
