"""Which method, with which options, each published number of `expectations.json` belongs to.

``MAP`` takes an expectation's ID to a `Case`, or to the reason why it is not ours. The benchmark and the tests read it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import causal_orchestrator as co
from causal_orchestrator.problem import Estimate, build
from causal_orchestrator.question import Question

DATA = Path(os.environ.get("CAUSAL_TEST_DATA", Path(__file__).parents[1].parent / "shared" / "data"))

Read = Callable[[Estimate], float | list[float]]


@dataclass(frozen=True)
class Case:
    """How a number is found: `read` takes it out of the estimate, `truth` is the expected one where the file has none."""

    table: str
    question: Mapping[str, Any]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Read = lambda found: found.estimate
    truth: tuple[float, ...] | None = None

    def expected(self, entry: Mapping[str, Any]) -> Any:
        """Return the number that must be found."""
        return entry["expected"] if self.truth is None else list(self.truth)


def expectations() -> dict[str, dict[str, Any]]:
    """Return the entries of the reference data by ID."""
    return {entry["id"]: entry for entry in json.loads((DATA / "expectations.json").read_text())}


def estimate(key: str) -> Estimate:
    """Return the estimate that the number with this ID is read from."""
    case = MAP[key]
    assert isinstance(case, Case), case
    return _estimated(case.table, case.method, json.dumps([case.question, case.options], sort_keys=True))


@cache
def _estimated(name: str, method: str, told: str) -> Estimate:
    question, options = json.loads(told)
    return co.estimate(method, table(name), question, **options)


def reproduce(key: str) -> float | list[float]:
    """Return the number (or curve) with this ID as it is found here."""
    case = MAP[key]
    assert isinstance(case, Case)
    return case.read(estimate(key))


# --- tables ---------------------------------------------------------------------------------------------------------


@cache
def table(name: str) -> pd.DataFrame:
    """Return a table as its source analysed it."""
    return TABLES[name]()


def _lalonde(controls: str | None) -> pd.DataFrame:
    nsw = pd.read_csv(DATA / "lalonde_nsw_dw.csv")
    if controls is not None:
        path = DATA / controls
        others = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        nsw = pd.concat([nsw[nsw["treat"] == 1], others])
    squares = {f"{c}2": nsw[c] ** 2 for c in ("age", "education", "re74", "re75")}
    return nsw.assign(**squares, u74=nsw["re74"] == 0, u75=nsw["re75"] == 0).reset_index(drop=True)


def _nhefs() -> pd.DataFrame:
    frame = pd.read_csv(DATA / "nhefs.csv").dropna(subset=["wt82_71"])
    squares = {f"{c}2": frame[c] ** 2 for c in ("age", "smokeintensity", "smokeyrs", "wt71")}
    levels = {c: frame[c].map("level {}".format) for c in ("education", "exercise", "active")}
    smoked = frame["smokeintensity"]
    products = {"product": frame["qsmk"] * smoked, "centred_product": frame["qsmk"] * (smoked - smoked.mean())}
    return frame.assign(**squares, **levels, **products)


def _nhefs_scored() -> pd.DataFrame:
    frame = table("nhefs")
    problem = build(frame, Question(treatment="qsmk", outcome="wt82_71", covariates=NHEFS))
    scored = frame.iloc[problem.rows].assign(ps=problem.parametric().e)
    return scored.assign(decile=pd.qcut(scored["ps"], 10, labels=False).map("decile {}".format))


def _nhefs_priced() -> pd.DataFrame:
    frame = pd.read_csv(DATA / "nhefs.csv").dropna(subset=["price82", "wt82_71"])
    return frame.assign(high=(frame["price82"] >= 1.5) * 1.0)


def _bonus() -> pd.DataFrame:
    frame = pd.read_csv(DATA / "penn_bonus.csv")
    frame = frame[frame["tg"].isin([0, 4])]
    dep = {f"dep{k}": frame["dep"] == k for k in (1, 2)} if "dep" in frame else {}
    return frame.assign(y=np.log(frame["inuidur1"]), **dep)


def _mlda(outcome: str, years: int) -> pd.DataFrame:
    frame = pd.read_csv(DATA / "rd_mlda.csv").dropna(subset=[outcome])
    age = frame["agecell"] - 21
    over = age >= 0
    frame = frame.assign(age=age, over=over * 1.0, square=age**2, own=age * over, own2=age**2 * over)
    return frame[age.between(-years, years)]


def _insured() -> pd.DataFrame:
    frame = pd.read_csv(DATA / "social_insure_network.csv").dropna()
    # Villages with fewer than ten rows would be put together if they came as text.
    return frame.join(pd.get_dummies(frame.pop("village"), prefix="in", drop_first=True, dtype=float))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "nsw": lambda: _lalonde(None),
    "psid": lambda: _lalonde("lalonde_psid_controls.csv"),
    "cps": lambda: _lalonde("lalonde_cps_controls.parquet"),
    "original": lambda: pd.read_csv(DATA / "lalonde_nsw_original.csv"),
    "matchit": lambda: pd.read_csv(DATA / "lalonde_matchit614.csv"),
    "card": lambda: pd.read_csv(DATA / "iv_card.csv"),
    "mroz": lambda: pd.read_csv(DATA / "iv_mroz.csv").query("inlf == 1"),
    "nhefs": _nhefs,
    "nhefs scored": _nhefs_scored,
    "nhefs priced": _nhefs_priced,
    "nhefs light smokers": lambda: table("nhefs").query("smokeintensity <= 25"),
    "bonus": _bonus,
    "titanic": lambda: pd.read_csv(DATA / "titanic.csv").assign(first=lambda f: f["class"] == 1),
    "card krueger": lambda: pd.read_csv(DATA / "card_krueger_njmin.csv"),
    "card krueger changes": lambda: pd.read_csv(DATA / "card_krueger_njmin.csv").query("d == 1").dropna(subset=["demp"]),
    "mpdta": lambda: pd.read_csv(DATA / "mpdta.csv"),
    "organs": lambda: pd.read_csv(DATA / "organ_donations.csv").assign(
        treated=lambda f: (f["State"] == "California") & (f["Quarter_Num"] >= 4)
    ),
    "senate": lambda: pd.read_csv(DATA / "rd_senate.csv").assign(won=lambda f: (f["margin"] >= 0) * 1.0),
    "mortgages": lambda: pd.read_parquet(DATA / "rd_fuzzy_mortgages.parquet").query("abs(qob_minus_kw) < 13"),
    "framing": lambda: pd.read_csv(DATA / "mediation_framing.csv"),
    "sicily": lambda: pd.read_csv(DATA / "its_sicily_smokeban.csv"),
    "basque": lambda: pd.read_csv(DATA / "sc_basque.csv").query("regionno != 1").assign(
        t=lambda f: (f["regionname"].str.startswith("Basque") & (f["year"] >= 1975)) * 1
    ),
    "insured": _insured,
    "democracy": lambda: pd.read_csv(DATA / "panelmatch_democracy.csv"),
    "hirano imbens": lambda: pd.read_csv(DATA / "dose_hi_sim.csv"),
    "transport": lambda: pd.read_csv(DATA / "transport_dahabreh_sim.csv").drop(columns=["Y_1", "Y_0", "d_pop", "d_out"]),
    "trial": lambda: table("transport").query("S == 1"),
    **{f"mlda {o} {y}": (lambda o=o, y=y: _mlda(o, y)) for o in ("all", "mva") for y in (1, 2)},
}  # fmt: skip

# --- questions ------------------------------------------------------------------------------------------------------

DW = ["age", "age2", "education", "nodegree", "black", "hispanic", "re74", "re75"]
LALONDE = ["age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75"]
QUADRATIC = [*LALONDE, "age2", "education2", "re742", "re752", "u74", "u75"]
MATCHIT = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
NHEFS = ["sex", "race", "age", "age2", "education", "smokeintensity", "smokeintensity2", "smokeyrs", "smokeyrs2", "exercise", "active", "wt71", "wt712"]  # fmt: skip
CARD = ["exper", "expersq", "black", "south", "smsa", *(f"reg66{k}" for k in range(1, 9)), "smsa66"]
BONUS = ["female", "black", "othrace", "dep1", "dep2", "q2", "q3", "q4", "q5", "q6", "agelt35", "agegt54", "durable", "lusd", "husd"]  # fmt: skip
INSURED = ["male", "age", "agpop", "ricearea_2010", "literacy", "intensive", "risk_averse", "disaster_prob"]
CLASSICAL = {"se": "classical"}
# As Sekhon's Matching has it.
NEAREST = {"caliper": None, "estimand": "ATT", "variance": "homoskedastic", "distance_tolerance": 1e-5}


def _q(treatment: str, outcome: str, covariates: list[str] | None = None, **roles: Any) -> dict[str, Any]:
    return {"treatment": treatment, "outcome": outcome, "covariates": covariates or [], **roles}


def _row(attribute: str, value: Any, start: str = "") -> Read:
    def read(found: Estimate) -> float:
        return next(float(r.estimate or math.nan) for r in found.rows if getattr(r, attribute) == value and r.term.startswith(start))  # fmt: skip

    return read


def _group_time(group: int, time: int) -> Read:
    def read(found: Estimate) -> float:
        return next(float(r.estimate or math.nan) for r in found.rows if r.term.startswith("ATT") and str(r.group) == str(group) and r.time == time)  # fmt: skip

    return read


def _diagnostic(name: str) -> Read:
    return lambda found: float(found.diagnostics[name]["value"])


def _rate_ratio(found: Estimate) -> float:
    return float(found.details["rate_ratio"]["estimate"])


def _log_odds_ratio(found: Estimate) -> float:
    return math.log(next(r["estimate"] for r in found.details["ratios"] if r["measure"] == "odds ratio"))


NSW, MATCHED = _q("treat", "re78"), _q("treat", "re78", MATCHIT)
WEIGHT, TONIC = _q("qsmk", "wt82_71", NHEFS), _q("first", "survived", ["age", "sex"])
SCHOOLING = _q("educ", "lwage", CARD, instruments=["nearc4"])
TWO = {**SCHOOLING, "instruments": ["nearc4", "nearc2"]}
WIVES = _q("educ", "lwage", ["exper", "expersq"], instruments=["motheduc", "fatheduc"])
FULL = _q("nj", "fte", time="d")
TEENS = {"outcome": "lemp", "unit": "countyreal", "time": "year", "first_treated": "first.treat"}
VOTES = _q("won", "vote", running_variable="margin", cutoff=0.0)
FRAMING = _q("treat", "cong_mesg", ["age", "educ", "gender", "income"], mediators=["emo"])
SMOKE = _q("smokban", "aces", time="time", offset="stdpop")
RISE = _q("smkintensity82_71", "wt82_71", NHEFS)
DEMOCRACY = _q("dem", "y", ["tradewb"], unit="wbcode2", time="year")
TARGET = _q("A", "Y", ["X1", "X2", "X3"], population="S")
HISTORIES = {"lags": 4, "leads": 3}
DOSES = (0.1, 0.5, 1.0, 2.0, 3.0)


def _basque(read: Read) -> Case:
    frame_columns = pd.read_csv(DATA / "sc_basque.csv", nrows=0).columns if (DATA / "sc_basque.csv").exists() else []
    school, sector = ([c for c in frame_columns if c.startswith(start)] for start in ("school.", "sec."))
    predictors = [[c, 1964, 1969] for c in (*school, "invest")] + [["gdpcap", 1960, 1969]]
    predictors += [[c, 1961, 1969] for c in sector] + [["popdens", 1969, 1969]]
    question = _q("t", "gdpcap", [*school, *sector, "invest", "popdens"], unit="regionname", time="year")
    options = {"predictors": predictors, "fit_period": [1960, 1969], "placebo": False}
    return Case("basque", question, "synthetic_control", options, read)


def _peers() -> Case:
    path = DATA / "social_insure_network.csv"
    names = sorted(pd.read_csv(path).dropna()["village"].unique())[1:] if path.exists() else []
    covariates = [*INSURED, *(f"in_{name}" for name in names)]
    question = _q("pre_takeup_rate", "takeup_survey", covariates, instruments=["default"], cluster="address")
    return Case("insured", question, "iv_2sls")


def _callaway_santanna() -> dict[str, Case]:
    def case(read: Read = lambda found: found.estimate, question: Mapping[str, Any] = TEENS, **options: Any) -> Case:
        return Case("mpdta", question, "callaway_santanna", options, read)

    cases = {f"mpdta_attgt_{g}_{t}": case(_group_time(g, t), aggregation="simple") for g in (2004, 2006, 2007) for t in range(2004, 2008)}  # fmt: skip
    cases |= {f"mpdta_dynamic_{e}": case(_row("event_time", e), aggregation="dynamic") for e in range(-3, 4)}
    cases |= {f"mpdta_group_{g}": case(_row("group", str(g), "group"), aggregation="group") for g in (2004, 2006, 2007)}
    cases |= {f"mpdta_{a}_overall": case(aggregation=a) for a in ("dynamic", "group")}
    cases |= {f"mpdta_{a}": case(aggregation=a) for a in ("simple", "calendar")}
    for control in ("never_treated", "not_yet_treated"):
        cases[f"mpdta_simple_nocov_{control}_dr"] = case(control_group=control, score="dr")
        for score in ("dr", "reg", "ipw"):
            cases[f"mpdta_simple_lpop_{control}_{score}"] = case(question={**TEENS, "covariates": ["lpop"]}, control_group=control, score=score)  # fmt: skip
    return cases


def _mlda_case(outcome: str, order: int, ages: str) -> Case:
    covariates = ["age"] if order == 1 else ["age", "square", "own", "own2"]
    return Case(f"mlda {outcome} {2 if ages == '19_22' else 1}", _q("over", outcome, covariates), "ols", {"se": "hc1"})


MAP: dict[str, Case | str] = {
    "lalonde_nsw_diff": Case("nsw", NSW, "difference_in_means", CLASSICAL),
    "lalonde_nsw_ols_adj": Case("nsw", _q("treat", "re78", DW), "ols", CLASSICAL),
    "lalonde_psid1_diff": Case("psid", NSW, "difference_in_means", CLASSICAL),
    "lalonde_psid1_ols_adj": Case("psid", _q("treat", "re78", DW), "ols", CLASSICAL),
    "lalonde_cps1_diff": Case("cps", NSW, "difference_in_means", CLASSICAL),
    "lalonde_cps1_ols_adj": Case("cps", _q("treat", "re78", DW), "ols", CLASSICAL),
    "lalonde_original_diff": Case("original", NSW, "difference_in_means", CLASSICAL),
    "lalonde_matchit_ps_nn_replace_matching": Case("nsw", _q("treat", "re78", LALONDE), "psm", NEAREST),
    "lalonde_dw_psm_quadratic": Case("nsw", _q("treat", "re78", QUADRATIC), "psm", {**NEAREST, "distance": "ps"}),
    "lalonde614_nn1_noreplace": "greedy matching on the stated propensity gives 894 in every order of the treated; no subset of its covariates gives 770",
    "lalonde614_nn1_replace": "exhaustive search on the stated propensity gives 1,965 to 1,969 by the rule for ties; no subset of its covariates gives 1,379",
    "lalonde614_subclass5_att": Case("matchit", MATCHED, "stratification", {"estimand": "ATT", "strata": 5}),
    "lalonde614_fullmatch_probit_vignette": "optimal full matching is no method of the table",
    "lalonde614_ipw_att": Case("matchit", MATCHED, "ipw", {"estimand": "ATT"}),
    "lalonde614_ipw_ate": Case("matchit", MATCHED, "ipw"),
    "twins_ganite_ate": "a mean of two observed columns: nothing is estimated",
    "ck_did_all": Case("card krueger", FULL, "did"),
    "ck_did_balanced": Case("card krueger changes", _q("nj", "demp"), "difference_in_means"),
    "ck_did_cov": Case("card krueger", {**FULL, "covariates": ["kfc", "roys", "wendys", "co_owned"]}, "did", CLASSICAL),
    "ck_did_poe": Case("card krueger", FULL, "did", CLASSICAL),
    "card_ols": Case("card", _q("educ", "lwage", CARD), "ols", CLASSICAL),
    "card_2sls": Case("card", SCHOOLING, "iv_2sls", CLASSICAL),
    "card_2sls_2iv": Case("card", TWO, "iv_2sls", CLASSICAL),
    "card_liml_2iv": Case("card", TWO, "iv_liml", CLASSICAL),
    "card_fuller1_2iv": Case("card", TWO, "iv_liml", {**CLASSICAL, "fuller": 1.0}),
    "mroz_ols": Case("mroz", _q("educ", "lwage", ["exper", "expersq"]), "ols", CLASSICAL),
    "mroz_2sls": Case("mroz", WIVES, "iv_2sls", CLASSICAL),
    "mroz_sargan": Case("mroz", WIVES, "iv_2sls", CLASSICAL, _diagnostic("sargan")),
    "mroz_first_stage_F": Case("mroz", WIVES, "iv_2sls", CLASSICAL, _diagnostic("first_stage_F")),
    "mroz_hausman_t": Case("mroz", WIVES, "iv_2sls", CLASSICAL, _diagnostic("wu_hausman")),
    "mroz_liml": Case("mroz", WIVES, "iv_liml", CLASSICAL),
    "senate_rd_conv": Case("senate", VOTES, "rdd"),
    "senate_rd_robust": Case("senate", VOTES, "rdd", {}, _row("term", "robust")),
    "senate_rd_bw": Case("senate", VOTES, "rdd", {}, lambda found: float(found.details["bandwidths"]["h"][0])),
    "senate_rd_uniform_h10": Case("senate", VOTES, "rdd", {"bandwidth": 10.0, "kernel": "uniform"}),
    **{f"mlda_{o}_p{p}_{a}": _mlda_case(o, p, a) for o in ("all", "mva") for p in (1, 2) for a in ("19_22", "20_21")},
    "mortgages_fuzzy_2sls": "two endogenous columns (veteran, and its product with the running variable); a question names one treatment",
    "mortgages_fuzzy_rdrobust_h12": Case("mortgages", _q("vet_wwko", "home_ownership", running_variable="qob_minus_kw", cutoff=0.0), "rdd_fuzzy", {"bandwidth": 12.0}),
    **_callaway_santanna(),
    "organ_did": Case("organs", _q("treated", "Rate", unit="State", time="Quarter_Num"), "did"),
    "nhefs_unadjusted": Case("nhefs", _q("qsmk", "wt82_71"), "difference_in_means", CLASSICAL),
    "nhefs_ipw": Case("nhefs", WEIGHT, "ipw"),
    "nhefs_ipw_stab": Case("nhefs", WEIGHT, "ipw", {"stabilized": True}),
    # Standardisation of a regression with one product is its coefficient at the product's mean.
    "nhefs_standardization": Case("nhefs", _q("qsmk", "wt82_71", [*NHEFS, "centred_product"]), "ols", CLASSICAL),
    "nhefs_outcome_reg_main": Case("nhefs", _q("qsmk", "wt82_71", [*NHEFS, "product"]), "ols", CLASSICAL),
    "nhefs_outcome_reg_nointer": Case("nhefs", WEIGHT, "ols", CLASSICAL),
    "nhefs_ps_regression": Case("nhefs scored", _q("qsmk", "wt82_71", ["ps"]), "ols", CLASSICAL),
    "nhefs_ps_deciles": Case("nhefs scored", _q("qsmk", "wt82_71", ["decile"]), "ols", CLASSICAL),
    "nhefs_ps_deciles_ate": Case("nhefs", WEIGHT, "stratification", {"strata": 10}),
    "nhefs_aipw": Case("nhefs", WEIGHT, "aipw", {"learners": "parametric"}),
    "nhefs_gest": "g-estimation of a structural nested model with censoring weights is no method of the table",
    "nhefs_iv": Case("nhefs priced", _q("qsmk", "wt82_71", instruments=["high"]), "iv_2sls", CLASSICAL),
    "nhefs_dose_0": Case("nhefs light smokers", RISE, "dose_response", {"method": "msm", "grid": [0.0, 20.0]}, _row("dose", 0.0)),
    "nhefs_dose_20": Case("nhefs light smokers", RISE, "dose_response", {"method": "msm", "grid": [0.0, 20.0]}, _row("dose", 20.0)),
    "nhefs_msm_death": Case("nhefs", _q("qsmk", "death", NHEFS), "ipw", {}, _log_odds_ratio),
    "bonus_diff": Case("bonus", _q("tg", "y"), "difference_in_means", {"se": "hc1"}),
    "bonus_ols": Case("bonus", _q("tg", "y", BONUS), "ols", {"se": "hc1"}),
    "bonus_plr_rf": Case("bonus", _q("tg", "y", BONUS), "double_ml", {"learners": ["forest"], "folds": 3}),
    "bonus_irm_rf": Case("bonus", _q("tg", "y", BONUS), "aipw", {"learners": ["forest"], "folds": 3}),
    **{f"framing_{k}": Case("framing", FRAMING, "mediation", {}, _row("term", term)) for k, term in (("acme_control", "ACME (control)"), ("acme_treated", "ACME (treated)"), ("ade_control", "ADE (control)"), ("ade_treated", "ADE (treated)"), ("total", "total"))},
    "sicily_step": Case("sicily", SMOKE, "its", {"family": "poisson", "slope": False}, _rate_ratio),
    "sicily_seasonal": Case("sicily", SMOKE, "its", {"family": "quasipoisson", "slope": False, "seasonality": 2}, _rate_ratio),
    "sicily_slope": Case("sicily", SMOKE, "its", {"family": "quasipoisson", "seasonality": 2}, _row("term", "slope change")),
    "basque_w_cataluna": _basque(lambda found: float(found.details["donor_weights"]["Cataluna"])),
    "basque_w_madrid": _basque(lambda found: float(found.details["donor_weights"]["Madrid (Comunidad De)"])),
    "basque_att": _basque(lambda found: found.estimate),
    "hi_sim_curve": Case("hirano imbens", _q("T", "Y", ["X1", "X2"]), "dose_response", {"method": "gps", "grid": list(DOSES)}, lambda found: [float(r.estimate or math.nan) for r in found.rows if r.dose is not None], tuple(t + 2 / (1 + t) ** 3 for t in DOSES)),
    "transport_truth": "a numeric reference of one draw with 250 trial rows, not an accuracy test",
    "transport_om": Case("transport", TARGET, "transportability", {"score": "om"}),
    "transport_iow1_ht": Case("transport", TARGET, "transportability", {"score": "ipsw", "normalized": False}),
    "transport_iow2_hajek": Case("transport", TARGET, "transportability", {"score": "ipsw"}),
    "transport_dr1": Case("transport", TARGET, "transportability", {"score": "dr", "normalized": False}),
    "transport_dr2": Case("transport", TARGET, "transportability", {"score": "dr"}),
    "transport_trial_diff": Case("trial", _q("A", "Y"), "difference_in_means"),
    "social_insure_iv": _peers(),
    "titanic_sdo": Case("titanic", _q("first", "survived"), "difference_in_means"),
    "titanic_strat_ate": Case("titanic", TONIC, "stratification", {"strata": "exact"}),
    "titanic_strat_att": Case("titanic", TONIC, "stratification", {"strata": "exact", "estimand": "ATT"}),
    "titanic_strat_atu": Case("titanic", TONIC, "stratification", {"strata": "exact", "estimand": "ATC"}),
    **{f"panelmatch_att_t{k}": Case("democracy", DEMOCRACY, "panel_matching", {**HISTORIES, "size": 5}, _row("event_time", k)) for k in range(4)},
    **{f"panelmatch_norefine_att_t{k}": Case("democracy", DEMOCRACY, "panel_matching", {**HISTORIES, "refinement": "none"}, _row("event_time", k)) for k in range(4)},
    **{f"disc_{name}_n_edges": "a count of a known graph's edges, no effect" for name in ("asia", "lucas", "child")},
}  # fmt: skip
