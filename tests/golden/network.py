"""Write `network.json`: exposure probabilities by listing every assignment, and variances by the printed sums.

Aronow & Samii (2017), https://doi.org/10.1214/16-AOAS1005, equations 7 to 11, as double loops over units; twelve units
in two strata and, apart, in six clusters, so that every assignment can be listed. Only numpy is used::

    python tests/golden/network.py
"""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

N = 12
EDGES = [(i, (i + 1) % N) for i in range(N)] + [(0, 5), (3, 9)]
STRATA = [0] * 6 + [1] * 6
CLUSTERS = [i // 2 for i in range(N)]


def assignments(of_unit: list[int], stratum: list[int], treated: dict[int, int]) -> list[list[int]]:
    """Every assignment of units: in each stratum all choices of so many assignment units."""
    choices = []
    for s, count in treated.items():
        choices.append(list(combinations([a for a in range(len(stratum)) if stratum[a] == s], count)))
    found = []
    for chosen in product(*choices):
        on = {a for part in chosen for a in part}
        found.append([int(of_unit[i] in on) for i in range(N)])
    return found


def exposure(t: list[int]) -> list[int]:
    near: list[set[int]] = [set() for _ in range(N)]
    for a, b in EDGES:
        near[a].add(b)
        near[b].add(a)
    return [2 * t[i] + int(any(t[j] for j in near[i])) for i in range(N)]


def probabilities(every: list[list[int]]) -> tuple[Any, Any]:
    mapped = np.array([exposure(t) for t in every])
    single = np.array([[(mapped[:, i] == k).mean() for k in range(4)] for i in range(N)])
    joint = np.zeros((4, 4, N, N))
    for k, m, i, j in product(range(4), range(4), range(N), range(N)):
        joint[k, m, i, j] = ((mapped[:, i] == k) & (mapped[:, j] == m)).mean()
    return single, joint


def contrast(y: Any, d: list[int], single: Any, joint: Any, k: int, m: int) -> dict[str, float]:
    """Hájek difference of exposures k and m, with the conservative variance of residuals from the Hájek means."""
    mean = {}
    for e in (k, m):
        weight = [(d[i] == e) / single[i, e] for i in range(N)]
        mean[e] = sum(w * v for w, v in zip(weight, y, strict=True)) / sum(weight)
    left = {e: [y[i] - mean[e] if d[i] == e else 0.0 for i in range(N)] for e in (k, m)}
    variance = 0.0
    for e in (k, m):
        for i in range(N):
            variance += (1 - single[i, e]) * (left[e][i] / single[i, e]) ** 2
            for j in range(N):
                both = joint[e, e, i, j]
                if i != j and both > 0:
                    variance += (both - single[i, e] * single[j, e]) / both * left[e][i] * left[e][j] / single[i, e] / single[j, e]  # fmt: skip
                elif i != j:
                    variance += left[e][i] ** 2 / 2 / single[i, e] + left[e][j] ** 2 / 2 / single[j, e]
    for i, j in product(range(N), range(N)):
        both = joint[k, m, i, j]
        if both > 0:
            variance -= 2 * (both - single[i, k] * single[j, m]) / both * left[k][i] * left[m][j] / single[i, k] / single[j, m]  # fmt: skip
        else:
            variance += 2 * (left[k][i] ** 2 / 2 / single[i, k] + left[m][j] ** 2 / 2 / single[j, m])
    return {"estimate": mean[k] - mean[m], "variance": variance / N**2}


def case(of_unit: list[int], stratum: list[int], treated: dict[int, int], place: int, y: Any) -> dict[str, Any]:
    every = assignments(of_unit, stratum, treated)
    single, joint = probabilities(every)
    t = every[place]
    d = exposure(t)
    told = {f"{k}-{m}": contrast(y, d, single, joint, k, m) for k, m in ((2, 0), (1, 0)) if {k, m} <= set(d)}
    return {"treated": t, "exposure": d, "probability": single.tolist(), "joint": joint.tolist(), "contrasts": told}


if __name__ == "__main__":
    outcome = np.random.default_rng(61).normal(size=N).round(3).tolist()
    written = {
        "edges": EDGES,
        "strata": STRATA,
        "clusters": CLUSTERS,
        "outcome": outcome,
        "cases": {
            "units": case(list(range(N)), [0] * N, {0: 3}, 40, outcome),
            "strata": case(list(range(N)), STRATA, {0: 2, 1: 1}, 30, outcome),
            "clusters": case(CLUSTERS, [0] * 6, {0: 2}, 4, outcome),
        },
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(written) + "\n")
