"""The compliers' average effect by doubly robust scores of a binary instrument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causal_orchestrator.errors import EstimationError, NotApplicable
from causal_orchestrator.numerics import iv, nuisance
from causal_orchestrator.numerics.doubly_robust import level_scores, limited
from causal_orchestrator.numerics.inference import influence_covariance, median_over_repeats
from causal_orchestrator.numerics.orthogonal_iv import by_instrument, local_effect
from causal_orchestrator.problem import Estimate, Problem, conclude

Floats = NDArray[np.float64]


def estimate(
    problem: Problem,
    *,
    learners: Sequence[str] | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trim: float = 0.01,
) -> Estimate:
    """Estimate the local average treatment effect by double machine learning (interactive model with an instrument).

    Assumes that a binary instrument is as good as random given the covariates, moves the outcome through the
    treatment alone, and moves nobody's treatment against the others'. Rows without an instrument are left out.

    Parameters
    ----------
    learners, folds, repeats : see `numerics.nuisance.recipe`.
    trim : the instrument's propensities are moved into [trim, 1 - trim]; the share moved is reported.

    Raises
    ------
    NotApplicable
        Without an instrument (``NEEDS_INSTRUMENTS``) or with one that is not a single binary column
        (``INSTRUMENT_KIND``).
    DesignError
        If more than half of the propensities would have to be moved (``POSITIVITY``).
    EstimationError
        If the instrument does not move take-up (``INSTRUMENT_WEAK``).

    References
    ----------
    Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097, section 5.2; Frölich (2007),
    https://doi.org/10.1016/j.jeconom.2006.06.004.
    """
    complete = iv.complete_rows(problem)
    whole = problem if complete.all() else problem.take(complete)
    z = _binary(iv.instrument_numbers(whole.roles["instruments"], whole.question.instruments))
    how = nuisance.recipe(whole.n, learners=learners, folds=folds, repeats=repeats)
    outcome, taken = by_instrument(whole, z, how)
    moved, propensities = limited(outcome, trim)
    offered = whole.change(treatment=z, treatment_kind="binary", treatment_levels=("0", "1"))
    accepted = offered.change(outcome=whole.treatment)
    values, influences, shares, by_share = [], [], [], []
    for r in range(how.repeats):
        on_outcome = _contrast(level_scores(offered, propensities[r], outcome.outcome_by_level[r]))
        on_takeup = _contrast(level_scores(accepted, propensities[r], taken.outcome_by_level[r]))
        if not abs(on_takeup.mean()) > np.finfo(float).eps:
            raise EstimationError("the instrument does not move take-up", code="INSTRUMENT_WEAK")
        value, influence, share, own = local_effect(on_outcome, on_takeup)
        values.append([value])
        influences.append(influence)
        shares.append(share)
        by_share.append(own)
    joined = median_over_repeats(np.array(values), np.array(influences), whole.cluster)
    share = float(np.median(shares))
    error = float(np.sqrt(influence_covariance(np.mean(by_share, axis=0)[:, None], whole.cluster)[0, 0]))
    return conclude(
        whole,
        method="double_ml_iivm",
        estimand="LATE",
        estimates=joined.estimates,
        covariance=joined.covariance,
        inference="influence function" + ("" if whole.cluster is None else ", clustered"),
        diagnostics={
            "compliers": {"value": share, "detail": f"share whom the instrument moves, standard error {error:.3g}"},
            "first stage F": {"value": (share / error) ** 2, "threshold": iv.WEAK, "passed": (share / error) ** 2 > iv.WEAK},
            "propensities moved": {"value": moved, "detail": f"of the instrument, share outside [{trim:g}, {1 - trim:g}]"},
        },
        details={
            "learners": dict(outcome.learners),
            "repeats": how.repeats,
            "folds": int(outcome.fold.max()) + 1,
            "complier_share": share,
        },
        notes=_notes(problem.n - whole.n, share, error),
        influence=joined.influence,
    )  # fmt: skip


def _binary(instruments: Floats) -> Floats:
    if instruments.shape[1] != 1 or len(np.unique(instruments[:, 0])) != 2:
        raise NotApplicable("double_ml_iivm needs one binary instrument; use double_ml_iv", code="INSTRUMENT_KIND")
    return np.asarray((instruments[:, 0] == instruments[:, 0].max()) * 1.0)


def _contrast(scores: Floats) -> Floats:
    return np.asarray(scores[:, 1] - scores[:, 0])


def _notes(lost: int, share: float, error: float) -> tuple[str, ...]:
    notes = [f"{lost} rows without an instrument are left out"] if lost else []
    if (share / error) ** 2 <= iv.WEAK:
        notes.append(f"the instrument moves {share:.1%} of the rows (standard error {error:.1%}): the interval may mislead")  # fmt: skip
    return tuple(notes)
