"""The forms of a report: each a pure function of the record, in a file of its own."""

import random
from dataclasses import replace

import pytest

from expunge.certify.recheck import contradictions
from expunge.core.digest import sha256
from expunge.core.errors import UnknownName
from expunge.core.level import Level
from expunge.core.verdict import Verdict
from expunge.render._words import headline
from expunge.render.formats import ALWAYS, FORMATS, named
from expunge.render.html import page
from expunge.render.record import dump, load
from expunge.render.text import summary
from tests.render.conftest import SAMPLES


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_same_record_gives_the_same_bytes(samples, sample, name):
    report = samples[sample]
    random.seed(1)
    first = FORMATS[name].render(report)
    random.seed(2)
    assert first == FORMATS[name].render(load(dump(report)))
    assert first.decode().endswith("\n")


def test_files_differ_and_what_every_run_writes_is_among_them():
    assert len({form.file for form in FORMATS.values()}) == len(FORMATS)
    assert set(ALWAYS) <= set(FORMATS)


def test_page_and_record_are_what_they_were(samples):
    assert FORMATS["html"].render(samples["erased"]) == page(samples["erased"]).encode()
    assert load(FORMATS["json"].render(samples["erased"])) == samples["erased"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownName, match="pdf") as caught:
        named("pdf", where="--as")
    assert caught.value.obstacles[0].expected == f"one of {', '.join(FORMATS)}"


WORDS = {
    "text": ("+0.01 AUC from chance", "+3.1 points from the original", "models that never saw the canaries"),
    "markdown": ("0.50 AUC (expected by design: chance)", "91.3 % (not of retrained models: the original)"),
    "junit": ("expected by design: chance 0.50 AUC", "difference +0.01 AUC", "not of retrained models: the original"),
    "sarif": ("+0.01 AUC from chance", "+3.1 points from the original", "against chance."),
    "html": ("expected by design: chance", "being better is no failure", "Difference from chance"),
    "json": ('"yardstick":{"error":0.0258,"retrained":true,"value":0.5,"what":"chance"}', '"harmless":"higher"'),
}


@pytest.mark.parametrize("name", WORDS)
def test_every_form_says_what_was_expected_without_references(samples, name):
    text = FORMATS[name].render(samples["canaries"]).decode() if name != "text" else summary(samples["canaries"])
    text = " ".join(text.replace("\u00a0", " ").split())
    missing = [words for words in WORDS[name] if words.replace(" ", "") not in text.replace(" ", "")]
    assert missing == []
    assert "from retrained models: they show nothing" not in text


def test_decisions_and_verdicts_without_references_follow_from_their_figures(samples):
    wrong = [line for line in contradictions(samples["canaries"]) if "is not the one it made" not in line]
    assert wrong == []


@pytest.mark.parametrize("name", ["html", "markdown", "junit", "sarif"])
def test_of_a_run_that_judged_nothing_no_form_says_the_verdict_that_an_earlier_version_wrote(samples, name):
    report = samples["noop"]
    filtered = replace(report.attempts[0], audits=(), claim=Level.SUPPRESSED)
    now = replace(report, attempts=(filtered,), claim=Level.SUPPRESSED, verdict=None)
    earlier = replace(now, verdict=Verdict.INCONCLUSIVE)
    digests = [sha256(dump(each)).encode() for each in (earlier, now)]
    assert FORMATS[name].render(earlier).replace(*digests) == FORMATS[name].render(now)
    assert summary(earlier) == summary(now)
    assert headline(replace(earlier, claim=None)).endswith("no model was judged")
