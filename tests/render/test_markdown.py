"""Markdown: everything that matters is in it, and no text that came with the report does anything but stand there."""

import html
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from expunge.core.check import NotMeasured
from expunge.core.report import Usage, Used
from expunge.core.verdict import Decision
from expunge.render._words import headline
from expunge.render.markdown import escape, page
from tests.render.conftest import sample_report
from tests.render.test_junit import shown

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = (
    "# heading",
    "- list",
    "1. list",
    "---",
    "> quote",
    "a | b | c",
    r"a \| b \\| c",
    "<script>alert(1)</script>",
    "<https://evil.example>",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "[x]: https://evil.example",
    "`code` ``co`de``",
    "**bold** __bold__ *it* ~~gone~~",
    "&lt;b&gt; &#60;",
    "a\n\n# heading\n\n| x |\n|---|",
    "    indented",
    "```\nfence",
    "a  \nb\\\nc",
    "Setext\n===",
    r"\\\*not bold\*",
)


def kinds(text):
    """Every kind of token that a reader of Markdown makes of it, inline ones too."""
    found = []
    for token in READER.parse(text):
        found += [token.type, *(child.type for child in token.children or ())]
    return found


def words(text):
    """What a person reads."""
    return html.unescape(re.sub(r"<[^>]+>", "", READER.render(text)))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_a_text(text):
    escaped = escape(text)
    inline = READER.parse(f"- {escaped}\n")
    assert [token.type for token in inline] == [
        *("bullet_list_open", "list_item_open", "paragraph_open", "inline"),
        *("paragraph_close", "list_item_close", "bullet_list_close"),
    ]
    assert {child.type for child in inline[3].children} <= {"text", "text_special"}
    assert words(f"- {escaped}\n").strip() == " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_in_its_cell(text):
    table = READER.parse(f"| A | B |\n| --- | --- |\n| {escape(text)} | end |\n")
    cells = [token.content for place, token in enumerate(table) if table[place - 1].type == "td_open"]
    assert len(cells) == 2
    assert cells[1] == "end"
    shown_cell = re.search(r"<td>(.*?)</td>", READER.render(f"| A | B |\n| --- | --- |\n| {escape(text)} | end |\n"))
    assert html.unescape(shown_cell[1]) == " ".join(text.split())


@pytest.mark.parametrize("text", ["https://evil.example", "WWW.evil.example", "a@evil.example", "mailto:a@b.example"])
def test_no_address_becomes_a_link_by_itself(text):
    """GitHub links what starts like an address (GFM 6.9); a backslash in it ends that."""
    source = escape(text)
    assert not re.search(r"(?i)https?:|www\.|mailto:|\w@\w", source)
    assert words(source).strip() == text


def test_what_moves_the_cursor_or_turns_the_text_round_is_gone():
    assert escape("a\x1b[2Jb\u202ec") == "a\ufffd\\[2Jb\ufffdc"


def hostile(report, text):
    changed = shown(
        replace(report, title=text, statement=text, notes=(text,), limits=(text,), not_covered=(text,), kept=(text,)),
        lambda f: replace(
            f, title=text, decision=Decision.NOT_MEASURED, result=NotMeasured(check=f.check, because=text)
        ),
    )
    last = changed.attempts[-1]
    warned = replace(last, title=text, outcome=replace(last.outcome, warnings=(text,), stopped=text))
    return replace(changed, attempts=(*changed.attempts[:-1], warned))


@pytest.fixture(scope="module")
def harmless():
    """The kinds of parts of a page whose texts do no harm."""
    return kinds(page(hostile(sample_report("erased"), "plain")))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_of_such_texts_has_the_same_shape(samples, harmless, text):
    found = kinds(page(hostile(samples["erased"], text)))
    for kind in ("heading_open", "table_open", "tr_open", "list_item_open", "td_open"):
        assert found.count(kind) == harmless.count(kind), kind
    assert not {"link_open", "image", "html_block", "html_inline", "fence"} & set(found)


def test_everything_that_matters_is_in_it(sample):
    text = words(page(sample))
    said = " ".join(text.split())
    assert headline(sample) in said
    assert sample.statement in said
    for sentence in (*sample.limits, *sample.not_covered, *sample.notes):
        assert sentence.rstrip(".")[1:] in said
    for attempt in sample.attempts:
        assert f"{attempt.title} ({attempt.method})" in said
        assert attempt.outcome.stopped in said
    for audit in [
        *([sample.control] if sample.control else []),
        *(sample.attempts[-1].audits if sample.attempts else ()),
    ]:
        for finding in audit.findings:
            assert finding.title in said
    for path in (*sample.destroyed, *sample.kept):
        assert path in said
    for line in sample.costs:
        assert line.what in said


def test_a_row_of_a_check(samples):
    row = next(line for line in page(samples["erased"]).splitlines() if "Accuracy on the forgotten records" in line)
    assert row == (
        "| Is it gone? | Accuracy on the forgotten records | pass | 86.6 % | 85.8 % | +0.8 points | "
        "−2.7 to +4.3 points (97.5 %) | ±6.0 points | 420 |"
    )


def test_both_looks_are_shown(samples):
    text = page(samples["contradicted"])
    assert "### The unlearned model (attempt 1, first look)" in text
    assert "### The unlearned model (attempt 1)" in text
    assert "**Note.** The claim rests on the evidence of the method. One audit said" in text


def test_energy_and_time_are_in_it(samples):
    usage = Usage(whole=Used(754.0, {"processors": 36_000.0}), reference=Used(30.0, {"processors": 1_800.0}))
    text = words(page(replace(samples["erased"], usage=usage)))
    assert "12 minutes 34 seconds of work" in text
    assert "10.0 Wh by processors, of the whole machine" in text
    assert "one took 30 seconds of the run on average (workers train several at a time)" in text
    assert "so the run took 25.1 times as long" in text
    assert "1,800 J by processors, so the run used 20.0 times as much" in text
