"""The table of analyses: every line leads to a module, and says for itself where it does not apply."""

import inspect
import subprocess
import sys

import pytest

from causal_orchestrator import sensitivity
from causal_orchestrator.estimators import Situation

SITUATION = Situation(
    design="unconfoundedness", n=100, n_covariates=2, treatment_kind="binary", outcome_kind="continuous",
    roles=frozenset({"covariates", "placebos"}),
)  # fmt: skip


@pytest.mark.parametrize("key", list(sensitivity.SENSITIVITY))
def test_every_line_leads_to_an_analysis_with_the_common_arguments(key):
    parameters = inspect.signature(sensitivity.load(key)).parameters
    assert list(parameters)[:2] == ["problem", "estimate"]
    assert {"refit", "seed"} <= set(parameters)
    assert ("draws" in parameters) or not sensitivity.SENSITIVITY[key].draws
    assert sensitivity.SENSITIVITY[key].module == key


def test_an_analysis_of_confounding_is_not_for_an_experiment():
    experiment = Situation(**{**vars(SITUATION), "design": "randomized"})
    assert sensitivity.missing("e_value", SITUATION, "ipw") is None
    assert "randomized" in sensitivity.missing("e_value", experiment, "ipw")
    assert sensitivity.missing("balance_test", experiment, "ipw") is None


def test_what_is_lacking_is_named():
    bare = Situation(**{**vars(SITUATION), "roles": frozenset()})
    assert "covariates" in sensitivity.missing("robustness_value", bare, "ols")
    assert "psm" in sensitivity.missing("bootstrap", SITUATION, "psm")
    assert "binary" in sensitivity.missing("manski_bounds", SITUATION, "ols")


def test_the_table_imports_no_science():
    code = "import sys, causal_orchestrator.sensitivity; print('numpy' in sys.modules or 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
