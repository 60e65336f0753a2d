import inspect
import itertools
import re

import pytest

from expunge.audit import policy as policies
from expunge.core import registry, wording
from expunge.core.certificate import STANDARD_LIMITS
from expunge.core.level import Level
from expunge.core.verdict import Verdict

CASES = list(itertools.product([None, *Level], [None, *Verdict]))


@pytest.mark.parametrize(("claim", "verdict"), CASES)
def test_every_claim_has_its_words(claim, verdict):
    text = wording.statement(claim, verdict, references=20)
    assert text.endswith(".")
    assert (claim is None) == text.endswith("Nothing is claimed.")


def test_words_do_not_promise_more_than_the_level():
    audited = wording.statement(Level.AUDITED, Verdict.ERASED, references=20)
    assert "not a proof" in audited
    assert "distribution" not in audited
    suppressed = wording.statement(Level.SUPPRESSED, Verdict.ERASED, references=20)
    assert "Nothing was erased" in suppressed
    assert "as any model that never saw them" not in wording.statement(Level.CERTIFIED, Verdict.ERASED, references=20)


@pytest.mark.parametrize(("claim", "verdict"), CASES)
def test_limits_are_sentences(claim, verdict):
    lines = wording.limits(claim, verdict, attempts=3, references=20)
    assert all(line.endswith(".") for line in lines)
    assert any("3 attempts" in line for line in lines) == (claim is not Level.SUPPRESSED)
    assert any("20 retrained models" in line for line in lines) == (claim is not Level.SUPPRESSED)


def test_an_audited_claim_says_that_other_tests_may_find_more():
    assert any(
        "Another test" in line for line in wording.limits(Level.AUDITED, Verdict.ERASED, attempts=1, references=5)
    )


def test_a_claim_that_stands_alone_says_what_the_audit_said():
    first, *rest = wording.limits(Level.EXACT, Verdict.INCONCLUSIVE, attempts=1, references=0)
    assert first == "The claim rests on how the model was made; the audit alone says: inconclusive."
    assert tuple(rest) == STANDARD_LIMITS


def test_what_was_not_judged_is_not_called_inconclusive():
    assert wording.statement(None, None, references=0) == "No model was judged. Nothing is claimed."
    assert not any("audit alone says" in line for line in wording.limits(Level.EXACT, None, attempts=1, references=0))


def test_where_nothing_is_claimed_there_is_nothing_to_limit():
    assert wording.limits(None, Verdict.NOT_ERASED, attempts=1, references=0) == ()


def test_what_a_filter_does_not_stop_bounds_its_claim_and_no_audit_does():
    lines = " ".join(wording.limits(Level.SUPPRESSED, Verdict.INCONCLUSIVE, attempts=2, references=5))
    assert "without its filters" in lines
    assert "other words" in lines
    assert not any(text in lines for text in ("retrained", "attempts", "signature"))


def test_what_no_run_can_reach_is_named():
    together = " ".join(wording.NOT_COVERED)
    for word in ("original", "backup", "derived", "training data", "same person"):
        assert word in together


def test_without_references_the_claim_rests_on_what_was_planted():
    text = wording.statement(Level.AUDITED, Verdict.ERASED, references=0)
    assert "planted" in text
    assert "not compared with retrained models" in text
    assert "not a proof" in text
    lines = " ".join(wording.limits(Level.AUDITED, Verdict.ERASED, attempts=1, references=0))
    assert "Nothing was compared with models retrained" in lines
    assert "The verdict rests on planted records" in lines
    assert "Whoever knew which records were planted" in lines
    exact = wording.statement(Level.EXACT, Verdict.ERASED, references=0)
    assert exact == wording.statement(Level.EXACT, Verdict.ERASED, references=20)


def test_without_references_the_claim_says_what_it_rests_on():
    shards = {"references": 0, "rests_on": ["shard_members"]}
    assert "members of the ensemble that held" in wording.statement(Level.AUDITED, Verdict.ERASED, **shards)
    lines = " ".join(wording.limits(Level.AUDITED, Verdict.ERASED, attempts=1, **shards))
    assert "planted" not in lines
    assert "nothing that all of them learnt alike" in lines
    both = {"references": 0, "rests_on": ["canaries", "shard_members"]}
    assert "planted" in wording.statement(Level.AUDITED, Verdict.ERASED, **both)
    little = {"references": 0, "rests_on": []}
    assert "no trace" in wording.statement(Level.AUDITED, Verdict.ERASED, **little)
    assert "see little" in " ".join(wording.limits(Level.AUDITED, Verdict.ERASED, attempts=1, **little))


def test_of_a_language_model_nothing_is_said_of_labels_or_classes():
    policy = policies.load("language")
    checks = [registry.load("checks", name) for name in policy.checks]
    for check in checks:
        for said in (check.title, check.cannot_see):
            assert not re.search(r"\b(labels?|class(es)?|labelled)\b", wording.of_task(said, "causal_lm")), check.name
            assert wording.of_task(said, "classification") == said
    source = "".join(inspect.getsource(inspect.getmodule(registry.load("checks", n))) for n in registry.names("checks"))
    assert all(f'"{said}"' in source for said in wording._OF_TEXTS), "words of a check that says something else by now"


@pytest.mark.parametrize("claim", [*Level, None])
def test_what_a_base_knows_is_told_beside_every_claim_about_records(claim):
    """A filter claims nothing of what the model has learnt, and where nothing is claimed nothing is bounded."""
    said = wording.statement(claim, Verdict.INCONCLUSIVE, references=5, based=True, known="90% by heart")
    assert (f"{wording.KNOWN}: 90% by heart." in said) == (claim not in (None, Level.SUPPRESSED))
    plain = wording.statement(claim, Verdict.INCONCLUSIVE, references=5, based=True)
    assert said.startswith(plain)
    assert ("from the same base" in plain) == (claim is Level.EXACT)


@pytest.mark.parametrize("signed", [True, False])
def test_signatures_are_spoken_of_where_there_is_one(signed):
    lines = wording.limits(Level.AUDITED, Verdict.ERASED, attempts=1, references=5, signed=signed)
    assert any("signature" in line for line in lines) == signed
