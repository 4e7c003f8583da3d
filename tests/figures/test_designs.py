"""The figures of single designs are drawn from a job of that design, and say what they lack elsewhere."""

import pytest
from tests.agents.analysed import TURN, analyse, estimated, silent, with_results
from tests.agents.reader import FrameReader

from causal_orchestrator.agents import visualizer
from causal_orchestrator.simulate import SIMULATIONS

FAMILIES = {
    "panel_staggered": ("panel", ("callaway_santanna", "event_study"), "ATT", 900, {"parallel_trends", "honest_did", "event_study"}),
    "panel_block": ("panel", ("synthetic_control",), "ATT", 120, {"synthetic_control_path", "synthetic_control_gaps"}),
    "cutoff": ("discontinuity", ("rdd",), "LATE", 600, {"rd_plot", "rd_density", "rd_bandwidth"}),
    "encouraged": ("instrument", ("iv_2sls",), "WLATE", 400, {"first_stage"}),
    "interrupted": ("interrupted_time_series", ("its",), "ATT", 60, {"interrupted_series", "panel_series"}),
}  # fmt: skip


def drawn(name):
    design, methods, estimand, n, _ = FAMILIES[name]
    made = SIMULATIONS[name](n, seed=1)
    roles = {key: value for key, value in made.question.model_dump(exclude={"preferences"}).items() if value not in (None, "")}  # fmt: skip
    job = estimated(made.frame, methods, design, estimand=estimand, question=roles, instruments=made.question.instruments)  # fmt: skip
    job = with_results(job, sensitivity_analyst=analyse(job, made.frame).result)
    return visualizer.run(job, TURN, FrameReader(made.frame, "t", "y"), silent)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_design_gets_its_figures_and_no_other_designs(name):
    output = drawn(name)
    there = {figure.name for figure in output.result.figures}
    own = FAMILIES[name][-1]
    assert own <= there
    others = set().union(*(figures for other, (design, *_, figures) in FAMILIES.items() if design != FAMILIES[name][0]))
    assert not (others - own - {"panel_series", "event_study"}) & there
    for figure in output.result.figures:
        if figure.name in own:
            assert figure.alt
            assert len(output.files[figure.file]) < 200_000


def test_an_event_study_shows_what_was_before():
    alt = next(figure.alt for figure in drawn("panel_staggered").result.figures if figure.name == "event_study")
    assert "-2:" in alt
