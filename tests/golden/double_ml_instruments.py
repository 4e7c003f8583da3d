"""Write `double_ml_instruments.json`: DoubleML's PLIV (one and two instruments) and IIVM with their nuisances.

Run with DoubleML 0.11.4, scikit-learn 1.9.1::

    python tests/golden/double_ml_instruments.py
"""

from __future__ import annotations

import json
from pathlib import Path

import doubleml
import numpy as np
import pandas as pd
from scipy import special
from sklearn.linear_model import LinearRegression, LogisticRegression

N = 200


def data() -> pd.DataFrame:
    rng = np.random.default_rng(41)
    x, hidden = rng.standard_normal((N, 2)), rng.standard_normal(N)
    z = (rng.random(N) < special.expit(0.5 * x[:, 0])) * 1.0
    w = 0.5 * x[:, 1] + rng.standard_normal(N)
    t = (1.6 * (z - 0.5) + 0.5 * w + 0.6 * hidden + 0.4 * rng.standard_normal(N) > 0) * 1.0
    y = x.sum(axis=1) + hidden + t * (1 + 0.5 * x[:, 0]) + rng.standard_normal(N)
    return pd.DataFrame({"y": y, "t": t, "z": z, "w": w, "x0": x[:, 0], "x1": x[:, 1]})


def main() -> None:
    frame = data()
    told: dict[str, object] = {"data": {name: frame[name].tolist() for name in frame}}
    for name, instruments in (("PLIV one", ["z"]), ("PLIV two", ["z", "w"])):
        np.random.seed(1)
        known = doubleml.DoubleMLData(frame, y_col="y", d_cols="t", z_cols=instruments, x_cols=["x0", "x1"])
        model = doubleml.DoubleMLPLIV(known, LinearRegression(), LinearRegression(), LinearRegression(), n_folds=4)
        told[name] = fitted(model)
    np.random.seed(1)
    known = doubleml.DoubleMLData(frame, y_col="y", d_cols="t", z_cols="z", x_cols=["x0", "x1"])
    told["IIVM"] = fitted(doubleml.DoubleMLIIVM(known, LinearRegression(), LogisticRegression(), LogisticRegression(), n_folds=4))  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


def fitted(model: doubleml.DoubleMLPLIV | doubleml.DoubleMLIIVM) -> dict[str, object]:
    model.fit(store_predictions=True)
    predictions = {key: value[:, 0, 0].tolist() for key, value in model.predictions.items() if value is not None and not np.isnan(value).any()}  # fmt: skip
    return {"estimate": float(model.coef[0]), "std_error": float(model.se[0]), "predictions": predictions}


if __name__ == "__main__":
    main()
