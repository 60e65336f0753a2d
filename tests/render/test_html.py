"""The page: whole, self-contained, legible, the same every time, and never better than its claim."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.core.chart import FEWEST, Chart, Role, Series
from expunge.core.check import NotMeasured, Question
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.plan import TUNED
from expunge.core.report import Finding, Tuned
from expunge.core.verdict import Decision, Verdict
from expunge.render import record
from expunge.render._axis import linear, logarithmic
from expunge.render._numbers import SPACE, Scale, chance, confidence, error_rate, percent, plain, retrainings
from expunge.render.html import page

VOID = {"meta"}
STYLE = resources.files("expunge.render").joinpath("report.css").read_text()


class Outline(HTMLParser):
    """Reads a page and refuses tags that do not nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.headings, self.text, self.tables = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if self.tables and self.open.count("table"):
            self.tables[-1].append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(markup):
    outline = Outline()
    outline.feed(markup)
    outline.close()
    assert outline.open == []
    return outline


def words(markup):
    return re.sub(r"\s+", " ", " ".join(read(markup).text))


def headline(markup):
    return re.search(r"<h1>.*?<span>(.*?)</span></h1>", markup).group(1)


# --- whole and self-contained -------------------------------------------------------------------------------


def test_structure(sample):
    outline = read(page(sample))
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(outline.headings))
    assert dict(outline.tags)["html"] == {"lang": "en"}
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for _, attrs in outline.tags if "href" in attrs]
    assert links
    assert all(link[0] == "#" and link[1:] in ids for link in links)


def test_every_table_can_be_read_aloud(sample):
    tables = read(page(sample)).tables
    assert tables
    for parts in tables:
        assert [tag for tag, _ in parts].count("caption") == 1
        heads = [attrs for tag, attrs in parts if tag == "th"]
        assert heads
        assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in heads)
        for tag, attrs in parts:
            if tag in ("table", "tr", "th", "td", "tbody", "thead", "tfoot"):
                assert attrs.get("role"), f"<{tag}> loses its meaning when rows become blocks"


def test_every_drawing_has_words(samples):
    markup = page(samples["erased"])
    drawings = [attrs for tag, attrs in read(markup).tags if tag == "svg" and attrs.get("class") == "drawing"]
    assert len(drawings) == 7
    assert all(attrs["role"] == "img" and "margin ±" in attrs["aria-label"] for attrs in drawings)


def test_needs_nothing_from_elsewhere(sample):
    markup = page(sample)
    assert not re.search(r"https?:|//[a-z]|<script|<link|<img|<iframe|@import|url\(|\son[a-z]+=| style=", markup)
    policy = dict(
        (attrs["http-equiv"], attrs["content"])
        for tag, attrs in read(markup).tags
        if tag == "meta" and "http-equiv" in attrs
    )
    assert policy["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_same_bytes_in_every_process(samples, tmp_path):
    for name, sample in samples.items():
        (tmp_path / name).write_bytes(record.dump(sample))
    program = (
        "import sys, pathlib; from expunge.render import html, record\n"
        "for name in sys.argv[1:]:\n"
        "    report = record.load(pathlib.Path(name).read_bytes())\n"
        "    sys.stdout.buffer.write(html.page(report).encode())"
    )
    pages = {
        subprocess.run(
            [sys.executable, "-c", program, *(str(tmp_path / name) for name in samples)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert pages == {"".join(map(page, samples.values())).encode()}


def test_text_is_escaped(samples):
    evil = "<script>alert('x')</script> & \"quotes\" \x00\x1b[31m"
    report = samples["erased"]
    attempt = report.attempts[1]
    finding = replace(attempt.audits[0].findings[0], title=evil, reason=evil)
    audit = replace(attempt.audits[0], findings=(finding,), process=evil)
    outcome = replace(attempt.outcome, warnings=(evil,), stopped=evil)
    config = {evil: evil}
    attempt = replace(attempt, title=evil, audits=(audit,), outcome=outcome, config=config)
    report = replace(
        report,
        title=evil,
        statement=evil,
        limits=(evil,),
        not_covered=(evil,),
        notes=(evil,),
        destroyed=(evil,),
        kept=(evil,),
        policy=evil,
        request={"reference": evil, "ground": evil, "received": evil, "due": evil},
        environment={evil: evil},
        costs=(replace(report.costs[0], what=evil),),
        attempts=(report.attempts[0], attempt),
    )
    markup = page(report)
    read(markup)
    assert "<script" not in markup
    assert "\x00" not in markup
    assert "\x1b" not in markup
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;quotes&quot;" in markup


# --- says everything ----------------------------------------------------------------------------------------


def test_every_check_of_every_question_is_shown(sample):
    text = words(page(sample))
    for question in Question:
        assert question.value in text or not sample.attempts
    for attempt in sample.attempts:
        assert attempt.title in text
        for audit in attempt.audits:
            for finding in audit.findings:
                assert finding.title in text
                assert finding.reason.rstrip(".")[1:] in text


def test_what_was_not_measured_says_why(samples):
    text = words(page(samples["inconclusive"]))
    because = "Not measured: no trainer was given, so there are no retrained models to compare with"
    assert text.count(because) == 14  # seven checks, on the original and on the attempt
    assert "Not known: 3 of 3 required checks could not be measured." in text
    assert "Not measured: the model has no head" in words(page(samples["exact"]))


def test_a_value_is_shown_with_everything_that_could_speak_against_it(samples):
    text = words(page(samples["erased"])).replace(SPACE, " ")
    for said in (
        "86.6 %",  # the unlearned model
        "85.8 % 84.5 to 88.8 %",  # mean and range of the references
        "99.8 %",  # the original
        "+0.8 points −2.7 to +4.3 points",  # difference and interval
        "±6.0 points a true retrain passes: 94 %",  # margin, and what it means for a model without fault
        # What the check could and could not have seen: null, references that pass, smallest difference, blind spot.
        "−1.4 to +3.2 points 20 of 20 11.9 points or more, in 80 % of cases "
        "A model that knows the records and answers wrongly on purpose.",
        "TPR at FPR 5% 0.052 (were both alike 0.050) TPR at FPR 10% 0.110",  # in the order of the numbers
    ):
        assert said in text, said


def test_a_failed_check_says_on_which_side(samples):
    assert "traces of the records remain" in words(page(samples["noop"]))
    report = samples["noop"]
    attempt = report.attempts[0]
    flipped = tuple(mirrored(finding) for finding in attempt.audits[0].findings)
    over = replace(attempt, audits=(replace(attempt.audits[0], findings=flipped),))
    text = words(page(replace(report, attempts=(over,))))
    assert "forgotten more than retraining would forget" in text
    assert "traces of the records remain" not in text


def mirrored(finding: Finding) -> Finding:
    """The same finding, as far on the other side of the references."""
    mean = sum(finding.result.references) / len(finding.result.references)
    result = replace(finding.result, value=2 * mean - finding.result.value)
    narrow, wide = (replace(i, low=-i.high, high=-i.low) for i in (finding.narrow, finding.wide))
    return replace(finding, result=result, narrow=narrow, wide=wide)


def test_attempts_costs_and_state_are_all_listed(samples):
    text = words(page(samples["exact"])).replace(SPACE, " ")
    for said in ("2.5 %", "1.25 %", "0.625 %", "98.75 %", "2,000 %", "26.7 times that", "None of its own"):
        assert said in text, said
    assert "Attempt 1, second look" in words(page(samples["contradicted"]))
    assert "One audit said “not erased”" in words(page(samples["contradicted"]))
    assert "attempts/1/model.safetensors" in words(page(samples["noop"]))
    assert "references/cache" in text
    assert "17 days before it was due" in text


def test_an_agreement_that_shows_nothing_is_not_called_a_pass(samples):
    report = samples["powerless"]
    findings = report.attempts[0].audits[0].findings
    assert all(finding.decision is Decision.PASS for finding in findings)
    text = words(page(report))
    assert text.count("could not even tell the original model from retrained ones") == 4  # card and table
    assert "No power shown" in text


def test_an_attempt_that_failed_is_shown_without_a_verdict(samples):
    report = samples["noop"]
    broken = replace(report.attempts[0], audits=(), model="", claim=None)
    text = words(page(replace(report, attempts=(broken,), verdict=Verdict.INCONCLUSIVE)))
    assert "Not judged" in text
    assert "Not asked: no check of this question was run." in text


# --- charts -------------------------------------------------------------------------------------------------


def charts_of(report):
    attempt = report.shipped or report.attempts[-1]
    return [chart for finding in attempt.audits[-1].findings for chart in getattr(finding.result, "charts", ())]


def figures(markup):
    """The drawings of a page with everything that belongs to them, by title."""
    found = re.findall(r'<figure class="chart[^"]*">.*?</figure>', markup)
    return {re.search(r"<strong>(.*?)</strong>", inside).group(1): inside for inside in found}


def test_where_the_records_sit_is_drawn_once(samples):
    report = samples["erased"]
    sits = Chart(
        title="Where they sit", x="block", y="share of the slope", histogram=True, n=40,
        series=(Series(role=Role.ORIGINAL, x=(0.5, 1.5, 2.5), y=(0.25, 0.75)),),
    )  # fmt: skip
    attempts = [replace(a, outcome=replace(a.outcome, charts=(sits,))) for a in report.attempts]
    markup = page(replace(report, attempts=tuple(attempts)))
    assert markup.count("<h3>Where the records sit</h3>") == 1
    assert re.findall(r"<strong>(Where they sit)</strong>", markup) == ["Where they sit"]
    assert "75" in figures(markup)["Where they sit"]
    assert "Where the records sit" not in page(report)


def with_chart(report, chart):
    """The report with this chart alone."""
    attempt = report.attempts[-1]
    findings = list(attempt.audits[-1].findings)
    place = next(i for i, finding in enumerate(findings) if finding.check == "membership")
    findings = [
        replace(f, result=replace(f.result, charts=(chart,) if i == place else ())) for i, f in enumerate(findings)
    ]
    audits = (*attempt.audits[:-1], replace(attempt.audits[-1], findings=tuple(findings)))
    return replace(report, attempts=(*report.attempts[:-1], replace(attempt, audits=audits)))


def test_every_chart_has_its_table_with_every_figure(samples):
    report = samples["erased"]
    drawn = figures(page(report))
    assert len(charts_of(report)) == 3
    for chart in charts_of(report):
        inside = drawn[chart.title]
        table = re.search(r"<details><summary>.*?</summary>(.*)</details>", inside).group(1)
        rows = re.findall(r"<tr.*?</tr>", table)
        heads = re.findall(r"<th[^>]*>(.*?)</th>", rows[0])
        assert len(rows) == 1 + len(chart.series[0].y)
        # A band takes three columns: mean, lowest, highest.
        assert len(heads) == 1 + sum(3 if line.low else 1 for line in chart.series)
        for row in rows[1:]:
            assert len(re.findall(r"<t[hd]", row)) == len(heads)
    text = words(drawn["Loss on the forgotten records"]).replace(SPACE, " ")
    assert "0 to 1 70 % 90 % 68 % 66 % 70 %" in text
    text = words(drawn["Membership attack: caught against false alarms"]).replace(SPACE, " ")
    assert "10 % 12 % 40 % 10 % 10 % 10 % 10 %" in text


def test_every_drawing_of_the_page_has_a_table(sample):
    for title, inside in figures(page(sample)).items():
        # The cost has its table right below, in the section's own words.
        assert "<table" in inside or title.startswith("Each part of the cost"), title
        for attributes in re.findall(r'<svg class="graph"([^>]*)>', inside):
            assert 'role="img"' in attributes or 'aria-hidden="true"' in attributes
        for inner in re.findall(r'<svg class="graph" role="img"(?![^>]*aria-label)[^>]*>(.*?)</svg>', inside):
            assert re.match(r"<title>.+</title><desc>.+</desc>", inner)


def test_no_two_lines_differ_by_colour_alone(samples):
    inside = figures(page(samples["erased"]))["Membership attack: caught against false alarms"]
    kinds = re.findall(r'class="curve ([a-z]+)"', inside.split("</ul>")[1])
    assert sorted(kinds) == ["before", "nothing", "subject", "yardstick"]
    dashes = {kind: re.search(rf"\.{kind} {{[^}}]*stroke-dasharray: ([^;]+);", STYLE) for kind in kinds}
    said = [found.group(1) if found else "solid" for found in dashes.values()]
    assert len(set(said)) == 4, "each line has a dash of its own"
    legend = re.search(r'<ul class="legend">(.*?)</ul>', inside).group(1)
    entries = re.findall(r"<li>(.*?)</li>", legend)
    assert [re.search(r"curve ([a-z]+)", entry).group(1) for entry in entries] == [
        *("subject", "before", "yardstick", "nothing")
    ]
    assert all(re.search(r"<span>\w+", entry) for entry in entries), "and a name"
    assert {"point", "original"} <= set(re.findall(r'<circle [^>]*class="([a-z]+)"', inside)), "and marks"


def test_a_line_goes_where_its_values_are(samples):
    x, y = (0.0, 2.0, 4.0), (0.0, 1.0, 0.5)
    line = Series(role=Role.SUBJECT, x=x, y=y)
    chart = Chart(title="T", x="passes", y="share of records", series=(line,), n=50)
    inside = figures(page(with_chart(samples["erased"], chart)))["T"]
    assert 'd="M0.0 1000.0 L500.0 0.0 L1000.0 500.0"' in inside
    steps = Chart(
        title="H", x="nats", y="share of records", series=(replace(line, y=(1.0, 0.5)),), n=50, histogram=True
    )
    inside = figures(page(with_chart(samples["erased"], steps)))["H"]
    assert 'd="M0.0 0.0 L500.0 0.0 L500.0 500.0 L1000.0 500.0"' in inside


def test_a_logarithmic_axis_draws_nothing_below_what_is_known(samples):
    inside = figures(page(samples["erased"]))["Membership attack: caught against false alarms"]
    assert "not</text>" in inside
    assert "resolved</text>" in inside
    assert "Nothing is drawn below 5 % false alarms." in inside
    assert "A line on the bottom edge stands for 0" in inside, "one value is 0, which has no place"
    edge = float(re.search(r'<rect x="0" y="0" width="([0-9.]+)%"[^>]*class="unknown"', inside).group(1))
    assert edge == pytest.approx(100 * math.log(5) / math.log(100), abs=0.01)
    starts = re.findall(r'<path d="M([0-9.]+) [^"]*" class="curve', inside.split("</ul>")[1])
    assert len(starts) == 4
    assert all(float(start) == pytest.approx(10 * edge, abs=0.1) for start in starts)


def test_what_cannot_be_drawn_says_so(samples):
    note = "Not drawn: 12 holdout records resolve no rate of false alarms; it takes 20 or more."
    chart = Chart(title="Attack", x="x", y="y", series=(), log=True, n=30, note=note)
    inside = figures(page(with_chart(samples["erased"], chart)))["Attack"]
    assert note in inside
    assert "<svg" not in inside
    assert "<table" not in inside


def test_no_chart_over_a_handful(samples):
    line = Series(role=Role.SUBJECT, x=(0.0, 1.0), y=(0.125, 0.375))
    few, enough = (
        figures(page(with_chart(samples["erased"], Chart(title="T", x="x", y="y", series=(line,), n=n))))["T"]
        for n in (FEWEST - 1, FEWEST)
    )
    assert "fewer than 10 records" in few
    assert "<svg" not in few
    assert "0.375" not in few
    assert "<svg" in enough
    assert "0.375" in enough


def test_charts_are_drawn_of_the_attempt_that_is_shown_and_after_the_claim(samples):
    markup = page(samples["erased"])
    titles = list(figures(markup))
    assert len(titles) == len(set(titles)), "not of the other attempt, and not of the control"
    assert markup.index('id="claim"') < markup.index('class="cards"') < markup.index('<figure class="chart')
    assert titles == [
        "Accuracies against those of retrained models",
        *(chart.title for chart in charts_of(samples["erased"])),
        "Attempt 2: what the method minimised",
        "Each part of the cost beside one retraining (the dashed line)",
    ]


def test_accuracies_lie_on_one_scale(samples):
    report = samples["erased"]
    inside = figures(page(report))["Accuracies against those of retrained models"]
    lanes = re.findall(r'<span class="name">(.*?)</span>(<svg.*?</svg>)', inside)
    found = {f.title: f.result for f in report.shipped.audits[-1].findings if f.result.unit == "share"}
    assert [name for name, _ in lanes] == [*found, ""], "shares alone, and what can be got back stands apart"
    low = float(re.search(r">(\d+)\u00a0%</text>", lanes[-1][1]).group(1)) / 100
    for name, drawing in lanes[:-1]:
        result = found[name]
        for class_, value in (("point", result.value), ("original", result.original)):
            (at,) = re.findall(rf'<circle cx="([0-9.]+)%"[^>]*class="{class_}"', drawing)
            assert float(at) == pytest.approx(1 + 98 * (value - low) / (1 - low), abs=0.01)
        start, width = map(float, re.search(r'<rect x="([0-9.]+)%" width="([0-9.]+)%"', drawing).groups())
        assert start == pytest.approx(1 + 98 * (min(result.references) - low) / (1 - low), abs=0.01)
        assert start + width >= 1 + 98 * (max(result.references) - low) / (1 - low) - 0.01


def test_costs_stand_beside_one_retraining(samples):
    report = samples["erased"]
    inside = figures(page(report))["Each part of the cost beside one retraining (the dashed line)"]
    bars = re.findall(r'<rect x="0" y="6" width="([0-9.]+)%".*?<line x1="([0-9.]+)%"', inside)
    assert len(bars) == len(report.costs)
    for (width, one), line in zip(bars, report.costs, strict=True):
        assert float(width) == pytest.approx(line.share * float(one), abs=0.1)
    assert not figures(page(samples["nothing"])), "nothing was spent"
    unknown = "".join(figures(page(samples["inconclusive"])))
    assert "cost" not in unknown, "not measured is never 0"


def test_flat_and_odd_values_have_axes_too():
    for axis in (linear([0.0, 0.0], "nats"), linear([3.0, 3.0], "epoch", exact=True), linear([-5.0, -1.0], "")):
        assert axis.low < axis.high
        assert all(axis.low <= tick <= axis.high + 1e-9 for tick in axis.ticks)
        assert len(axis.ticks) >= 2
    for values in ([0.0], [1.0], [1e-5, 1.0], [0.0, 0.3]):
        axis = logarithmic(values, "share of records")
        assert 0 < axis.low < axis.high
        assert axis.place(0.0) == 0.0
        assert axis.place(axis.high) == 1.0
    assert [linear([1.0, 3.0], "epoch", exact=True).label(tick) for tick in (1.0, 2.0)] == ["1", "2"]
    axis = linear([1.0, 2.0], "epoch", exact=True)
    assert [axis.label(tick) for tick in axis.ticks] == ["1", "2"], "there is no half an epoch"
    axis = linear([0.0, 2e15], "objective")
    assert [axis.label(tick) for tick in axis.ticks] == ["0", "5×10¹⁴", "1.0×10¹⁵", "1.5×10¹⁵", "2.0×10¹⁵"]
    percents = linear([0.0, 0.08], "share of records")
    assert [percents.label(tick) for tick in percents.ticks] == [f"{v}{SPACE}%" for v in (0, 2, 4, 6, 8)]


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda k: k / 1000), min_size=1, max_size=8), st.booleans())
def test_an_axis_holds_its_values_in_their_order(values, exact):
    axis = linear(values, "nats", exact=exact)
    beside = 1e-9 * (axis.high - axis.low)
    assert axis.low <= min(values) + beside
    assert axis.high >= max(values) - beside
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 1 <= len(axis.ticks) <= 8


@given(st.floats(-1e12, 1e12), st.integers(-12, 15), st.booleans())
def test_the_ticks_of_an_axis_are_told_apart_by_their_names(start, power, exact):
    axis = linear([start * 10.0**power, (start + 1.0) * 10.0**power], "nats", exact=exact)
    names = [axis.label(tick) for tick in axis.ticks]
    assert len(set(names)) == len(names) or axis.high - axis.low < 1e-5 * max(abs(axis.low), abs(axis.high))


# --- three readers ------------------------------------------------------------------------------------------


def test_each_reader_is_led_to_their_parts(sample):
    nav = re.search(r"<nav.*?</nav>", page(sample)).group(0)
    readers = re.findall(r"<p>(.*?)</p><ul>(.*?)</ul>", nav)
    assert [who for who, _ in readers] == ["For the person who signs", "For the engineer", "For the auditor"]
    assert all("<a href" in links for _, links in readers)


# --- the headline follows the claim -------------------------------------------------------------------------


@pytest.mark.parametrize(("claim", "verdict"), list(product([None, *Level], Verdict)))
def test_headline_follows_the_claim(samples, claim, verdict):
    markup = page(replace(samples["erased"], claim=claim, verdict=verdict))
    line = headline(markup)
    assert line.startswith("Erased") == (claim is Level.AUDITED)
    assert line.startswith("Exact") == (claim in (Level.BITWISE, Level.EXACT))
    assert line.startswith("Certified") == (claim is Level.CERTIFIED)
    if claim in (None, Level.SUPPRESSED):
        assert 'class="masthead pass"' not in markup
        assert "with its claim reached" not in markup
    if claim is None and verdict is not Verdict.ERASED:
        assert line.startswith("Not")
    if claim is Level.SUPPRESSED:
        assert line.startswith("Not erased")
    assert (markup.count("claimed\u00a0here") == 1) == (claim is not None)


def test_headlines_of_the_samples(samples):
    assert {name: headline(page(report)) for name, report in samples.items()} == {
        "erased": "Erased: not distinguishable from retraining by the tests listed",
        "noop": "Not erased",
        "exact": "Exact: retrained without the records",
        "contradicted": "Exact: retrained without the records",
        "powerless": "Not shown to be erased: the audit was inconclusive",
        "inconclusive": "Not shown to be erased: the audit was inconclusive",
        "canaries": "Erased by the tests listed: canaries are gone; not compared with retraining",
        "nothing": "Nothing to erase: the request covers no records of the training data",
    }


# --- numbers ------------------------------------------------------------------------------------------------


def test_numbers_are_written_for_people():
    assert plain(-0.04, 1) == "0.0"
    assert plain(-1234.5, 1) == "−1,234.5"
    assert [percent(share) for share in (None, 0.0, 0.0001, 0.034, 0.5, 25.0)] == [
        f"not{SPACE}known",
        f"0{SPACE}%",
        f"under{SPACE}0.1{SPACE}%",
        f"3.4{SPACE}%",
        f"50{SPACE}%",
        f"2,500{SPACE}%",
    ]
    assert retrainings(25.66) == "25.7 times one retraining"
    assert [chance(p) for p in (0.001, 0.5, 0.999)] == [
        f"under{SPACE}1{SPACE}%",
        f"50{SPACE}%",
        f"over{SPACE}99{SPACE}%",
    ]


@given(st.integers(1, 30))
@settings(max_examples=30)
def test_a_confidence_is_never_rounded_to_certainty(attempt):
    alpha = 0.05 * 2.0**-attempt
    assert confidence(1 - 2 * alpha) not in (f"100{SPACE}%", f"0{SPACE}%")
    assert error_rate(alpha) != f"0{SPACE}%"


@given(st.floats(0.001, 0.2), st.floats(-1e-4, 1e-4), st.sampled_from(["share", "AUC", ""]))
def test_rounding_never_moves_a_bound_across_the_margin(margin, beyond, unit):
    finding = make_finding(margin, margin + beyond, unit)
    scale = Scale.of(finding)
    if abs(beyond) > 1e-6 or beyond == 0:
        bound, limit = (
            float(text.lstrip("+±").replace(",", ""))
            for text in (scale.bare_step(margin + beyond), scale.bare_margin(margin))
        )
        assert (bound <= limit) == (margin + beyond <= margin)


def make_finding(margin, high, unit):
    from expunge.core.check import Direction, Interval, Measurement

    interval = Interval(-margin / 2, high, 0.95)
    return Finding(
        check="c",
        title="c",
        question=Question.GONE,
        required=True,
        margin=margin,
        reason="r",
        result=Measurement(
            check="c",
            value=0.5,
            references=(0.5, 0.5),
            original=None,
            interval=interval,
            n=1,
            record_error=0.0,
            null_errors=(0.0, 0.0),
            better=Direction.LOWER,
            unit=unit,
        ),
        decision=Decision.INCONCLUSIVE,
        narrow=interval,
        wide=interval,
    )


def test_a_check_without_original_null_or_references_is_still_shown(samples):
    report = samples["noop"]
    attempt = report.attempts[0]
    full = attempt.audits[0].findings[0]
    bare = replace(full, null=None, null_passes=None, chance=None, power=None, narrow=None, wide=None)
    bare = replace(bare, result=replace(full.result, original=None, references=()))
    odd = replace(full, result=NotMeasured(check="x", because="odd"), decision=Decision.NOT_MEASURED, reason="")
    audit = replace(attempt.audits[0], findings=(bare, odd), references=())
    text = words(page(replace(report, attempts=(replace(attempt, audits=(audit,)),))))
    assert "not known" in text.replace(SPACE, " ")
    assert "Not measured: odd" in text


# --- colours ------------------------------------------------------------------------------------------------

INKS = {"ink", "muted", "link", "pass", "fail", "unsure", "none"}
PANELS = {"pass-panel", "fail-panel", "unsure-panel", "none-panel"}
# Text colour -> grounds it is printed on (WCAG 2.2, 1.4.3: 4.5), and graphics likewise (1.4.11: 3).
TEXT = {
    "ink": {"paper", "panel", "zone", *PANELS},
    "muted": {"paper", "panel"},
    "link": {"paper"},
    "paper": {"pass", "fail"},  # the mark inside a sign
    **{tone: {"paper", "panel", *PANELS} for tone in ("pass", "fail", "unsure", "none")},
}
GRAPHICS = {
    "data": {"panel", "zone", "paper", "band"},
    "null": {"panel", "zone", "paper", "band"},
    "edge": {"panel", "zone", "paper"},
    "before": {"panel", "zone", "paper", "band"},
}
ORNAMENT = {"line", "band"}  # rules that carry no meaning; the ground of a band, whose edge is drawn


def colours(block):
    return {
        name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
        for name, value in re.findall(r"--([a-z-]+):\s*#([0-9a-f]{6})", block)
    }


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_formula_has_its_published_ends():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    grey = (0x76 / 255,) * 3  # the lightest grey that passes on white
    assert contrast(grey, (1, 1, 1)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme):
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    known = colours(light if scheme == "light" else dark)
    assert set(known) == {*TEXT, *GRAPHICS, *ORNAMENT, "panel", "zone", *PANELS}, "a colour without a pair"
    poor = [
        (ink, ground)
        for pairs, least in ((TEXT, 4.5), (GRAPHICS, 3.0))
        for ink, grounds in pairs.items()
        for ground in grounds
        if contrast(known[ink], known[ground]) < least
    ]
    assert poor == []


def test_colours_are_named_once():
    outside = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb|hsl", outside)
    used = set(re.findall(r"var\(--([a-z-]+)\)", outside))
    assert used == set(colours(STYLE))


def test_a_decision_has_a_word_and_a_sign(samples):
    for report in samples.values():
        badges = re.findall(r'<span class="badge [a-z]+">(.*?)</span></span>', page(report))
        assert badges
        for inside in badges:
            assert re.match(r'<svg class="sign" aria-hidden="true"><use href="#sign-[a-z]+"/></svg><span>\w', inside)


@pytest.mark.parametrize(("unit", "said"), [("share", "100"), ("share of tokens", "100"), ("AUC", "1"), ("nats", "12")])
def test_a_difference_of_two_shares_ends_at_all_of_them(unit, said):
    """Three references allow thousands of points; there are no more than a hundred."""
    low, high = Scale(unit, 0).steps(-12.2, 12.3).split(" to ")
    assert low.lstrip("−") == said
    assert high.startswith(f"+{said}")


def test_a_search_is_shown_also_where_nothing_was_tried_after_it(samples):
    report = samples["noop"]
    one = Tuned(
        method="finetune",
        title="Fine-tuning",
        start="the recipe for digits",
        searched=("lr",),
        trials=7,
        cut=2,
        failed=1,
        best=None,
        config={},
        match=0.0,
        harm=0.0,
        accuracy=0.0,
        original=0.25,
        floor=0.9,
        missing=0,
        cost=Cost(trained=100.0),
        share=0.125,
    )
    option = replace(report.plan.options[0], share=0.2, why=TUNED)
    searched = replace(report, attempts=(), tuned=(one,), plan=replace(report.plan, options=(option,)))
    text = words(page(searched))
    assert "No method was run" in text
    assert re.search(r"Fine-tuning 7 2 1 None\s+1[23]\D*%", text)
    assert re.search(r"up to 20\D*%", text)
