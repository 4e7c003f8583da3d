"""Compare estimates with published numbers and with the truth of simulated data, each with the learners that it took.

Usage: ``python benchmarks/accuracy.py [--acic 38] [--out benchmarks/results]``; the data of the comparison are found by
``CAUSAL_TEST_DATA``. Without ``--acic`` the published numbers and IHDP (about two minutes on one core), written to
``accuracy.md``; with it the first so many settings of ACIC 2016 (about 15 CPU seconds each), to
``accuracy_acic.md``. A published number is inside if its distance is at most the tolerance beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]

from benchmarks.expectations_map import DATA, MAP, expectations, reproduce  # noqa: E402

from causal_orchestrator import estimators  # noqa: E402
from causal_orchestrator.problem import Estimate, build  # noqa: E402
from causal_orchestrator.question import Question  # noqa: E402

METHODS = ("aipw", "tmle")
BEST_KNOWN = "bart_tmle"  # of the published fits, the one with the least error


def published() -> list[str]:
    """Return the table of published numbers, one line per expectation."""
    lines = ["| expectation | method | expected | found | tolerance | |", "|---|---|---|---|---|---|"]
    inside, ours = 0, 0
    for key, wanted in expectations().items():
        case = MAP[key]
        if isinstance(case, str):
            lines.append(f"| {key} | | {number(wanted['expected'])} | | | not ours: {case} |")
            continue
        found = reproduce(key)
        ours += 1
        good = bool(np.all(np.abs(np.subtract(found, case.expected(wanted))) <= wanted["tolerance"]))
        inside += good
        lines.append(f"| {key} | {case.method} | {number(case.expected(wanted))} | {number(found)} | {wanted['tolerance']:g} | {'inside' if good else '**outside**'} |")  # fmt: skip
    return [f"{inside} of {ours} inside their tolerance; {len(MAP) - ours} are not ours.", "", *lines]


def number(value: object) -> str:
    """Return numbers in five digits."""
    return "" if value is None else ", ".join(f"{each:.5g}" for each in np.atleast_1d(np.asarray(value, dtype=float)))


def ihdp() -> list[str]:
    """Return the table of IHDP's ten replications: errors of the sample's average effect, and whether intervals cover."""
    table = pd.read_parquet(DATA / "ihdp.parquet")
    runs = []
    for replication, rows in table.groupby("replication"):
        frame = rows.reset_index(drop=True)
        covariates = tuple(f"x{k}" for k in range(1, 26))
        problem = build(frame, Question(treatment="treatment", outcome="y_factual", covariates=covariates))
        truth = float((frame["mu1"] - frame["mu0"]).mean())
        plain = estimators.estimate("regression_adjustment", problem).estimate - truth
        found = {method: estimators.estimate(method, problem, estimand="SATE") for method in METHODS}
        runs.append(
            {"set": replication, "sd": frame["y_factual"].std(), "truth": truth, "two regressions": plain, **found}
        )
    errors = {m: np.array([run[m].estimate - run["truth"] for run in runs]) for m in METHODS}
    errors["two regressions"] = np.array([run["two regressions"] for run in runs])
    sd = np.array([run["sd"] for run in runs])
    lines = ["| method | mean absolute error | RMSE, SD of the outcome | intervals that cover |", "|---|---|---|---|"]
    for method, error in errors.items():
        covered = (
            f"{sum(covers(run[method], run['truth']) for run in runs)} of {len(runs)}" if method in METHODS else ""
        )
        lines.append(f"| {method} | {np.abs(error).mean():.4f} | {rms(error / sd):.4f} | {covered} |")
    return [*lines, "", f"Learners (share in the treated arm's outcome): {shares([run['aipw'] for run in runs])}."]


def acic(settings: int) -> list[str]:
    """Return the table of ACIC 2016: errors of SATT in SD of the outcome, one seed per setting."""
    covariates, sims = pd.read_parquet(DATA / "acic2016_covariates.parquet"), pd.read_parquet(DATA / "acic2016_sims.parquet")  # fmt: skip
    question = Question(treatment="z", outcome="y", covariates=tuple(covariates.columns))
    lines = ["| setting | aipw: error | standard error | covers | tmle: error | standard error | covers | CPU s |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    kept: dict[str, list[Estimate]] = {method: [] for method in METHODS}
    truths, sds = [], []
    for setting in range(1, settings + 1):
        start = time.process_time()
        rows = sims[(sims["setting"] == setting) & (sims["seed"] == 1)].sort_values("id").reset_index(drop=True)
        problem = build(covariates.reset_index(drop=True).assign(z=rows["z"], y=rows["y"]), question)
        truths.append(float((rows["mu1"] - rows["mu0"])[rows["z"] == 1].mean()))
        sds.append(float(rows["y"].std()))
        cells = []
        for method in METHODS:
            found = estimators.estimate(method, problem, estimand="SATT")
            kept[method].append(found)
            cells += [f"{(found.estimate - truths[-1]) / sds[-1]:.4f}", f"{(found.std_error or np.nan) / sds[-1]:.4f}", "yes" if covers(found, truths[-1]) else "no"]  # fmt: skip
        lines.append(f"| {setting} | {' | '.join(cells)} | {time.process_time() - start:.0f} |")
        sys.stderr.write(lines[-1] + "\n")
    summary = ["| method | RMSE, SD of the outcome | intervals that cover | p of 95 % (exact binomial) |", "|---|---|---|---|"]  # fmt: skip
    for method, found_there in kept.items():
        error = np.array([e.estimate - t for e, t in zip(found_there, truths, strict=True)]) / sds
        hits = sum(covers(e, t) for e, t in zip(found_there, truths, strict=True))
        summary.append(f"| {method} | {rms(error):.4f} | {hits} of {settings} | {stats.binomtest(hits, settings, 0.95).pvalue:.3f} |")  # fmt: skip
    fits = pd.read_csv(DATA / "acic2016_published_fits.csv").query("seed == 1 and setting <= @settings")
    for method, rows in fits.groupby("method"):
        rows = rows.sort_values("setting")
        hits = int(((rows["lo"] <= truths) & (truths <= rows["hi"])).sum())
        summary.append(f"| {method} (published fit) | {rms((rows['satt'] - truths) / sds):.4f} | {hits} of {settings} | {stats.binomtest(hits, settings, 0.95).pvalue:.3f} |")  # fmt: skip
    return [
        *summary,
        "",
        f"Learners (share in the controls' outcome): {shares(kept['aipw'], 'outcome at 0')}.",
        "",
        *lines,
    ]


def covers(found: Estimate, truth: float) -> bool:
    """Say whether the interval holds the truth."""
    return found.ci_lower is not None and found.ci_upper is not None and found.ci_lower <= truth <= found.ci_upper


def rms(errors: object) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(errors, dtype=float)))))


def shares(found: list[Estimate], function: str = "outcome at 1") -> str:
    """Return each learner's mean share."""
    names = found[0].details["learners"][function]
    return ", ".join(f"{name} {np.mean([e.details['learners'][function][name] for e in found]):.0%}" for name in names)


def main() -> None:
    """Run what is asked, print it and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--acic", type=int, default=0, help="settings of ACIC 2016, the first so many")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = arguments.parse_args()
    if not (DATA / "expectations.json").exists():
        sys.exit(f"benchmarks/accuracy.py needs the reference data; there are none at {DATA}")
    with threadpool_limits(limits=1):
        if asked.acic:
            name, text = "accuracy_acic.md", ["# ACIC 2016, effect on the treated in the sample", "", *acic(asked.acic)]
        else:
            name = "accuracy.md"
            text = ["# Published numbers", "", *published(), "", "# IHDP, ten replications", "", *ihdp()]
    sys.stdout.write("\n".join(text) + "\n")
    (asked.out / name).write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
