"""Which design the evidence speaks for, in the order of credibility.

Declared or described randomisation; a discontinuity; an instrument; a panel with a policy change; selection on
observables. Randomisation is declared or described, never inferred from balance; balance can refute it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import cast

from causal_orchestrator.identification.placebo import words
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import Balance, Design, Structure

# Holm's familywise level at which imbalance refutes a declared randomisation: far below what chance or stratified
# assignment produces, so that only a wrong declaration trips it.
REFUTATION_LEVEL = 1e-4

# Words with which a question asks how an effect comes about.
_MEANS = re.compile(
    r"\b(mediat\w*|indirect\w*|mechanism\w*|pathways?|channels?|through|via|because of)\b", re.IGNORECASE
)

# Words that make a column of two times the mark of a change in between.
_AFTER = frozenset({"after", "post", "posttest", "endline", "followup"})


@dataclass(frozen=True)
class Case:
    """A design that the evidence speaks for, and what does."""

    design: Design
    reason: str


@dataclass(frozen=True)
class Cases:
    """The designs that are open, the most credible first, and what was said about every design looked at."""

    open: tuple[Case, ...]
    considered: dict[str, str] = field(default_factory=dict)


def refutes_randomisation(balance: Sequence[Balance], n_treated: int, n_control: int) -> tuple[str, ...]:
    """Return the covariates whose imbalance a random assignment cannot explain.

    Each standardised mean difference is compared with its distribution under randomisation, N(0, 1/n1 + 1/n0), and
    Holm's correction holds the familywise level at `REFUTATION_LEVEL`.
    """
    if min(n_treated, n_control) < 2:
        return ()
    spread = (1 / n_treated + 1 / n_control) ** 0.5
    normal = NormalDist()
    p_values = sorted((2 * normal.cdf(-abs(b.smd) / spread), b.covariate) for b in balance if b.smd is not None)
    found = []
    for i, (p, covariate) in enumerate(p_values):
        if p * (len(p_values) - i) >= REFUTATION_LEVEL:
            break
        found.append(covariate)
    return tuple(found)


def cases(
    question: Question,
    *,
    structure: Structure,
    proposed: Sequence[str] = (),
    instruments: Sequence[str] = (),
    refuted: Sequence[str] = (),
    n_periods: int | None = None,
    n_switching_units: int | None = None,
    frontdoor: Sequence[str] = (),
) -> Cases:
    """Return the designs that the evidence speaks for, in the order of credibility.

    Parameters
    ----------
    question : Question
        With its roles resolved.
    structure : str
        What the table is (Profile.structure).
    proposed : sequence of str
        The roles that the person did not give (Profile.proposed): a proposed `randomized` was read from the text.
    instruments : sequence of str
        Instruments given or found in a trusted graph.
    refuted : sequence of str
        Covariates whose imbalance contradicts a random assignment.
    n_periods : int, optional
        How many times there are (Profile.n_periods).
    n_switching_units : int, optional
        Units whose treatment changes over time, where that is known.
    frontdoor : sequence of str
        Mediators that by a trusted graph carry all of the effect, where no set of covariates closes every backdoor.
    """
    checks = {
        "transport": _transport(question),
        "network": _network(question),
        "mediation": _mediation(question),
        "randomized": _randomized(question, proposed, refuted),
        "discontinuity": _discontinuity(question),
        "instrument": _instrument(instruments),
        "panel": _panel(question, structure, n_periods, n_switching_units),
        "interrupted_time_series": _interrupted(question, structure),
        "frontdoor": _frontdoor(frontdoor),
        "proximal": _proximal(question),
        "unconfoundedness": (True, "every common cause of treatment and outcome is assumed to be among the covariates"),
    }
    return Cases(
        open=tuple(Case(design=cast(Design, name), reason=why) for name, (holds, why) in checks.items() if holds),
        considered={name: why for name, (_, why) in checks.items()},
    )


def _transport(question: Question) -> tuple[bool, str]:
    if question.population is None:
        return False, "no target population is marked"
    return True, f"{shown(question.population)!r} marks a source and a target population, and the target is asked about"


def _network(question: Question) -> tuple[bool, str]:
    if question.network is None or question.unit is None:
        return False, "no network of units was given"
    if not question.randomized:
        return False, "a network was given, but exposure probabilities need an assignment declared as random"
    return True, "units are connected, and treatment was assigned among them at random"


def _proximal(question: Question) -> tuple[bool, str]:
    if question.treatment_proxies and question.outcome_proxies:
        return True, "proxies of a hidden confounder were named, beside the treatment and beside the outcome"
    return False, "no proxies of a hidden confounder, one beside the treatment and one beside the outcome"


def _randomized(question: Question, proposed: Sequence[str], refuted: Sequence[str]) -> tuple[bool, str]:
    if not question.randomized:
        return False, "no random assignment was declared or described"
    how = "described" if "randomized" in proposed else "declared"
    if question.instruments and "instruments" not in proposed:
        return False, f"random assignment was {how}; beside a named instrument it is read as that of the instrument"
    if refuted:
        return False, f"random assignment was {how}, but the imbalance of {len(refuted)} covariates contradicts it"
    return True, f"random assignment was {how}"


def _discontinuity(question: Question) -> tuple[bool, str]:
    if question.running_variable is not None and question.cutoff is not None:
        return True, "treatment depends on a running variable that passes a cutoff"
    if question.running_variable is not None:
        return False, "a running variable is given, its cutoff is not"
    return False, "no running variable with a cutoff"


def _instrument(instruments: Sequence[str]) -> tuple[bool, str]:
    if instruments:
        return True, f"{len(instruments)} instrument{'s' if len(instruments) > 1 else ''} for the treatment"
    return False, "no instrument was given or found"


def _panel(
    question: Question, structure: Structure, n_periods: int | None, n_switching_units: int | None
) -> tuple[bool, str]:
    if structure not in ("panel", "repeated_cross_section") or question.time is None:
        return False, f"the table is a {structure.replace('_', ' ')}, not a panel with time"
    if question.first_treated is not None:
        return True, "units are followed over time and the time of first treatment is known"
    if structure == "panel" and n_switching_units:
        return True, f"units are followed over time and {n_switching_units} of them change treatment"
    if n_periods == 2 and set(words(question.time)) & _AFTER:
        return True, f"groups are seen before and after a change, which {shown(question.time)!r} marks"
    return False, "there are several times, but no change of treatment is known"


def _interrupted(question: Question, structure: Structure) -> tuple[bool, str]:
    if structure == "time_series" and question.time is not None:
        return True, "one series is seen before and after a change that the treatment marks"
    return False, "the table is not one series in time"


def _frontdoor(mediators: Sequence[str]) -> tuple[bool, str]:
    if mediators:
        names = ", ".join(repr(shown(name)) for name in mediators)
        return True, f"by the graph all of the effect runs through {names}"
    return False, "no graph shows a mediator that carries all of the effect"


def _mediation(question: Question) -> tuple[bool, str]:
    if not question.mediators:
        return False, "no mediator was named"
    if not _MEANS.search(question.query):
        return False, "a mediator is named, but the question is about the whole effect"
    return True, "the question asks how much of the effect runs through the mediators that it names"
