import pytest

from causal_orchestrator import benchmark
from causal_orchestrator.errors import InputError


def test_an_experiment_is_found_and_covered_and_what_does_not_apply_is_left_out() -> None:
    rows = benchmark.run("randomized", ["difference_in_means", "rdd"], rows=400, draws=20)
    assert [row.method for row in rows] == ["difference_in_means"]
    (row,) = rows
    assert row.draws == 20
    assert abs(row.bias) < 4 * row.rmse / 20**0.5  # four standard errors of the mean error
    assert row.coverage is not None
    assert row.coverage >= 0.75  # P(fewer than 15 of 20 | 0.95) < 1e-3


def test_confounding_shows_as_bias_of_the_method_that_ignores_it() -> None:
    (row,) = benchmark.run("confounded_linear", ["difference_in_means"], rows=1000, draws=5)
    assert row.bias > 0.5


@pytest.mark.parametrize(("design", "method"), [("nowhere", "ols"), ("randomized", "magic")])
def test_an_unknown_name_is_refused(design: str, method: str) -> None:
    with pytest.raises(InputError):
        benchmark.run(design, [method], rows=100, draws=1)
