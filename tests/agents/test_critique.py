"""The critique scores what was measured, decides from the verdict, and always comes to an end."""

import pytest
from tests.agents.analysed import TURN, JobView, estimated, judged, silent, table, with_results

from causal_orchestrator.agents import AGENTS
from causal_orchestrator.agents import critique as critic
from causal_orchestrator.errors import InputError
from causal_orchestrator.results import Critique, Effects, Exploration, Plan, PropensityDiagnostics


def run(job, ask=silent):
    return critic.run(job, TURN, None, ask).result


@pytest.fixture(scope="module")
def sound():
    frame = table(confounding=0.0)
    return judged(estimated(frame, ("difference_in_means", "ols"), "randomized"), frame)


@pytest.fixture(scope="module")
def disputed():
    """An observational study whose methods contradict each other, with admissible methods that were not run."""
    frame = table()
    job = estimated(frame, ("ols", "regression_adjustment"), "unconfoundedness")
    effects = job.get("effect_estimator", Effects)
    plan = job.get("study_design", Plan)
    first = effects.effects[0].model_copy(update={"estimand": "ATE"})
    far = effects.effects[1].model_copy(update={"estimate": 9.0, "ci_lower": 8.5, "ci_upper": 9.5})
    more = (*plan.applicability, plan.applicability[0].model_copy(update={"method": "ipw"}))
    job = with_results(
        job, effect_estimator=effects.model_copy(update={"effects": (first, far)}),
        study_design=plan.model_copy(update={"applicability": more}),
    )  # fmt: skip
    return judged(job, frame)


def test_a_sound_analysis_is_approved(sound):
    found = sound.get("critique", Critique)
    assert found.decision == "APPROVE"
    assert found.actions == ()


def test_every_score_lies_in_the_unit_interval_and_what_was_not_measured_has_none(sound):
    found = run(sound)
    assert set(found.scores) == {"method_fit", "assumptions", "precision", "agreement", "sensitivity", "completeness"}
    full = with_results(
        sound, eda=Exploration(quality_score=80, quality_parts={}), ps_diagnostics=PropensityDiagnostics(models=(), overlap=0.9, separated=False)
    )  # fmt: skip
    scores = run(full).scores
    assert (scores["data_quality"], scores["overlap"]) == (0.8, 0.9)
    assert all(0 <= value <= 1 for value in scores.values())


def test_a_refusal_is_rejected(disputed):
    apart = with_results(disputed, ps_diagnostics=PropensityDiagnostics(models=(), overlap=0.1, separated=False))
    found = run(apart)
    assert (found.decision, found.actions) == ("REJECT", ())


def test_it_rejects_if_and_only_if_the_verdict_refuses(sound, disputed):
    for job in (sound, disputed):
        found = run(job)
        assert (found.decision == "REJECT") == (found.verdict.decision == "refuse")


def test_an_action_is_one_that_an_agent_can_carry_out():
    able = {action for spec in AGENTS.values() for action in spec.remedies}
    assert set(critic.ACTIONS) <= able


def test_it_asks_for_each_action_once_and_ends(disputed):
    job, asked = (
        JobView(**{**vars(disputed), "results": {k: v for k, v in disputed.results.items() if k != "critique"}}),
        [],
    )
    for iteration in range(10):
        found = run(JobView(**{**vars(job), "iteration": iteration}))
        if found.decision != "ITERATE":
            break
        asked += found.actions
        job = with_results(job, critique=found)
    assert asked == ["add_adjustment_sets", "add_methods"]
    assert found.decision == "APPROVE"


def test_no_iteration_beyond_the_persons_limit(disputed):
    fresh = {k: v for k, v in disputed.results.items() if k != "critique"}
    allowed = disputed.question.preferences.max_iterations
    assert run(JobView(**{**vars(disputed), "results": fresh, "iteration": 0})).decision == "ITERATE"
    assert run(JobView(**{**vars(disputed), "results": fresh, "iteration": allowed})).decision == "APPROVE"


def test_what_was_already_done_is_not_asked_for(disputed):
    fresh = {k: v for k, v in disputed.results.items() if k != "critique"}
    job = JobView(**{**vars(disputed), "results": fresh})
    effects = job.get("effect_estimator", Effects)
    seen = with_results(job, effect_estimator=effects.model_copy(update={"specification_curve": ({"method": "ols"},)}))
    assert run(seen).actions == ("add_methods",)


def test_a_model_may_comment_and_drop_an_action_and_nothing_else(disputed):
    fresh = JobView(**{**vars(disputed), "results": {k: v for k, v in disputed.results.items() if k != "critique"}})

    def model(prompt, kind):
        return kind(comments=("The methods part company.", "An effect of 42 is certain."), actions=())

    without, found = run(fresh), run(fresh, model)
    assert found.comments == ("The methods part company.",)
    assert (without.decision, found.decision) == ("ITERATE", "APPROVE")
    assert (found.verdict, found.scores) == (without.verdict, without.scores)

    def eager(prompt, kind):
        return kind(comments=(), actions=("add_methods", "delete_everything"))

    assert set(run(fresh, eager).actions) <= set(without.actions)


def test_without_a_plan_there_is_nothing_to_judge(sound):
    with pytest.raises(InputError, match="no plan"):
        run(JobView(id="j", tenant="t", question=sound.question, seed=0))
