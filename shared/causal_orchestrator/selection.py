"""How the methods compare: energy score, agreement, and which one a strategy prefers (SEL-1, 2, 3; HON-4, 5).

Nothing here moves the headline, which is the plan's primary. Scores order the exploratory table; methods for different
estimands are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from causal_orchestrator import estimators
from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.numerics.balance import standardized_differences
from causal_orchestrator.numerics.inference import critical_value, influence_covariance, p_value
from causal_orchestrator.numerics.influence import differences
from causal_orchestrator.problem import Estimate, Problem, influence_tells_all
from causal_orchestrator.results import Evaluation, Rehearsed, Selection

Floats = NDArray[np.float64]
Strategy = Literal["first_success", "best_energy", "ensemble"]

WEIGHTS: Mapping[str, float] = {"balance": 0.35, "fit": 0.45, "calibration": 0.20}
TIERS = (("excellent", 0.25), ("good", 0.45), ("acceptable", 0.65), ("poor", 0.80), ("unreliable", np.inf))
WARNING = 0.65
GAP = 0.05
POLICIES = ("POLICY_VALUE", "POLICY_GAIN")  # say what policies are worth, and have no effect function

# What counts as fully wrong: a mean squared difference of a quarter SD, a calibration error of ten points. The fit
# part is one half where the effect function is a quarter of the outcome's SD away from what the scores show.
IMBALANCE = 0.25
MISCALIBRATION = 0.10
MISFIT, SHARPNESS = 0.25, 0.10
CLIP = 0.01
SAME = 0.999  # correlation of influence functions from which two methods are one
BINS = 10
FAILURES, CLEARLY = 0.05, 0.10  # of a rehearsal: copies that may fail, and how much lower an RMSE must be


@dataclass(frozen=True)
class Energy:
    """A method's score in [0, 1], lower is better, with its parts; `loss` is what the fit part is made from."""

    score: float
    parts: Mapping[str, float]
    tier: str
    loss: float


def pseudo_outcomes(problem: Problem) -> Floats:
    """Return each row's doubly robust score (n,) of the effect, from the shared learned nuisances.

    Raises
    ------
    NotApplicable
        If the treatment is not binary.
    """
    if problem.treatment_kind != "binary":
        raise NotApplicable("doubly robust scores of single rows need a binary treatment", code="TREATMENT_KIND")
    found = problem.learned()
    e = np.clip(found.propensity[:, :, 1], CLIP, 1 - CLIP)
    mu0, mu1 = found.outcome_by_level[:, :, 0], found.outcome_by_level[:, :, 1]
    t, y = problem.treatment, problem.outcome
    return np.asarray((mu1 - mu0 + t * (y - mu1) / e - (1 - t) * (y - mu0) / (1 - e)).mean(axis=0))


def target_weights(problem: Problem, estimand: str) -> Floats:
    """Return the weight (n,) of each row in the population that an estimand speaks of."""
    e = np.clip(problem.learned().e, CLIP, 1 - CLIP)
    tilt = {"ATT": e, "SATT": e, "ATC": 1 - e, "ATO": e * (1 - e), "PLR": e * (1 - e)}.get(estimand, np.ones(problem.n))
    return np.asarray(tilt if problem.weights is None else tilt * problem.weights)


def losses(problem: Problem, effect: float | Floats, scores: Floats) -> Floats:
    """Return each row's squared distance (n,) between doubly robust score and effect function.

    Its mean is, up to a constant that no effect function changes, the squared error of that function.

    References
    ----------
    Saito & Yasui (2020), "Counterfactual cross-validation"; Mahajan et al. (2024), https://arxiv.org/abs/2211.01939.
    """
    return np.asarray((scores - effect) ** 2)


def energy(
    problem: Problem,
    *,
    estimand: str,
    effect: float | Floats,
    weights: Floats | None = None,
    propensity: Floats | None = None,
    scores: Floats | None = None,
    shares: Mapping[str, float] = WEIGHTS,
) -> Energy:
    """Score a method by the balance that it reaches, the fit of its own effect function, and its propensity.

    Parameters
    ----------
    effect : one number, or shape (n,)
        The method's effect function at each row, in units of the outcome.
    weights : shape (n,), optional
        Weights with which it compares the arms; without them its raw comparison is judged.
    propensity : shape (n,), optional
        The propensity that it rests on; a method that rests on none has no calibration part, and the others' shares
        are stretched to one.
    """
    scores = pseudo_outcomes(problem) if scores is None else scores
    target = target_weights(problem, estimand)
    parts = {"balance": _imbalance(problem, weights)}
    mean = float(np.average(losses(problem, effect, scores), weights=target))
    parts["fit"] = _misfit(mean, scores, target, problem)
    if propensity is not None:
        parts["calibration"] = min(1.0, calibration_error(propensity, problem.treatment) / MISCALIBRATION)
    total = sum(shares[name] for name in parts)
    score = sum(shares[name] * value for name, value in parts.items()) / total
    return Energy(score=score, parts=parts, tier=tier(score), loss=mean)


def tier(score: float) -> str:
    """Return the word for a score."""
    return next(name for name, limit in TIERS if score <= limit)


def _imbalance(problem: Problem, weights: Floats | None) -> float:
    if not problem.covariates.shape[1]:
        return 0.0
    usable = weights if weights is not None and np.isfinite(weights).all() else problem.weights
    differences = standardized_differences(problem.covariates, problem.treatment == 1, usable)
    return min(1.0, float(np.sqrt((differences**2).mean())) / IMBALANCE)


def _misfit(loss: float, scores: Floats, target: Floats, problem: Problem) -> float:
    """Map the excess of the loss over that of the scores' own mean to (0, 1), strictly increasing in the loss."""
    centre = np.average(scores, weights=target)
    least = np.average((scores - centre) ** 2, weights=target)
    excess = loss - least
    distance = np.sign(excess) * np.sqrt(abs(excess)) / problem.outcome.std()
    return float(special.expit((distance - MISFIT) / SHARPNESS))


def calibration_error(propensity: Floats, treatment: Floats) -> float:
    """Return the root mean squared gap between predicted and observed shares over ten bins, less what chance makes."""
    cuts = np.unique(np.quantile(propensity, np.linspace(0, 1, BINS + 1)[1:-1]))
    which = np.searchsorted(cuts, propensity, side="right")
    count = np.bincount(which)
    full = count > 0
    predicted = np.bincount(which, propensity)[full] / count[full]
    observed = np.bincount(which, treatment)[full] / count[full]
    chance = np.bincount(which, propensity * (1 - propensity))[full] / count[full] ** 2
    return float(np.sqrt(max(0.0, float(np.average((observed - predicted) ** 2 - chance, weights=count[full])))))


def score_estimate(
    problem: Problem, estimate: Estimate, *, scores: Floats | None = None, shares: Mapping[str, float] = WEIGHTS
) -> Energy:
    """Score one method's `Estimate` (raises NotApplicable where the treatment is not binary)."""
    uses = estimators.ESTIMATORS[estimate.method].nuisances
    rests = "propensity" in " ".join(estimators.ESTIMATORS[estimate.method].assumes) or uses == "learned"
    propensity = None
    if rests:
        propensity = problem.learned().e if uses == "learned" else problem.parametric().e
    weights = estimate.details.get("weights")
    return energy(
        problem,
        estimand=estimate.estimand,
        effect=estimate.estimate if estimate.cate is None else estimate.cate,
        weights=weights if isinstance(weights, np.ndarray) else None,
        propensity=propensity,
        scores=scores,
        shares=shares,
    )


# --- choosing -------------------------------------------------------------------------------------------------------


def select(
    problem: Problem,
    estimates: Mapping[str, Estimate],
    *,
    headline: str | None,
    estimand: str,
    strategy: Strategy,
    failures: Mapping[str, str] | None = None,
    shares: Mapping[str, float] = WEIGHTS,
) -> Selection:
    """Order the methods and say which one the strategy prefers, among those of the headline's estimand.

    Parameters
    ----------
    estimates : by method.
    failures : why the other methods gave no estimate.
    shares : of balance, fit and calibration in the energy score.
    """
    energies = _energies(problem, estimates, shares)
    alike = [name for name, found in estimates.items() if found.estimand == estimand]
    preferred, gap, reason = _preferred(problem, alike, energies, headline, strategy)
    evaluations = [
        Evaluation(
            method=name,
            success=True,
            estimate=found.estimate,
            score=energies[name].score if name in energies else None,
            parts=energies[name].parts if name in energies else {},
            tier=energies[name].tier if name in energies else None,
            selected=name == preferred,
            reason=reason if name == preferred else "" if name in alike else f"another estimand ({found.estimand})",
        )
        for name, found in estimates.items()
    ]
    evaluations += [Evaluation(method=name, success=False, reason=why) for name, why in (failures or {}).items()]
    notes = [
        f"{name}: energy score {e.score:.2f}, above {WARNING}" for name, e in energies.items() if e.score > WARNING
    ]
    agreed = agreement(problem, [estimates[name] for name in alike], estimand=estimand, headline=headline)
    if strategy == "ensemble":
        agreed["ensemble"] = ensemble(problem, [estimates[name] for name in alike])
    return Selection(
        strategy=strategy,
        headline=headline,
        preferred=preferred,
        gap=gap,
        evaluations=tuple(evaluations),
        agreement=agreed,
        notes=tuple(notes),
    )


def _energies(problem: Problem, estimates: Mapping[str, Estimate], shares: Mapping[str, float]) -> dict[str, Energy]:
    if problem.treatment_kind != "binary" or not problem.covariates.shape[1]:
        return {}
    scores = pseudo_outcomes(problem)
    return {
        name: score_estimate(problem, found, scores=scores)
        for name, found in estimates.items()
        if found.estimand not in POLICIES
    }


def _preferred(
    problem: Problem, alike: Sequence[str], energies: Mapping[str, Energy], headline: str | None, strategy: Strategy
) -> tuple[str | None, float | None, str]:
    if not alike:
        return None, None, ""
    combined = [name for name in alike if estimators.ESTIMATORS[name].combines]
    if strategy == "ensemble" and combined:
        return combined[0], None, "the combination that the strategy names"
    scored = sorted((name for name in alike if name in energies), key=lambda name: (energies[name].score, name))
    if strategy == "first_success" or not scored:
        table, size = estimators.ESTIMATORS, (problem.n, problem.covariates.shape[1])
        first = min(alike, key=lambda name: (-table[name].credibility, table[name].cost(*size), name))
        return first, None, "the most credible that gave an estimate"
    best = scored[0]
    against = headline if headline in energies and headline != best else scored[1] if len(scored) > 1 else None
    gap = None if against is None else energies[against].score - energies[best].score
    if headline in scored and headline != best and gap is not None and gap < GAP:
        return headline, gap, f"no other method's score is lower by {GAP} or more"
    return best, gap, "the lowest energy score"


# --- agreement ------------------------------------------------------------------------------------------------------


def agreement(
    problem: Problem, estimates: Sequence[Estimate], *, estimand: str, headline: str | None = None
) -> dict[str, Any]:
    """Return how far methods for one estimand agree; those with the same influence function count once (SEL-3).

    Combinations are left out: they are no further evidence. ``differences`` compares every other distinct method with
    the headline (the first one without it), with intervals of the differences that hold together and a joint test, as
    far as influence functions are known: what methods share cancels, so small differences can be beyond noise.
    """
    single = [e for e in estimates if not estimators.ESTIMATORS[e.method].combines]
    groups = _distinct(sorted(single, key=lambda e: e.method != headline))
    kept = [group[0] for group in groups]
    if not kept:
        return {"estimand": estimand, "n_distinct": 0, "groups": []}
    values = np.array([e.estimate for e in kept])
    found: dict[str, Any] = {
        "estimand": estimand,
        "n_distinct": len(kept),
        "groups": [[e.method for e in group] for group in groups],
        "median": float(np.median(values)),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "same_sign": float(np.mean(np.sign(values) == np.sign(np.median(values)))),
        "range_in_outcome_sd": float(np.ptp(values) / problem.outcome.std()),
    }
    if len(kept) > 1:
        found["largest_difference"] = _difference(problem, kept[int(values.argmax())], kept[int(values.argmin())])
    return found | _differences(problem, kept)


def _differences(problem: Problem, kept: Sequence[Estimate]) -> dict[str, Any]:
    """Compare every method with the first, where both have an influence function."""
    known = [(e, e.influence[:, 0]) for e in kept if e.influence is not None and influence_tells_all(problem, e)]
    if len(known) < 2 or known[0][0] is not kept[0]:
        return {}
    apart = differences(
        [e.estimate for e, _ in known],
        np.column_stack([psi for _, psi in known]),
        problem.cluster,
        confidence_level=problem.confidence_level,
        seed=problem.seed,
    )
    columns = zip(known[1:], apart.values, apart.std_errors, apart.lower, apart.upper, apart.p_values, strict=True)
    rows = [
        {
            "method": e.method,
            "difference": float(value),
            "std_error": float(error),
            "ci_lower": float(lower),
            "ci_upper": float(upper),
            "p_value": p,
            "within_noise": bool(lower <= 0 <= upper),
        }
        for (e, _), value, error, lower, upper, p in columns
    ]
    return {"differences": {"reference": kept[0].method, "rows": rows, "joint_p_value": apart.joint_p, "df": apart.df}}


def _distinct(estimates: Sequence[Estimate]) -> list[list[Estimate]]:
    groups: list[list[Estimate]] = []
    for estimate in estimates:
        for group in groups:
            if _same(group[0], estimate):
                group.append(estimate)
                break
        else:
            groups.append([estimate])
    return groups


def _same(first: Estimate, second: Estimate) -> bool:
    if first.influence is None or second.influence is None:
        return False
    a, b = first.influence[:, 0], second.influence[:, 0]
    apart = abs(first.estimate - second.estimate)
    return bool(np.corrcoef(a, b)[0, 1] > SAME and apart < 1e-2 * (first.std_error or np.inf))


def _difference(problem: Problem, high: Estimate, low: Estimate) -> dict[str, Any]:
    found: dict[str, Any] = {"methods": [high.method, low.method], "difference": high.estimate - low.estimate}
    known = all(influence_tells_all(problem, e) for e in (high, low))
    if high.influence is not None and low.influence is not None and known:
        gap = (high.influence - low.influence)[:, :1]
        error = float(np.sqrt(influence_covariance(gap, problem.cluster)[0, 0]))
        found |= {"std_error": error, "p_value": p_value(found["difference"], error)}
    return found


def ensemble(problem: Problem, estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return the mean over distinct methods with the interval of the mean influence function (exploratory)."""
    single = [e for e in estimates if not estimators.ESTIMATORS[e.method].combines]
    kept = [group[0] for group in _distinct(single) if influence_tells_all(problem, group[0])]
    if not kept:
        return {"methods": []}
    mean = float(np.mean([e.estimate for e in kept]))
    influence = np.mean([e.influence[:, :1] for e in kept if e.influence is not None], axis=0)
    error = float(np.sqrt(influence_covariance(influence, problem.cluster)[0, 0]))
    margin = critical_value(problem.confidence_level) * error
    return {"methods": [e.method for e in kept], "estimate": mean, "std_error": error, "ci_lower": mean - margin, "ci_upper": mean + margin}  # fmt: skip


def drivers(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return which choice moves the specification curve: the share of its variance between methods, and between sets."""
    rows = [row for row in table if row.get("estimate") is not None]
    values = np.array([row["estimate"] for row in rows], dtype=np.float64)
    if len(rows) < 3 or values.var() == 0:
        return {}
    shares = {}
    for choice in ("method", "adjustment_set"):
        groups: dict[str, list[float]] = {}
        for row, value in zip(rows, values, strict=True):
            groups.setdefault(str(row[choice]), []).append(float(value))
        between = sum(len(g) * (np.mean(g) - values.mean()) ** 2 for g in groups.values()) / len(values)
        shares[choice] = float(between / values.var())
    return shares


# --- rehearsal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which of the rehearsed methods should be the primary, instead of which, and why."""

    against: str | None
    preferred: str | None
    reasons: tuple[str, ...] = ()


def exact_limits(successes: int, draws: int) -> tuple[float, float]:
    """Return exact 95 % limits of a share (Clopper & Pearson 1934)."""
    interval = stats.binomtest(successes, draws).proportion_ci(0.95)
    return float(interval.low), float(interval.high)


def rehearsed_choice(rows: Sequence[Rehearsed], level: float) -> Choice:
    """Choose the primary from a rehearsal; `rows` come in the order of the ranking, the first would be taken without it.

    The rule, fixed beforehand: a method is sound if it failed in at most `FAILURES` of the copies and its coverage is
    not below the stated level by an exact one-sided test (Holm over the methods). The ranking's first stays if it is
    sound, unless a sound method's RMSE is lower by `CLEARLY` or more and its squared errors are smaller by two
    standard errors of the paired difference; if it is not sound, the sound method with the least RMSE takes its place.
    """
    able = [row for row in rows if row.rmse is not None]
    if not able or not rows:
        return Choice(None, None)
    first, sound = rows[0], _sound(able, level)
    if not sound:
        return Choice(
            first.method, first.method, ("in the rehearsal no method covered as it should; the ranking stands",)
        )
    best = min(sound, key=lambda row: (row.rmse or 0.0, row.method))
    if first not in sound:
        why = f"in the rehearsal {first.method} {_fault(first)}; of the methods that hold, {best.method} errs least"
        return Choice(first.method, best.method, (f"{why} (RMSE {best.rmse:.3f} SD, coverage {best.coverage:.0%})",))
    if best is not first and _clearly_better(best, first):
        why = f"in the rehearsal {best.method} errs less than {first.method} (RMSE {best.rmse:.3f} against {first.rmse:.3f} SD)"
        return Choice(first.method, best.method, (why,))
    held = f"the rehearsal speaks for {first.method} (RMSE {first.rmse:.3f} SD, coverage {first.coverage:.0%} in {first.draws} copies)"  # fmt: skip
    return Choice(first.method, first.method, (held,))


def _sound(rows: Sequence[Rehearsed], level: float) -> list[Rehearsed]:
    """Return the methods with estimates throughout whose coverage is not refuted (Holm at 5 %)."""
    steady = [row for row in rows if row.coverage is not None and row.failures <= FAILURES * row.draws]
    tested = sorted((_coverage_p(row, level), row.method) for row in steady)
    refuted: set[str] = set()
    for k, (p, method) in enumerate(tested):
        if p > 0.05 / (len(tested) - k):
            break
        refuted.add(method)
    return [row for row in steady if row.method not in refuted]


def _coverage_p(row: Rehearsed, level: float) -> float:
    n = row.draws - row.failures
    return float(stats.binomtest(round((row.coverage or 0.0) * n), n, level, alternative="less").pvalue)


def _fault(row: Rehearsed) -> str:
    if row.coverage is None or row.failures > FAILURES * row.draws:
        return f"gave no interval in {row.failures} of {row.draws} copies" if row.failures else "gave no interval"
    return f"covered in {row.coverage:.0%} of {row.draws} copies only"


def _clearly_better(best: Rehearsed, first: Rehearsed) -> bool:
    pairs = [(a, b) for a, b in zip(best.errors, first.errors, strict=True) if a is not None and b is not None]
    gains = np.array([b**2 - a**2 for a, b in pairs])
    if (best.rmse or 0.0) > (1 - CLEARLY) * (first.rmse or 0.0) or len(gains) < 2:
        return False
    return bool(gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains)))
