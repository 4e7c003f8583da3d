"""Write `causal_forest.json`: the average effect of EconML's causal forest by its own doubly robust inference.

Run with econml 0.17.0, scikit-learn 1.9.1::

    python tests/golden/causal_forest.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from econml.dml import CausalForestDML
from scipy import special
from sklearn.linear_model import LinearRegression, LogisticRegression

N = 1_000


def main() -> None:
    rng = np.random.default_rng(71)
    x = np.round(rng.standard_normal((N, 3)), 4)
    t = (rng.random(N) < special.expit(0.6 * x[:, 0])) * 1.0
    y = np.round(x.sum(axis=1) + t * (1 + x[:, 0]) + rng.standard_normal(N), 4)
    forest = CausalForestDML(
        model_y=LinearRegression(), model_t=LogisticRegression(), discrete_treatment=True, cv=5, n_estimators=400,
        min_samples_leaf=5, n_jobs=1, random_state=0,
    )  # fmt: skip
    told = forest.fit(y, t.astype(int), X=x).ate__inference()
    data = {"y": y.tolist(), "t": t.tolist(), **{f"x{j}": x[:, j].tolist() for j in range(3)}}
    found = {"estimate": float(np.ravel(told.point_estimate)[0]), "std_error": float(np.ravel(told.stderr)[0])}
    Path(__file__).with_suffix(".json").write_text(
        json.dumps({"data": data, "average": found}, separators=(",", ":")) + "\n"
    )


if __name__ == "__main__":
    main()
