"""Write `tmle.json`: targeted maximum likelihood put together from statsmodels' regressions.

Nuisances are a logit and least squares by arm; the fluctuation is a binomial GLM of the outcome scaled to [0, 1] on an
intercept, with the predictions' logit as offset and the balancing weights as variance weights (van der Laan & Rose
2011, chapter 4; Gruber & van der Laan 2010). Run with statsmodels 0.15.0::

    python tests/golden/tmle.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import special

N = 250


def data() -> pd.DataFrame:
    rng = np.random.default_rng(33)
    x = rng.standard_normal((N, 2))
    t = rng.random(N) < special.expit(0.8 * x[:, 0] - 0.3)
    y = x @ [1.0, -0.5] + (1 + x[:, 1]) * t + rng.standard_normal(N)
    event = rng.random(N) < special.expit(x[:, 0] + 0.7 * t - 0.3)
    return pd.DataFrame({"t": t * 1.0, "y": y, "event": event * 1.0, "x0": x[:, 0], "x1": x[:, 1]})


def fluctuate(y: np.ndarray, predicted: np.ndarray, own: np.ndarray, weights: np.ndarray) -> np.ndarray:
    low, width = y.min(), np.ptp(y)
    offset = special.logit(np.clip((predicted - low) / width, 0.0005, 0.9995))
    model = sm.GLM((y[own] - low) / width, np.ones((own.sum(), 1)), family=sm.families.Binomial(), offset=offset[own], var_weights=weights[own])  # fmt: skip
    shift = model.fit(tol=1e-14, maxiter=200).params[0]
    return low + width * special.expit(offset + shift)


def tmle(frame: pd.DataFrame, outcome: str) -> dict[str, dict[str, float]]:
    y, t = frame[outcome].to_numpy(), frame["t"].to_numpy()
    design = sm.add_constant(frame[["x0", "x1"]].to_numpy())
    e = sm.Logit(t, design).fit(disp=False, tol=1e-14, maxiter=200).predict(design)
    at = [sm.OLS(y[t == k], design[t == k]).fit().predict(design) for k in (0, 1)]
    told = {}
    zero, one = fluctuate(y, at[0], t == 0, 1 / (1 - e)), fluctuate(y, at[1], t == 1, 1 / e)
    value = (one - zero).mean()
    curve = t / e * (y - one) - (1 - t) / (1 - e) * (y - zero) + one - zero - value
    told["ATE"] = {"estimate": float(value), "std_error": float(np.sqrt((curve**2).mean() / len(y)))}
    zero = fluctuate(y, at[0], t == 0, e / (1 - e))
    share = t.mean()
    value = ((y - zero) * t).mean() / share
    curve = (t * (y - zero - value) - (1 - t) * e / (1 - e) * (y - zero)) / share
    told["ATT"] = {"estimate": float(value), "std_error": float(np.sqrt((curve**2).mean() / len(y)))}
    return told


def main() -> None:
    frame = data()
    told = {"data": {name: frame[name].tolist() for name in frame}, **{y: tmle(frame, y) for y in ("y", "event")}}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
