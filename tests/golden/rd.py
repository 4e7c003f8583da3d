"""Write `rd.json`: what rdrobust and rddensity say of a small table with a running variable, in many variants.

Run with rdrobust 2.1.1, rddensity 3.0, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/rd.py
"""

from __future__ import annotations

import contextlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rddensity import rddensity
from rdrobust import rdrobust

N = 400

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "uniform": {"kernel": "uniform"},
    "epanechnikov": {"kernel": "epanechnikov"},
    "quadratic": {"p": 2},
    "given bandwidth": {"h": 0.4},
    "two bandwidths": {"bwselect": "msetwo"},
    "coverage error": {"bwselect": "cerrd"},
    "covariates": {"covs": ["x0", "x1"]},
    "clusters": {"cluster": "g"},
    "mass points": {"x": "rounded"},
    "fuzzy": {"fuzzy": "t", "sharpbw": True},
    "fuzzy given bandwidth": {"fuzzy": "t", "h": 0.4},
    "fuzzy covariates": {"fuzzy": "t", "sharpbw": True, "covs": ["x0", "x1"]},
    "fuzzy clusters": {"fuzzy": "t", "sharpbw": True, "cluster": "g"},
    "fuzzy ratio": {"fuzzy": "t"},
    "fuzzy ratio, quadratic": {"fuzzy": "t", "p": 2},
    "fuzzy ratio, two bandwidths": {"fuzzy": "t", "bwselect": "msetwo"},
    "fuzzy ratio, covariates": {"fuzzy": "t", "covs": ["x0", "x1"]},
    "fuzzy ratio, clusters": {"fuzzy": "t", "cluster": "g"},
    "fuzzy one-sided": {"fuzzy": "s"},
}


def data() -> pd.DataFrame:
    rng = np.random.default_rng(40)
    r = rng.beta(2, 3, N) * 2 - 0.8
    x = rng.standard_normal((N, 2))
    t = rng.random(N) < np.where(r >= 0, 0.8, 0.2)
    y = 3 + np.sin(2 * r) + 0.8 * t + 0.4 * (r >= 0) + 0.4 * x[:, 0] + 0.5 * rng.standard_normal(N)
    columns = {
        "y": y,
        "t": t * 1.0,
        "s": t * (r >= 0) * 1.0,
        "above": (r >= 0) * 1.0,
        "r": r,
        "rounded": np.floor(r * 12) / 12,
    }
    return pd.DataFrame({**columns, "x0": x[:, 0], "x1": x[:, 1], "g": np.arange(N) % 40 * 1.0})


def main() -> None:
    frame = data()
    told: dict[str, Any] = {"versions": {name: version(name) for name in ("rdrobust", "rddensity")}}
    for name, options in VARIANTS.items():
        given = {"x": "r", "c": 0.0, **options}
        given["q"] = given.get("p", 1) + 1
        with contextlib.redirect_stdout(io.StringIO()):
            found = rdrobust(y="y", data=frame, **given)
        told[name] = {
            "estimates": [float(v) for v in found.coef.iloc[:, 0]],
            "std_errors": [float(v) for v in found.se.iloc[:, 0]],
            "h": [float(v) for v in found.bws.iloc[0]],
            "b": [float(v) for v in found.bws.iloc[1]],
            "n": [int(v) for v in found.N_h],
        }
    for width in (0.3, 0.6):
        found = rddensity(frame["r"], c=0.0, h=[width, width])
        told[f"density {width}"] = {
            "left": float(found.hat["left"]),
            "right": float(found.hat["right"]),
            "t": float(found.test["t_jk"]),
        }
    told["data"] = {name: frame[name].tolist() for name in frame}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
