"""The question that a person asks: one vocabulary for requests, documents, the command line and Python."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from causal_orchestrator.errors import InputError

# Names that other systems use on the way in.
ALIASES = {
    "treatment_variable": "treatment",
    "outcome_variable": "outcome",
    "confounders": "covariates",
    "unit_id": "unit",
    "treatment_time": "first_treated",
    "cohort": "first_treated",
    "kaggle_url": "dataset",
    "y": "outcome",
    "z": "instruments",
}

SINGLE_ROLES = (
    "treatment", "outcome", "running_variable", "unit", "time", "first_treated", "cluster", "weights", "cost",
    "population", "offset",
)  # fmt: skip
LIST_ROLES = (
    "covariates", "effect_modifiers", "mediators", "instruments", "negative_controls", "treatment_proxies",
    "outcome_proxies",
)  # fmt: skip


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


# A column's name as the data spell it; length is capped where names are read (datasets), not here.
Column = Annotated[str, Field(min_length=1, max_length=1024)]
Columns = Annotated[tuple[Column, ...], BeforeValidator(_as_tuple), Field(max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Budget(_Model):
    """What a job may spend."""

    max_steps: int = Field(default=60, ge=1, le=600)
    max_llm_tokens: int = Field(default=200_000, ge=0, le=10_000_000)
    max_minutes: float = Field(default=120.0, gt=0, le=24 * 60)


class Preferences(_Model):
    """How the analysis is to be run."""

    max_iterations: int = Field(default=3, ge=0, le=10)
    methods: Columns = ()
    primary_method: str | None = None
    selection_strategy: Literal["first_success", "best_energy", "ensemble"] = "best_energy"
    auto_discover: bool = False
    discovery_algorithms: Columns = ()
    discovery_threshold: float = Field(default=0.5, gt=0, le=1)
    discovery_alpha: float = Field(default=0.05, gt=0, lt=1)
    interpretation_depth: Literal["none", "minimal", "standard", "deep"] = "standard"
    user_expertise: Literal["executive", "analyst", "data_scientist"] = "analyst"
    confidence_level: float = Field(default=0.95, ge=0.5, lt=1)
    profile: Literal["default", "full"] = "default"
    planner: str | None = Field(default=None, max_length=64)  # None: whichever this installation has
    confirm_roles: bool = False
    plan_only: bool = False
    seed: int = Field(default=0, ge=0, lt=2**32)
    budget: Budget = Budget()


class Evidence(_Model):
    """Something known beforehand: shown and traced, never silently obeyed."""

    kind: Literal["covariates", "context", "prior_effect"]
    content: str = Field(max_length=4000)
    source: str = Field(default="", max_length=500)


class Filter(_Model):
    """Rows to keep: those where ``column op value`` holds."""

    column: Column
    op: Literal["==", "!=", "<", "<=", ">", ">=", "in"]
    value: str | float | int | tuple[str | float | int, ...]


class Question(_Model):
    """A causal question about one table; every role but treatment and outcome is optional.

    Roles hold column names exactly as the data spell them. ``covariates=None`` means that none were named and the
    analysis is to choose; an empty list means that none are wanted.
    """

    dataset: str | None = Field(default=None, max_length=2048)
    treatment: Column | None = None
    outcome: Column | None = None
    covariates: Columns | None = None
    effect_modifiers: Columns = ()
    mediators: Columns = ()
    instruments: Columns = ()
    running_variable: Column | None = None
    cutoff: float | None = None
    unit: Column | None = None
    time: Column | None = None
    first_treated: Column | None = None
    cluster: Column | None = None
    weights: Column | None = None
    cost: Column | None = None
    population: Column | None = None
    network: str | None = Field(default=None, max_length=200_000)  # an edge list, or a column of neighbours' units
    negative_controls: Columns = ()
    treatment_proxies: Columns = ()
    outcome_proxies: Columns = ()
    policy: Column | None = None
    reference_level: str | float | int | None = None
    offset: Column | None = None
    filters: tuple[Filter, ...] = ()
    estimand: Literal["ATE", "ATT", "ATC", "ATO", "LATE", "CATE"] | None = None
    randomized: bool = False
    strata: Columns = ()
    causal_graph: str | None = Field(default=None, max_length=200_000)
    query: str = Field(default="", max_length=10_000)
    description: str = Field(default="", max_length=100_000)
    dictionary: Mapping[str, str] = {}
    evidence: tuple[Evidence, ...] = ()
    notify_url: str | None = Field(default=None, max_length=2048)
    domain: Literal["healthcare", "marketing", "education", "finance", "policy"] | None = None
    preferences: Preferences = Preferences()

    @model_validator(mode="before")
    @classmethod
    def _accept_aliases(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        named: dict[str, Any] = {}
        for key, value in data.items():
            name = ALIASES.get(str(key), str(key))
            if name in named:
                raise ValueError(f"{name} is given twice (as {key!r} too)")
            named[name] = value
        several = named.get("cluster")
        if isinstance(several, list | tuple) and len(several) == 1:
            named["cluster"] = several[0]
        elif isinstance(several, list | tuple):
            raise ValueError(
                f"TWO_WAY_CLUSTERS: cluster takes one column, found {len(several)}: errors are not clustered two ways; "
                "name the coarser of the two, or a column of groups that holds both"
            )
        return named

    @model_validator(mode="after")
    def _roles_do_not_collide(self) -> Question:
        exclusive = {role: getattr(self, role) for role in ("treatment", "outcome")}
        if self.treatment is not None and self.treatment == self.outcome:
            raise ValueError(f"ROLE_CONFLICT: {self.treatment!r} is both treatment and outcome")
        for role in (*LIST_ROLES, "weights", "unit", "time", "cluster", "running_variable"):
            value = getattr(self, role)
            columns = value if isinstance(value, tuple) else () if value is None else (value,)
            if len(set(columns)) != len(columns):
                raise ValueError(f"ROLE_CONFLICT: {role} names a column twice")
            for other, column in exclusive.items():
                # A sharp discontinuity design may be run on the dose itself, never on treatment = running variable.
                if column is not None and column in columns:
                    raise ValueError(f"ROLE_CONFLICT: {column!r} is both {other} and {role}")
        return self

    @property
    def network_column(self) -> str | None:
        """The column that holds each unit's neighbours, where `network` names one and is no edge list itself."""
        listed = self.network is None or any(mark in self.network for mark in ("\n", "\t", ";", ",", "->", "--"))
        return None if listed else self.network

    def columns(self) -> tuple[str, ...]:
        """Return every column that the question names, without repeats, in the order of the roles."""
        named = [getattr(self, role) for role in SINGLE_ROLES]
        named += [column for role in LIST_ROLES for column in (getattr(self, role) or ())]
        named += [*self.strata, *(rule.column for rule in self.filters), self.network_column]
        return tuple(dict.fromkeys(name for name in named if name is not None))


def ask(data: Mapping[str, Any], *, strict: bool = False) -> Question:
    """Make a question from a mapping, with one sentence for whatever is wrong with it.

    `strict` takes no value of a neighbouring type (``"5"`` for 5), as befits requests from outside.

    Raises
    ------
    InputError
        If a field is unknown, of the wrong type, out of its range, or two roles collide (``ROLE_CONFLICT``).
    """
    try:
        return Question.model_validate(_tuples(data) if strict else data, strict=strict)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
        code = next(
            (known for known in ("ROLE_CONFLICT", "TWO_WAY_CLUSTERS") if text.startswith(known)), "REQUEST_INVALID"
        )
        text = text.removeprefix(f"{code}: ")
        raise InputError(f"{where}: {text}" if where else text, code=code, details={"field": where}) from exc


def _tuples(value: Any) -> Any:
    """Return JSON with its lists as tuples: that is how JSON writes a tuple, and strict validation knows no other."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 5.0 is the integer 5
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def canonical_json(value: object) -> str:
    """Encode `value` the one way in which it is hashed: sorted keys, no blanks, no NaN, no lone surrogates.

    Raises
    ------
    InputError
        If a number is not finite or a text cannot be encoded as UTF-8.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, UnicodeEncodeError) as exc:
        raise InputError(f"a value cannot be written as JSON: {exc}", code="NOT_JSON") from exc
    return text


def shown(name: str, width: int = 64) -> str:
    """Return a name as it may be shown: control, bidi and zero-width characters escaped, length capped."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else f"\\u{ord(c):04x}" for c in name)
    return kept if len(kept) <= width else kept[: width - 1] + "…"
