"""Write `did_imputation.json`: the imputation estimator by the formulas of the paper, with every indicator written out.

A hand derivation on dense matrices, which shares no code with the package: Borusyak, Jaravel & Spiess (2024),
https://doi.org/10.1093/restud/rdae007, theorem 1 (weights), theorem 3 and equation 8 (variance; averages by cohort and
period). Run with numpy 2.4.6::

    python tests/golden/did_imputation.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("did.json")


def main() -> None:
    data = {name: np.array(values) for name, values in json.loads(DATA.read_text())["data"].items()}
    keep = np.arange(len(data["y"])) % 17 != 3
    unit, time, first, y, z = (data[name][keep] for name in ("unit", "time", "first", "y", "z"))
    treated = (first > 0) & (time >= first)
    indicators = np.column_stack([unit[:, None] == np.unique(unit), time[:, None] == np.unique(time)[1:], z])
    a, b = indicators[~treated].astype(float), indicators[treated].astype(float)
    effect = y[treated] - b @ np.linalg.lstsq(a, y[~treated], rcond=None)[0]
    residual = y[~treated] - a @ np.linalg.lstsq(a, y[~treated], rcond=None)[0]
    told = {}
    for name in ("overall", *sorted(set((time - first)[treated].tolist()))):
        chosen = np.ones(treated.sum(), bool) if name == "overall" else (time - first)[treated] == name
        w = chosen / chosen.sum()
        v = -a @ np.linalg.pinv(a.T @ a) @ b.T @ w
        average = np.zeros(len(w))
        for i in range(len(w)):
            same = (first[treated] == first[treated][i]) & (time[treated] == time[treated][i])
            if w[same].any():
                average[i] = (w[same] ** 2 @ effect[same]) / (w[same] ** 2).sum()
        spread = np.zeros(len(y))
        spread[treated], spread[~treated] = w * (effect - average), v * residual
        variance = sum(spread[unit == u].sum() ** 2 for u in np.unique(unit))
        told[str(name)] = {"estimate": float(w @ effect), "std_error": float(np.sqrt(variance))}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
