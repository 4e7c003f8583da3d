"""Write `cem.json`: coarsened exact matching by pandas' cut and groupby, estimates by statsmodels' weighted regression.

Weights are those of Iacus, King & Porro (2012): one for the treated, the cell's ratio of treated to controls for the
controls. Run with pandas 3.1.1, statsmodels 0.15.0::

    python tests/golden/cem.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm

N, BINS = 300, 4


def data() -> pd.DataFrame:
    rng = np.random.default_rng(32)
    frame = pd.DataFrame({"x0": rng.standard_normal(N), "x1": rng.exponential(size=N), "x2": rng.integers(0, 2, N)})
    frame["t"] = (rng.random(N) < 1 / (1 + np.exp(-0.8 * frame["x0"]))) * 1.0
    frame["y"] = frame["x0"] + frame["x1"] + frame["t"] * (1 + frame["x2"]) + rng.standard_normal(N)
    return frame


def main() -> None:
    frame = data()
    cells = [pd.cut(frame[c], BINS, right=False, labels=False) for c in ("x0", "x1")]
    key = pd.MultiIndex.from_arrays([*cells, frame["x2"]])
    counts = frame.groupby(key)["t"].agg(["sum", "count"])
    treated, control = (
        counts["sum"].reindex(key).to_numpy(),
        (counts["count"] - counts["sum"]).reindex(key).to_numpy(),
    )
    both = (treated > 0) & (control > 0)
    told: dict[str, object] = {"data": {name: frame[name].tolist() for name in frame}, "bins": BINS}
    told["dropped"] = {str(k): int((~both & (frame["t"] == k)).sum()) for k in (0, 1)}
    size = treated + control
    for estimand, target in (("ATT", treated), ("ATC", control), ("ATE", size)):
        weights = np.where(frame["t"] == 1, target / np.maximum(treated, 1), target / np.maximum(control, 1))[both]
        fit = sm.WLS(frame["y"][both], sm.add_constant(frame["t"][both]), weights=weights).fit()
        told[estimand] = float(fit.params["t"])
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
