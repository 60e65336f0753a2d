"""``expunge report``: every form on stdout or in a file; a record that was changed is refused."""

import json

import pytest

from expunge.render.formats import FORMATS
from expunge.render.record import dump, load
from tests.support import certificates, reports


@pytest.fixture
def run(tmp_path):
    """A run directory with a report, and no certificate."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.json").write_bytes(dump(reports.report()))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_form_from_a_directory_and_from_a_file(run, call, name):
    expected = FORMATS[name].render(reports.report()).decode()
    for where in (run, run / "report.json"):
        result = call("report", where, "--as", name)
        assert (result.code, result.out, result.err) == (0, expected, "")


def test_into_a_file(run, call, tmp_path):
    result = call("report", run, "--as", "junit", "--out", tmp_path / "report.xml")
    assert (result.code, result.out) == (0, "")
    assert (tmp_path / "report.xml").read_bytes() == FORMATS["junit"].render(reports.report())
    assert "report.xml" in result.err


@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data.replace(b'"A toy"', b'"A  toy" ')])
def test_a_changed_record_is_refused(run, call, change):
    data = (run / "report.json").read_bytes()
    (run / "report.json").write_bytes(change(data))
    result = call("report", run)
    assert (result.code, result.out) == (3, "")
    assert "not the report that was written" in result.err


def test_beside_a_certificate_it_must_be_the_report_that_was_certified(call, tmp_path):
    """A number exchanged for another leaves a valid record; only the certificate knows."""
    made = certificates.certify(tmp_path)
    assert made.certificate.name == "certificate.json"
    path = made.certificate.with_name("report.json")
    path.write_bytes(dump(made.report))
    assert call("report", path).code == 0
    path.write_bytes(path.read_bytes().replace(b'"title":"A toy"', b'"title":"A boy"'))
    assert load(path.read_bytes()).title == "A boy"
    result = call("report", path)
    assert result.code == 3
    assert "not the report that was written" in result.err
    made.certificate.write_text(json.dumps({"payload": "x"}))
    assert "the certificate beside the report is not what was written" in call("report", path).err


def test_an_unknown_form_and_a_missing_report_are_usage_errors(run, call, tmp_path):
    result = call("report", run, "--as", "pdf")
    assert (result.code, result.out) == (2, "")
    assert "html, json, junit, markdown, sarif, text" in result.err
    assert call("report", tmp_path / "nowhere").code == 2
    (tmp_path / "empty").mkdir()
    assert "cannot read the report" in call("report", tmp_path / "empty").err
