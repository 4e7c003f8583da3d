"""Write `iv.json`: linearmodels' instrumental-variable estimates on a small heteroskedastic table.

Run with linearmodels 7.1, numpy 2.4.6, pandas 3.1.1::

    python tests/golden/iv.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import linearmodels
import numpy as np
import pandas as pd
from linearmodels.iv import IV2SLS, IVGMM, IVLIML

N = 150


def data() -> pd.DataFrame:
    rng = np.random.default_rng(30)
    x, hidden = rng.standard_normal((2, N))
    z = rng.standard_normal((N, 2))
    t = z @ [0.5, 0.3] + 0.4 * x + hidden + rng.standard_normal(N)
    y = 0.7 * t + x + hidden + rng.standard_normal(N) * np.exp(0.5 * z[:, 0])
    return pd.DataFrame({"y": y, "t": t, "x": x, "z0": z[:, 0], "z1": z[:, 1], "g": np.arange(N) // 5 * 1.0})


def main() -> None:
    frame = data()
    exog = frame[["x"]].assign(one=1.0)
    arguments = (frame["y"], exog, frame["t"], frame[["z0", "z1"]])
    errors: dict[str, dict[str, Any]] = {
        "classical": {"cov_type": "unadjusted"},
        "hc1": {"cov_type": "robust"},
        "cluster": {"cov_type": "clustered", "clusters": frame["g"]},
    }
    models = {
        "iv_2sls": lambda: IV2SLS(*arguments),
        "iv_liml": lambda: IVLIML(*arguments),
        "fuller": lambda: IVLIML(*arguments, fuller=1.0),
    }
    told: dict[str, Any] = {"versions": {"linearmodels": linearmodels.__version__}}
    for name, model in models.items():
        fits = {kind: model().fit(debiased=True, **options) for kind, options in errors.items()}
        told[name] = {
            "estimate": float(fits["hc1"].params["t"]),
            **{k: float(f.std_errors["t"]) for k, f in fits.items()},
        }
        told[name]["sargan"] = float(fits["classical"].sargan.stat)
    plain = IV2SLS(*arguments).fit(cov_type="unadjusted", debiased=True)
    told["wu_hausman"] = float(plain.wu_hausman().stat)
    told["partial_r2"] = float(plain.first_stage.diagnostics.loc["t", "partial.rsquared"])
    kinds = {"classical": "unadjusted", "hc0": "robust", "hc1": "robust", "cluster": "clustered"}
    for kind, weight in kinds.items():
        groups = {"clusters": frame["g"]} if kind == "cluster" else {}
        fit = IVGMM(*arguments, weight_type=weight, **groups).fit(cov_type=weight, debiased=kind != "hc0", **groups)
        told[f"iv_gmm {kind}"] = {
            "estimate": float(fit.params["t"]),
            "std_error": float(fit.std_errors["t"]),
            "j": float(fit.j_stat.stat),
        }
    told["data"] = {name: frame[name].tolist() for name in frame}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
