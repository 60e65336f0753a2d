"""What one model says of the parts that are judged: asked once, kept in a file whose name holds its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from expunge.core.digest import sha256
from expunge.core.errors import Diverged, Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.serial import canonical
from expunge.core.storage import write_file
from expunge.engine import around, inside, members, treatments
from expunge.engine.answers import output_of, seen_of
from expunge.engine.parts import REPRESENTED, Parts
from expunge.engine.relearning import RelearningConfig, relearn

Array = NDArray[np.float64]
_FORM = 3
"""Of what is cached: 3 keeps what is said word for word. A cache of another form is not read but made anew."""


def collect(
    problem: Problem,
    open_model: Callable[[], Any],
    parts: Parts,
    config: RelearningConfig | None,
    *,
    digest: str,
    seed: int,
    cache: Path,
) -> tuple[dict[str, Array], Cost]:
    """Return what one model says about the parts, and the work it took; read from ``cache`` if done before.

    Without a ``config`` nothing is relearned.
    """
    asked = [[name, list(view.ids)] for name, view in parts.items()]
    beside = None if parts.beside is None else parts.beside.key
    kept = [parts.represented, parts.held is not None, parts.treatments.key, parts.prompts.key, parts.asked.key]
    kept += [parts.inner, *([] if parts.benchmarks is None else [parts.benchmarks.config.key])]
    key = sha256(canonical([_FORM, digest, config, seed, asked, beside, *kept]))
    # The file's name ends in its own digest: outputs that were changed afterwards would change a verdict.
    for path in sorted(cache.glob(f"{key}-*.safetensors")):
        data = path.read_bytes()
        if path.stem != f"{key}-{sha256(data)}":
            raise Tampered(
                "the kept outputs of a model are not what was written",
                where=f"{cache.name}/{path.name}",
                found="other bytes",
                expected="the bytes whose digest the name holds",
                fix="delete this file: the outputs are computed again",
            )
        return dict(load(data)), Cost()
    model = open_model()
    arrays = _outputs(problem, model, parts)
    read = sum(len(view) for _, view in parts.items())
    trained = 0
    if parts.beside is not None and len(parts.forget):
        arrays[parts.beside.name] = around.confidences(problem, model, parts.forget, parts.beside, seed=seed)
        read += parts.beside.copies * len(parts.forget)
    if parts.held is not None and len(parts.forget):
        said = members.confidences(problem, model, parts.forget)
        if said is not None:
            arrays["members"] = said
            read += len(parts.forget)
    cost = Cost(read=read)
    for more, work in _asked(problem, model, parts, seed):
        arrays, cost = arrays | more, cost + work
    if config is not None and len(parts.forget):
        arrays["relearned"] = _relearned(problem, model, parts.forget, config, seed)
        trained = config.epochs * len(parts.forget)
    cost += Cost(trained=trained, read=trained)
    if len(parts.forget):
        more, work = treatments.treated(problem, open_model, parts.forget, parts.treatments, config, seed=seed)
        arrays, cost = arrays | more, cost + work
    data = save(arrays)
    write_file(cache / f"{key}-{sha256(data)}.safetensors", data, mode=0o600)
    return arrays, cost


def _asked(problem: Problem, model: Any, parts: Parts, seed: int) -> Iterator[tuple[dict[str, Array], Cost]]:
    """Yield what a language model writes, and what its inner blocks know, with the work of each."""
    yield parts.asked.written(model)
    yield parts.prompts.answered(model, seed=seed)
    if parts.benchmarks is not None:
        yield parts.benchmarks.answered(model)
    if parts.inner and len(parts.forget):
        yield inside.read(problem, model, parts.forget, parts.retain)


def _relearned(problem: Problem, model: Any, forget: Records, config: RelearningConfig, seed: int) -> Array:
    try:
        return relearn(problem, model, forget, config, seed=seed)
    except Diverged:
        return np.full((config.epochs, len(forget)), np.nan)  # measured as: not measured


def _outputs(problem: Problem, model: Any, parts: Parts) -> dict[str, Array]:
    """Return outputs by part, and features [n, D] by ``features PART`` where the task knows some of this model."""
    found, features = dict[str, Array](), dict[str, Array | None]()
    for name, view in parts.items():
        if parts.represented and name in REPRESENTED:
            found[name], features[f"features {name}"] = seen_of(problem, model, view)
        else:
            found[name] = output_of(problem, model, view)
    known = {name: rows for name, rows in features.items() if rows is not None}
    return found | known if len(known) == len(features) else found
