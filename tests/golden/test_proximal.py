"""The linear bridge against linearmodels' two-stage least squares (`proximal.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from causal_orchestrator import estimators
from causal_orchestrator.problem import build
from causal_orchestrator.question import Question

GOLDEN = json.loads(Path(__file__).with_name("proximal.json").read_text())
RTOL = 1e-8  # the same formula; other factorisations


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_the_linear_bridge_is_two_stage_least_squares(case):
    wanted = GOLDEN["cases"][case]
    proxies = ("z0",) if case == "one" else ("z0", "z1", "z2")
    question = Question(
        treatment="t", outcome="y", covariates=("x",), treatment_proxies=proxies, outcome_proxies=("w",),
        cluster="g" if case == "clustered" else None,
    )  # fmt: skip
    found = estimators.estimate("proximal", build(pd.DataFrame(GOLDEN["data"]), question))
    assert found.estimate == pytest.approx(wanted["estimate"], rel=RTOL)
    assert found.std_error == pytest.approx(wanted["std_error"], rel=RTOL)
    if "f" in wanted:
        assert found.diagnostics["proxy_strength"]["value"] == pytest.approx(wanted["f"], rel=RTOL)
