from expunge.core.method import Cost
from expunge.core.outcome import Outcome
from expunge.core.serial import build, plain


def test_the_model_stays_live():
    outcome = Outcome(model=object(), cost=Cost(trained=3), stopped="after 1 epoch", history=({"loss": 1.5},))
    back = build(Outcome, plain(outcome))
    assert back.model is None
    assert (back.cost, back.stopped, back.history) == (outcome.cost, outcome.stopped, outcome.history)
