"""SARIF: valid, one rule per check, kinds and levels as the standard has them, nothing local."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from expunge.core.check import NotMeasured
from expunge.core.level import Level
from expunge.core.verdict import Decision
from expunge.render.sarif import log
from tests.render.test_junit import shown

SCHEMA = json.loads((Path(__file__).parents[1] / "support" / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())
NAME = "Membership attack on the forgotten records"


def run(report):
    (found,) = json.loads(log(report))["runs"]
    return found


def results(report, subject):
    return {found["ruleId"]: found for found in run(report)["results"] if found["properties"]["subject"] == subject}


def test_valid_against_the_schema(sample):
    jsonschema.Draft4Validator(SCHEMA).validate(json.loads(log(sample)))


def test_the_schema_sees_what_is_wrong(samples):
    wrong = json.loads(log(samples["erased"]))
    wrong["runs"][0]["results"][0]["kind"] = "wrong"
    assert not jsonschema.Draft4Validator(SCHEMA).is_valid(wrong)


def test_a_level_stands_beside_fail_alone(sample):
    """3.27.10: where kind is not fail, level shall be none."""
    for found in run(sample)["results"]:
        assert (found["kind"] == "fail") == (found["level"] != "none"), found


def test_rules_are_the_checks_and_results_point_at_them(samples):
    report = samples["erased"]
    rules = run(report)["tool"]["driver"]["rules"]
    checks = {finding.check for finding in report.control.findings}
    assert {rule["id"] for rule in rules} == {"claim"} | checks
    for found in run(report)["results"]:
        assert rules[found["ruleIndex"]]["id"] == found["ruleId"]
    (rule,) = [rule for rule in rules if rule["id"] == "membership"]
    assert rule["shortDescription"]["text"] == NAME
    assert "Cannot see: Attackers with shadow models" in rule["help"]["text"]
    assert "Margin ±0.05" in rule["help"]["text"]


def test_the_source_of_a_check_is_in_its_help(samples):
    report = shown(samples["erased"], lambda f: replace(f, source="Lin 1991"))
    control = replace(report.control, findings=tuple(replace(f, source="Lin 1991") for f in report.control.findings))
    rules = run(replace(report, control=control))["tool"]["driver"]["rules"]
    assert all("Source: Lin 1991." in rule["help"]["text"] for rule in rules if rule["id"] != "claim")


@pytest.mark.parametrize(
    ("decision", "required", "expected"),
    [
        (Decision.PASS, True, ("pass", "none")),
        (Decision.FAIL, True, ("fail", "error")),
        (Decision.FAIL, False, ("fail", "note")),
        (Decision.INCONCLUSIVE, True, ("open", "none")),
        (Decision.NOT_MEASURED, True, ("open", "none")),
        (Decision.NOT_MEASURED, False, ("notApplicable", "none")),
    ],
)
def test_kinds_and_levels(samples, decision, required, expected):
    def change(finding):
        if finding.check != "membership":
            return finding
        gap = NotMeasured(check="membership", because="no holdout")
        result = gap if decision is Decision.NOT_MEASURED else finding.result
        return replace(finding, decision=decision, required=required, result=result)

    report = shown(samples["erased"], change)
    found = results(report, "attempt 2")["membership"]
    assert (found["kind"], found["level"]) == expected
    told = [said["associatedRule"]["id"] for said in run(report)["invocations"][0]["toolExecutionNotifications"]]
    assert told == (["membership"] if expected[0] == "open" else [])


def test_original_and_attempts_that_do_not_ship_inform(samples):
    for subject in ("original", "attempt 1"):
        assert {found["kind"] for found in results(samples["erased"], subject).values()} == {"informational"}
    assert "fail" in {found["kind"] for found in results(samples["noop"], "attempt 1").values()}


def test_nothing_claimed_is_an_error(samples):
    kinds = {name: results(samples[name], "claim")["claim"]["level"] for name in samples}
    assert kinds == {
        **dict.fromkeys(("erased", "exact", "contradicted", "canaries", "nothing"), "none"),
        **dict.fromkeys(("noop", "powerless", "inconclusive"), "error"),
    }
    filtered = replace(samples["erased"], claim=Level.SUPPRESSED)
    assert results(filtered, "claim")["claim"]["level"] == "error"


def test_every_result_has_a_place_and_no_path_of_a_machine(sample):
    for found in run(sample)["results"]:
        (place,) = found["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "report.json"
    assert "file:" not in log(sample)
    assert str(Path.cwd()) not in log(sample)


def test_fingerprints_tell_results_apart(sample):
    marks = [found["partialFingerprints"]["expunge/v1"] for found in run(sample)["results"]]
    assert len(set(marks)) == len(marks)


def test_a_text_makes_no_link_and_no_placeholder(samples):
    hostile = "see [this](https://evil) {0}\x1b\\"
    report = shown(samples["erased"], lambda f: replace(f, title=hostile))
    report = replace(report, control=None, attempts=report.attempts[1:])
    rule = run(report)["tool"]["driver"]["rules"][1]
    assert rule["shortDescription"]["text"] == "see \\[this\\](https://evil) {{0}}\ufffd\\\\"
