"""What the README's snippet takes for given: a model, data with ids, held-out data and a trainer."""

import importlib
import sys

sys.path.append(str(ROOT / "tests" / "support" / "tiny"))  # noqa: F821  # given by the page
tiny = importlib.import_module("tiny_problem")
del sys.modules["tiny_problem"]  # changed below: tests that come later in this process must not find it
names = ["r-0017", "r-0404", *(f"r-{i:04d}" for i in range(500, 500 + tiny.TRAINING - 2))]
tiny.EPOCHS = 10  # what comes of it does not matter here
model, train = tiny.original(), tiny.train
dataset, holdout = tiny.training(ids=names), tiny.holdout()
