"""Write `callaway_santanna_cross_sections.json`: csdid on repeated cross-sections.

csdid is in no extra of this project; run in an environment of its own with
csdid 0.4.3, drdid 1.1.7::

    python tests/golden/callaway_santanna_cross_sections.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, PERIODS = 600, 4


def data() -> pd.DataFrame:
    rng = np.random.default_rng(42)
    time, x = rng.integers(1, PERIODS + 1, ROWS), rng.standard_normal(ROWS)
    start = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-0.5 * x)), rng.choice([3, 4], ROWS), 0)
    on = (start > 0) & (time >= start)
    y = 0.5 * x + 0.3 * time * (1 + 0.3 * x) + 0.2 * start + on * (1 + 0.2 * (time - start)) + rng.standard_normal(ROWS)
    w = np.exp(rng.standard_normal(ROWS) / 2)
    return pd.DataFrame({"id": np.arange(ROWS), "time": time, "first": start, "y": y, "x": x, "w": w}).round(6)


def main() -> None:
    from csdid.att_gt import ATTgt

    frame = data()
    told: dict[str, object] = {"data": {name: frame[name].tolist() for name in frame}}
    for covariates in ("", "x"):
        for control in ("nevertreated", "notyettreated"):
            for score in ("dr", "reg", "ipw"):
                fit = ATTgt(
                    yname="y", gname="first", idname="id", tname="time", data=frame, control_group=[control],
                    xformla="y ~ 1" + (" + x" if covariates else ""), panel=False, weights_name="w",
                ).fit(est_method=score, base_period="varying", bstrap=False)  # fmt: skip
                for how in ("simple", "dynamic", "group", "calendar"):
                    fit.aggte(how, bstrap=False, cband=False)
                    told[f"{control} {score} {how} {covariates}".strip()] = {
                        "estimate": float(fit.atte["overall_att"]),
                        "std_error": float(np.ravel(fit.atte["overall_se"])[0]),
                    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
