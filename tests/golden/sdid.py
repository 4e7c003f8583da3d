"""Write `sdid.json`: synthetic difference in differences by a general solver, on the panel of `did.json`.

A derivation that shares no code with the package: the two quadratic programmes of Arkhangelsky et al. (2021),
https://doi.org/10.1257/aer.20190159, equations 4 and 6, by scipy's SLSQP, then the weighted two-way regression of
their equation 1 with every indicator written out; the jackknife of their algorithm 3. Run with scipy 1.17.1::

    python tests/golden/sdid.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import optimize

DATA = Path(__file__).with_name("did.json")
COHORT = 4


def programme(columns: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    k = columns.shape[1]

    def loss(v: np.ndarray) -> float:
        return float(((v[0] + columns @ v[1:] - target) ** 2).sum() + penalty * (v[1:] ** 2).sum())

    found = optimize.minimize(
        loss,
        np.r_[0.0, np.full(k, 1 / k)],
        bounds=[(None, None)] + [(0, 1)] * k,
        constraints={"type": "eq", "fun": lambda v: v[1:].sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    return np.asarray(found.x[1:])


def regression(y: np.ndarray, treated: np.ndarray, pre: int, omega: np.ndarray, lam: np.ndarray) -> float:
    n, t = y.shape
    unit, time = np.repeat(np.arange(n), t), np.tile(np.arange(t), n)
    share = np.where(treated, 1 / treated.sum(), 0.0)
    share[~treated] = omega
    periods = np.r_[lam, np.full(t - pre, 1 / (t - pre))]
    root = np.sqrt(share[unit] * periods[time])
    design = np.column_stack([unit[:, None] == np.arange(n), time[:, None] == np.arange(1, t), treated[unit] & (time >= pre)])  # fmt: skip
    return float(np.linalg.lstsq(design * root[:, None], y.ravel() * root, rcond=None)[0][-1])


def main() -> None:
    data = {name: np.array(values) for name, values in json.loads(DATA.read_text())["data"].items()}
    keep = np.isin(data["first"], [0, COHORT])
    periods = len(set(data["time"].tolist()))
    y = data["y"][keep].reshape(-1, periods)
    treated = data["first"][keep].reshape(-1, periods)[:, 0] == COHORT
    pre = COHORT - 1
    noise = np.diff(y[~treated, :pre], axis=1).std(ddof=1)
    zeta = (treated.sum() * (periods - pre)) ** 0.25 * noise
    omega = programme(y[~treated, :pre].T, y[treated, :pre].mean(axis=0), zeta**2 * pre)
    lam = programme(y[~treated, :pre], y[~treated, pre:].mean(axis=1), (1e-6 * noise) ** 2 * (~treated).sum())
    value = regression(y, treated, pre, omega, lam)
    left = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        own = omega[rest[~treated]]
        left.append(regression(y[rest], treated[rest], pre, own / own.sum(), lam))
    error = np.sqrt((len(y) - 1) * np.var(left))
    told = {"estimate": value, "std_error": float(error), "omega": omega.tolist(), "lambda": lam.tolist()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
