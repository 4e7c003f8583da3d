"""Write `learners.json`: EconML's meta-learners with linear models, fitted and evaluated on all rows.

Run with econml 0.17.0, scikit-learn 1.9.1::

    python tests/golden/learners.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from econml.dml import LinearDML
from econml.dr import LinearDRLearner
from econml.metalearners import SLearner, TLearner, XLearner
from scipy import special
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression

N = 200


class ByArm(BaseEstimator):
    """A regression in each arm; the last column is the treatment."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> ByArm:
        self.arms_ = [LinearRegression().fit(x[x[:, -1] == k, :-1], y[x[:, -1] == k]) for k in (0, 1)]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.where(x[:, -1] == 1, self.arms_[1].predict(x[:, :-1]), self.arms_[0].predict(x[:, :-1]))


def logit() -> LogisticRegression:
    return LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=500)


def main() -> None:
    rng = np.random.default_rng(51)
    x = rng.standard_normal((N, 2))
    t = (rng.random(N) < special.expit(0.6 * x[:, 0])) * 1.0
    y = x.sum(axis=1) + x[:, 1] ** 2 + t * (1 + x[:, 0]) + rng.standard_normal(N)
    told: dict[str, object] = {
        "data": {"y": y.tolist(), "t": t.tolist(), "x0": x[:, 0].tolist(), "x1": x[:, 1].tolist()}
    }
    fits = {
        "s_learner": SLearner(overall_model=LinearRegression()),
        "t_learner": TLearner(models=LinearRegression()),
        "x_learner": XLearner(models=LinearRegression(), propensity_model=logit()),
        "r_learner": LinearDML(model_y=LinearRegression(), model_t=logit(), discrete_treatment=True, cv=1),
        "dr_learner": LinearDRLearner(model_regression=ByArm(), model_propensity=logit(), min_propensity=0.01, cv=1),
    }
    for name, model in fits.items():
        told[name] = model.fit(y, t.astype(int), X=x).effect(x).ravel().tolist()
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
