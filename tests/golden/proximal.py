"""Write `proximal.json`: linearmodels' IV2SLS and IVGMM of an outcome on treatment and outcome proxies.

Run with linearmodels 7.1, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/proximal.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import linearmodels
import numpy as np
import pandas as pd
from linearmodels.iv import IV2SLS

N = 300


def data() -> pd.DataFrame:
    rng = np.random.default_rng(60)
    u, x = rng.standard_normal(N), rng.standard_normal(N)
    t = (rng.random(N) < 1 / (1 + np.exp(-u - 0.3 * x))) * 1.0
    made = {"t": t, "x": x, "y": t + u + x + rng.standard_normal(N)}
    made |= {f"z{j}": u + 0.4 * t + 0.6 * rng.standard_normal(N) for j in range(3)}
    made |= {"w": u + 0.6 * rng.standard_normal(N), "g": np.arange(N) // 6 * 1.0}
    return pd.DataFrame(made)


def fit(frame: pd.DataFrame, z: list[str], *, clustered: bool) -> dict[str, Any]:
    controls = frame[["t", "x"]].assign(one=1.0)
    model = IV2SLS(frame["y"], controls, frame["w"], frame[z])
    how = {"cov_type": "clustered", "clusters": frame["g"]} if clustered else {"cov_type": "robust"}
    found = model.fit(debiased=True, **how)
    return {"estimate": float(found.params["t"]), "std_error": float(found.std_errors["t"])}


def first_stage(frame: pd.DataFrame, z: list[str]) -> float:
    """The F of the treatment proxies in a regression of the outcome proxy, from two residual sums of squares."""
    short = np.column_stack([np.ones(N), frame[["x", "t"]]])
    long = np.column_stack([short, frame[z]])
    left = [float(np.linalg.lstsq(d, frame["w"].to_numpy(), rcond=None)[1][0]) for d in (short, long)]
    return (left[0] - left[1]) / len(z) / (left[1] / (N - long.shape[1]))


if __name__ == "__main__":
    table, every = data(), ["z0", "z1", "z2"]
    cases = {
        "one": fit(table, ["z0"], clustered=False) | {"f": first_stage(table, ["z0"])},
        "three": fit(table, every, clustered=False) | {"f": first_stage(table, every)},
        "clustered": fit(table, every, clustered=True),
    }
    told = {"versions": {"linearmodels": linearmodels.__version__}, "data": table.to_dict("list"), "cases": cases}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told) + "\n")
