"""Write `rd_rules.json`: rdrobust on a running variable of small values, with every rule for the bandwidth.

Run with rdrobust 2.1.1, numpy 2.4.6::

    python tests/golden/rd_rules.py
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import rdrobust

N = 600
SMALL = 0.005  # powers of such distances differ by more digits than double precision has
RULES = [kind + shape for kind in ("mse", "cer") for shape in ("rd", "two", "sum", "comb1", "comb2")]


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(40)
    x = np.round(SMALL * rng.uniform(-1, 1, N), 9)
    u = x / SMALL
    return x, np.round(np.where(u >= 0, 0.4 + u - u**3, 0.5 * u + u**2) + 0.3 * rng.standard_normal(N), 9)


def main() -> None:
    x, y = data()
    told: dict[str, object] = {"data": {"x": x.tolist(), "y": y.tolist()}}
    for rule in RULES:
        for p in (1, 3):
            with contextlib.redirect_stdout(io.StringIO()):
                found = rdrobust.rdrobust(y, x, c=0, p=p, bwselect=rule)
            told[f"{rule} {p}"] = {
                "estimates": np.asarray(found.coef).ravel().tolist(),
                "std_errors": np.asarray(found.se).ravel().tolist(),
                "bandwidths": np.asarray(found.bws).ravel().tolist(),
            }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
