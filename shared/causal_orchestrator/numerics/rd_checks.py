"""A discontinuity from its arrays: the estimate, and everything that probes the design around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import DesignError, InputError, NotApplicable
from causal_orchestrator.numerics import rd
from causal_orchestrator.numerics.inference import critical_value, p_value
from causal_orchestrator.question import Question, shown

Floats = NDArray[np.float64]

LEAST = 10  # rows on either side, below which there is no design
FEW = 20  # rows within the bandwidth on either side, below which it is said
LEVEL = 0.05
SCALES = (0.5, 0.75, 1.25, 1.5, 2.0)  # of the bandwidth, for the curve
HOLES = (0.05, 0.1, 0.2)  # of the bandwidth, left out around the cutoff
MOST_COVARIATES = 20


@dataclass(frozen=True)
class Setting:
    """A discontinuity: distance to the cutoff `x` (n,), which rows are `right` of it, outcome, and choices.

    `treatment` is None in a sharp design; `adjust` are covariates (n, k) that sharpen the estimate; `sharpbw` chooses
    a fuzzy design's bandwidth for the outcome's own jump instead of the ratio.
    """

    x: Floats
    right: NDArray[np.bool_]
    outcome: Floats
    treatment: Floats | None
    adjust: Floats
    cluster: NDArray[np.int64] | None
    p: int = 1
    kernel: rd.Kernel = "triangular"
    rule: rd.Rule = "mserd"
    bandwidth: float | None = None
    sharpbw: bool = False

    def only(self, rows: NDArray[np.bool_]) -> Setting:
        """Return the setting on some of its rows."""
        return replace(
            self, x=self.x[rows], right=self.right[rows], outcome=self.outcome[rows], adjust=self.adjust[rows],
            treatment=None if self.treatment is None else self.treatment[rows],
            cluster=None if self.cluster is None else self.cluster[rows],
        )  # fmt: skip


class Sample(Protocol):
    """What is taken from a problem."""

    @property
    def roles(self) -> Mapping[str, NDArray[Any]]: ...  # noqa: D102
    @property
    def question(self) -> Question: ...  # noqa: D102
    @property
    def weights(self) -> Floats | None: ...  # noqa: D102


def distances(sample: Sample, *, bandwidth: float | None, polynomial: int, donut: float) -> Floats:
    """Return each row's distance to the cutoff (NaN where it has none), after looking at the options.

    Raises
    ------
    NotApplicable
        Without running variable or cutoff (``NEEDS_RUNNING_VARIABLE``, ``NEEDS_CUTOFF``), or with sampling weights
        (``NEEDS_EQUAL_WEIGHTS``).
    InputError
        If the running variable is not numeric or an option is out of its range.
    """
    column, cutoff = sample.question.running_variable, sample.question.cutoff
    if column is None or "running_variable" not in sample.roles:
        raise NotApplicable("the method needs a running variable", code="NEEDS_RUNNING_VARIABLE")
    if cutoff is None:
        raise NotApplicable("the method needs the cutoff of the running variable", code="NEEDS_CUTOFF")
    if sample.roles["running_variable"].dtype == object:
        raise InputError(f"running variable {shown(column)!r} must be a number", code="NOT_NUMERIC", details={"column": column})  # fmt: skip
    if sample.weights is not None:
        raise NotApplicable("the method has no bandwidth for sampling weights", code="NEEDS_EQUAL_WEIGHTS")
    limits = {"bandwidth": bandwidth is None or 0 < bandwidth < np.inf, "polynomial": 0 <= polynomial <= 4, "donut": 0 <= donut < np.inf}  # fmt: skip
    for option, held in limits.items():
        if not held:
            raise InputError(f"{option} is out of its range", code="OPTION_INVALID", details={"option": option})
    return np.asarray(sample.roles["running_variable"].astype(np.float64) - cutoff)


def effect(setting: Setting, widths: rd.Bandwidths | None = None) -> rd.Jump:
    """Estimate the effect at the cutoff, with bandwidths chosen where none are given.

    As rdrobust does, those of a fuzzy design are chosen for the ratio, unless `sharpbw` is set or the treatment is the
    same for all on one side.

    Raises
    ------
    DesignError
        If there are too few rows or distinct values beside the cutoff (``NO_UNITS_NEAR_CUTOFF``,
        ``TOO_FEW_MASS_POINTS``).
    """
    counts = (int((~setting.right).sum()), int(setting.right.sum()))
    if min(counts) < LEAST:
        raise DesignError(f"{counts[0]} rows lie left and {counts[1]} right of the cutoff; each side needs {LEAST}", code="NO_UNITS_NEAR_CUTOFF")  # fmt: skip
    fuzzy = setting.treatment is not None
    left, right = _responses(setting, centred=True)
    if widths is None and setting.bandwidth is not None:
        widths = rd.Bandwidths((setting.bandwidth,) * 2, (setting.bandwidth,) * 2)
    if widths is None:
        ratio = fuzzy and not setting.sharpbw and all(np.ptp(side.d[:, 1]) > 0 for side in (left, right))
        pair = _responses(setting, centred=False) if ratio else (left, right)
        if fuzzy and not ratio:
            pair = (left.without_treatment(), right.without_treatment())
        widths = rd.bandwidths(*pair, p=setting.p, kernel=setting.kernel, rule=setting.rule, fuzzy=ratio)
    return rd.jump(left, right, widths, p=setting.p, kernel=setting.kernel, fuzzy=fuzzy)


def _responses(setting: Setting, *, centred: bool) -> tuple[rd.Side, rd.Side]:
    """Return both sides with outcome, treatment (of a fuzzy design) and covariates, centred and scaled or as they are."""
    spread = setting.adjust.std(axis=0)
    covariates, scale = setting.adjust[:, spread > 0], spread[spread > 0]
    outcome = setting.outcome
    if centred:
        outcome, covariates = outcome - outcome.mean(), (covariates - covariates.mean(axis=0)) / scale
    responses = [outcome[:, None], covariates]
    if setting.treatment is not None:
        responses.insert(1, setting.treatment[:, None])
    return rd.sides(setting.x, setting.right, np.column_stack(responses), setting.cluster)


def summary(found: rd.Jump, level: float) -> dict[str, Any]:
    """Return a jump's numbers with the robust interval."""
    margin = critical_value(level) * found.robust_error
    return {
        "estimate": found.conventional, "std_error": found.robust_error, "ci_lower": found.bias_corrected - margin,
        "ci_upper": found.bias_corrected + margin, "p_value": p_value(found.bias_corrected, found.robust_error), "n": sum(found.n),
    }  # fmt: skip


@dataclass(frozen=True)
class Checks:
    """What probes the design: diagnostics with a verdict, details and notes."""

    diagnostics: dict[str, dict[str, Any]]
    details: dict[str, Any]
    notes: tuple[str, ...]


def probe(setting: Setting, found: rd.Jump, *, covariates: Floats, names: Sequence[str], level: float) -> Checks:
    """Test the density and the covariates at the cutoff, and vary hole, bandwidth and cutoff."""
    diagnostics: dict[str, dict[str, Any]] = {}
    details: dict[str, Any] = {"bandwidths": {"h": list(found.bandwidths.h), "b": list(found.bandwidths.b)}, "n_within": list(found.n)}  # fmt: skip
    try:
        density = rd.density_test(setting.x, right=setting.right)
        diagnostics["density"] = {"value": density.statistic, "p_value": density.p_value, "threshold": LEVEL, "passed": density.p_value >= LEVEL}  # fmt: skip
        details["density"] = {"left": density.left, "right": density.right, "bandwidth": density.bandwidth, "binomial_p_value": density.binomial_p_value, "binomial_counts": list(density.binomial_counts)}  # fmt: skip
    except DesignError as exc:
        details["density"] = {"missing": exc.message}
    plain = replace(setting, treatment=None, adjust=setting.adjust[:, :0], bandwidth=None)
    jumps = {
        name: _attempt(replace(plain, outcome=column), level)
        for name, column in list(zip(names, covariates.T, strict=True))[:MOST_COVARIATES]
    }
    details["covariate_continuity"] = jumps
    _judge(diagnostics, "covariate_continuity", list(jumps.values()))
    placebos = _placebos(plain, level)
    details["placebo_cutoffs"] = placebos
    _judge(diagnostics, "placebo_cutoffs", placebos)
    h = max(found.bandwidths.h)
    details["donut"] = [{"radius": hole * h, **_attempt(setting.only(np.abs(setting.x) >= hole * h), level)} for hole in HOLES]  # fmt: skip
    details["bandwidth_curve"] = [
        {"bandwidth": scale * h, **_attempt(setting, level, _scaled(found.bandwidths, scale))} for scale in SCALES
    ]
    return Checks(diagnostics, details, _notes(found, diagnostics))


def three(found: rd.Jump, sign: float, level: float) -> list[dict[str, Any]]:
    """Return the conventional, the bias-corrected and the robust numbers; `sign` turns the jump into the effect."""
    z, rows = critical_value(level), []
    for term, jumped, error in (
        ("conventional", found.conventional, found.std_error),
        ("bias-corrected", found.bias_corrected, found.std_error),
        ("robust", found.bias_corrected, found.robust_error),
    ):
        value = sign * jumped
        rows.append({
            "term": term, "estimate": value, "std_error": error, "ci_lower": value - z * error,
            "ci_upper": value + z * error, "p_value": p_value(value, error), "n": sum(found.n),
        })  # fmt: skip
    return rows


def _scaled(widths: rd.Bandwidths, scale: float) -> rd.Bandwidths:
    return rd.Bandwidths((scale * widths.h[0], scale * widths.h[1]), (scale * widths.b[0], scale * widths.b[1]))


def _attempt(setting: Setting, level: float, widths: rd.Bandwidths | None = None) -> dict[str, Any]:
    """Return a jump's numbers, or in words why there is none."""
    try:
        return summary(effect(setting, widths), level)
    except DesignError as exc:
        return {"missing": exc.message}


def _placebos(setting: Setting, level: float) -> list[dict[str, Any]]:
    """Return the jumps at the thirds of each side, from the rows of that side alone."""
    found = []
    for side in (~setting.right, setting.right):
        for cutoff in np.quantile(setting.x[side], [1 / 3, 2 / 3]):
            x = setting.x[side] - cutoff
            moved = replace(setting.only(side), x=x, right=x >= 0)
            found.append({"cutoff": float(cutoff), **_attempt(moved, level)})
    return found


def _judge(diagnostics: dict[str, dict[str, Any]], name: str, entries: Sequence[dict[str, Any]]) -> None:
    """Add the least p-value, times the number of tests (Bonferroni, which for the least one is Holm)."""
    chances = [entry["p_value"] for entry in entries if entry.get("p_value") is not None]
    if chances:
        least = min(1.0, len(chances) * min(chances))
        diagnostics[name] = {"value": float(len(chances)), "p_value": least, "threshold": LEVEL, "passed": least >= LEVEL}  # fmt: skip


def _notes(found: rd.Jump, diagnostics: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    notes = ["the effect is that at the cutoff, on units there"]
    if min(found.n) < FEW:
        notes.append(f"only {min(found.n)} rows lie within the bandwidth on one side of the cutoff")
    words = {
        "density": "the density of the running variable jumps at the cutoff: units may have chosen their side",
        "covariate_continuity": "a covariate jumps at the cutoff: the sides differ in more than the treatment",
        "placebo_cutoffs": "the outcome jumps at a placebo cutoff: the curve is not smooth where nothing happens",
    }
    return (*notes, *(text for name, text in words.items() if diagnostics.get(name, {}).get("passed") is False))
