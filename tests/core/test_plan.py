from dataclasses import replace

from tests.support import reports


def test_the_order_is_of_what_is_planned():
    plan = reports.report().plan
    (option,) = plan.options
    several = [replace(option, method=name, planned=name != "b") for name in ("a", "b", "c")]
    assert replace(plan, options=tuple(several)).order == ("a", "c")
