"""Whether the columns that a question names can play their roles."""

from __future__ import annotations

from causal_orchestrator.datasets.names import fold, nearest
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import ColumnSummary, Note, Snapshot

NUMERIC_ROLES = ("running_variable", "weights", "cost", "offset")


def check_roles(question: Question, snapshot: Snapshot) -> tuple[Note, ...]:
    """Check every role of the question against the columns of the data.

    Parameters
    ----------
    question : Question
        Roles as far as they are settled.
    snapshot : Snapshot
        The columns with their marginal facts.

    Returns
    -------
    tuple of Note
        What is allowed and should be known.

    Raises
    ------
    InputError
        ``COLUMN_UNKNOWN``, ``ROLE_CONFLICT``, ``TREATMENT_CONSTANT``, ``OUTCOME_CONSTANT``, ``TREATMENT_MISSING``,
        ``OUTCOME_MISSING``, ``BINARY_AMBIGUOUS``, ``ROLE_NOT_NUMERIC``, ``NUMERIC_OVERFLOW``, ``TREATMENT_LEVELS`` or ``LEVEL_UNKNOWN``.
    """
    columns = {column.name: column for column in snapshot.columns}
    for name in question.columns():
        if name not in columns:
            raise _unknown(name, list(columns))
        if "NUMERIC_OVERFLOW" in columns[name].flags:
            raise InputError(
                f"{shown(name)!r} holds numbers whose squares overflow; divide the column by a power of ten first",
                code="NUMERIC_OVERFLOW",
            )
    notes: list[Note] = []
    for role in ("treatment", "outcome"):
        name = getattr(question, role)
        if name is not None:
            _check_variation(role, columns[name])
    treatment = columns.get(question.treatment or "")
    if treatment is not None and treatment.dtype == "string" and treatment.kind in ("text", "identifier"):
        raise InputError(
            f"treatment {shown(treatment.name)!r} has {treatment.n_unique} different texts in {treatment.n} rows; an arm "
            "needs many units each",
            code="TREATMENT_LEVELS",
        )
    for role in NUMERIC_ROLES:
        name = getattr(question, role)
        if name is not None and not _is_numeric(columns[name]):
            raise InputError(
                f"{role} {shown(name)!r} must hold numbers, found {columns[name].kind}", code="ROLE_NOT_NUMERIC"
            )
    _check_reference(question, columns)
    notes += _suspicious(question, columns)
    return tuple(notes)


def _unknown(name: str, known: list[str]) -> InputError:
    same = [other for other in known if fold(other) == fold(name)]
    near = nearest(name, known)
    if len(same) > 1:
        hint = (
            f"several differ from it only by case, blanks or Unicode form ({', '.join(repr(shown(s)) for s in same)})"
        )
    elif near:
        hint = f"did you mean {shown(near)!r}?"
    else:
        hint = f"the table has {len(known)} columns, none is similar"
    return InputError(
        f"there is no column {shown(name)!r}; {hint}",
        code="COLUMN_UNKNOWN",
        details={"column": shown(name), "nearest": near and shown(near)},
    )


def _check_variation(role: str, column: ColumnSummary) -> None:
    label, code = f"{role} {shown(column.name)!r}", role.upper()
    if "BINARY_AMBIGUOUS" in column.flags:
        raise InputError(
            f"{label} mixes several spellings of true and false; use one pair, such as 0 and 1", code="BINARY_AMBIGUOUS"
        )
    if column.n_missing == column.n:
        raise InputError(f"{label} holds no value at all", code=f"{code}_MISSING")
    if column.n_unique < 2:
        raise InputError(
            f"{label} has the same value in every row; nothing can be learned from it", code=f"{code}_CONSTANT"
        )


def _is_numeric(column: ColumnSummary) -> bool:
    return column.mean is not None or column.minimum is not None or column.kind == "datetime"


def _check_reference(question: Question, columns: dict[str, ColumnSummary]) -> None:
    level, name = question.reference_level, question.treatment
    if level is None or name is None:
        return
    column = columns[name]
    if (
        column.kind in ("binary", "categorical")
        and column.levels
        and column.n_rare == 0
        and str(level) not in column.levels
    ):
        raise InputError(
            f"the treatment {shown(name)!r} has no level {shown(str(level))!r}; it has "
            f"{', '.join(repr(shown(known)) for known in list(column.levels)[:10])}",
            code="LEVEL_UNKNOWN",
        )


def _suspicious(question: Question, columns: dict[str, ColumnSummary]) -> list[Note]:
    notes = []
    covariates = [*(question.covariates or ()), *question.effect_modifiers]
    ids = tuple(name for name in covariates if columns[name].kind == "identifier")
    if ids:
        notes.append(_note("ID_LIKE", "covariates look like identifiers and carry no information", ids))
    dead = tuple(name for name in covariates if columns[name].kind in ("constant", "empty"))
    if dead:
        notes.append(_note("COVARIATE_CONSTANT", "covariates have one value or none and are of no use", dead))
    if question.outcome and columns[question.outcome].n_missing >= 0.5 * columns[question.outcome].n:
        notes.append(_note("OUTCOME_MISSING", "half of the outcomes or more are missing", (question.outcome,)))
    if any(rule.column == question.outcome for rule in question.filters):
        notes.append(
            _note("FILTER_ON_OUTCOME", "rows are selected by the outcome, which biases effects", (question.outcome,))
        )
    return notes


def _note(code: str, sentence: str, names: tuple[str | None, ...]) -> Note:
    kept = tuple(name for name in names if name is not None)
    return Note(code=code, message=f"{sentence}: {', '.join(shown(name) for name in kept)}", columns=kept)
