"""A sharded ensemble around any regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.tree import DecisionTreeRegressor

from expunge.estimators._sharded import Sharded


class ShardedRegressor(RegressorMixin, Sharded):
    """An ensemble of regressors, each trained on one shard of the rows; the answer is the weighted mean of theirs."""

    title = "Sharded regressor"

    def _default(self) -> Any:
        return DecisionTreeRegressor()

    def _target(self, y: Any) -> np.ndarray:
        return np.asarray(y, dtype=np.float64)

    def predict(self, X: Any) -> np.ndarray:
        """Return the weighted mean of the members' answers, [n]; an empty shard has no vote."""
        X = self._checked(X)
        found: np.ndarray = np.sum([weight * member.predict(X) for member, weight in self._voting()], axis=0)
        return found
