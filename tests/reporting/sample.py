"""A whole finished job with plausible records, so that outputs can be tested without the agents that make them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dataclasses_replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import causal_orchestrator as co
from causal_orchestrator.agents import AGENTS, JobView, Turn, View, visualizer
from causal_orchestrator.errors import ModelUnavailable, NotFound
from causal_orchestrator.question import Question, ask

__all__ = ["FakeReader", "dataclasses_replace", "drawn", "frame", "job", "no_model", "turn"]

COVARIATES = ("age", "educ", "black", "re74", "re75")


def frame(n: int = 400, *, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a small randomised training experiment with missing values in one covariate."""
    rng = np.random.default_rng(7)
    treat = (rng.random(n) < 0.42).astype("int64")
    age = rng.integers(17, 55, n)
    educ = rng.integers(4, 16, n)
    black = (rng.random(n) < 0.8).astype("int64")
    re74 = np.where(rng.random(n) < 0.7, 0.0, rng.gamma(2.0, 3500.0, n)).round(2)
    re75 = np.where(rng.random(n) < 0.6, 0.0, rng.gamma(2.0, 2000.0, n)).round(2)
    re78 = np.maximum(0.0, 1800 * treat + 0.2 * re74 + 250 * educ + rng.normal(2000, 5500, n)).round(2)
    data = pd.DataFrame(
        {"treat": treat, "age": age, "educ": educ, "black": black, "re74": re74, "re75": re75, "re78": re78}
    )
    data["note"] = [None if i % 7 == 0 else float(i % 5) for i in range(n)]
    return data.rename(columns=dict(names or {}))


def _column(data: pd.DataFrame, name: str, position: int) -> dict[str, Any]:
    values = data[name]
    observed = values.dropna().to_numpy(float)
    kind = "binary" if values.dropna().nunique() == 2 else "numeric"
    levels = {str(int(k)): int(v) for k, v in values.value_counts().items()} if kind == "binary" else {}
    return {
        "name": name, "alias": f"x{position}", "kind": kind, "dtype": str(values.dtype), "n": len(values),
        "n_missing": int(values.isna().sum()), "n_unique": int(values.nunique()), "mean": float(observed.mean()),
        "std": float(observed.std(ddof=1)), "minimum": float(observed.min()), "maximum": float(observed.max()),
        "quantiles": {str(q): float(np.quantile(observed, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "levels": levels,
    }  # fmt: skip


def effects(data: pd.DataFrame, question: Question, *, curves: bool = False) -> dict[str, Any]:
    """Return an effect_estimator result: two methods that really ran, one that failed, one that does not apply.

    With `curves` the second has rows, made up, along quantiles, doses and times.
    """
    found = [
        co.estimate(method, data, question, seed=0).to_effect(role=role, energy_score=score, energy_components=parts)
        for method, role, score, parts in (
            ("difference_in_means", "primary", 0.21, {"balance": 0.2, "fit": 0.25, "calibration": 0.1}),
            ("ols", "planned", 0.2, {"balance": 0.2, "fit": 0.22}))
    ]  # fmt: skip
    primary, other = (effect.model_dump(mode="json") for effect in found)
    other["rows"] += [
        {"term": f"{along} {at}", along: at, "estimate": 900 * at, "ci_lower": 900 * at - 800,
         "ci_upper": 900 * at + 900}
        for along in ("quantile", "dose", "event_time") for at in (0.1, 0.5, 0.9)
    ] if curves else []  # fmt: skip
    primary["assumptions_tested"] = {"balance": {"passed": True, "value": 0.08, "detail": "largest SMD"}}
    value, low, high = primary["estimate"], primary["ci_lower"], primary["ci_upper"]
    group = str((question.covariates or ("x",))[0])
    return {
        "effects": [
            primary, other,
            {"method": "aipw", "estimand": "ATE", "status": "failed", "error": "the outcome model did not converge",
             "role": "planned"},
            {"method": "rdd", "estimand": "ATE", "status": "not_applicable", "error": "needs running_variable",
             "role": "exploratory"},
        ],
        "primary": "difference_in_means",
        "selection": {
            "strategy": "best_energy", "headline": "difference_in_means", "preferred": "ols", "gap": 0.01,
            "evaluations": [
                {"method": "difference_in_means", "success": True, "estimate": value, "score": 0.21,
                 "parts": {"balance": 0.2, "fit": 0.25, "calibration": 0.1}, "tier": "excellent", "selected": True,
                 "reason": "pre-declared"},
                {"method": "ols", "success": True, "estimate": other["estimate"], "score": 0.2, "tier": "excellent"},
            ],
            "agreement": {"n": 2, "same_sign": 1.0},
        },
        "heterogeneity": {
            "histogram": {"edges": np.linspace(-500, 3000, 21).tolist(), "counts": [20] * 20},
            "subgroups": [
                {"subgroup": f"{group} {half}", "estimate": value * f, "ci_lower": low * f, "ci_upper": high * f}
                for half, f in (("low", 0.8), ("high", 1.2))
            ],
        },
        "specification_curve": [
            {"method": method, "adjustment": adjustment, "estimate": value * f, "ci_lower": low * f,
             "ci_upper": high * f}
            for method, adjustment, f in (
                ("difference_in_means", "none", 1.0), ("ols", "all", 0.93), ("ols", "without one", 0.95))
        ],
        "diagnostics": [{"name": "n_treated", "value": 168.0, "detail": "units in the treated arm"}],
        "outcome_scale": {"mean": 6058.0, "std": 4978.0},
    }  # fmt: skip


def job(
    data: pd.DataFrame | None = None, *, names: Mapping[str, str] | None = None, decision: str = "answer"
) -> JobView:
    """Return a finished job on `data` (columns renamed by `names`) whose verdict is `decision`."""
    table = frame(names=names) if data is None else data
    called = dict(names or {})
    treatment, outcome = called.get("treat", "treat"), called.get("re78", "re78")
    covariates = tuple(called.get(c, c) for c in COVARIATES)
    question = ask(
        {"dataset": "/somewhere/training.csv", "treatment": treatment, "outcome": outcome,
         "covariates": covariates, "randomized": True, "query": "Did the training raise earnings?"}
    )  # fmt: skip
    refused = decision == "refuse"
    done: dict[str, dict[str, Any]] = {
        "dataset_fetcher": {
            "sha256": "ab" * 32, "source_sha256": "cd" * 32, "source_name": "training.csv", "n_rows": len(table),
            "n_columns": table.shape[1], "format": "csv", "encoding": "utf-8", "delimiter": ",",
            "columns": [_column(table, name, i) for i, name in enumerate(table.columns)],
            "warnings": [{"code": "MISSING", "message": "a column has missing values",
                          "columns": [called.get("note", "note")]}],
        },
        "data_profiler": {
            "question": question.model_dump(mode="json"), "proposed": [], "structure": "cross_section",
            "treatment_kind": "binary", "outcome_kind": "continuous",
            "candidates": {"treatment": [{"column": treatment, "score": 0.9, "reasons": ["given by the person"]}]},
        },
        "eda": _exploration(table, treatment, covariates),
        "data_repair": {
            "repairs": [{"column": called.get("note", "note"), "action": "impute", "parameters": {"value": 2.0},
                         "before": {"missing": 58}, "after": {"missing": 0}, "reason": "missing values"}],
            "missing_data": "assumed missing at random",
        },
        "causal_discovery": {
            "nodes": [treatment, *covariates], "discovery_method": "ensemble",
            "edges": [
                {"source": covariates[3], "target": covariates[4], "confidence": 0.92},
                {"source": covariates[0], "target": covariates[1], "confidence": 0.55, "type": "undirected"},
            ],
            "gate": {"decision": "AUGMENT", "confidence": 0.71, "reasons": ["edges agree across algorithms"]},
        },
        "ps_diagnostics": _propensity(table, treatment, covariates),
        "study_design": {
            "question": question.model_dump(mode="json"), "design": "randomized", "estimand": "ATE",
            "identified": not refused, "reasons": ["treatment was assigned at random, as declared"],
            "adjustment_set": covariates, "methods": ["difference_in_means", "ols", "aipw"],
            "primary": "difference_in_means", "offline_primary": "difference_in_means",
            "selection_rule": "the most credible admissible method for the design", "options": {},
            "thresholds": {"smd": 0.1, "overlap": 0.8}, "sha256": "ef" * 32,
        },
        "critique": {
            "decision": "REJECT" if refused else "APPROVE",
            "scores": {"validity": 0.9, "precision": 0.6, "robustness": 0.8, "interpretability": 0.9,
                       "scalability": 1.0},
            "verdict": {
                "decision": decision,
                "reasons": ["every gate of the design held"] if not refused else ["the arms do not overlap"],
                "caps": ["the interval is wide"] if decision == "limited" else [],
                "would_help": [] if decision == "answer" else ["a larger sample of comparable controls"],
                "minimum_detectable_effect": 1500.0, "bounds": [-5000.0, 9000.0] if refused else None,
            },
            "diagnostics": [
                {"name": "smd_max", "value": 0.08, "threshold": 0.1, "passed": True, "detail": "largest imbalance"},
                {"name": "overlap", "value": 1.0, "threshold": 0.8, "passed": True, "detail": "share in [0.05, 0.95]"},
            ],
            "comments": ["adjusted and unadjusted estimates agree"],
        },
        "interpreter": {
            "summary": "Training raised earnings on average, by an amount that the data pin down only roughly.",
            "narrative": ["People were assigned to training at random.", "Both methods that ran agree."],
            "assumptions": ["assignment was random", "one person's training does not change another's earnings"],
            "recommendations": ["repeat with more people to narrow the interval"],
            "headline": "Training raised earnings." if not refused else "The data cannot answer this question.",
            "grade": "moderate", "recommendation": "Consider extending the programme.",
            "key_findings": ["the effect is positive", "two methods agree in sign"],
            "would_change": ["attrition that depends on the arm"],
        },
    }  # fmt: skip
    if not refused:
        done["effect_estimator"] = effects(table, question)
        done["sensitivity_analyst"] = _sensitivities(covariates)
    order = {agent: i for i, agent in enumerate(a for a in AGENTS if a in done)}
    return JobView(
        id="0123456789abcdef0123456789abcdef", tenant="local", question=question, seed=0, results=done, order=order,
        source={"uri": "/somewhere/training.csv"}, plan_sha256="ef" * 32,
    )  # fmt: skip


def _exploration(table: pd.DataFrame, treatment: str, covariates: Sequence[str]) -> dict[str, Any]:
    treated = table[treatment] == 1
    balance = []
    for name in covariates:
        one, zero = table.loc[treated, name], table.loc[~treated, name]
        spread = math.sqrt((one.var() + zero.var()) / 2)
        balance.append(
            {"covariate": name, "smd": float((one.mean() - zero.mean()) / spread),
             "variance_ratio": float(one.var() / zero.var()), "ks": 0.05}
        )  # fmt: skip
    correlation = table[list(covariates)].corr()
    return {
        "quality_score": 91.0, "quality_parts": {"missing": 0.95, "duplicates": 1.0},
        "outliers": {name: {"iqr": 4.0, "robust_z": 3.0, "share": 0.03} for name in covariates},
        "missing_patterns": [],
        "correlations": {a: {b: float(correlation.loc[a, b]) for b in covariates} for a in covariates},
        "vif": dict.fromkeys(covariates, 1.1),
        "balance": balance,
        "suspicions": [],
    }  # fmt: skip


def _propensity(table: pd.DataFrame, treatment: str, covariates: Sequence[str]) -> dict[str, Any]:
    return {
        "models": [{"name": "logit", "log_loss": 0.68, "auc": 0.55, "brier": 0.24, "calibration_error": 0.02,
                    "chosen": True}],
        "overlap": 1.0, "separated": False, "ess": {"treated": 160.0, "control": 225.0},
        "histogram": {"edges": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "treated": [5, 40, 80, 35, 8],
                      "control": [20, 70, 100, 35, 7]},
        "calibration": [[0.3, 0.28, 100], [0.4, 0.43, 180], [0.5, 0.49, 120]],
        "balance": [{"covariate": c, "smd": 0.09, "smd_adjusted": 0.01} for c in covariates],
    }  # fmt: skip


def _draws(centre: float, spread: float) -> dict[str, Any]:
    values = np.random.default_rng(3).normal(centre, spread, 100)
    counts, edges = np.histogram(values, bins=20)
    return {
        "draws": 100, "mean": float(values.mean()), "std": float(values.std(ddof=1)), "estimate": 850.0,
        "quantiles": {f"{q:g}": float(np.quantile(values, q)) for q in (0.025, 0.25, 0.5, 0.75, 0.975)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }  # fmt: skip


def _robustness(covariates: Sequence[str]) -> dict[str, Any]:
    grid = np.linspace(0.0, 0.3, 25)
    estimate = 850.0 - 500.0 * np.sqrt(380 * np.outer(grid, grid / (1 - grid)))
    bounds = [
        {"covariate": name, "multiple": k, "r2_treatment": 0.02 * k * (i + 1), "r2_outcome": 0.03 * k,
         "estimate": 700.0, "std_error": 500.0, "t": 1.4}
        for i, name in enumerate(covariates) for k in (1, 2)
    ]  # fmt: skip
    return {
        "rv": 0.13, "rv_alpha": 0.05, "alpha": 0.05, "bounds": bounds, "breakdown": {covariates[0]: 4.1},
        "contours": {"r2_treatment": grid.tolist(), "r2_outcome": grid.tolist(), "estimate": estimate.tolist(),
                     "t": (estimate / 500).tolist()},
    }  # fmt: skip


def _sensitivities(covariates: Sequence[str]) -> dict[str, Any]:
    ratio = 1.26
    e_value = ratio + math.sqrt(ratio * (ratio - 1))
    along = np.geomspace(ratio * 1.02, e_value * 4, 40)
    placebo = {
        "name": covariates[4], "estimate": 90.0, "ci_lower": -300.0, "ci_upper": 480.0, "standardized": 0.03,
        "standardized_lower": -0.09, "standardized_upper": 0.15, "p_value": 0.6, "inside": False, "outside": False,
    }  # fmt: skip
    return {
        "results": [
            {"method": "e_value", "value": e_value, "passed": None,
             "interpretation": "A confounder would need risk ratios of 1.83 with treatment and outcome.",
             "details": {"risk_ratio": ratio, "ci_limit": 1.0, "scale": "exp(0.91 d)",
                         "curve": [[float(a), float(ratio * (1 - a) / (ratio - a))] for a in along]}},
            {"method": "robustness_value", "value": 0.13, "passed": True,
             "interpretation": "A confounder explaining 13 % of both residual variances would explain it away.",
             "details": _robustness(covariates)},
            {"method": "rosenbaum_bounds", "value": 1.4, "passed": None, "interpretation": "Holds up to odds of 1.4.",
             "details": {"bounds": [{"gamma": 1 + i / 10, "p_value": 0.01 * (i + 1) ** 1.5} for i in range(10)]}},
            {"method": "placebo_treatment", "value": 0.41, "passed": True,
             "interpretation": "Permuted treatments have no effect.", "details": _draws(0.0, 500.0)},
            {"method": "random_common_cause", "value": 12.0, "passed": True, "interpretation": "Nothing moves.",
             "details": _draws(850.0, 12.0)},
            {"method": "data_subset", "value": 0.1, "passed": True, "interpretation": "Subsets agree.",
             "details": _draws(860.0, 220.0)},
            {"method": "bootstrap", "value": 1.02, "passed": False, "interpretation": "The spread is another.",
             "details": _draws(855.0, 480.0)},
            {"method": "placebo_outcomes", "value": 0.03, "passed": None,
             "interpretation": "The interval is not inside the band.",
             "details": {"rows": [placebo], "outside": 0, "band": 0.1}},
            {"method": "oster", "value": None, "passed": None, "interpretation": "Could not be run: no covariates",
             "error": "no covariates"},
        ]
    }  # fmt: skip


@dataclass
class FakeReader:
    """A reader over a frame and files in memory."""

    data: pd.DataFrame
    folder: Path | None = None
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def __call__(self, columns: Sequence[str], view: View, *, roles: Question | None = None) -> pd.DataFrame:
        self.asked.append((tuple(columns), view))
        return self.data[list(columns)].copy()

    def file(self, agent: str, name: str) -> bytes:
        if (agent, name) not in self.files:
            raise NotFound(f"{agent} has no file {name}")
        return self.files[agent, name]

    def parts(self) -> Sequence[Mapping[str, Any]]:
        return ()

    def source(self) -> Path:
        raise NotFound("no source")

    def snapshot(self) -> Path:
        assert self.folder is not None
        path = self.folder / "snapshot.parquet"
        if not path.exists():
            self.data.to_parquet(path)
        return path


def no_model(prompt: str, kind: type[Any], /) -> Any:
    """Stand for the absence of a language model."""
    raise ModelUnavailable("no model is configured")


def turn(agent: str) -> Turn:
    """Return the agent's first turn."""
    return Turn(number=9, agent=agent, parameters={}, seed=1)


@cache
def drawn() -> tuple[JobView, FakeReader]:
    """Return the sample job with its figures, and the reader that holds their files (drawn once for all tests)."""
    plain, reader = job(), FakeReader(frame())
    made = visualizer.run(plain, turn("visualizer"), reader, no_model)
    reader.files.update({("visualizer", name): bytes(content) for name, content in made.files.items()})
    return dataclasses_replace(plain, results={**plain.results, "visualizer": made.result.model_dump()}), reader
