from expunge.core.check import EvidenceKind
from expunge.core.problem import Problem
from expunge.engine.available import available
from tests.support import languages, toys

OF_TEXTS = {EvidenceKind.TOKENS, EvidenceKind.ROUNDED, EvidenceKind.RELATED, EvidenceKind.NEIGHBOURING}


def test_what_a_classifier_gives():
    always = {EvidenceKind.FORGET, EvidenceKind.RETAIN, EvidenceKind.AROUND, EvidenceKind.FEATURES}
    always |= {EvidenceKind.GRADIENTS}
    assert available(toys.problem()) == always | {EvidenceKind.HOLDOUT}, "nothing of texts"
    assert available(toys.problem(holdout=0)) == always
    assert available(toys.problem(holdout=300)) == always | {EvidenceKind.HOLDOUT, EvidenceKind.CLASSES}


def test_what_a_language_model_gives():
    names = languages.NAMES
    train = languages.records(names[:12])
    gone = [name for name, owner in zip(train.ids, train.subjects, strict=True) if owner in names[:4]]
    posed = {"model": languages.gpt().eval(), "train": train, "task": "causal_lm", "forget": gone}
    alone = available(Problem(**posed))
    assert alone >= OF_TEXTS
    assert EvidenceKind.UNRELATED not in alone, "there is no holdout"
    assert EvidenceKind.UNRELATED in available(Problem(**posed, holdout=languages.records(names[12:14])))
