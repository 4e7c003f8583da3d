"""Figures of the design: can the arms be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    CONTROL,
    MUTED,
    TREATED,
    VERMILION,
    Drawing,
    listed,
    plain,
    sheet,
)
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.results import Balance

MOST_ROWS = 24
MOST_POINTS = 2000
DASHED = (0, (4, 3))


def balance(evidence: Evidence) -> Drawing:
    """Draw each covariate's standardised difference between the arms (Love plot)."""
    return _love(evidence, list(evidence.exploration.balance if evidence.exploration else ()), "")


def weighted_balance(evidence: Evidence) -> Drawing:
    """Draw the differences before and after weighting by the propensity."""
    rows = list(evidence.propensity.balance if evidence.propensity else ())
    if not any(row.smd_adjusted is not None for row in rows):
        raise NotApplicable("no balance after weighting was computed")
    return _love(evidence, rows, " Hollow points are before, filled ones after weighting by the propensity.")


def _love(evidence: Evidence, rows: list[Balance], words: str) -> Drawing:
    known = sorted((b for b in rows if b.smd is not None), key=lambda b: -abs(b.smd or 0.0))[:MOST_ROWS]
    if not known:
        raise NotApplicable("no covariate has a standardised difference")
    threshold = evidence.plan.thresholds.get("smd", 0.1) if evidence.plan else 0.1
    figure, axes = sheet(1.1 + 0.28 * len(known))
    for row, entry in enumerate(known):
        before = abs(entry.smd or 0.0)
        if words and entry.smd_adjusted is not None:
            after = abs(entry.smd_adjusted)
            axes.plot([before, after], [row, row], color="#b8c0c8", linewidth=1.4)
            axes.plot([before], [row], "o", color="white", markeredgecolor=BLUE, markersize=6.5)
            axes.plot([after], [row], "o", color=BLUE, markersize=6.5)
        else:
            axes.plot([0, before], [row, row], color="#b8c0c8", linewidth=1.4)
            axes.plot([before], [row], "o", color=BLUE if before <= threshold else VERMILION, markersize=6.5)
    axes.axvline(threshold, color=VERMILION, linestyle=DASHED, linewidth=1.2)
    axes.set_xlim(left=-0.004, right=1.08 * max(1.3 * threshold, max(abs(b.smd or 0.0) for b in known)))
    listed(axes, [label(entry.covariate) for entry in known])
    axes.set_xlabel("absolute standardised mean difference")
    worst = known[0]
    more = f" The {len(known)} largest of {len(rows)} are shown." if len(rows) > len(known) else ""
    return Drawing(
        figure,
        f"Differences between the arms in pooled standard deviations; dashed is the limit of {threshold:g}.{words}{more}",
        f"The largest difference is that of {label(worst.covariate)}: {abs(worst.smd or 0.0):.3f}.",
    )


def overlap(evidence: Evidence) -> Drawing:
    """Draw the estimated propensities of both arms, mirrored."""
    histogram = evidence.propensity.histogram if evidence.propensity else {}
    edges, treated, control = (histogram.get(key) for key in ("edges", "treated", "control"))
    if not edges or treated is None or control is None:
        raise NotApplicable("no histogram of propensities was made")
    figure, axes = sheet(2.8)
    widths = np.diff(edges)
    axes.bar(edges[:-1], _shares(treated), widths, align="edge", color=TREATED, label="treated", edgecolor="white")
    axes.bar(edges[:-1], [-c for c in _shares(control)], widths, align="edge", color=CONTROL, label="control",
             edgecolor="white")  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=0.8)
    for edge in (0.05, 0.95):
        axes.axvline(edge, color=MUTED, linestyle=DASHED, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel("estimated probability of treatment")
    axes.set_ylabel("per cent of the arm")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    share = evidence.propensity.overlap if evidence.propensity else None
    words = "" if share is None else f" {share:.0%} of the target population lies between 0.05 and 0.95 (dashed)."
    return Drawing(
        figure,
        f"Treated above, control below. Where both cover the same range, like can be compared with like.{words}",
        f"Histogram of propensities, treated above and control below.{words}",
    )


def calibration(evidence: Evidence) -> Drawing:
    """Draw the observed share of treated against the predicted one."""
    points = [p for p in (evidence.propensity.calibration if evidence.propensity else ()) if p[2]]
    if len(points) < 2:
        raise NotApplicable("no calibration of the propensity was computed")
    figure, axes = sheet(3.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=DASHED, linewidth=1.2)
    for predicted, observed, n in points:
        half = 1.96 * float(np.sqrt(max(observed * (1 - observed), 0.25 / max(n, 1)) / n))
        axes.plot([predicted] * 2, [max(0, observed - half), min(1, observed + half)], color=BLUE, linewidth=1.4)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o", color=BLUE, markersize=6.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("predicted probability of treatment")
    axes.set_ylabel("observed share treated")
    gap = max(abs(p[0] - p[1]) for p in points)
    return Drawing(
        figure,
        "Each point is a group of units with similar predictions, with a 95% interval; on the diagonal, prediction "
        "and observation agree.",
        f"The largest gap between prediction and observation is {gap:.2f}.",
    )


def residuals(evidence: Evidence) -> Drawing:
    """Draw the residuals of a linear regression of the outcome on treatment and covariates."""
    from causal_orchestrator.problem import build

    question = evidence.question
    problem = build(evidence.read(question.columns()), question)
    design = np.column_stack([np.ones(problem.n), problem.treatment, problem.covariates])
    coefficients = np.linalg.lstsq(design, problem.outcome, rcond=None)[0]
    fitted = design @ coefficients
    errors = problem.outcome - fitted
    if not errors.std() > 0:
        raise NotApplicable("the linear model leaves no residuals")
    standard = errors / errors.std()
    step = -(-problem.n // MOST_POINTS)
    figure, (left, right) = sheet(2.7, columns=2)
    left.plot(fitted[::step], standard[::step], ".", color=BLUE, markersize=3, alpha=0.35, rasterized=True)
    left.axhline(0, color=MUTED, linewidth=0.9)
    left.set_xlabel("fitted value")
    left.set_ylabel("standardised residual")
    left.locator_params(axis="x", nbins=3)
    plain(left)
    ordered = np.sort(standard)[::step]
    expected = stats.norm.ppf((np.arange(problem.n)[::step] + 0.5) / problem.n)
    _line(right, expected, ordered)
    return Drawing(
        figure,
        "Residuals of the linear model that stands beside the headline: against fitted values, and against what a "
        "normal distribution would give. Robust standard errors need neither equal spread nor normality.",
        f"Skewness of the residuals {float(stats.skew(errors)):.2f}, kurtosis {float(stats.kurtosis(errors)):.2f}.",
    )


def _line(axes: Any, expected: Any, ordered: Any) -> None:
    axes.plot([expected[0], expected[-1]], [expected[0], expected[-1]], color=MUTED, linestyle=DASHED, linewidth=1.2)
    axes.plot(expected, ordered, ".", color=BLUE, markersize=3, rasterized=True)
    axes.set_xlabel("normal quantile")
    axes.set_ylabel("residual quantile")


def _shares(counts: Any) -> list[float]:
    total = float(sum(counts)) or 1.0
    return [100 * count / total for count in counts]
