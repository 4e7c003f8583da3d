import dataclasses
import json

import pytest
from tests.reporting import sample
from tests.reporting.names import renamed

from causal_orchestrator.agents import Output, visualizer
from causal_orchestrator.figures import FIGURES, load
from causal_orchestrator.results import Figures

# Of section 14, those whose data exist in the sample.
DRAWN = {
    "outcome_by_arm", "covariate_outcome", "missingness", "outliers", "collinearity", "covariate_balance",
    "propensity_overlap", "propensity_calibration", "propensity_balance", "residuals", "effect_forest",
    "specification_curve", "effect_distribution", "cate_distribution", "subgroup_forest", "e_value_curve",
    "e_value_magnitude", "confounding_contours", "rosenbaum_bounds", "placebo_distribution", "refuters",
    "falsification", "causal_graph", "quality_radar",
}  # fmt: skip


def draw(job, data):
    return visualizer.run(job, sample.turn("visualizer"), sample.FakeReader(data), sample.no_model)


@pytest.fixture(scope="module")
def made():
    job, reader = sample.drawn()
    files = {name: content for (_, name), content in reader.files.items()}
    return Output(Figures.model_validate(job.results["visualizer"]), files)


def test_the_table_names_at_least_the_42_kinds_of_the_product():
    assert len(FIGURES) >= 42
    assert all(callable(load(spec)) for spec in FIGURES.values() if spec.function)


def test_every_figure_whose_data_exist_is_drawn(made):
    assert {figure.name for figure in made.result.figures} == DRAWN


def test_every_other_kind_says_what_it_lacks(made):
    skipped = made.result.skipped
    assert set(skipped) == set(FIGURES) - DRAWN
    assert skipped["rd_plot"] == "needs running variable and cutoff"
    assert skipped["driver_ranking"] == "nothing here predicts the outcome on other rows"
    assert skipped["quantile_effects"] == "no effects on quantiles were estimated"
    assert all(skipped.values())


def test_every_figure_stands_alone(made):
    for figure in made.result.figures:
        svg = made.files[figure.file].decode()
        assert figure.title in svg
        assert figure.alt
        assert figure.caption
        assert len(svg) < 200_000


def test_equal_jobs_give_equal_figures(made):
    turned = json.loads(json.dumps(sample.job().results, sort_keys=True))
    again = draw(dataclasses.replace(sample.job(), results=turned), sample.frame())
    assert again.files == made.files


@pytest.mark.parametrize("position", [3])
def test_hostile_names_draw_the_same_figures(position, made):
    names = renamed(position)
    data = sample.frame(names=names)
    found = draw(sample.job(data, names=names), data)
    assert {figure.name for figure in found.result.figures} == DRAWN


def test_a_refused_job_still_has_the_figures_of_its_design():
    found = draw(sample.job(decision="refuse"), sample.frame())
    names = {figure.name for figure in found.result.figures}
    assert {"covariate_balance", "propensity_overlap", "missingness"} <= names
    assert "effect_forest" not in names
    assert found.result.skipped["effect_forest"] == "needs effects"


def test_rows_along_quantiles_doses_and_times_are_drawn_as_curves():
    job, data = sample.job(), sample.frame()
    effects = sample.effects(data, job.question, curves=True)
    found = draw(dataclasses.replace(job, results={"effect_estimator": effects}), data)
    assert {"quantile_effects", "dose_response", "event_study"} <= {figure.name for figure in found.result.figures}
