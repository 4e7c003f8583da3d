"""Write `callaway_santanna_weights.json`: csdid with weights that vary in time.

csdid is in no extra of this project; run in an environment of its own with
csdid 0.4.3, numpy 2.4.6, pandas 2.3.3::

    python tests/golden/callaway_santanna_weights.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

UNITS, PERIODS = 40, 5


def data() -> pd.DataFrame:
    rng = np.random.default_rng(41)
    unit, time = np.repeat(np.arange(UNITS), PERIODS), np.tile(np.arange(1, PERIODS + 1), UNITS)
    start = rng.choice([0, 3, 4], size=UNITS)[unit]
    on = (start > 0) & (time >= start)
    y = rng.standard_normal(UNITS)[unit] + 0.3 * time + on * (1 + 0.2 * (time - start)) + rng.standard_normal(len(unit))
    w = np.exp(rng.standard_normal(len(unit)) / 2)
    return pd.DataFrame({"unit": unit, "time": time, "first": start, "y": y, "w": w}).round(6)


def main() -> None:
    from csdid.att_gt import ATTgt

    frame = data()
    told: dict[str, object] = {"data": {name: frame[name].tolist() for name in frame}}
    for control in ("nevertreated", "notyettreated"):
        fit = ATTgt(
            yname="y", gname="first", idname="unit", tname="time", data=frame, control_group=[control], weights_name="w"
        ).fit(est_method="reg", base_period="varying", bstrap=False)
        for how in ("simple", "dynamic", "group", "calendar"):
            fit.aggte(how, bstrap=False, cband=False)
            told[f"{control} {how}"] = {"estimate": float(fit.atte["overall_att"]), "std_error": float(fit.atte["overall_se"])}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
