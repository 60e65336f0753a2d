"""JUnit XML: valid, read alike by two parsers, red where something required is not passed, and never by the control."""

from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from xml.etree import ElementTree

import junitparser
import pytest
from lxml import etree

from expunge.core.check import NotMeasured
from expunge.core.level import Level
from expunge.core.verdict import Decision
from expunge.render.junit import suites

XSD = Path(__file__).parents[1] / "support" / "schemas" / "junit-10.xsd"
HOSTILE = "\x00\x08\x1b[31m\x9b2J\ud800\ufffe]]></failure><failure/>&amp;\"'<!--\r\n\t🗑"


def read(report):
    return ElementTree.fromstring(suites(report))


def cases(report, suite):
    found = [element for element in read(report).iter("testsuite") if element.get("name") == suite]
    return {case.get("name"): case for element in found for case in element.iter("testcase")}


def signs(report, suite):
    return {
        name: [child.tag for child in case if child.tag != "system-out"] for name, case in cases(report, suite).items()
    }


def red(report):
    """What a CI server makes of it: any failure or error."""
    root = read(report)
    return bool(list(root.iter("failure")) + list(root.iter("error")))


def test_valid_against_the_schema_of_jenkins(sample):
    schema = etree.XMLSchema(etree.parse(XSD))
    schema.assertValid(etree.parse(BytesIO(suites(sample).encode())))


def test_the_schema_sees_what_is_wrong(samples):
    text = suites(samples["erased"]).replace("<properties>", "<properties><nonsense/>", 1)
    assert not etree.XMLSchema(etree.parse(XSD)).validate(etree.parse(BytesIO(text.encode())))


def test_another_parser_counts_the_same(sample):
    found = junitparser.JUnitXml.fromroot(junitparser.JUnitXml.fromstring(suites(sample).encode())._elem)
    root = read(sample)
    for name in ("tests", "failures", "errors"):
        assert int(root.get(name)) == sum(int(suite.get(name)) for suite in root)
        assert int(root.get(name)) == sum(getattr(suite, name) for suite in found)
    for suite in found:
        listed = list(suite)
        assert suite.tests == len(listed)
        results = [type(result).__name__.lower() for case in listed for result in case.result]
        assert (suite.failures, suite.errors, suite.skipped) == tuple(
            results.count(kind) for kind in ("failure", "error", "skipped")
        )


def test_one_suite_per_audit_and_one_case_per_check(samples):
    report = samples["contradicted"]
    names = [suite.get("name") for suite in read(report)]
    assert names == ["claim", "control", "attempt 1", "attempt 1, second look"]
    audit = report.attempts[0].audits[1]
    assert list(cases(report, names[-1])) == [finding.title for finding in audit.findings]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("erased", False), ("noop", True), ("powerless", True), ("inconclusive", True), ("nothing", False)],
)
def test_red_and_green(samples, name, expected):
    assert red(samples[name]) == expected


def test_a_failed_attempt_that_does_not_ship_is_skipped(samples):
    report = samples["erased"]
    first = signs(report, "attempt 1")
    assert {tuple(sign) for sign in first.values()} <= {(), ("skipped",)}
    assert ("skipped",) in {tuple(sign) for sign in first.values()}
    assert set(map(tuple, signs(report, "attempt 2").values())) == {()}


def test_a_failed_check_is_a_failure_and_says_why(samples):
    failed = [case for case in cases(samples["noop"], "attempt 1").values() if case.find("failure") is not None]
    assert failed
    for case in failed:
        assert "outside the margin" in case.find("failure").get("message")


def shown(report, change):
    """Replace the findings of the model that ships."""
    last = report.attempts[-1]
    audit = last.audits[-1]
    changed = replace(audit, findings=tuple(change(finding) for finding in audit.findings))
    return replace(report, attempts=(*report.attempts[:-1], replace(last, audits=(*last.audits[:-1], changed))))


@pytest.mark.parametrize("decision", [Decision.INCONCLUSIVE, Decision.NOT_MEASURED, Decision.FAIL])
@pytest.mark.parametrize("required", [True, False])
def test_a_required_check_that_did_not_pass_is_red_whatever_the_claim_says(samples, decision, required):
    def change(finding):
        if finding.check != "membership":
            return finding
        result = (
            NotMeasured(check="membership", because="no holdout")
            if decision is Decision.NOT_MEASURED
            else finding.result
        )
        return replace(finding, decision=decision, required=required, result=result)

    report = shown(samples["erased"], change)
    (sign,) = signs(report, "attempt 2")["Membership attack on the forgotten records"]
    assert sign == ({Decision.FAIL: "failure"}.get(decision, "error") if required else "skipped")
    assert red(report) == required


def test_the_control_is_red_only_without_power(samples):
    for name in ("erased", "noop"):
        control = signs(samples[name], "control")
        assert {sign for found in control.values() for sign in found} <= {"skipped"}
        assert control["the checks tell the original from retrained models"] == []
        assert control["Accuracy on the forgotten records"] == []  # it fails there, as it should
        assert control["Accuracy on the records that stay"] == ["skipped"]
    powerless = signs(samples["powerless"], "control")
    assert powerless["the checks tell the original from retrained models"] == ["error"]


def test_nothing_claimed_and_only_filtered_are_red(samples):
    assert signs(samples["erased"], "claim") == {"claim: Audited": []}
    assert signs(samples["noop"], "claim") == {"claim: None": ["failure"]}
    assert signs(samples["inconclusive"], "claim") == {"claim: None": ["error"]}
    filtered = replace(samples["erased"], claim=Level.SUPPRESSED)
    assert signs(filtered, "claim") == {"claim: Suppressed": ["failure"]}


def test_a_method_that_gave_no_model_is_red_if_it_was_the_last(samples):
    report = samples["noop"]
    lost = replace(report, attempts=(replace(report.attempts[0], audits=()),))
    assert signs(lost, "attempt 1") == {"audit": ["error"]}


def test_no_text_breaks_out(samples):
    report = shown(
        replace(samples["noop"], title=HOSTILE),
        lambda f: replace(
            f, title=HOSTILE, decision=Decision.NOT_MEASURED, result=NotMeasured(check=f.check, because=HOSTILE)
        ),
    )
    text = suites(report)
    root = ElementTree.fromstring(text)
    count = len(report.attempts[0].audits[0].findings)
    assert len(list(root.iter("testcase"))) == len(list(read(samples["noop"]).iter("testcase")))
    assert len(list(root.iter("failure"))) == 1  # the claim
    assert "]]></failure><failure/>&amp;\"'<!--" in root.get("name")
    assert root.get("name").endswith("🗑")
    assert not set(text) & set("\x00\x08\x1b\x9b\ud800\ufffe")
    assert len(list(root.iter("error"))) >= count - 1
    etree.XMLSchema(etree.parse(XSD)).assertValid(etree.parse(BytesIO(text.encode())))
    assert StringIO(text).readline() == "<?xml version='1.0' encoding='utf-8'?>\n"
