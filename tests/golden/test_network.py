"""Exposure probabilities and conservative variances against a listing of every assignment (`network.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from causal_orchestrator.numerics import network as graph

GOLDEN = json.loads(Path(__file__).with_name("network.json").read_text())
ATOL = 1e-12  # the same fractions, once by counting and once by logarithms of factorials
N = len(GOLDEN["outcome"])


def assignment(case):
    treated = np.array(GOLDEN["cases"][case]["treated"]) > 0
    if case == "clusters":
        of_unit = np.array(GOLDEN["clusters"])
        return graph.Assignment(of_unit, np.zeros(6, dtype=np.int64), treated[::2])
    stratum = np.array(GOLDEN["strata"]) if case == "strata" else np.zeros(N, dtype=np.int64)
    return graph.Assignment(np.arange(N), stratum, treated)


def sets(case):
    units = [str(i) for i in range(N)]
    edges = graph.read_edges("\n".join(f"{a},{b}" for a, b in GOLDEN["edges"]), units)
    return graph.sets_of(edges, assignment(case))


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_exposures_and_their_probabilities_are_those_of_every_assignment_listed(case):
    wanted, drawn = GOLDEN["cases"][case], assignment(case)
    found = sets(case)
    assert graph.exposures(drawn.treated, found, sparse.csr_array((N, N)), "any").tolist() == wanted["exposure"]
    np.testing.assert_allclose(graph.exact_probabilities(found, drawn), wanted["probability"], atol=ATOL)
    for (k, m), joint in graph.joint_probabilities(found, drawn).items():
        np.testing.assert_allclose(joint, np.array(wanted["joint"])[k, m], atol=ATOL)


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_contrasts_and_variances_are_the_printed_sums(case):
    wanted, drawn = GOLDEN["cases"][case], assignment(case)
    joint = graph.joint_probabilities(sets(case), drawn)
    probability = np.array(wanted["probability"])
    found = graph.means(np.array(GOLDEN["outcome"]), np.array(wanted["exposure"]), np.where(probability > 0, probability, 1), joint, None)  # fmt: skip
    for name, contrast in wanted["contrasts"].items():
        k, m = map(int, name.split("-"))
        assert found.values[k] - found.values[m] == pytest.approx(contrast["estimate"], abs=ATOL)
        variance = found.covariance[k, k] + found.covariance[m, m] - 2 * found.covariance[k, m]
        assert variance == pytest.approx(contrast["variance"], rel=1e-9)
