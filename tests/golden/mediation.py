"""Write `mediation.json`: statsmodels' mediation analysis of small tables, with many draws.

Run with statsmodels 0.15.0, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/mediation.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels
import statsmodels.api as sm
from statsmodels.stats.mediation import Mediation

N, DRAWS = 200, 100


def data() -> pd.DataFrame:
    rng = np.random.default_rng(50)
    x, t = rng.standard_normal(N), rng.random(N) < 0.5
    m = 0.7 * t + 0.4 * x + rng.standard_normal(N)
    y = 0.6 * m + 0.3 * t + 0.3 * t * m + 0.5 * x + rng.standard_normal(N)
    return pd.DataFrame({"t": t * 1.0, "x": x, "m": m, "y": y, "b": (y > y.mean()) * 1.0})


def main() -> None:
    frame = data()
    probit = sm.families.Binomial(link=sm.families.links.Probit())
    told: dict[str, Any] = {"versions": {"statsmodels": statsmodels.__version__}, "draws": DRAWS}
    for name, outcome in (
        ("linear", sm.OLS.from_formula("y ~ t + m + x", frame)),
        ("interaction", sm.OLS.from_formula("y ~ t * m + x", frame)),
        ("probit", sm.GLM.from_formula("b ~ t + m + x", frame, family=probit)),
    ):
        np.random.seed(1)
        fit = Mediation(outcome, sm.OLS.from_formula("m ~ t + x", frame), "t", "m").fit(n_rep=DRAWS)
        told[name] = {term: [float(v) for v in row] for term, row in fit.summary().iterrows()}
    told["data"] = {name: frame[name].tolist() for name in frame}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
