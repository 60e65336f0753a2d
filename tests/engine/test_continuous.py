from expunge.engine.continuous import continuous, not_continuous
from tests.support import toys


def test_the_first_record_tells():
    problem = toys.problem()
    assert continuous(problem, problem.forget_view)
    assert list(problem.records.seen) == [problem.forget_ids[0]]
    given = toys.records(30)
    whole = toys.Witness(given.x.abs().long(), given.y, ids=given.ids)
    assert not continuous(toys.problem(train=whole), whole)


def test_the_obstacle_says_what_is_wanted_in_its_place():
    told = not_continuous(where="forget set", expected="numbers", fix="another method")
    assert (told.what, told.where, told.expected) == ("inputs are no continuous numbers", "forget set", "numbers")
    assert told.fatal
