"""Logistic regression that forgets with a certificate: solved to tolerance, then just enough fresh noise."""

from __future__ import annotations

import math
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, log_expit, softmax
from scipy.stats import chi2
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from expunge.core.errors import Refused
from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators import _certified
from expunge.estimators._base import Forgetting, vacate
from expunge.estimators._certified import Part, unit_rows
from expunge.numerics.privacy import composed, gaussian_epsilon, gaussian_mu

REFERENCE = "the same estimator, fitted from scratch on the rows that remain, with noise of its own"
ASSUMPTIONS = (
    "only published weights are seen: the weights before noise, and saved states, are key material",
    "arithmetic is float64 by IEEE 754, sums are ordinary sums in any order, the logistic function errs by 4 units in "
    "the last place at the most",
    "the noise is taken for continuous; it is drawn in float64 from a generator seeded anew by the operating system",
    "settings and columns were not chosen by looking at the rows that are deleted",
)
_LOUD = 0.1
"""Noise on the log-odds from which on it is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One publication of weights since ``fit``; private, since it counts rows and tells the residual.

    Attributes:
        rows: rows the weights are a function of.
        tolerance: norm of the gradient that each solution had to reach.
        residual: the largest that was measured, rounding included.
        noise: standard deviation of the noise on every weight.
        mu: distance from the reference in standard deviations (mu-GDP); 0 where this is the reference itself.
        epsilon: of this release alone, at the estimator's delta.
        composed: of all releases since the first deletion together.
    """

    rows: int
    tolerance: float
    residual: float
    noise: float
    mu: float
    epsilon: float
    composed: float


class CertifiedLogisticRegression(ClassifierMixin, Forgetting):
    """L2-regularised logistic regression whose published weights are (epsilon, delta)-certified after deletions.

    Rows are divided by their norm, the intercept among their coordinates, so that a prediction is by
    ``(x.coef + intercept) / |(x, 1)|``: scale the columns alike first. Beyond two classes there is one problem per
    class against the rest, among which the budget is split. The objective is scikit-learn's (``C``), the intercept
    regularised too.

    ``fit``, ``partial_fit`` and ``forget`` each solve until the measured gradient is inside a tolerance that depends
    on the shape of the data alone, and publish the solution with fresh Gaussian noise. Whatever the past, the mean is
    within ``2 C tolerance`` of that of a fresh fit, and the noise hides so much. Releases after a deletion compose:
    ``max_releases`` of them together stay within (epsilon, delta). Then :meth:`retrain` starts a new account.

    Args:
        epsilon: bound of all releases since the first deletion together, above 0.
        delta: chance at which that bound may fail, in (0, 1).
        max_releases: number of releases with deletions behind them that share it; noise grows with its root.
        C: inverse strength of the regularisation, above 0.
        fit_intercept: learn an intercept.

    Attributes ``classes_``, ``coef_`` [1 or k, d] and ``intercept_`` [1 or k] are the published ones, and predictions
    are made with them; ``releases_`` is the account.
    """

    name = "certified_logistic_regression"
    title = "Certified logistic regression"
    source = "Guo et al. 2020, arXiv 1911.03030, with noise on the output by Balle and Wang 2018, arXiv 1805.06530"
    guarantee = Level.CERTIFIED
    argument = (
        "The objective is 1/C-strongly convex, so weights with a gradient inside the tolerance lie within C times the "
        "tolerance of its one optimum: after deletion and after a fresh fit alike. Gaussian noise by the exact curve "
        "hides twice that distance; releases compose, whichever requests earlier ones provoked. The gradient is "
        "measured at the weights to which the noise is added, rounding bounded and added. Reference: "
    ) + f"{REFERENCE}. Assumptions: {'; '.join(ASSUMPTIONS)}"

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        max_releases: int = 1000,
        C: float = 1.0,
        fit_intercept: bool = True,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.max_releases = max_releases
        self.C = C
        self.fit_intercept = fit_intercept

    # --- rows ---

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        self._check_settings()
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_classification_targets(y)
        return {"X": unit_rows(X, intercept=self.fit_intercept), "y": y}

    def _begin(self) -> None:
        self._X = np.empty((0, 0))
        self._y: Any = np.empty(0)
        self._parts: dict[Any, Part] = {}
        self._releases: list[Release] = []

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        X, y = rows["X"], rows["y"]
        if len(self._X):
            parts = self._moved(self._parts, X, y, sign=1)
            self._publish(np.concatenate([self._X, X]), np.concatenate([self._y, y]), parts, anew=False)
        else:
            self._publish(X, y, {}, anew=True, order=np.array(sorted(range(len(ids)), key=ids.__getitem__)))

    def _remove(self, places: np.ndarray) -> None:
        if len(places) == len(self._X):
            self._begin()
            return
        parts = self._moved(self._parts, self._X[places], self._y[places], sign=-1)
        self._publish(vacate(self._X, places), vacate(self._y, places), parts, anew=False, removed=True)

    # --- solving and publishing ---

    def retrain(self) -> Self:
        """Solve from scratch on the rows that are held, publish, and start a new account.

        What comes out is the reference itself: a function of the rows alone, in the order of their ids. Rows that
        were deleted before stay within the old account, those deleted from now on within the new one.
        """
        self._check_ready()
        self._check_settings()
        self._publish(self._X, self._y, {}, anew=True, order=self._book.canonical())
        return self

    def _publish(
        self,
        X: np.ndarray,
        y: np.ndarray,
        parts: Mapping[Any, Part],
        *,
        anew: bool,
        removed: bool = False,
        order: np.ndarray | None = None,
    ) -> None:
        """Solve on these rows, add noise, and only then change the state."""
        spends = not anew and (removed or any(one.mu for one in self._releases))
        each = gaussian_mu(self.epsilon, self.delta) / math.sqrt(self.max_releases)
        spent = [] if anew else [one.mu for one in self._releases if one.mu]
        if spends:
            self._check_budget([*spent, each])
        classes = np.unique(y)
        ordered = (X, y) if order is None else (X[order], y[order])
        solved = self._solved(*ordered, classes, parts)
        goal = _certified.tolerance(*X.shape, self.C)
        noise = math.sqrt(max(1, len(solved))) * 2 * self.C * goal / each
        if noise > _LOUD:
            warnings.warn(
                f"noise of {noise:.2g} on the log-odds drowns the model: lower C or max_releases, or raise epsilon",
                UserWarning,
                stacklevel=4,
            )
        width = X.shape[1]
        exact = np.array([part.w for part in solved.values()]) if solved else np.zeros((1, width))
        draw = np.random.default_rng(secrets.randbits(128))
        weights = exact + draw.normal(scale=noise, size=exact.shape) if solved else exact
        mus = [*spent, each] if spends else spent
        release = Release(
            rows=len(X),
            tolerance=goal,
            residual=max((part.residual for part in solved.values()), default=0.0),
            noise=noise,
            mu=each if spends else 0.0,
            epsilon=gaussian_epsilon(each, self.delta) if spends else 0.0,
            composed=min(gaussian_epsilon(composed(mus), self.delta), self.epsilon),  # the latter errs up
        )
        self._X, self._y, self._parts, self.classes_ = X, y, solved, classes
        self._releases = [release] if anew else [*self._releases, release]
        self.coef_ = weights[:, : width - self.fit_intercept]
        self.intercept_ = weights[:, -1] if self.fit_intercept else np.zeros(len(weights))

    def _solved(self, X: np.ndarray, y: np.ndarray, classes: np.ndarray, parts: Mapping[Any, Part]) -> dict[Any, Part]:
        fresh = Part(np.zeros(X.shape[1]))
        wanted = classes.tolist() if len(classes) > 2 else classes.tolist()[1:]
        return {label: parts.get(label, fresh).solved(X, _is(y, label), self.C) for label in wanted}

    def _moved(self, parts: Mapping[Any, Part], X: np.ndarray, y: np.ndarray, *, sign: int) -> dict[Any, Part]:
        return {label: part.changed(X, _is(y, label), sign=sign) for label, part in parts.items()}

    def _check_settings(self) -> None:
        for name, value, holds, expected in (
            ("epsilon", self.epsilon, 0 < self.epsilon < math.inf, "above 0"),
            ("delta", self.delta, 0 < self.delta < 1, "between 0 and 1"),
            ("max_releases", self.max_releases, self.max_releases >= 1, "1 or more"),
            ("C", self.C, 0 < self.C < math.inf, "above 0"),
        ):
            if not holds:
                raise ValueError(f"{name} is {value}; it takes a number {expected}")

    def _check_budget(self, mus: Sequence[float]) -> None:
        if composed(mus) > gaussian_mu(self.epsilon, self.delta) * (1 + 1e-9):
            raise Refused(
                "the budget of this model is spent",
                where=type(self).__name__,
                found=f"{len(mus) - 1} releases since the first deletion, together at epsilon "
                f"{gaussian_epsilon(composed(mus[:-1]), self.delta):.3g}",
                expected=f"at most epsilon {self.epsilon:g} at delta {self.delta:g}; nothing was changed",
                fix="call retrain() and ask again, or fit anew on what remains: either starts a new account",
            )

    # --- predictions, with what is published ---

    def decision_function(self, X: Any) -> np.ndarray:
        """Return log-odds of the second class [n], or of each class against the rest [n, k]; 0 for a single class."""
        self._check_ready()
        X = validate_data(self, X, reset=False, dtype=np.float64)
        weights = np.column_stack([self.coef_, self.intercept_]) if self.fit_intercept else self.coef_
        scores: np.ndarray = unit_rows(X, intercept=self.fit_intercept) @ weights.T
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities [n, k]; beyond two classes those against the rest, divided by their sum."""
        scores = self.decision_function(X)
        if len(self.classes_) == 1:
            return np.ones((len(scores), 1))
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        found: np.ndarray = softmax(log_expit(scores), axis=1)
        return found

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row [n]."""
        scores = self.decision_function(X)
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(scores))
        best = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        found: np.ndarray = self.classes_[best]
        return found

    # --- what may be said ---

    @property
    def releases_(self) -> tuple[Release, ...]:
        """The releases since the last fit or retraining, oldest first."""
        check_is_fitted(self, "_book")
        return tuple(self._releases)

    def published(self) -> dict[str, Any]:
        """Return what may leave the house, ready for JSON: the published weights and what is certified of them.

        Neither weights before noise, nor residuals, nor numbers of rows are in it. ``epsilon`` is that of all
        ``releases`` since the first deletion together; without one there is nothing to certify yet, and it is 0.
        """
        self._check_ready()
        return {
            "classes": self.classes_.tolist(),
            "coef": self.coef_.tolist(),
            "intercept": self.intercept_.tolist(),
            "fit_intercept": bool(self.fit_intercept),
            "epsilon": self._releases[-1].composed,
            "epsilon_of_this_release": self._releases[-1].epsilon,
            "delta": float(self.delta),
            "releases": sum(one.mu > 0 for one in self._releases),
            "reference": REFERENCE,
            "assumptions": list(ASSUMPTIONS),
        }

    def key_material(self) -> dict[str, Any]:
        """Return what :func:`verify` needs beside the rows that remain: secret, to be kept as a key is."""
        self._check_ready()
        return {
            "classes": self.classes_.tolist(),
            "weights": [part.w.tolist() for part in self._parts.values()],
            "C": float(self.C),
            "fit_intercept": bool(self.fit_intercept),
            "max_releases": int(self.max_releases),
            "budget": [float(self.epsilon), float(self.delta)],
            "noise": self._releases[-1].noise,
            "mus": [one.mu for one in self._releases if one.mu],
        }

    @property
    def what_remains_(self) -> Remains:
        """What is kept: the rows, since every solution needs them."""
        check_is_fitted(self, "_book")
        used = sum(one.mu > 0 for one in self._releases)
        notes = [
            "key material: the weights before noise are in this object and in what save() writes (mode 0600); whoever "
            "has them and the published ones knows the noise. published() is what may be shown",
            "sums over the rows that remain (second derivatives), which steer the solver",
        ]
        if used:
            last = self._releases[-1]
            notes.append(
                f"published {used} times since the first deletion, within epsilon {last.composed:.3g} together "
                f"({last.epsilon:.3g} each) at delta {self.delta:g}; {max(0, self.max_releases - used)} more until "
                "retrain()"
            )
        return Remains(
            rows=len(self._book),
            holds="the rows themselves, divided by their norms",
            tombstones=self._book.tombstones,
            notes=tuple(notes),
        )

    def _learnt(self) -> Mapping[str, Any]:
        """Return what the certificate is about: the rows that remain, and that the weights solve their problem.

        The weights themselves are equal after another past only within the tolerance, and published ones differ by
        their noise.
        """
        order = self._book.canonical()
        X, y = self._X[order] if len(order) else self._X, self._y[order] if len(order) else self._y
        inside = all(
            _certified.slope(X, _is(y, label), part.w, self.C).norm <= _certified.tolerance(*X.shape, self.C)
            for label, part in self._parts.items()
        )
        ids = [self._book.ids[place] for place in order]
        return {"ids": ids, "rows": X, "labels": y.tolist(), "classes": len(self._parts), "solved": inside}

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an estimator with noise far below the digits that scikit-learn's checks compare."""
        _, X, y = super().trial(seed)
        return cls(C=0.1, max_releases=100), X, y


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What :func:`verify` found.

    Attributes:
        residual: norm of the gradient at the secret weights, rounding included, the largest over classes.
        tolerance: what it must not exceed.
        epsilon: of all releases since the first deletion together, from the distances in the account.
        wrong: what does not hold; empty: the certificate stands.
    """

    residual: float
    tolerance: float
    epsilon: float
    wrong: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the certificate stands."""
        return not self.wrong


def verify(X: Any, y: Any, *, secret: Mapping[str, Any], published: Mapping[str, Any]) -> Verification:
    """Recompute a certificate from the rows that remain: residual, noise and account.

    Shares no solver and no sums with the estimator: the gradient is summed exactly (``math.fsum``).

    Args:
        X: the rows that remain, in any order, as they were given to ``fit``.
        y: their labels.
        secret: what :meth:`CertifiedLogisticRegression.key_material` returned.
        published: what :meth:`CertifiedLogisticRegression.published` returned.
    """
    rows, y = unit_rows(np.asarray(X, dtype=np.float64), intercept=secret["fit_intercept"]), np.asarray(y)
    C, classes, wrong = secret["C"], secret["classes"], []
    if np.unique(y).tolist() != classes or published["classes"] != classes:
        wrong.append("the classes are not those of the rows")
    exact = [np.array(w) for w in secret["weights"]]
    labels = classes if len(classes) > 2 else classes[1:]
    if len(labels) != len(exact):
        wrong.append("there is not one problem per class")
    goal = _certified.tolerance(*rows.shape, C)
    residual = max((_residual(rows, _is(y, a), w, C) for a, w in zip(labels, exact, strict=False)), default=0.0)
    if residual > goal:
        wrong.append(f"the gradient is {residual:.3g}, above {goal:.3g}: these rows are not what the weights solve")
    (epsilon, delta), mus = secret["budget"], secret["mus"]
    each = gaussian_mu(epsilon, delta) / math.sqrt(secret["max_releases"])
    if mus and min(mus) < each * (1 - 1e-9):
        wrong.append("the account counts a release for less than it is")
    spent = gaussian_epsilon(composed(mus), delta)
    if spent > epsilon * (1 + 1e-6):
        wrong.append(f"the releases come to epsilon {spent:.3g}, above {epsilon:g}")
    if not (math.isclose(spent, published["epsilon"], rel_tol=1e-6) and delta == published["delta"]):
        wrong.append("epsilon or delta is published otherwise")
    least = math.sqrt(max(1, len(exact))) * 2 * C * goal / each
    if secret["noise"] < least * (1 - 1e-9):
        wrong.append(f"the noise is {secret['noise']:.3g}, below {least:.3g}")
    shown = np.column_stack([published["coef"], published["intercept"]])[:, : rows.shape[1]]
    if exact and not (len(shown) == len(exact) and _drawn(shown - np.array(exact), secret["noise"])):
        wrong.append("what is published does not differ from the secret weights by such noise")
    return Verification(residual=residual, tolerance=goal, epsilon=spent, wrong=tuple(wrong))


def _residual(X: np.ndarray, positive: np.ndarray, w: np.ndarray, C: float) -> float:
    errors = expit((X * w).sum(axis=1)) - positive
    gradient = [math.fsum(column) + weight / C for column, weight in zip((X * errors[:, None]).T, w, strict=True)]
    bound = _certified.rounding(
        *X.shape, C, weight=float(np.linalg.norm(w)), errors=math.fsum(np.abs(errors)) * (1 + 1e-9)
    )
    return math.hypot(*gradient) + bound


def _drawn(noise: np.ndarray, deviation: float) -> bool:
    """Return whether noise has the size that its deviation says, at odds of one in a billion."""
    size = float(((noise / deviation) ** 2).sum())
    return bool(chi2.ppf(5e-10, noise.size) <= size <= chi2.isf(5e-10, noise.size))


def _is(y: np.ndarray, label: Any) -> np.ndarray:
    return (y == label).astype(np.float64)
