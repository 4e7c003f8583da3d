import dataclasses
import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.reporting import sample

from causal_orchestrator.reporting import provenance, results_document
from causal_orchestrator.reporting.results_document import build, to_bytes

TOP_LEVEL = {
    "schema_version", "job_id", "status", "treatment_variable", "outcome_variable", "question", "dataset",
    "data_profile", "eda", "repairs", "causal_graph", "identification", "analysis_plan", "treatment_effects",
    "selection", "heterogeneity", "verdict", "diagnostics", "sensitivity_results", "refutations", "critique_history",
    "interpretation", "decision_card", "recommendations", "artifacts", "warnings", "manifest",
}  # fmt: skip
EFFECT = {
    "method", "estimand", "estimate", "std_error", "ci_lower", "ci_upper", "confidence_level", "p_value", "n",
    "n_treated", "covariates", "inference", "role", "assumptions_tested", "energy_score", "energy_components",
    "status", "error", "details",
}  # fmt: skip


@pytest.fixture(scope="module")
def job():
    return sample.job()


@pytest.fixture(scope="module")
def document(job):
    return json.loads(to_bytes(build(job, {"report": "report.html"})))


def with_result(job, agent, **fields):
    return dataclasses.replace(job, results={**job.results, agent: {**job.results[agent], **fields}})


def test_the_document_has_exactly_the_fields_of_the_contract(document):
    assert set(document) == TOP_LEVEL
    assert all(set(effect) == EFFECT for effect in document["treatment_effects"])
    assert {effect["role"] for effect in document["treatment_effects"]} == {"primary", "exploratory"}


def test_the_committed_schema_is_that_of_the_models():
    committed = Path(results_document.__file__).with_name("results.schema.json").read_bytes()
    assert committed == provenance.to_json(results_document.schema())


def test_what_belongs_to_one_run_or_machine_changes_no_byte(job):
    question = job.question.model_copy(update={"dataset": "C:\\data\\other.csv", "notify_url": "https://example.org/x"})
    other = dataclasses.replace(
        job, id="f" * 32, tenant="another", order={"critique": 99}, source={"uri": "gs://b/x"}, question=question
    )
    assert to_bytes(build(other, {})) == to_bytes(build(job, {}))


def test_the_order_of_mappings_changes_no_byte(job):
    turned = json.loads(json.dumps(job.results, sort_keys=True))
    back = {agent: dict(reversed(list(result.items()))) for agent, result in reversed(list(turned.items()))}
    assert to_bytes(build(dataclasses.replace(job, results=back), {})) == to_bytes(build(job, {}))


def test_no_local_path_enters_the_document(job, document):
    assert "/somewhere" not in json.dumps(document)
    assert "/somewhere" in json.dumps(provenance.manifest(job, files={}))


@pytest.mark.parametrize(
    ("agent", "field"), [("dataset_fetcher", {"sha256": "00" * 32}), ("study_design", {"sha256": "11" * 32})]
)
def test_the_run_id_follows_data_and_plan(job, agent, field):
    assert provenance.run_id(with_result(job, agent, **field)) != provenance.run_id(job)


def test_the_run_id_follows_seed_and_replies_and_nothing_else(job):
    base = provenance.run_id(job)
    assert provenance.run_id(dataclasses.replace(job, seed=1)) != base
    assert provenance.run_id(job, replies_sha256="22" * 32) != base
    assert provenance.run_id(dataclasses.replace(job, id="f" * 32, order={})) == base


def test_a_number_that_is_not_finite_is_refused_or_null(job):
    effects = json.loads(json.dumps(job.results["effect_estimator"]))
    effects["effects"][0]["details"] = {"deep": [1.0, math.nan, math.inf]}
    written = json.loads(to_bytes(build(with_result(job, "effect_estimator", **effects), {})))
    assert written["treatment_effects"][0]["details"]["deep"] == [1.0, None, None]
    effects["effects"][0]["estimate"] = math.nan
    with pytest.raises(ValidationError):
        build(with_result(job, "effect_estimator", **effects), {})


@pytest.mark.parametrize(
    ("decision", "status"), [("answer", "COMPLETED"), ("limited", "COMPLETED"), ("refuse", "REJECTED")]
)
def test_the_status_follows_the_verdict(decision, status):
    assert build(sample.job(decision=decision), {}).status == status


def test_without_a_verdict_there_is_no_document(job):
    results = {agent: result for agent, result in job.results.items() if agent != "critique"}
    with pytest.raises(LookupError):
        build(dataclasses.replace(job, results=results), {})


def test_a_job_of_which_only_the_critique_is_left_still_has_a_document(job):
    found = build(dataclasses.replace(job, results={"critique": job.results["critique"]}), {})
    assert found.dataset is None
    assert found.treatment_effects == ()


def test_an_agent_that_failed_is_among_the_warnings(job):
    broken = dataclasses.replace(job, errors={"visualizer": {"code": "X", "message": "no picture"}})
    assert ("visualizer", "error") in {(w.agent, w.severity) for w in build(broken, {}).warnings}


def test_refuters_are_counted_by_what_they_found(document):
    assert document["refutations"]["n"] == 4
    assert document["refutations"]["n_failed"] == 1
    assert document["refutations"]["results"]["bootstrap"] is False


def test_the_handoff_names_robustness_selection_and_what_is_needed():
    card = build(sample.job(decision="limited"), {}).decision_card
    assert card.further_analysis.needed
    assert card.further_analysis.which == ("a larger sample of comparable controls",)
    assert card.estimator_selection.preferred == "ols"
    assert card.robustness_flags["robustness_value"] is True


def test_the_request_leaves_out_what_was_proposed_here(job):
    proposed = with_result(job, "data_profiler", proposed=["treatment", "covariates"])
    asked = provenance.request(proposed)
    assert "treatment" not in asked
    assert "covariates" not in asked
    assert asked["outcome"] == "re78"


def test_the_manifest_takes_the_runtimes_facts_in(job):
    first = provenance.to_json(provenance.manifest(job, files={"a.txt": b"x"}))
    whole = json.loads(provenance.with_run(first, {"seconds": 3.5}))
    assert whole["run"] == {"seconds": 3.5}
    assert whole["job_id"] == job.id
    assert whole["files"]["a.txt"].startswith("2d711642")


NET_BENEFIT = {
    "costs": "given",
    "rows": [
        {"threshold": 500.0, "policy": "treat_all", "share": 1.0, "estimate": 1294.0, "std_error": 600.0, "ci_lower": 30.0, "ci_upper": 2558.0},
        {"threshold": 500.0, "policy": "treat_by_effect", "share": 0.7, "estimate": 1400.0, "std_error": 600.0, "ci_lower": 90.0, "ci_upper": 2710.0},
    ],
}  # fmt: skip


def benefiting(job):
    effects = job.results["effect_estimator"]
    found = {**effects["heterogeneity"], "net_benefit": NET_BENEFIT, "policy": {"gain": {"estimate": 12.5, "ci_lower": -3.0, "ci_upper": 28.0}}}  # fmt: skip
    return with_result(job, "effect_estimator", heterogeneity=found)


def test_the_card_says_what_treating_whom_is_worth_at_its_cost(job):
    card = json.loads(to_bytes(build(benefiting(job), {})))["decision_card"]["net_benefit"]
    assert card["costs"] == "given"
    assert [(row["policy"], row["estimate"]) for row in card["rows"]] == [("treat_all", 1294.0), ("treat_by_effect", 1400.0)]  # fmt: skip
    assert card["policy"] == {"estimate": 12.5, "ci_lower": -3.0, "ci_upper": 28.0}


def test_a_card_has_no_net_benefit_where_none_was_valued_or_the_question_is_refused(job):
    assert json.loads(to_bytes(build(job, {})))["decision_card"]["net_benefit"] is None
    verdict = {**job.results["critique"]["verdict"], "decision": "refuse"}
    refused = with_result(benefiting(job), "critique", verdict=verdict)
    assert json.loads(to_bytes(build(refused, {})))["decision_card"]["net_benefit"] is None
