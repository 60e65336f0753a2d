import numpy as np
import torch

from expunge.methods.lfssd import Lfssd
from tests.support import toys


def test_it_equals_arithmetic_in_float64():
    """The slope of the squared length of logits z = Wx + b in W is 2 z x, in b it is 2 z."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    settings = {"alpha": 1.05, "strength": 0.8}
    outcome = Lfssd({**settings, "batch_size": 1}).unlearn(problem, toys.context(problem))
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())

    def importance(view, power):
        inputs = view.read(range(len(view)))[0].numpy()
        logits = inputs @ weight.T + bias
        slope = 2 * logits[:, :, None] * inputs[:, None, :]
        return (np.abs(slope) ** power).mean(0), (np.abs(2 * logits) ** power).mean(0)

    def distance(power):
        sets = (importance(view, power) for view in (problem.forget_view, problem.records))
        worst = 0.0
        for start, forget, whole, found in zip((weight, bias), *sets, outcome.model.parameters(), strict=True):
            chosen = forget > settings["alpha"] * whole
            wanted = np.where(chosen, start * np.minimum(settings["strength"] * whole / forget, 1), start)
            worst = max(worst, float(np.abs(found.detach().numpy() - wanted).max()))
        return worst

    assert distance(power=1) < 1e-14
    assert distance(power=2) > 1e-3, "squares in place of magnitudes"


def test_labels_are_not_looked_at():
    given = toys.records(60)
    other = toys.Witness(given.x, (given.y + 1) % 3, ids=given.ids)
    models = []
    for train in (given, other):
        problem = toys.problem(train=train, trainer=None, holdout=0)
        models.append(Lfssd({"alpha": 1.0}).unlearn(problem, toys.context(problem)).model)
    assert toys.same(*models)
