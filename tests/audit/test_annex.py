"""The private annex: right figures under keyed ids, in an order that tells nothing, found by its holder alone."""

import csv
import os
import stat

import numpy as np
import pytest

from expunge.audit import annex
from expunge.core.errors import Tampered, UsageError
from expunge.engine.evidence import Evidence
from expunge.engine.runs import RunDirectory, read_secret

IDS = ("zebra-2", "zebra-0", "zebra-1")
TARGET = np.array([0, 1, 1])
TRUTH = np.array([1, -1, 0])


def logits(*rows):
    return np.array(rows, dtype=np.float64)


MODELS = {
    "candidate": logits([2.0, 0.0], [0.0, 1.0], [1.0, 0.0]),
    "original": logits([9.0, 0.0], [0.0, 9.0], [0.0, 9.0]),
    "first": logits([0.0, 1.0], [0.0, 2.0], [0.0, 0.5]),
    "second": logits([0.5, 0.0], [0.0, 3.0], [0.0, 0.5]),
    "third": logits([0.0, 0.0], [0.0, 1.5], [0.0, 0.5]),
}
RELEARNED = {name: np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]) for name in MODELS}


def evidence(**changes):
    given = {
        "candidate": "candidate",
        "original": "original",
        "references": ("first", "second", "third"),
        "alpha": 0.05,
        "corrections": TRUTH,
    }
    arrays = {name: {"forget": rows, "relearned": RELEARNED[name]} for name, rows in MODELS.items()}
    return Evidence(arrays, {"forget": TARGET}, **{**given, **changes})


@pytest.fixture
def folder(tmp_path):
    """A run directory with a secret."""
    run = RunDirectory(tmp_path / "run", {"job": 1})
    run.secret(annex.SECRET)
    run.close()
    return run.folder


def loss(model, place):
    row = MODELS[model][place]
    return float(np.log(np.exp(row).sum()) - row[TARGET[place]])


def test_figures(folder):
    annex.write(folder, "attempt 1", evidence(), IDS)
    for place, name in enumerate(IDS):
        (row,) = annex.find(folder, [name])[name]
        references = [loss(model, place) for model in ("first", "second", "third")]
        mean, sd = np.mean(references), np.std(references, ddof=1)
        z = (loss("candidate", place) - mean) / (sd * np.sqrt(4 / 3)) if sd > 0 else None
        assert float(row["loss"]) == pytest.approx(loss("candidate", place), rel=1e-4)
        assert float(row["loss_original"]) == pytest.approx(loss("original", place), rel=1e-4)
        assert float(row["loss_references"]) == pytest.approx(mean, rel=1e-4)
        assert float(row["sd_references"]) == pytest.approx(sd, rel=1e-4)
        assert row["z"] == "" if z is None else float(row["z"]) == pytest.approx(z, rel=1e-4)
        assert int(row["below"]) == sum(reference < loss("candidate", place) for reference in references)
        assert (row["model"], row["references"]) == ("attempt 1", "3")
    rows = {name: annex.find(folder, [name])[name][0] for name in IDS}
    assert [rows[name]["correct"] for name in IDS] == ["1", "1", "0"]
    assert [rows[name]["restored"] for name in IDS] == ["0", "", "1"]
    assert [rows[name]["relearned"] for name in IDS] == ["0.5", "1", "0"]
    assert float(rows["zebra-1"]["divergence"]) > float(rows["zebra-1"]["divergence_references"]) == 0.0


def test_without_true_labels_none_is_restored(folder):
    annex.write(folder, "attempt 1", evidence(corrections=None), IDS)
    assert {row[0]["restored"] for row in annex.find(folder, IDS).values()} == {""}


def test_no_id_is_written_and_the_order_is_that_of_the_keyed_ids(folder):
    annex.write(folder, "original", evidence(candidate="original"), IDS)
    annex.write(folder, "attempt 1", evidence(), IDS)
    text = (folder / annex.PATH).read_text()
    assert "zebra" not in text
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == list(annex.COLUMNS)
    assert [row["record"] for row in rows] == sorted(row["record"] for row in rows)
    assert [row["model"] for row in rows] == ["original", "attempt 1"] * 3


def test_another_run_has_other_ids(folder, tmp_path):
    other = RunDirectory(tmp_path / "other", {"job": 1})
    keys = [other.secret(annex.SECRET), read_secret(folder, annex.SECRET)]
    other.close()
    assert len({annex.hidden(key, "zebra-0") for key in keys}) == 2


def test_an_audit_that_is_repeated_replaces_its_own_rows_alone(folder):
    annex.write(folder, "original", evidence(candidate="original"), IDS)
    annex.write(folder, "attempt 1", evidence(candidate="original"), IDS)
    annex.write(folder, "attempt 1", evidence(), IDS)
    rows = annex.find(folder, ["zebra-2"])["zebra-2"]
    assert [row["model"] for row in rows] == ["original", "attempt 1"]
    assert float(rows[1]["loss"]) == pytest.approx(loss("candidate", 0), rel=1e-4)


def test_it_is_for_its_owner_alone(folder):
    annex.write(folder, "attempt 1", evidence(), IDS)
    assert stat.S_IMODE(os.stat(folder / annex.PATH).st_mode) == 0o600
    assert [path.name for path in (folder / "private").iterdir() if path.name.startswith(".")] == []


def test_what_was_not_judged_has_no_row(folder):
    annex.write(folder, "attempt 1", evidence(), IDS)
    assert annex.find(folder, ["zebra-9"]) == {"zebra-9": []}


def test_without_an_annex_it_says_so_and_a_changed_one_is_refused(folder):
    with pytest.raises(UsageError, match="no annex") as caught:
        annex.find(folder, IDS)
    assert "zebra" not in str(caught.value)
    (folder / annex.PATH).write_text("record,model\n")
    with pytest.raises(Tampered):
        annex.find(folder, IDS)
