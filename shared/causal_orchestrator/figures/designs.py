"""Figures of single designs: panels, cutoffs, instruments, donors, one interrupted series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import (
    BLUE,
    CONTROL,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    TREATED,
    VERMILION,
    Drawing,
    listed,
    number,
    plain,
    sheet,
)
from causal_orchestrator.figures.evidence import Evidence, label
from causal_orchestrator.numerics import iv
from causal_orchestrator.numerics.panel import Panel, layout, ordered_times, series
from causal_orchestrator.problem import Problem, build
from causal_orchestrator.results import Effect, SensitivityResult

Floats = NDArray[np.float64]

DASHED = (0, (4, 3))
COHORTS = (TREATED, ORANGE, GREEN, PURPLE)
BINS = 20  # on each side of a cutoff, and of a first stage
FEWEST_TIMES = 8
MOST_PLACEBOS = 60


# --- panels ---------------------------------------------------------------------------------------------------------


def parallel_trends(evidence: Evidence) -> Drawing:
    """Draw the mean outcome over time of those never treated and of each cohort that is."""
    problem, panel = _panel(evidence)
    wide = panel.wide(problem.outcome) if not panel.repeated else None
    if wide is None:
        raise NotApplicable("units are seen several times in a period")
    groups = [("never treated", np.isinf(panel.first), CONTROL)]
    cohorts = panel.cohorts
    if len(cohorts) > len(COHORTS):
        groups.append(("treated at some time", np.isfinite(panel.first), TREATED))
    else:
        groups += [
            (f"from {panel.periods[g]:g}", panel.first == g, colour)
            for g, colour in zip(cohorts, COHORTS, strict=False)
        ]
    figure, axes = sheet(3.0)
    for name, member, colour in groups:
        if member.any():
            with np.errstate(invalid="ignore"):
                mean = np.array([np.nanmean(column) if np.isfinite(column).any() else np.nan for column in wide[member].T])  # fmt: skip
            axes.plot(panel.periods, mean, "o-", color=colour, markersize=4, label=name)
    for g in cohorts[: len(COHORTS)]:
        axes.axvline((panel.periods[max(g - 1, 0)] + panel.periods[g]) / 2, color=MUTED, linestyle=DASHED, linewidth=1)
    _named(axes, label(str(evidence.question.time)), f"mean of {label(str(evidence.question.outcome))}")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return Drawing(
        figure,
        "Mean outcome over time, as observed. Before the dashed lines, where treatment begins, the lines should run "
        "side by side.",
        f"Mean outcome over {panel.n_periods} periods for {len(groups)} groups of {panel.n_units} units.",
    )


def panel_series(evidence: Evidence) -> Drawing:
    """Draw the mean outcome over time, its trend, and what the trend leaves."""
    problem = _problem(evidence)
    if "time" not in problem.roles:
        raise NotApplicable("there is no time")
    time, index = _times(problem)
    mean = np.bincount(index, problem.outcome) / np.bincount(index)
    if len(time) < FEWEST_TIMES:
        raise NotApplicable(f"{len(time)} times are too few to take a trend out of")
    width = 12 if len(time) >= 36 else 5
    trend = _smooth(mean, width)
    figure, (top, bottom) = sheet(3.6, rows=2, sharex=True, height_ratios=(2, 1))
    top.plot(time, mean, color=BLUE, linewidth=1.2, label="mean")
    top.plot(time, trend, color=VERMILION, linewidth=2, label=f"moving average of {width}")
    top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    top.set_ylabel(label(str(evidence.question.outcome), 16))
    plain(top, "y")
    bottom.axhline(0, color=MUTED, linewidth=0.9)
    bottom.vlines(time, 0, mean - trend, color=SKY)
    _named(bottom, label(str(evidence.question.time)), "remainder")
    return Drawing(
        figure,
        "Mean outcome over time with its trend (a centred moving average), and what the trend leaves: season and noise.",
        f"{len(time)} times; the remainder's standard deviation is {number(float(np.nanstd(mean - trend)))}.",
    )


def honest_did(evidence: Evidence) -> Drawing:
    """Draw the intervals under trends that part, by how much they may."""
    found = _result(evidence, "honest_did")
    details = found.details
    figure, (left, right) = sheet(3.1, columns=2)
    for axes, key, across in (
        (left, "first_period", "moves after, in moves before"),
        (right, "smoothness", "change of slope per period"),
    ):
        rows = details[key]
        x = [row["bound"] for row in rows]
        low, high = ([row[end] for row in rows] for end in ("ci_lower", "ci_upper"))
        axes.vlines(x, low, high, color=BLUE, linewidth=3)
        axes.plot(x, low, color=SKY, linewidth=1)
        axes.plot(x, high, color=SKY, linewidth=1)
        axes.axhline(0, color=VERMILION, linestyle=DASHED, linewidth=1.2)
        axes.locator_params(axis="x", nbins=4)
        _named(axes, across, "effect" if axes is left else "")
    left.set_title("first period", loc="left", fontsize=10.5)
    right.set_title("all periods", loc="left", fontsize=10.5)
    return Drawing(
        figure,
        "Intervals that hold where trends are not parallel (Rambachan and Roth). Left: after treatment trends move by so "
        "many times their largest move before. Right: the slope of their difference changes by so much from period to "
        "period; at zero it is any straight line.",
        found.interpretation,
    )


# --- cutoffs --------------------------------------------------------------------------------------------------------


def rd_plot(evidence: Evidence) -> Drawing:
    """Draw binned means of the outcome on both sides of the cutoff, with straight lines within the bandwidth."""
    x, y = _running(evidence)
    cutoff = float(evidence.question.cutoff or 0.0)
    effect = _effect(evidence, "bandwidths", missing="no effect at the cutoff was estimated")
    width = max(effect.details["bandwidths"]["h"])
    figure, axes = sheet(3.2)
    for side, colour in ((x < cutoff, CONTROL), (x >= cutoff, TREATED)):
        centres, means = _binned(x[side], y[side], BINS)
        axes.plot(centres, means, "o", color=colour, markersize=4, alpha=0.75)
        near = side & (np.abs(x - cutoff) <= width)
        if near.sum() > 2:
            slope, level = np.polyfit(x[near] - cutoff, y[near], 1, w=np.sqrt(np.clip(1 - np.abs(x[near] - cutoff) / width, 0, None)))  # fmt: skip
            ends = np.array([cutoff, x[near][np.abs(x[near] - cutoff).argmax()]])
            axes.plot(ends, level + slope * (ends - cutoff), color=colour, linewidth=2.2)
    axes.axvline(cutoff, color=MUTED, linestyle=DASHED, linewidth=1.2)
    _named(axes, label(str(evidence.question.running_variable)), label(str(evidence.question.outcome)))
    return Drawing(
        figure,
        f"Points are means of equally many rows; lines are local linear fits within the bandwidth of {number(width)}, "
        f"whose gap at the cutoff is the effect.",
        f"The outcome on both sides of {number(cutoff)}; the estimated jump is {number(effect.estimate or 0.0)}.",
    )


def rd_density(evidence: Evidence) -> Drawing:
    """Draw how many rows there are on both sides of the cutoff."""
    x, _ = _running(evidence)
    cutoff = float(evidence.question.cutoff or 0.0)
    effect = _effect(evidence, "density", missing="the density at the cutoff was not estimated")
    found = effect.details["density"]
    width = max(effect.details["bandwidths"]["h"]) / 8
    low = cutoff - np.ceil(min(cutoff - x.min(), 24 * width) / width) * width
    high = cutoff + np.ceil(min(x.max() - cutoff, 24 * width) / width) * width
    edges = np.arange(round((low - cutoff) / width), round((high - cutoff) / width) + 1) * width + cutoff
    counts = np.histogram(x, edges)[0] / (len(x) * width)
    figure, axes = sheet(2.8)
    colours = [CONTROL if edge < cutoff - width / 2 else TREATED for edge in edges[:-1]]
    axes.bar(edges[:-1], counts, width, align="edge", color=colours, edgecolor="white", alpha=0.8)
    axes.axvline(cutoff, color=INK, linestyle=DASHED, linewidth=1.2)
    words = ""
    if found.get("left") is not None:
        axes.plot(
            [cutoff - width / 4, cutoff + width / 4], [found["left"], found["right"]], "D", color=INK, markersize=6
        )
        check = effect.diagnostics.get("density")
        words = f" Diamonds are the densities at the cutoff from either side{f' (p = {check.p_value:.2g} that they are equal)' if check and check.p_value is not None else ''}."  # fmt: skip
    _named(axes, label(str(evidence.question.running_variable)), "density")
    return Drawing(
        figure,
        f"Rows on both sides of the cutoff. A heap on one side says that units chose it.{words}",
        f"Histogram of the running variable around {number(cutoff)}.{words}",
    )


def rd_bandwidth(evidence: Evidence) -> Drawing:
    """Draw the effect at other bandwidths and without the rows nearest to the cutoff."""
    found = _result(evidence, "discontinuity")
    rows = sorted(found.details["rows"], key=lambda row: (row["kind"] == "donut", row["size"]))
    names = {"bandwidth": "bandwidth", "donut": "without nearest", "headline": "headline"}
    figure, axes = sheet(1.0 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        colour = VERMILION if row["kind"] == "headline" else GREEN if row["kind"] == "donut" else BLUE
        axes.plot([row["ci_lower"], row["ci_upper"]], [place, place], color=colour, linewidth=2)
        axes.plot([row["estimate"]], [place], "o", color=colour, markersize=6)
    axes.axvline(0, color=MUTED, linewidth=0.9)
    listed(axes, [f"{names[row['kind']]} {number(row['size'])}" for row in rows])
    axes.set_xlabel("effect at the cutoff")
    plain(axes)
    return Drawing(
        figure,
        "The effect with other bandwidths (blue), without the rows nearest to the cutoff (green), and the headline. "
        "Points are conventional estimates, intervals robust bias-corrected ones.",
        found.interpretation,
    )


# --- instruments ----------------------------------------------------------------------------------------------------


def first_stage(evidence: Evidence) -> Drawing:
    """Draw how the treatment goes with what the instruments predict, both without what covariates explain."""
    problem = _problem(evidence)
    complete = iv.complete_rows(problem)
    data = iv.partial_out(problem if complete.all() else problem.take(complete), evidence.question.instruments)
    predicted = data.projected(data.treatment)
    if not predicted.std() > 0:
        raise NotApplicable("the instruments predict nothing")
    centres, means = _binned(predicted, data.treatment, BINS)
    strength = iv.first_stage(data, "hc1" if problem.cluster is None else "cluster")["effective_F"]
    figure, axes = sheet(3.0)
    ends = np.array([centres.min(), centres.max()])
    axes.plot(ends, ends, color=MUTED, linestyle=DASHED, linewidth=1.2)
    axes.plot(centres, means, "o", color=BLUE, markersize=6)
    _named(axes, "treatment as the instruments predict it", f"{label(str(evidence.question.treatment), 18)}, adjusted")
    return Drawing(
        figure,
        "Means of equally many rows, without what covariates explain. The further the points spread along the line, the "
        f"more the instruments move the treatment (effective F {number(strength)}).",
        f"The effective F of the first stage is {number(strength)}.",
    )


# --- donors ---------------------------------------------------------------------------------------------------------


def synthetic_control_path(evidence: Evidence) -> Drawing:
    """Draw the treated unit beside its synthetic control."""
    effect = _effect(evidence, "gap", missing="no synthetic control was fitted")
    problem, panel = _panel(evidence)
    start = panel.cohorts[0]
    treated = panel.wide(problem.outcome)[panel.first == start].mean(axis=0)
    gap = np.array([effect.details["gap"][f"{t:g}"] for t in panel.periods], dtype=float)
    figure, axes = sheet(3.0)
    axes.plot(panel.periods, treated, color=TREATED, label="treated")
    axes.plot(panel.periods, treated - gap, color=CONTROL, linestyle=DASHED, label="synthetic control")
    axes.axvline((panel.periods[start - 1] + panel.periods[start]) / 2, color=MUTED, linestyle=DASHED, linewidth=1)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    _named(axes, label(str(evidence.question.time)), label(str(evidence.question.outcome)))
    weights = sorted(effect.details.get("donor_weights", {}).items(), key=lambda pair: -pair[1])[:3]
    made = ", ".join(f"{label(name, 20)} {share:.0%}" for name, share in weights)
    return Drawing(
        figure,
        f"The treated unit and the weighted mean of donors that moved like it before the dashed line ({made}). The gap "
        "after it is the effect.",
        f"The mean gap after treatment is {number(effect.estimate or 0.0)}.",
    )


def synthetic_control_gaps(evidence: Evidence) -> Drawing:
    """Draw the treated unit's gap among those of donors treated in its place."""
    effect = _effect(evidence, "placebo_gaps", missing="no placebos in space were run")
    _, panel = _panel(evidence)
    start = panel.cohorts[0]
    gap = np.array([effect.details["gap"][f"{t:g}"] for t in panel.periods], dtype=float)
    figure, axes = sheet(3.0)
    others = list(effect.details["placebo_gaps"].values())[:MOST_PLACEBOS]
    for place, other in enumerate(others):
        axes.plot(panel.periods, other, color="#b8c0c8", linewidth=0.9, label="donors" if place == 0 else None)
    axes.plot(panel.periods, gap, color=TREATED, linewidth=2.4, label="treated")
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.axvline((panel.periods[start - 1] + panel.periods[start]) / 2, color=MUTED, linestyle=DASHED, linewidth=1)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    _named(axes, label(str(evidence.question.time)), "gap")
    chance = "" if effect.p_value is None else f" By the ratio of the gaps after and before, p = {effect.p_value:.2g}."
    return Drawing(
        figure,
        f"Gap between each unit and its synthetic control: the treated unit, and every donor as if it had been treated."
        f"{chance}",
        f"The treated unit's gap among those of {len(others)} donors.{chance}",
    )


# --- one series -----------------------------------------------------------------------------------------------------


def interrupted_series(evidence: Evidence) -> Drawing:
    """Draw one series with the straight lines before and after its interruption."""
    if evidence.plan is None or evidence.plan.design != "interrupted_time_series":
        raise NotApplicable("the design is not that of one interrupted series")
    problem = _problem(evidence)
    line = series(problem.roles, problem.treatment, None)
    y = problem.outcome[line.order]
    figure, axes = sheet(3.0)
    axes.plot(line.time, y, "o", color=MUTED, markersize=3.5)
    for inside, colour in ((~line.after, CONTROL), (line.after, TREATED)):
        slope, level = np.polyfit(line.time[inside], y[inside], 1)
        axes.plot(line.time[inside], level + slope * line.time[inside], color=colour, linewidth=2.2)
        if colour == CONTROL:
            axes.plot(line.time[line.after], level + slope * line.time[line.after], color=colour, linestyle=DASHED)
    axes.axvline(line.time[line.after][0], color=MUTED, linestyle=DASHED, linewidth=1)
    _named(axes, label(str(evidence.question.time)), label(str(evidence.question.outcome)))
    effect = evidence.primary
    told = "" if effect is None or effect.estimate is None else f" The estimated mean change is {number(effect.estimate)}."  # fmt: skip
    return Drawing(
        figure,
        "The series with straight lines before and after the interruption; the dashed one goes on as before. The "
        "headline's model also takes season and covariates into account.",
        f"{len(y)} times, {int(line.after.sum())} of them after the interruption.{told}",
    )


# --- what they share ------------------------------------------------------------------------------------------------


def _problem(evidence: Evidence) -> Problem:
    question = evidence.question
    return build(evidence.read(question.columns()), question)


def _panel(evidence: Evidence) -> tuple[Problem, Panel]:
    problem = _problem(evidence)
    roles = problem.roles
    return problem, layout(unit=roles.get("unit"), time=roles.get("time"), treatment=problem.treatment, first_treated=roles.get("first_treated"))  # fmt: skip


def _times(problem: Problem) -> tuple[Floats, NDArray[np.int64]]:
    time, index = np.unique(ordered_times(problem.roles["time"]), return_inverse=True)
    return time, index.astype(np.int64)


def _running(evidence: Evidence) -> tuple[Floats, Floats]:
    problem = _problem(evidence)
    x = problem.roles["running_variable"].astype(np.float64)
    known = np.isfinite(x)
    return x[known], problem.outcome[known]


def _binned(x: Floats, y: Floats, bins: int) -> tuple[Floats, Floats]:
    """Return means of x and y in groups of equally many rows, in the order of x; ties stay together."""
    index = np.unique(x, return_inverse=True)[1]
    counts = np.bincount(index)
    group = np.minimum((np.cumsum(counts) - 1) * bins // len(x), bins - 1)[index]
    place = np.unique(group, return_inverse=True)[1]
    size = np.bincount(place)
    return np.asarray(np.bincount(place, x) / size), np.asarray(np.bincount(place, y) / size)


def _smooth(values: Floats, width: int) -> Floats:
    """Return the centred moving average; towards the ends it takes what there is."""
    half = width // 2
    kernel = np.ones(2 * half + 1)
    return np.asarray(np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same"))


def _named(axes: Any, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    plain(axes, "y")
    if 1000 <= axes.get_xlim()[1] <= 2200:  # years are written without a comma
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        plain(axes)


def _effect(evidence: Evidence, detail: str, *, missing: str) -> Effect:
    """Return the first effect that holds `detail`, the headline before others."""
    effects: Sequence[Effect] = evidence.effects.effects if evidence.effects else ()
    for effect in sorted(effects, key=lambda e: e.role != "primary"):
        if effect.status == "ok" and effect.details.get(detail):
            return effect
    raise NotApplicable(missing)


def _result(evidence: Evidence, method: str) -> SensitivityResult:
    found = evidence.sensitivity(method)
    if found is None:
        raise NotApplicable(f"the analysis {method.replace('_', ' ')} was not run")
    return found
