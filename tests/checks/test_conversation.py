import numpy as np
import pytest

from expunge.checks.conversation import Conversation
from expunge.core.chart import FEWEST, Role
from expunge.core.check import NotMeasured
from expunge.engine.prompting import TALK
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0)] * FEWEST} for name in NAMES}


def test_what_was_said_by_the_last_turn_counts_and_every_turn_is_drawn():
    quiet = np.zeros((FEWEST, len(TALK)))
    told = np.tile(np.linspace(0.0, 0.5, len(TALK)), (FEWEST, 1))
    extra = {name: {"conversation": told if name == "c" else quiet} for name in NAMES}
    found = Conversation().measure(spoken(PLAIN, extra=extra))
    assert found.value == pytest.approx(0.5)
    (chart,) = found.charts
    (subject,) = [line for line in chart.series if line.role is Role.SUBJECT]
    assert (subject.x[0], subject.x[-1]) == (1, len(TALK))
    assert (subject.y[0], subject.y[-1]) == (0.0, 0.5)
    assert Conversation().cost(3, 1).read == 3 * 2 * 2 * len(TALK)


def test_a_script_is_of_twenty_turns_and_asks_the_question_first_and_last():
    assert len(TALK) == 20
    assert "{prompt}" in TALK[0]
    assert "{prompt}" in TALK[-1]


def test_without_room_it_is_not_measured():
    found = Conversation().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "two turns" in found.because
