"""Write `entropy_balancing.json`: weights by the primal problem, and the sandwich by numerical derivatives.

The weights solve Hainmueller (2012), equation 3, directly (minimise Σ w log w subject to the moments), by cvxpy's
CLARABEL; the standard error stacks all estimating equations and differentiates them numerically. Neither shares a
formula with the package. Run with cvxpy 1.9.3::

    python tests/golden/entropy_balancing.py
"""

from __future__ import annotations

import json
from pathlib import Path

import cvxpy
import numpy as np
import pandas as pd
from scipy import optimize, special

N = 120


def data() -> pd.DataFrame:
    rng = np.random.default_rng(31)
    x = np.column_stack([rng.standard_normal(N), rng.exponential(size=N), rng.random(N) < 0.4])
    t = rng.random(N) < special.expit(x @ [0.6, -0.4, 0.5])
    y = x @ [1.0, 0.5, -1.0] + x[:, 0] ** 2 + t * (1 + x[:, 1]) + rng.standard_normal(N)
    return pd.DataFrame({"y": y, "t": t * 1.0, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2] * 1.0})


def primal(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    w = cvxpy.Variable(len(x))
    problem = cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(cvxpy.entr(w))), [x.T @ w == target, cvxpy.sum(w) == 1])
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return np.asarray(w.value)


def scores(theta: np.ndarray, x: np.ndarray, t: np.ndarray, y: np.ndarray, estimand: str) -> np.ndarray:
    """Estimating functions (n, k) of target means, both arms' multipliers and both arms' mean outcomes."""
    p = x.shape[1]
    target, one, zero, mean1, mean0 = theta[:p], theta[p : 2 * p], theta[2 * p : 3 * p], theta[-2], theta[-1]
    inside = np.ones(len(t)) if estimand == "ATE" else t
    away = x - target
    w1, w0 = t * np.exp(away @ one), (1 - t) * np.exp(away @ zero)
    return np.column_stack(
        [inside[:, None] * away, w1[:, None] * away, w0[:, None] * away, w1 * (y - mean1), w0 * (y - mean0)]
    )


def sandwich(x: np.ndarray, t: np.ndarray, y: np.ndarray, estimand: str) -> tuple[float, float]:
    inside = np.ones(len(t)) if estimand == "ATE" else t
    p = x.shape[1]
    target = inside @ x / inside.sum()
    start = np.concatenate([target, np.zeros(2 * p), [y.mean(), y.mean()]])
    found = optimize.root(lambda th: scores(th, x, t, y, estimand).mean(axis=0), start, tol=1e-13).x
    bread = np.zeros((len(found),) * 2)
    for j, step in enumerate(1e-5 * np.maximum(1.0, np.abs(found))):
        shift = np.zeros(len(found))
        shift[j] = step
        up, down = (scores(found + s * shift, x, t, y, estimand).mean(axis=0) for s in (1, -1))
        bread[:, j] = (up - down) / (2 * step)
    psi = -scores(found, x, t, y, estimand) @ np.linalg.inv(bread).T
    effect = psi[:, -2] - psi[:, -1]
    return float(found[-2] - found[-1]), float(np.sqrt(effect @ effect) / len(t))


def main() -> None:
    frame = data()
    x, t, y = frame[["x0", "x1", "x2"]].to_numpy(), frame["t"].to_numpy(), frame["y"].to_numpy()
    told: dict[str, object] = {"data": {name: frame[name].tolist() for name in frame}}
    treated = t == 1
    weights = primal(x[~treated], x[treated].mean(axis=0))
    told["weights of the controls"] = weights.tolist()
    told["primal ATT"] = float(y[treated].mean() - weights @ y[~treated])
    for estimand in ("ATT", "ATE"):
        value, error = sandwich(x, t, y, estimand)
        told[estimand] = {"estimate": value, "std_error": error}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
