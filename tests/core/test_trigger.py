import pickle

import pytest

from expunge import Triggered
from expunge.core.check import EvidenceKind
from expunge.engine.available import available
from expunge.engine.parts import Parts
from expunge.engine.split import split
from tests.support import toys


def marked(count=10, *, seed=9):
    return toys.records(count, prefix="t", seed=seed)


def posed(records=None, target=0):
    return toys.problem(triggered=Triggered(records=marked() if records is None else records, target=target))


def test_it_is_named_in_words():
    with pytest.raises(TypeError):
        Triggered([], 0)


def test_triggered_records_are_judged_by_where_there_are_some():
    problem = posed()
    parts = Parts.of(problem, split(problem, 1)[1], 1)
    assert dict(parts.items())["triggered"].ids == marked().ids
    assert EvidenceKind.TRIGGER in available(problem)
    plain = toys.problem()
    assert "triggered" not in dict(Parts.of(plain, split(plain, 1)[1], 1).items())
    assert EvidenceKind.TRIGGER not in available(plain)


def test_another_trigger_is_another_problem():
    specs = [posed().spec, posed(target=1).spec, posed(marked(seed=8)).spec, toys.problem().spec]
    assert len({spec.digest for spec in specs}) == 4
    assert specs[3].triggered is None
    assert specs[0].committed(b"secret").triggered != specs[0].triggered


def test_it_crosses_a_process_boundary():
    again = pickle.loads(pickle.dumps(posed()))
    assert again.spec == posed().spec
    assert again.triggered.target == 0


def test_what_could_not_be_measured_is_said():
    assert not [o for o in posed().validate() if o.where == "triggered"]
    trained = posed(toys.records(60))
    (found,) = [o for o in trained.validate() if o.where == "triggered"]
    assert (found.what, found.found) == ("triggered records were trained on", "60 of 60")
    alike = marked()
    alike.y[:] = 2
    (found,) = [o for o in posed(alike, target=2).validate() if o.where == "triggered"]
    assert found.what == "no triggered record is of another class than the target"
    strange = marked()
    strange.y[0] = 7
    assert any("labels outside" in o.what for o in posed(strange).validate())
