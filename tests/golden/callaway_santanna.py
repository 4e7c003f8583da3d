"""Write `callaway_santanna.json`: ATT(g, t) of the panel in `did.json` by the package differences.

Run with differences 0.3.0 in an environment of its own::

    python tests/golden/callaway_santanna.py
"""

from __future__ import annotations

import json
from pathlib import Path

import differences
import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def main() -> None:
    frame = pd.DataFrame(json.loads((HERE / "did.json").read_text())["data"])
    # One value per unit: packages differ in which period's covariates they take.
    frame["z"] = frame.groupby("unit")["z"].transform("first")
    frame["cohort"] = frame["first"].replace(0, np.nan)
    told: dict[str, object] = {"versions": {"differences": differences.__version__}}
    for score in ("dr", "reg", "ipw"):
        for control in ("never_treated", "not_yet_treated"):
            model = differences.ATTgt(
                data=frame.set_index(["unit", "time"])[["cohort", "y", "z"]], cohort_column="cohort"
            )
            fitted = model.fit(
                formula="y ~ z", est_method={"ipw": "std_ipw"}.get(score, score), control_group=control
            ).to_pandas()
            told[f"{score} {control}"] = {
                f"ATT({index[0]:.0f}, {index[2]:.0f})": {
                    "estimate": float(row.iloc[0]),
                    "std_error": float(row.iloc[1]),
                }
                for index, row in fitted.iterrows()
            }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
