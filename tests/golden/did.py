"""Write `did.json`: two-way fixed effects by pyfixest on a panel with gaps, the saturated event study on it without.

Run with pyfixest 0.60.0, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/did.py

pyfixest is run without its factor for the number of parameters (``k_adj=False``), which the test puts on by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyfixest

UNITS, PERIODS = 30, 5


def data() -> pd.DataFrame:
    rng = np.random.default_rng(31)
    first = rng.choice([0, 2, 4, 5], size=UNITS)
    unit, time = np.repeat(np.arange(UNITS), PERIODS), np.tile(np.arange(1, PERIODS + 1), UNITS)
    start = first[unit]
    d = (start > 0) & (time >= start)
    z = rng.standard_normal(UNITS * PERIODS)
    y = rng.standard_normal(UNITS)[unit] + 0.2 * time + d * (1 + 0.3 * (time - start)) + 0.5 * z
    y = y + rng.standard_normal(UNITS * PERIODS)
    frame = pd.DataFrame({"unit": unit, "time": time, "first": start, "d": d * 1, "z": z, "y": y})
    return frame.round(6)


def main() -> None:
    frame = data()
    told: dict[str, object] = {"versions": {"pyfixest": pyfixest.__version__}}
    ssc = pyfixest.ssc(k_adj=False)
    gaps = frame[frame.index % 17 != 3]
    for name, formula in (("did", "y ~ d | unit + time"), ("did with z", "y ~ d + z | unit + time")):
        fit = pyfixest.feols(formula, gaps, vcov={"CRV1": "unit"}, ssc=ssc)
        told[name] = {"estimate": float(fit.coef()["d"]), "std_error": float(fit.se()["d"])}
    fit = pyfixest.event_study(frame, "y", "unit", "time", "first", estimator="saturated", cluster="unit", att=False)
    events = fit.aggregate()
    told["event_study"] = {
        str(float(e)): {"estimate": float(row["Estimate"]), "std_error": float(row["Std. Error"])}
        for e, row in events.iterrows()
    }
    told["data"] = {name: frame[name].tolist() for name in frame}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
