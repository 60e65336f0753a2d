"""The summary on a terminal: short lines, the same headline as the page, nothing hidden."""

from dataclasses import replace

from expunge.core.level import Level
from expunge.core.report import Report, Usage, Used
from expunge.render import formats
from expunge.render._numbers import count
from expunge.render._words import headline
from expunge.render.text import summary
from tests.render.conftest import sample_report
from tests.render.test_junit import shown


def test_a_margin_that_no_difference_can_leave_is_told():
    """Of a share no difference is larger than from its yardstick to 0 or to 1."""
    report = shown(sample_report("erased"), lambda f: replace(f, margin=0.9) if f.check == "forget_accuracy" else f)
    said = "wider than any possible difference: cannot fail"
    assert said in " ".join(summary(report).split())
    for name in ("html", "markdown", "junit"):
        assert said in formats.FORMATS[name].render(report).decode().replace("\u00a0", " "), name
    bits = shown(sample_report("erased"), lambda f: replace(f, margin=9.0) if f.check == "divergence" else f)
    assert said not in " ".join(summary(bits).split()), "of bits there is no end"


def test_records_that_stand_for_those_that_are_gone_are_not_called_trained_on():
    report = sample_report("erased")
    gone, kept = report.forget_count, report.retain_count
    alone = replace(report, problem=replace(report.problem, calibration="digest"))
    for name in ("html", "markdown"):
        said = [formats.FORMATS[name].render(each).decode() for each in (report, alone)]
        assert [f"of {count(gone + kept)}" in each for each in said] == [True, False], name
    said = [" ".join(summary(each).replace("\u00a0", " ").split()) for each in (report, alone)]
    assert [f"{count(kept)} records stay" in each for each in said] == [True, False]
    assert f"{count(gone)} records to forget, {count(kept)} records stand for what stayed" in said[1]


def test_lines_fit_a_terminal(sample: Report):
    lines = summary(sample).split("\n")
    assert lines[0] == headline(sample)
    assert max(len(line) for line in lines) <= 100
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1]


def test_every_check_and_every_attempt_has_its_line(sample):
    text = " ".join(summary(sample).split())
    for attempt in sample.attempts:
        assert f"{attempt.number} {attempt.title}: " in text
    if sample.attempts:
        for finding in (sample.shipped or sample.attempts[-1]).audits[-1].findings:
            assert f"{finding.decision.value} {finding.title}" in text


def test_lines(samples):
    text = summary(samples["erased"])
    assert (
        "  pass          Accuracy on the forgotten records: +0.8 points from retraining "
        "(−2.7 to +4.3; margin\n                ±6.0)"
    ) in text
    assert "  Cost       25.7 times one retraining, everything counted" in text
    assert "  2  Student and teacher (SCRUB): erased; claim audited; cost 34 % of one retraining, ships" in text


def test_what_was_not_measured_says_why(samples):
    text = " ".join(summary(samples["inconclusive"]).split())
    assert "not measured Accuracy on the forgotten records: no trainer was given" in text
    assert "nothing could be measured on the original" in text


def test_control_without_power_is_said(samples):
    assert "they show nothing here" in summary(samples["powerless"])


def test_suppressed_is_not_erased(samples):
    text = summary(replace(samples["erased"], claim=Level.SUPPRESSED))
    assert text.startswith("Not erased")


def test_a_title_cannot_steer_the_terminal(samples):
    text = summary(replace(samples["erased"], title="\x1b[2Jgone\x9b", statement="a\nb"))
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "             a b" in text


def test_lines_fit_a_narrow_terminal(sample):
    for width in (40, 60):
        for line in summary(sample, width=width).split("\n"):
            assert len(line) <= width or len(line.split()) <= 3, line


def test_time_and_energy_are_said_or_why_not(samples):
    usage = Usage(
        whole=Used(4000.0, {"processors": 7_200_000.0}),
        reference=Used(160.0, {"processors": 288_000.0}),
        unmeasured={"NVIDIA GPUs": "there are none"},
        lost=1,
    )
    text = " ".join(summary(replace(samples["erased"], usage=usage)).split())
    assert "Time 1 hour 6 minutes of work, not counting what was under way when 1 command was killed" in text
    assert (
        "Energy 2.00 kWh by processors, of the whole machine while this run worked; not measured (NVIDIA GPUs" in text
    )
    assert "Retraining one took 2 minutes 40 seconds of the run on average (workers train several at a time)" in text
    assert "so the run took 25.0 times as long" in text
    assert "80.0 Wh by processors, so the run used 25.0 times as much" in text
    nothing = replace(usage, whole=Used(0.4), reference=None)
    text = " ".join(summary(replace(samples["erased"], usage=nothing)).split())
    assert "Energy not measured (NVIDIA GPUs: there are none)" in text
    assert "Retraining one" not in text
    assert "Energy" not in summary(samples["erased"])
