from dataclasses import replace

import pytest

from expunge.audit.policy import Margin, Policy, for_task, load, names
from expunge.core.check import EvidenceKind
from expunge.core.errors import UnknownName, UsageError
from expunge.core.serial import build, plain
from expunge.engine.relearning import RelearningConfig

OWN = """
name = "mine"
alpha = 0.01
[checks.forget_accuracy]
margin = 0.1
reason = "because"
[checks.restored_labels]
margin = 0.2
reason = "because"
required = false
when = "corrections"
[relearning]
epochs = 2
"""


@pytest.fixture
def saved(tmp_path):
    def save(text):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return save


def test_the_standard_policy_says_why():
    policy = load()
    assert policy.name == "standard"
    assert policy.references >= 20
    assert all(margin.reason and margin.margin > 0 for margin in policy.checks.values())
    assert load("standard").digest == policy.digest


def test_a_task_has_the_policy_that_is_made_for_it():
    assert (for_task("classification"), for_task("causal_lm"), for_task("of_a_plugin")) == (
        "standard",
        "language",
        "standard",
    )
    assert set(names()) == {"standard", "deep", "quick", "language"}
    assert set(names("regression")) == {"standard", "deep", "quick"}
    assert names("causal_lm") == names()


def test_the_language_policy_decides_on_extraction_memorisation_and_membership():
    policy = load("language")
    required = {name for name, margin in policy.checks.items() if margin.required}
    assert {"extraction_strength", "worst_extraction", "forget_accuracy", "token_membership"} <= required
    assert {"relearning_related", "quantised", "retain_accuracy", "neighbour_accuracy"} <= required
    assert policy.references == 8
    bare = policy.suite({EvidenceKind.TOKENS, EvidenceKind.HOLDOUT})
    assert not {"paraphrase", "truth_ratio", "relearning_related", "quantised", "few_shot"} & set(bare)
    assert "paraphrase" in policy.suite({EvidenceKind.PARAPHRASES})


def test_every_kind_of_evidence_that_a_check_may_wait_for_is_one():
    choices = Margin.__dataclass_fields__["when"].metadata["choices"]
    assert {name.upper() for name in choices if name != "always"} <= set(EvidenceKind.__members__)


def test_a_policy_of_ones_own(saved):
    policy = load(saved(OWN))
    assert policy.checks["forget_accuracy"] == Margin(margin=0.1, reason="because")
    assert policy.relearning == RelearningConfig(epochs=2)
    assert load(str(saved(OWN))) == policy
    assert build(Policy, plain(policy)) == policy


def test_equal_policies_have_equal_digests_and_others_do_not(saved):
    policy = load(saved(OWN))
    spaced = load(saved(OWN.replace("\n", "\n\n") + "# a remark\n"))
    assert spaced.digest == policy.digest
    changes = [
        replace(policy, alpha=0.02),
        replace(policy, references=3),
        replace(policy, checks={**policy.checks, "forget_accuracy": Margin(margin=0.11, reason="because")}),
        replace(policy, checks={"forget_accuracy": policy.checks["forget_accuracy"]}),
        replace(policy, relearning=RelearningConfig(epochs=3)),
    ]
    assert len({policy.digest, *(change.digest for change in changes)}) == 6


def test_the_problem_alone_decides_which_checks_apply(saved):
    policy = load(saved(OWN))
    assert list(policy.suite({EvidenceKind.CORRECTIONS})) == ["forget_accuracy", "restored_labels"]
    assert list(policy.suite({EvidenceKind.FORGET, EvidenceKind.AROUND})) == ["forget_accuracy"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha", "alfa", "unknown key 'alfa'"),
        ("margin = 0.1", "margn = 0.1", "unknown key 'margn'"),
        ("epochs = 2", "epoch = 2", "unknown key 'epoch'"),
        ('reason = "because"\n[checks', "[checks", "a margin without a reason"),
        ("margin = 0.1", "margin = 0.0", "out of range"),
        ("margin = 0.1", "margin = -0.1", "out of range"),
        ("margin = 0.1", "margin = nan", "out of range"),
        ("margin = 0.1", 'margin = "wide"', "wrong type"),
        ("alpha = 0.01", "alpha = 0.5", "out of range"),
        ("alpha = 0.01", "alpha = 0", "out of range"),
        ('when = "corrections"', 'when = "sometimes"', "unknown choice"),
        ("alpha = 0.01", "alpha = ", "cannot read the policy"),
        ("epochs = 2", "epochs = 0", "out of range"),
    ],
)
def test_a_wrong_policy_is_refused(saved, old, new, message):
    assert old in OWN
    with pytest.raises(UsageError, match=message) as caught:
        load(saved(OWN.replace(old, new, 1)))
    assert caught.value.exit_code == 2


def test_an_unknown_check_is_refused(saved):
    with pytest.raises(UnknownName, match="forget_accuracy"):
        load(saved(OWN.replace("checks.forget_accuracy", "checks.forget_acuracy")))


def test_a_policy_that_requires_nothing_is_refused(saved):
    with pytest.raises(UsageError, match="without a required check"):
        load(saved(OWN.replace('reason = "because"\n', 'reason = "because"\nrequired = false\n', 1)))
    with pytest.raises(UsageError, match="without a required check"):
        load(saved('name = "empty"\n'))


def test_a_policy_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the policy") as caught:
        load(tmp_path / "none.toml")
    assert str(tmp_path) not in str(caught.value)


def test_a_policy_that_rests_on_what_does_not_apply_asks_for_it_all_the_same():
    """Without canaries and shards the quick policy misses the canaries: its verdict is open, whatever else passes."""
    quick = load("quick")
    assert quick.rests_on == ("canaries", "shard_members")
    assert list(quick.suite({EvidenceKind.PEERS})) == ["canaries", "holdout_calibration", "holdout_kept"]
    assert list(quick.suite({EvidenceKind.SHARDS})) == ["shard_members", "holdout_kept"]
    assert list(quick.suite({EvidenceKind.CANARIES})) == ["canaries", "holdout_kept"]


@pytest.mark.parametrize("name", ["restored_labels", "nothing"])
def test_a_policy_rests_on_what_it_requires(saved, name):
    with pytest.raises(UsageError, match="rests on a check which it does not require"):
        load(saved(OWN.replace("alpha = 0.01", f'alpha = 0.01\nrests_on = ["{name}"]')))
    assert load(saved(OWN.replace("alpha = 0.01", 'alpha = 0.01\nrests_on = ["forget_accuracy"]'))).rests_on
