"""``expunge find``: what it says, the list it writes, and a job that forgets what is in the list."""

import csv
import stat

import pytest

PROBLEM = """
import numpy as np
import torch
from torch import nn

import expunge

KIND = [f"r{i}" for i in range(0, 72, 3)]


def problem():
    draw = np.random.default_rng(0)
    labels = np.arange(330) % 3
    x = draw.normal(size=(330, 6))
    x[:, :3] += 3 * np.eye(3)[labels]
    x[0:72:3, 5] += 6
    ids = [f"r{i}" for i in range(240)]
    train = expunge.ArrayRecords(torch.tensor(x[:240]).float(), labels[:240], ids=ids)
    holdout = expunge.ArrayRecords(torch.tensor(x[240:]).float(), labels[240:], ids=[f"h{i}" for i in range(90)])
    torch.manual_seed(0)
    return expunge.Problem(model=nn.Linear(6, 3), train=train, holdout=holdout, forget=KIND[::2])
"""
KIND = {f"r{i}" for i in range(0, 72, 3)}


@pytest.fixture
def job(project):
    """A job of its own beside the tiny one: a dozen of two dozen marked records are named."""
    (project / "marked.py").write_text(PROBLEM)
    file = project / "marked.toml"
    file.write_text('problem = "marked:problem"\n')
    return file


def test_it_lists_what_it_found_for_its_holder_alone_and_says_what_to_do(job, call):
    result = call("find", job)
    assert (result.code, result.out) == (0, "")
    file = job.parent / "found.csv"
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = {row["id"] for row in rows}
    assert len(found & KIND) >= 10
    assert len(found - KIND) <= 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = " ".join(result.err.split())
    assert f"{len(rows)} of " in said
    assert 'also = ["found.csv"]' in said
    assert not any(name in said.split() for name in found), "no ids where they could be logged"


def test_what_stays_in_the_list_is_forgotten_by_the_job(job, call):
    call("find", job, "--quiet")
    file = job.parent / "found.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join(rows[:6]) + "\n")  # looked through
    job.write_text('problem = "marked:problem"\nalso = ["found.csv"]\n')
    again = call("find", job, "--out", job.parent / "more.csv", "--json").json
    assert again["named"] == 12 + 5


def test_a_list_that_is_there_is_not_written_over(job, call):
    assert call("find", job, "--json").json["file"].endswith("found.csv")
    before = (job.parent / "found.csv").read_bytes()
    (job.parent / "link.csv").symlink_to("nowhere")
    for words in ((), ("--out", job.parent / "link.csv")):
        result = call("find", job, *words)
        assert result.code == 2
        assert "already there" in result.err
    assert (job.parent / "link.csv").is_symlink()
    assert (job.parent / "found.csv").read_bytes() == before


def test_where_nothing_is_found_nothing_is_written_and_the_reason_is_said(job, call):
    text = (job.parent / "marked.py").read_text()
    (job.parent / "marked.py").write_text(text.replace("KIND[::2]", '[f"r{i}" for i in range(101, 161, 5)]'))
    result = call("find", job)
    assert result.code == 0
    assert " ".join(result.err.split()).startswith("None of ")
    assert not (job.parent / "found.csv").exists()


@pytest.mark.parametrize(
    "content", [None, "", "name\nr1\n", "r1,0.9\n", "id;likely\nr1;0.9\n", "id,likely\nr1,0.9\n,0.8\n", b"\xff\xfe"]
)
def test_a_list_that_is_none_is_an_error_that_says_how_it_should_be(job, call, content):
    job.write_text('problem = "marked:problem"\nalso = ["mine.csv"]\n')
    if content is not None:
        (job.parent / "mine.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = call("plan", job)
    assert result.code == 2
    assert "column `id`" in result.err
    assert "r1" not in result.err.replace("`id`", ""), "without names the first line is a record"


def test_a_list_as_spreadsheets_save_it_is_read(job, call):
    job.write_text('problem = "marked:problem"\nalso = ["mine.csv"]\n')
    (job.parent / "mine.csv").write_bytes("\ufeffid,likely\r\nr3,0.9\r\nr9,0.8\r\n".encode())
    assert call("find", job, "--json").json["named"] == 14


def test_a_second_list_stands_beside_the_first(job, call):
    call("find", job)
    file = job.parent / "found.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:4]) + "\n")
    job.write_text('problem = "marked:problem"\nalso = ["found.csv"]\n')
    result = call("find", job, "--out", job.parent / "more.csv")
    said = " ".join(result.err.split())
    assert 'in the place of `also`, also = ["found.csv", "more.csv"]' in said
    job.write_text('problem = "marked:problem"\nalso = ["found.csv", "more.csv"]\n')
    assert call("plan", job).code == 0


def test_an_unknown_way_names_those_there_are(job, call):
    result = call("find", job, "--way", "magic")
    assert result.code == 2
    assert "alike" in result.err
