"""What a simulation returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.question import Question


@dataclass(frozen=True)
class Simulated:
    """A table whose answer is known.

    truth : the population's effect by estimand, in units of the outcome; SATE and SATT are this sample's.
    effect : shape (n,)
        Each row's own expected effect.
    """

    frame: pd.DataFrame
    question: Question
    truth: Mapping[str, float]
    effect: NDArray[np.float64]


def make(
    columns: Mapping[str, NDArray[Any]],
    question: Question,
    effect: NDArray[Any],
    treated: NDArray[Any],
    **truth: float,
) -> Simulated:
    """Put a simulation together; the sample's own effects are added to `truth`."""
    sample = {"SATE": float(effect.mean()), "SATT": float(effect[treated].mean())}
    return Simulated(pd.DataFrame(dict(columns)), question, {**truth, **sample}, effect)


def same(effect: float) -> dict[str, float]:
    """Return the truth of an effect that is the same for everyone, whatever the estimand."""
    return dict.fromkeys(("ATE", "ATT", "ATC", "ATO", "PLR", "QTE", "AD"), effect)


def names(p: int) -> tuple[str, ...]:
    """Return the covariates' names."""
    return tuple(f"x{j}" for j in range(p))


def with_names(x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the covariates (n, p) by name."""
    return dict(zip(names(x.shape[1]), x.T, strict=True))
