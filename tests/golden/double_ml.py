"""Write `double_ml.json`: DoubleML's estimates together with the nuisances that they were made from.

Run with DoubleML 0.11.4, scikit-learn 1.9.1, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/double_ml.py
"""

from __future__ import annotations

import json
from pathlib import Path

import doubleml
import numpy as np
import pandas as pd
import sklearn
from scipy import special
from sklearn.linear_model import LinearRegression, LogisticRegression

N = 200


def data() -> pd.DataFrame:
    rng = np.random.default_rng(20)
    x = rng.standard_normal((N, 3))
    t = rng.random(N) < special.expit(0.7 * x[:, 0])
    y = x @ [1.0, -0.5, 0.2] + (1 + x[:, 1]) * t + rng.standard_normal(N)
    return pd.DataFrame({"y": y, "t": t * 1.0, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2]})


def main() -> None:
    frame = data()
    np.random.seed(1)
    known = doubleml.DoubleMLData(frame, y_col="y", d_cols="t")
    told: dict[str, object] = {"versions": {"doubleml": doubleml.__version__, "scikit-learn": sklearn.__version__}}
    predictions = {}
    for score in ("ATE", "ATTE"):
        irm = doubleml.DoubleMLIRM(
            known, LinearRegression(), LogisticRegression(), n_folds=4, score=score, normalize_ipw=False
        ).fit(store_predictions=True)
        for name in ("ml_g0", "ml_g1", "ml_m"):
            found = irm.predictions[name][:, 0, 0]
            predictions[f"{score} {name}"] = None if np.isnan(found).any() else found.tolist()
        told[score] = {"estimate": float(irm.coef[0]), "std_error": float(irm.se[0])}
    plr = doubleml.DoubleMLPLR(known, LinearRegression(), LogisticRegression(), n_folds=4).fit(store_predictions=True)
    for name in ("ml_l", "ml_m"):
        predictions[f"PLR {name}"] = plr.predictions[name][:, 0, 0].tolist()
    told["PLR"] = {"estimate": float(plr.coef[0]), "std_error": float(plr.se[0])}
    told |= {"data": {name: frame[name].tolist() for name in frame}, "predictions": predictions}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
