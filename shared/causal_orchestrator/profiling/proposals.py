"""What covariates and treatment say together about the design: panels, cutoffs, groups, encouragements.

Every function takes the frame of the one view (no outcome), the question so far and the candidates from the words, and
returns a `Proposal`. A role that the person has given is never proposed; what the data say against it becomes a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causal_orchestrator.profiling import claims, roles, structure
from causal_orchestrator.profiling.quality import as_number
from causal_orchestrator.profiling.structure import Cutoff
from causal_orchestrator.profiling.suspicions import restates
from causal_orchestrator.profiling.text import match, words
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import Candidate, ColumnSummary, Note, Structure

Array = NDArray[np.float64]
Candidates = Mapping[str, tuple[Candidate, ...]]

PLAUSIBLE = 0.3  # a candidate below it is not even tried against the data
MIN_GROUPS = 10  # fewer groups say nothing about how the treatment was assigned
MAX_LEVELS = 50  # words with more levels are no covariate
MAX_TIMES = 200  # a repeated cross-section has few times with many rows each
REGULAR = 0.25  # coefficient of variation of the steps up to which times count as regularly spaced
STRONG = 10.0  # a first-stage F below it is called weak
FUZZY_JUMP = 0.2  # a smaller jump of the treatment is not worth a discontinuity design


@dataclass(frozen=True)
class Proposal:
    """What one look at the data proposes; `roles` maps fields of the question to values."""

    roles: Mapping[str, Any] = field(default_factory=dict)
    candidates: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    structure: Structure | None = None
    n_units: int | None = None
    n_periods: int | None = None


# --- panel ----------------------------------------------------------------------------------------------------------


def propose_panel(frame: pd.DataFrame, question: Question, scored: Candidates) -> Proposal:
    """Find unit and time such that no pair of them repeats, or times alone (a series, repeated cross-sections)."""
    times = _tried(frame, question, scored, "time")
    units = _tried(frame, question, scored, "unit")
    pairs = [(u, t) for t in times for u in units] + [(u, t) for t in times for u in _repeated(frame, question, times)]
    for unit, time in pairs:
        if unit == time:
            continue
        shape = structure.panel(frame[unit], frame[time])
        named = unit in units
        if _is_panel(shape, len(frame), named=named):
            return _panel(question, scored, unit, time, shape)
    if question.unit in frame.columns and question.time in frame.columns:
        return _broken_panel(frame, question)
    return _times_alone(frame, question, scored, times)


def _tried(frame: pd.DataFrame, question: Question, scored: Candidates, role: str) -> list[str]:
    given = getattr(question, role)
    if given is not None:
        return [given] if given in frame.columns else []
    taken = set(question.columns()) - set(question.covariates or ()) - set(question.effect_modifiers)
    return [
        c.column for c in scored[role] if c.score >= PLAUSIBLE and c.column in frame.columns and c.column not in taken
    ]


def _repeated(frame: pd.DataFrame, question: Question, times: Sequence[str]) -> list[str]:
    """Return columns of words or whole numbers whose values repeat: units that no name gives away."""
    if question.unit is not None or not times:
        return []
    found = []
    for name in frame.columns:
        number = as_number(frame[name])
        whole = number is None or not np.any(number[np.isfinite(number)] % 1)
        if name not in {*times, question.treatment} and whole and 2 < frame[name].nunique() <= len(frame) / 2:
            found.append(str(name))
    return found


def _is_panel(shape: structure.Panel, n: int, *, named: bool) -> bool:
    repeats = shape.unique and shape.n_periods >= 2 and shape.n_units >= 2 and n > shape.n_units
    # Without a telling name the grid of units and times must be nearly full, or any two columns would do.
    return repeats and (named or n >= 0.8 * shape.n_units * shape.n_periods)


def _panel(question: Question, scored: Candidates, unit: str, time: str, shape: structure.Panel) -> Proposal:
    notes = []
    if shape.gaps:
        notes.append(_note("PANEL_GAPS", f"{shape.gaps} rows are missing inside units' own spans", unit, time))
    if not shape.balanced:
        notes.append(
            _note(
                "PANEL_UNBALANCED",
                f"not every one of {shape.n_units} units has all {shape.n_periods} times",
                unit,
                time,
                severity="info",
            )
        )
    reason = f"each of {shape.n_units} units appears at most once in each of {shape.n_periods} times"
    return Proposal(
        roles=_open(question, unit=unit, time=time),
        candidates={
            "unit": _raised(scored["unit"], unit, 0.9, reason),
            "time": _raised(scored["time"], time, 0.9, reason),
        },
        notes=tuple(notes),
        structure="panel",
        n_units=shape.n_units,
        n_periods=shape.n_periods,
    )


def _broken_panel(frame: pd.DataFrame, question: Question) -> Proposal:
    unit, time = str(question.unit), str(question.time)
    shape = structure.panel(frame[unit], frame[time])
    if shape.n_periods < 2 or shape.n_units == len(frame):
        return Proposal(notes=(_note("PANEL_NOT_REPEATED", "no unit is seen more than once", unit, time),))
    told = f"{shape.duplicates} rows repeat a pair of unit and time, so the table is no panel as it stands"
    return Proposal(
        notes=(_note("PANEL_DUPLICATES", told, unit, time),),
        structure="repeated_cross_section",
        n_units=shape.n_units,
        n_periods=shape.n_periods,
    )


def _times_alone(frame: pd.DataFrame, question: Question, scored: Candidates, times: Sequence[str]) -> Proposal:
    for time in times:
        column = frame[time]
        count = column.nunique()
        if count == len(frame) and count >= 20 and _regular(column):
            return Proposal(
                roles=_open(question, time=time),
                candidates={"time": _raised(scored["time"], time, 0.9, "one row for each of regularly spaced times")},
                structure="time_series",
                n_units=1,
                n_periods=count,
            )
    sure = {c.column for c in scored["time"] if c.score >= roles.ADOPTED} | {question.time}
    for time in times:
        count = frame[time].nunique()
        if time in sure and 2 <= count <= min(MAX_TIMES, len(frame) / 5):
            return Proposal(roles=_open(question, time=time), structure="repeated_cross_section", n_periods=count)
    return Proposal()


def _regular(column: pd.Series) -> bool:
    number = as_number(column)
    if number is None or not np.isfinite(number).all():
        return False
    steps = np.diff(np.sort(number))
    return bool(steps.min() > 0 and steps.std() <= REGULAR * steps.mean())


# --- rule with a cutoff -----------------------------------------------------------------------------------------------


def propose_cutoff(
    frame: pd.DataFrame,
    question: Question,
    scored: Candidates,
    reading: roles.Reading,
    columns: Mapping[str, ColumnSummary],
) -> Proposal:
    """Find the running variable and its cutoff: told in the text, or seen as a jump in who is treated."""
    arm = _as_dose(frame[str(question.treatment)])
    if question.running_variable is not None:
        return _given_running(frame, question, reading, arm)
    taken = _settled(question)
    told = [c for c in scored["running_variable"] if c.column in frame.columns and c.column not in taken]
    for candidate in told:
        found = _told_cutoff(frame[candidate.column], arm, _rule_for(candidate.column, reading, columns))
        if found and (candidate.score >= roles.ADOPTED or abs(found.jump) >= FUZZY_JUMP) and found.t >= 2:
            return _running(question, scored, candidate.column, found, "the text gives its threshold")
    if arm is None or set(np.unique(arm[np.isfinite(arm)])) != {0.0, 1.0}:
        return Proposal()
    return _seen_cutoff(frame, question, scored, arm, taken)


def _given_running(frame: pd.DataFrame, question: Question, reading: roles.Reading, arm: Array | None) -> Proposal:
    name = str(question.running_variable)
    x = as_number(frame[name]) if name in frame.columns else None
    if x is None:
        return Proposal(notes=(_note("RUNNING_VARIABLE", "the running variable is not a number", name),))
    if question.cutoff is not None:
        found = structure.jump_at(x, arm, question.cutoff) if arm is not None else None
        return Proposal(evidence=_evidence(found), notes=_no_jump(found, name, question.cutoff))
    known = x[np.isfinite(x)]
    told = [rule.cutoff for rule in reading.rules if len(known) and known.min() < rule.cutoff < known.max()]
    found = _best_jump(x, arm, told) if arm is not None else None
    cutoff = told[0] if told else None
    if cutoff is None and found is not None:
        cutoff = found.cutoff
    if cutoff is None:
        message = "no cutoff was given and nobody's treatment jumps along the running variable; give `cutoff`"
        return Proposal(notes=(_note("CUTOFF_UNKNOWN", message, name),))
    return Proposal(roles={"cutoff": cutoff}, evidence=_evidence(found), notes=_no_jump(found, name, cutoff))


def _no_jump(found: Cutoff | None, name: str, cutoff: float) -> tuple[Note, ...]:
    if found is None or found.t >= 2:
        return ()
    return (_note("CUTOFF_WITHOUT_JUMP", f"the treatment does not jump at {cutoff:g} (t = {found.t:.1f})", name),)


def _rule_for(column: str, reading: roles.Reading, columns: Mapping[str, ColumnSummary]) -> float | None:
    summary = columns[column]
    if summary.minimum is None or summary.maximum is None:
        return None
    inside = [rule for rule in reading.rules if summary.minimum < rule.cutoff < summary.maximum]
    best = max(inside, key=lambda rule: match(rule.sentence, column, reading.lexicon), default=None)
    return best.cutoff if best and match(best.sentence, column, reading.lexicon) > 0.2 else None


def _told_cutoff(column: pd.Series, arm: Array | None, cutoff: float | None) -> Cutoff | None:
    x = as_number(column)
    if x is None or arm is None or cutoff is None:
        return None
    return structure.jump_at(x, arm, cutoff)


def _seen_cutoff(frame: pd.DataFrame, question: Question, scored: Candidates, arm: Array, taken: set[str]) -> Proposal:
    """Look for a number that separates the arms without exception, and for jumps in those that sound like a score."""
    aside = taken | {c.column for role in ("time", "unit") for c in scored[role] if c.score >= roles.ADOPTED}
    treated = arm == 1.0
    for name in frame.columns:
        x = as_number(frame[name]) if name not in aside else None
        found = structure.sharp_cutoff(np.where(np.isfinite(arm), x, np.nan), treated) if x is not None else None
        if found:
            return _running(question, scored, str(name), found, "it separates treated and untreated without exception")
    raised = scored["running_variable"]
    for candidate in raised:
        x = (
            as_number(frame[candidate.column])
            if candidate.column in frame.columns and candidate.column not in aside
            else None
        )
        jump = _best_jump(x, arm, []) if x is not None else None
        if jump and abs(jump.jump) >= FUZZY_JUMP:
            reason = f"the share of the treated jumps by {jump.jump:+.2f} at {jump.cutoff:g} (t = {jump.t:.1f})"
            raised = _raised(raised, candidate.column, 0.55, reason)
    return Proposal(candidates={"running_variable": raised})


def _best_jump(x: Array, arm: Array, told: Sequence[float]) -> Cutoff | None:
    """Return the clear jump of the treatment: exact, at a told cutoff, at zero (the usual origin), or the largest."""
    known = x[np.isfinite(x)]
    if len(known) < 2 * structure.MIN_SIDE:
        return None
    exact = structure.sharp_cutoff(np.where(np.isfinite(arm), x, np.nan), arm == 1.0)
    if exact and not told:
        return exact
    distinct = np.unique(known)
    grid = distinct if len(distinct) <= 60 else np.quantile(known, np.linspace(0.1, 0.9, 41))
    for places in (told, [0.0], grid.tolist()):
        inside = [float(c) for c in places if known.min() < c < known.max()]
        jumps = [structure.jump_at(x, arm, c, share=0.25) for c in inside]
        clear = [j for j in jumps if j is not None and (j.sharp or j.t >= structure.MIN_JUMP_T)]
        if clear:
            return max(clear, key=lambda j: abs(j.jump))
    return None


def _running(question: Question, scored: Candidates, name: str, found: Cutoff, reason: str) -> Proposal:
    how = "sharp" if found.sharp else "fuzzy"
    told = f"{reason}; at {found.cutoff:g} the treatment jumps by {found.jump:+.2f} ({how})"
    return Proposal(
        roles=_open(question, running_variable=name, cutoff=found.cutoff),
        candidates={"running_variable": _raised(scored["running_variable"], name, 0.9, told)},
        evidence=_evidence(found),
        notes=(_note("RUNNING_VARIABLE_PROPOSED", told, name, severity="info"),),
    )


def _evidence(found: Cutoff | None) -> dict[str, float]:
    if found is None:
        return {}
    values = {
        "cutoff": found.cutoff,
        "jump": found.jump,
        "t": found.t,
        "sharp": float(found.sharp),
        "below": found.share_below,
        "above": found.share_above,
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}


# --- groups, encouragements, randomisation ----------------------------------------------------------------------------


def propose_cluster(frame: pd.DataFrame, question: Question, scored: Candidates, reading: roles.Reading) -> Proposal:
    """Find groups that were treated as a whole: by name, by text, and by a treatment that never varies inside them."""
    if question.cluster is not None:
        return Proposal()
    treatment = frame[str(question.treatment)]
    told = re.findall(
        r"(?:cluster(?:ed|s)?|assigned|randomi[sz]ed|allocated|clustering)\s+(?:at|by|on)\s+(?:the\s+)?(\w+(?:\s+\w+)?)",
        reading.text,
        re.IGNORECASE,
    )
    ranked = scored["cluster"]
    taken = _settled(question)
    for name in frame.columns:
        if name in taken or not _groups(frame[name], len(frame)):
            continue
        if any(match(phrase, str(name), reading.lexicon) >= 0.6 for phrase in told):
            ranked = _raised(ranked, str(name), 0.8, "the text says that assignment was by it")
        if structure.constant_within(frame[name], treatment):
            named = any(c.column == name for c in ranked)
            ranked = _raised(ranked, str(name), 0.7 if named else 0.5, "the treatment never differs inside its groups")
    best = next((c for c in ranked if c.score >= roles.ADOPTED and c.column not in taken and c.column in frame), None)
    return Proposal(roles={"cluster": best.column} if best else {}, candidates={"cluster": ranked})


def _groups(column: pd.Series, n: int) -> bool:
    """Say whether a column can be the name of groups: words or codes, ten or more, two rows each on average."""
    parts = words(str(column.name))
    code = as_number(column) is None or parts[-1:] in (["id"], ["code"], ["number"])
    if not code and not set(parts) & {"cluster", "village", "school", "classroom"}:
        return False
    return bool(MIN_GROUPS <= column.nunique() <= n / 2)


def propose_instruments(
    frame: pd.DataFrame, question: Question, scored: Candidates, reading: roles.Reading
) -> Proposal:
    """Weigh the instruments of names and text by how strongly each moves the treatment."""
    if question.instruments:
        return Proposal()
    arm = _as_dose(frame[str(question.treatment)])
    taken = _settled(question)
    ranked: list[Candidate] = []
    for candidate in scored["instruments"]:
        if candidate.column not in frame.columns or candidate.column in taken:
            continue
        z = _as_dose(frame[candidate.column])
        strength = _f_statistic(z, arm) if z is not None and arm is not None else None
        ranked.append(candidate if strength is None else _weighed(candidate, strength))
    ordered = tuple(sorted(ranked, key=lambda c: -c.score))
    chosen = [c.column for c in ordered if c.score >= roles.ADOPTED]
    return Proposal(roles={"instruments": chosen} if chosen else {}, candidates={"instruments": ordered})


def _weighed(candidate: Candidate, strength: float) -> Candidate:
    """Add how strongly an instrument moves the treatment; a described one may be weak, a merely named one may not."""
    if strength >= STRONG:
        score, told = candidate.score, f"moves the treatment (F = {strength:.0f})"
    else:
        described = candidate.score >= roles.ADOPTED
        score, told = candidate.score * (1.0 if described else 0.5), f"weak: F = {strength:.1f}"
    return Candidate(column=candidate.column, score=round(score, 4), reasons=(*candidate.reasons, told))


def _f_statistic(z: Array, arm: Array) -> float | None:
    """Return the F statistic of a regression of the treatment on the instrument alone."""
    known = np.isfinite(z) & np.isfinite(arm)
    z, arm = z[known], arm[known]
    if len(z) < 10 or z.std() == 0 or arm.std() == 0:
        return None
    r2 = float(np.corrcoef(z, arm)[0, 1] ** 2)
    return float("inf") if r2 >= 1 else r2 / (1 - r2) * (len(z) - 2)


def propose_randomized(question: Question, reading: roles.Reading) -> Proposal:
    """Take from the text that the treatment was randomised, never from balance (HON-1).

    A text that says that an encouragement was drawn randomises the instrument, not the treatment; a text that also
    denies randomisation settles nothing.
    """
    told = claims.random_sentences(reading.text)
    if question.randomized or not told:
        return Proposal()
    quote = shown(told[0], 160)
    if claims.denies_randomness(reading.text):
        message = f"the text speaks of randomisation and of its absence; declare `randomized` if it holds: “{quote}”"
        return Proposal(notes=(_note("RANDOMIZED_UNCLEAR", message),))
    drawn = next((c for s in told if (c := _drawn(s, question, reading))), None) or next(
        iter(question.instruments), None
    )
    if drawn:
        message = f"the text says that {shown(drawn)!r} was drawn, not the treatment: “{quote}”"
        return Proposal(notes=(_note("INSTRUMENT_RANDOMIZED", message, drawn, severity="info"),))
    message = f"taken as randomised because the text says so: “{quote}”"
    return Proposal(
        roles={"randomized": True},
        notes=(_note("RANDOMIZED_DESCRIBED", message, str(question.treatment), severity="info"),),
    )


def _drawn(sentence: str, question: Question, reading: roles.Reading) -> str | None:
    """Return the column, other than the treatment, that the words after *random* name clearly better than it."""
    hit = re.search(r"\brandom\w*\b(.{0,120})", sentence, re.IGNORECASE)
    if hit is None:
        return None
    fits = {name: match(hit[1], name, reading.lexicon) for name in reading.lexicon.names if name != question.outcome}
    best = max(fits, key=lambda name: fits[name])
    clearly = fits[best] >= max(0.6, fits.get(str(question.treatment), 0.0) + 0.2)
    return best if clearly and best != question.treatment else None


def propose_named(frame: pd.DataFrame, question: Question, scored: Candidates) -> Proposal:
    """Adopt the roles that names and text alone can settle: weights, mediators, cost, the time of first treatment."""
    taken = _settled(question)
    found: dict[str, Any] = {}
    for role in ("first_treated", "weights", "cost", "mediators"):
        best = next((c for c in scored[role] if c.score >= roles.ADOPTED and c.column not in taken), None)
        if best is None or getattr(question, role):
            continue
        if role == "first_treated" and not _once_per_unit(frame, question, best.column):
            continue
        found[role] = [best.column] if role == "mediators" else best.column
        taken.add(best.column)
    return Proposal(roles=found)


def _once_per_unit(frame: pd.DataFrame, question: Question, column: str) -> bool:
    if column not in frame.columns or question.unit not in frame.columns:
        return column in frame.columns and question.time is not None
    return structure.constant_within(frame[str(question.unit)], frame[column])


# --- covariates -------------------------------------------------------------------------------------------------------


def propose_covariates(frame: pd.DataFrame, question: Question, columns: Mapping[str, ColumnSummary]) -> Proposal:
    """Take every column that looks measured before the treatment and plays no other role.

    What is left out is named with its reason; given covariates stay as they are, doubts about them become notes.
    """
    names = list(columns)
    treatment = frame[str(question.treatment)]
    taken = _settled(question) - set(question.strata) - {rule.column for rule in question.filters}
    reasons = {
        name: _no_covariate(summary, frame, treatment, str(question.outcome), names)
        for name, summary in columns.items()
        if name not in taken
    }
    if question.covariates is not None:
        doubted = {name: reasons.get(name) for name in question.covariates}
        return Proposal(
            notes=tuple(
                _note("COVARIATE_DOUBTFUL", f"{shown(name)!r} was given as a covariate: {reason}", name)
                for name, reason in doubted.items()
                if reason
            )
        )
    listed = tuple(
        Candidate(column=name, score=0.1 if reason else 0.9, reasons=(reason or "looks measured before the treatment",))
        for name, reason in reasons.items()
    )
    return Proposal(
        roles={"covariates": [name for name, reason in reasons.items() if reason is None]},
        candidates={"covariates": tuple(sorted(listed, key=lambda c: -c.score))},
        notes=_left_out(reasons),
    )


def _no_covariate(
    summary: ColumnSummary, frame: pd.DataFrame, treatment: pd.Series, outcome: str, names: Sequence[str]
) -> str | None:
    """Say why a column is no covariate, or None if it may be one."""
    if "NUMERIC_AS_TEXT" in summary.flags and summary.n_unique > MAX_LEVELS:
        return "numbers written as text; give it as a covariate to have it repaired"
    if "NUMERIC_OVERFLOW" in summary.flags:
        return "numbers whose squares overflow; rescale the column to have it taken"
    if summary.kind in ("constant", "empty", "text", "identifier", "datetime"):
        return f"{summary.kind} column"
    if summary.personal_data:
        return "looks like personal data"
    if "ID_LIKE" in summary.flags or (summary.integer and summary.n_unique == summary.n >= MAX_LEVELS):
        return "one value for each row"
    if roles.same_measure(summary.name, outcome):
        return "the outcome in another form"
    if words(summary.name)[-1:] in (["id"], ["uuid"], ["key"]) and summary.kind != "binary":
        return "an identifier by its name"
    if summary.kind == "categorical" and summary.n_unique > MAX_LEVELS:
        return f"{summary.n_unique} categories"
    if reason := roles.oracle(summary.name) or roles.after_treatment(summary.name, outcome, names):
        return reason
    if summary.name in frame.columns and (reason := restates(frame[summary.name], treatment)):
        return reason
    return None


def _left_out(reasons: Mapping[str, str | None]) -> tuple[Note, ...]:
    telling = {n: r for n, r in reasons.items() if r and not r.endswith("column")}
    if not telling:
        return ()
    said = "; ".join(f"{shown(name)!r}: {reason}" for name, reason in list(telling.items())[:12])
    return (_note("COVARIATES_LEFT_OUT", f"not proposed as covariates: {said}", *telling, severity="info"),)


# --- small change -----------------------------------------------------------------------------------------------------


def _settled(question: Question) -> set[str]:
    return set(question.columns()) - set(question.covariates or ()) - set(question.effect_modifiers)


def _open(question: Question, **found: Any) -> dict[str, Any]:
    return {role: value for role, value in found.items() if getattr(question, role) is None}


def _as_dose(column: pd.Series) -> Array | None:
    """Return a column as floats; two words become 0 and 1 in alphabetical order, more words give None."""
    number = as_number(column)
    if number is not None:
        levels = np.unique(number[np.isfinite(number)])
        return (
            np.where(np.isfinite(number), (number == levels[1]).astype(float), np.nan) if len(levels) == 2 else number
        )
    codes, words_found = pd.factorize(column, sort=True)
    return np.where(codes < 0, np.nan, codes.astype(np.float64)) if len(words_found) == 2 else None


def _raised(ranked: Sequence[Candidate], column: str, weight: float, reason: str) -> tuple[Candidate, ...]:
    """Return the ranking with one more reason for a column."""
    old = next((c for c in ranked if c.column == column), Candidate(column=column, score=0.0, reasons=()))
    new = Candidate(column=column, score=round(1 - (1 - old.score) * (1 - weight), 4), reasons=(*old.reasons, reason))
    return tuple(sorted([new, *(c for c in ranked if c.column != column)], key=lambda c: -c.score))


def _note(code: str, message: str, *columns: str, severity: Any = "warning") -> Note:
    return Note(code=code, message=message, columns=columns, severity=severity)
