"""Who may play which role: candidates scored from names, text and marginals alone, each with its reasons.

Nothing here has seen two columns together. A score is a noisy-or of reasons, 1 - prod(1 - weight), scaled down by
what speaks against the role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from causal_orchestrator.profiling.claims import Claim, Rule, claims, rules
from causal_orchestrator.profiling.text import Lexicon, lexicon, match, mentions, stem, words
from causal_orchestrator.question import Question
from causal_orchestrator.results import Candidate, ColumnSummary

CONFIDENT = 0.5  # a treatment or an outcome below it is not proposed
ALONE = 0.35  # unless it reaches this and is far ahead of all others
TOLD = "the text names it"
ADOPTED = 0.6  # any other role below it stays a candidate


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in text.split())


_TREATMENT = _stems(
    "treatment treated intervention program policy exposure exposed assigned campaign therapy vaccine vaccination "
    "subsidy training participation enrolled enrollment adopted adoption implementation implemented implement received "
    "administered dose drug reform voucher scholarship incentive coaching tutoring surgery medication supplement loan "
    "credit support aid experimental law ban introduction"
)
_TAKEUP = _stems("attended enrolled completed took taken used participated participation uptake actual complied served")
_OUTCOME = _stems(
    "outcome result response score rate performance income earnings wage mortality death survival recovery satisfaction "
    "turnout sales revenue growth satisfaction risk profit spending consumption productivity test final conversion"
)
_INSTRUMENT = _stems(
    "instrument lottery draft encouragement encouraged invitation invite invited offer offered voucher mailer nudge "
    "reminder distance proximity rainfall judge leniency eligible eligibility intent"
)
_DEMOGRAPHIC = _stems(
    "age gender sex race ethnicity black white hispanic female male married education nodegree birthdate height "
    "religion minority urban rural nationality language"
)
_PRIOR = _stems("prior previous previously pre before baseline past lag lagged initial earlier history last")
_LATER = _stems("post after followup final end endline subsequent following later")
_CLUSTER = _stems(
    "cluster village school classroom class district site hospital clinic county state region block firm city "
    "municipality community market store ward practice team"
)
_TIME = _stems("year month quarter week day date time period wave round semester season")
_RUNNING = _stems("score margin running forcing index percentile rank points assignment vote share threshold gpa")
_MEDIATOR = _stems("mediator mediating mechanism intermediate")
_COST = _stems("cost price fee expense")
_CLOCK = frozenset(
    [
        "time",
        "date",
        "period",
        "wave",
        "t",
        "id",
        "index",
        "point",
        "calendar",
        "observation",
        "year",
        "month",
        "day",
        "week",
        "number",
        "num",
        "code",
    ]
)
_LATER_WORDS = frozenset(["post", "after", "followup", "follow", "up", "final", "endline", "end", "later"])
_EARLIER_WORDS = frozenset(["pre", "before", "prior", "previous", "initial", "baseline", "earlier"])
_BARE_TREATMENT = frozenset(
    [
        "treatment",
        "treated",
        "received",
        "status",
        "group",
        "arm",
        "assigned",
        "assignment",
        "indicator",
        "is",
        "was",
        "dummy",
        "unit",
    ]
)
_NEVER = ("identifier", "constant", "empty", "text")


@dataclass
class Tally:
    """Reasons for and against one column in one role."""

    column: str
    reasons: list[tuple[float, str]] = field(default_factory=list)
    against: list[tuple[float, str]] = field(default_factory=list)

    def add(self, weight: float, reason: str) -> None:
        """Note a reason with its weight in [0, 1]; the strongest of several equal words counts."""
        if weight > 0:
            self.reasons.append((min(weight, 0.99), reason))

    def doubt(self, factor: float, reason: str) -> None:
        """Note what speaks against the role: the score is multiplied by `factor`."""
        self.against.append((factor, reason))

    def candidate(self) -> Candidate:
        """Return the column with its score and its reasons, the heaviest first."""
        rest = 1.0
        for weight, _ in self.reasons:
            rest *= 1.0 - weight
        score = 1.0 - rest
        for factor, _ in self.against:
            score *= factor
        said = [text for _, text in sorted(self.reasons, key=lambda r: -r[0])]
        doubts = [f"against: {text}" for _, text in self.against]
        return Candidate(column=self.column, score=round(score, 4), reasons=(*said, *doubts))


@dataclass(frozen=True)
class Reading:
    """The question's text read against the columns: words per column, claims with their weight, threshold rules.

    `fits` says for each phrase of a claim how well it names each column.
    """

    lexicon: Lexicon
    claims: tuple[tuple[Claim, float], ...]
    fits: Mapping[str, Mapping[str, float]]
    rules: tuple[Rule, ...]
    text: str


def read_text(columns: Sequence[ColumnSummary], question: Question) -> Reading:
    """Read the query, the description and the dictionary against the columns' names."""
    names = [c.name for c in columns]
    words_of = lexicon(names, question.description, question.dictionary)
    usable = [c.name for c in columns if c.kind not in ("identifier", "empty", "text")]

    fits: dict[str, dict[str, float]] = {}

    def best(phrase: str) -> float:
        if phrase not in fits:
            fits[phrase] = {name: match(phrase, name, words_of) for name in names}
        return max((fits[phrase][name] for name in usable), default=0.0)

    def fit(claim: Claim) -> float:
        return best(claim.cause) + best(claim.effect)

    asked = [(claim, 0.9 * claim.trust) for claim in claims(question.query, better=fit)]
    told = [(claim, 0.8 * claim.trust) for claim in claims(question.description, better=fit)]
    found = tuple(dict.fromkeys(asked + told))
    for claim, _ in found:
        fit(claim)
    text = f"{question.query}\n{question.description}"
    return Reading(words_of, found, fits, tuple(rules(text)), text)


def candidates(columns: Sequence[ColumnSummary], reading: Reading) -> Mapping[str, tuple[Candidate, ...]]:
    """Score every column for every role, from names, text and marginals alone.

    Parameters
    ----------
    columns : sequence of ColumnSummary
        Marginal facts, one a column.
    reading : Reading
        The question's text read against these columns.

    Returns
    -------
    mapping
        Role to candidates, best first; scores in [0, 1]. Ties keep the order of the table.
    """
    scored: dict[str, tuple[Candidate, ...]] = {}
    scored["time"] = _rank([_time(c, reading) for c in columns])
    scored["unit"] = _rank([_unit(c, reading) for c in columns])
    scored["instruments"] = _rank([_instrument(c, columns, reading) for c in columns])
    aside = {role: {c.column: c.score for c in scored[role]} for role in ("time", "unit", "instruments")}
    scored["running_variable"] = _rank([_running(c, reading) for c in columns])
    aside["running_variable"] = {c.column: c.score for c in scored["running_variable"]}
    scored["treatment"] = _rank([_treatment(c, reading, aside) for c in columns])
    scored["outcome"] = _rank([_outcome(c, columns, reading, aside) for c in columns])
    scored["first_treated"] = _rank([_first_treated(c, reading) for c in columns])
    scored["cluster"] = _rank([_cluster(c, reading) for c in columns])
    scored["weights"] = _rank([_weights(c, reading) for c in columns])
    scored["mediators"] = _rank([_mediator(c, reading) for c in columns])
    scored["cost"] = _rank([_cost(c, reading) for c in columns])
    return scored


def _rank(tallies: Sequence[Tally]) -> tuple[Candidate, ...]:
    found = [tally.candidate() for tally in tallies if tally.reasons]
    return tuple(sorted((c for c in found if c.score >= 0.05), key=lambda c: -c.score))


def _has(column: str, group: frozenset[str], reading: Reading) -> str | None:
    return next((w for w in reading.lexicon.names[column] if w in group), None)


def _called(column: str, group: frozenset[str], reading: Reading) -> str | None:
    """Say which word of a group stands in a column's name or dictionary entry."""
    return next(
        (w for w in (*reading.lexicon.names[column], *reading.lexicon.titles.get(column, ())) if w in group), None
    )


def _says(pattern: str, column: str, reading: Reading) -> bool:
    return bool(re.search(pattern, reading.lexicon.passages[column], re.IGNORECASE))


def _claimed(tally: Tally, side: str, reading: Reading) -> float:
    """Add the best claim of the text in which the column stands on one side, not better on the other; return it."""
    best, reason = 0.0, ""
    for claim, weight in reading.claims:
        here = reading.fits[getattr(claim, side)][tally.column]
        there = reading.fits[claim.effect if side == "cause" else claim.cause][tally.column]
        strength = weight * here if here >= 0.3 and here >= there else 0.0
        if strength > best:
            phrase = getattr(claim, side)
            best, reason = strength, f"{TOLD} as the {side}: “{phrase[:80]}”"
    tally.add(best, reason)
    return best


def _is_period(summary: ColumnSummary, reading: Reading) -> bool:
    """Say whether a two-valued column only marks before and after."""
    if summary.n_unique > 2:
        return False
    told = _says(
        r"\bbefore\b[^.]{0,30}\bafter\b|\bpre\b[^.]{0,30}\bpost\b|\bafter\b[^.]{0,30}\bbefore\b", summary.name, reading
    )
    return told or bool(set(words(summary.name)) & {"post", "after"})


def _treatment(summary: ColumnSummary, reading: Reading, aside: Mapping[str, Mapping[str, float]]) -> Tally:
    tally = Tally(summary.name)
    # A constant can be meant (the agent then says that nothing can be compared).
    if summary.kind in ("identifier", "empty", "text") or summary.personal_data:
        return tally
    named = _claimed(tally, "cause", reading)
    parts = set(words(summary.name))
    if parts & {"treatment", "treated"} and parts <= _BARE_TREATMENT:
        tally.add(0.85, "its name says treatment")
    elif found := _called(summary.name, _TREATMENT, reading):
        tally.add(0.45, f"its name speaks of an intervention ({found}…)")
    if [summary.name.lower()] in (["d"], ["w"], ["t"], ["z"], ["a"], ["x"]) and summary.n_unique == 2:
        tally.add(0.5, "a single letter that papers use for the treatment")
    if _says(
        r"\b(?:receiv|underw|undergo|participat|exposed to|administered|implement|enrol|subjected to|treated|attend|adopt)",
        summary.name,
        reading,
    ):
        tally.add(0.35, "the description says that it was received or implemented")
    if summary.kind == "binary":
        tally.add(0.15, "two values")
    _common_doubts(tally, summary, reading)
    if aside["instruments"].get(summary.name, 0.0) >= ADOPTED and not _has(summary.name, _TAKEUP, reading):
        tally.doubt(0.5, "it rather encourages than is the treatment")
    if aside["time"].get(summary.name, 0.0) >= ADOPTED:
        tally.doubt(0.1, "it tells the time")
    if _has(summary.name, _DEMOGRAPHIC, reading) and named < CONFIDENT:
        tally.doubt(0.5, "a trait that nobody assigns")
    if _has(summary.name, _LATER, reading):
        tally.doubt(0.3, "its name says that it is measured afterwards")
    return tally


def _outcome(
    summary: ColumnSummary,
    columns: Sequence[ColumnSummary],
    reading: Reading,
    aside: Mapping[str, Mapping[str, float]],
) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in (*_NEVER, "datetime") or summary.personal_data:
        return tally
    _claimed(tally, "effect", reading)
    parts = words(summary.name)
    if set(parts) & {"outcome", "y", "response", "target"}:
        tally.add(0.7, "its name says outcome")
    elif found := _called(summary.name, _OUTCOME, reading):
        tally.add(0.25, f"its name is usual for a result ({found}…)")
    if _says(
        r"\boutcome\b|\bdependent variable\b|\bfollow-?up\b|\bmeasured (?:at the end|after)", summary.name, reading
    ):
        tally.add(0.45, "the description calls it the outcome or measures it afterwards")
    if later := _latest_of_family(summary.name, [c.name for c in columns]):
        tally.add(0.6, f"the latest of a series ({', '.join(later)})")
    if _has(summary.name, _LATER, reading) and not _is_period(summary, reading):
        tally.add(0.25, "its name says that it is measured afterwards")
    if columns and summary.name == columns[-1].name:
        tally.add(0.15, "the last column")
    if before := _twin(summary.name, [c.name for c in columns]):
        tally.add(0.45, f"the later one of a pair with {before}")
    if summary.kind == "numeric":
        tally.add(0.1, "a number")
    _common_doubts(tally, summary, reading)
    for role, reason in (
        ("time", "it tells the time"),
        ("running_variable", "a threshold on it decides the treatment"),
    ):
        if aside[role].get(summary.name, 0.0) >= ADOPTED:
            tally.doubt(0.1 if role == "time" else 0.5, reason)
    if _has(summary.name, _DEMOGRAPHIC, reading):
        tally.doubt(0.5, "a trait that was there before")
    if earlier_of_family(summary.name, [c.name for c in columns]):
        tally.doubt(0.4, "a later column of the same series exists")
    return tally


def _twin(name: str, names: Sequence[str]) -> str | None:
    """Return the column of the same name but for words such as *post* and *pre*, if `name` is the later one."""
    parts = words(name)
    if not set(parts) & _LATER_WORDS:
        return None
    core = [w for w in parts if w not in _LATER_WORDS]
    pairs = ((other, words(other)) for other in names if other != name)
    return next(
        (o for o, w in pairs if [x for x in w if x not in _EARLIER_WORDS] in (core, _without_event(core))), None
    )


def _without_event(core: Sequence[str]) -> list[str]:
    return [w for w in core if w not in ("treatment", "intervention", "program", "policy", "test", "period")]


_BASELINE = (
    r"\b(?:before|prior to) (?:the|participating|receiving|treatment|intervention|enrol)|\bpreviously\b|\binitial\b|"
    r"\bin the past\b|\bbaseline\b|\bhistory of\b"
)


def _common_doubts(tally: Tally, summary: ColumnSummary, reading: Reading) -> None:
    if _is_period(summary, reading):
        tally.doubt(0.2, "it only marks before and after")
    if reason := oracle(summary.name):
        tally.doubt(0.1, reason)
    if _has(summary.name, _PRIOR, reading) and not _has(summary.name, _LATER, reading):
        tally.doubt(0.3, "its name says that it is measured before")
    if not _is_period(summary, reading) and _says(_BASELINE, summary.name, reading):
        tally.doubt(0.5, "the description says that it is measured before")
    if set(words(summary.name)) & {"id", "index", "uuid"} and summary.kind != "binary":
        tally.doubt(0.1, "an identifier")


_YEAR_SUFFIX = re.compile(r"^(?P<stem>.*?[A-Za-z])_?(?P<year>(?:19|20)\d\d|\d\d|\d)$")


@lru_cache(maxsize=20_000)
def series(name: str) -> tuple[str, int] | None:
    """Split ``re78`` or ``income_2004`` into its series and its time, None where the name has no time at its end."""
    hit = _YEAR_SUFFIX.match(name)
    return (hit["stem"].rstrip("_").lower(), int(hit["year"])) if hit else None


def _family(name: str, names: Sequence[str]) -> list[tuple[int, str]]:
    own = series(name)
    if own is None:
        return []
    others = [(found[1], other) for other in names if (found := series(other)) and found[0] == own[0]]
    digits = {len(str(time)) for time, _ in others}
    # x1 … x30 is a numbering, not a time; two or four digits are years.
    return sorted(others) if digits <= {2, 4} and len(others) >= 2 and min(t for t, _ in others) >= 40 else []


def _latest_of_family(name: str, names: Sequence[str]) -> list[str]:
    family = _family(name, names)
    return [other for _, other in family] if family and family[-1][1] == name else []


def earlier_of_family(name: str, names: Sequence[str]) -> bool:
    """Say whether a later column of the same series exists."""
    family = _family(name, names)
    return bool(family) and family[-1][1] != name


def _time(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in ("constant", "empty", "text"):
        return tally
    if summary.n_unique <= 2:
        if _is_period(summary, reading):
            told = _says(r"\bbefore\b|\bpre\b", summary.name, reading)
            tally.add(0.85 if told else 0.65, "it marks before and after")
        return tally
    parts = words(summary.name)
    if summary.kind == "datetime":
        tally.add(0.7, "dates")
    if _looks_like_years(summary) and "year" in parts:
        tally.add(0.85, "its name says year and its values are years")
    elif set(parts) & {"time", "date", "t", "period", "wave"} and set(parts) <= _CLOCK:
        tally.add(0.6, "its name says time")
    elif found := _has(summary.name, _TIME, reading):
        tally.add(0.35, f"its name speaks of time ({found})")
    if _says(
        r"\b(?:year|month|date|time|period) (?:in|at|of|when|during) which\b|\b(?:denotes|indicates) the (?:\w+ )?year\b|\byear of (?:data|the) ",
        summary.name,
        reading,
    ):
        tally.add(0.5, "the description says when a row was recorded")
    if set(parts) & {"years", "months", "days", "hours", "weeks", "age", "birth", "experience", "recovery", "waiting"}:
        tally.doubt(0.2, "a length of time, not a point in time")
    if summary.kind == "numeric" and not summary.integer:
        tally.doubt(0.5, "not whole numbers")
    return tally


def _looks_like_years(summary: ColumnSummary) -> bool:
    low, high = summary.minimum, summary.maximum
    return summary.integer and low is not None and high is not None and 1800 <= low <= high <= 2100


def _unit(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in ("constant", "empty", "binary") or (summary.kind == "numeric" and not summary.integer):
        return tally
    parts = words(summary.name)
    if (parts and parts[-1] in ("id", "ids", "code", "no", "nr", "number", "uuid", "key")) or parts[:1] == ["id"]:
        tally.add(0.7, "its name says identifier")
    if _says(r"\bidentif(?:y|ier|ication)\b|\beach unique\b|\bunique (?:id|number|code)", summary.name, reading):
        tally.add(0.6, "the description says that it identifies")
    if set(parts) & {"unit", "country", "state", "county", "firm", "region", "city", "person", "individual", "subject"}:
        tally.add(0.45, "its name is that of a unit")
    if summary.kind == "identifier":
        tally.add(0.4, "it looks like an identifier")
    return tally


def _first_treated(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in _NEVER or summary.n_unique < 2:
        return tally
    parts = words(summary.name)
    joined = "_".join(parts)
    if re.search(r"first_?treat|treat(?:ment)?_(?:year|time|date|start|cohort)|adoption_?(?:year|time|date)|gvar|cohort|"
                 r"year_(?:treated|adopted|of_adoption|of_treatment)|effective_year|(?:policy|law)_year", joined):  # fmt: skip
        tally.add(0.8, "its name says when treatment began")
    if _says(
        r"\bfirst (?:treated|adopted|received|exposed)\b|\b(?:year|time|date)\b[^.]{0,30}\b(?:adopted|introduced|began|started|treated)\b",
        summary.name,
        reading,
    ):
        tally.add(0.7, "the description says when treatment began")
    return tally


def _instrument(summary: ColumnSummary, columns: Sequence[ColumnSummary], reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in _NEVER or summary.n_unique < 2:
        return tally
    if found := _has(summary.name, _INSTRUMENT, reading):
        tally.add(0.5, f"its name speaks of an encouragement or an assignment ({found}…)")
        if taken := _taken_up(summary.name, columns, reading):
            tally.add(0.4, f"{taken} says who followed it")
    if _says(
        r"\bencourag|\binvit|\blotter|\binstrument|\boffered\b|\brandomly\b|\bquarter of birth", summary.name, reading
    ):
        tally.add(0.4, "the description says that it was offered, encouraged or drawn")
    for hit in re.finditer(
        r"instruments?\s+(?:variables?\s+)?(?:for|is|are|was|will be)[^.;]*|(?:use|using|with)\s+[^.;]{1,60}\bas\s+(?:an?\s+|the\s+)?instrument\w*",
        reading.text,
        re.IGNORECASE,
    ):
        literal = any(mentions(hit[0], c.name) for c in columns)
        if mentions(hit[0], summary.name) or (not literal and match(hit[0], summary.name, reading.lexicon) >= 0.6):
            tally.add(0.7, "the text names it as an instrument")
            break
    return tally


_ASSIGNED_BY = (
    r"\b(?:eligib|assign|enrol|admission|admitted|treatment|selection|qualif)\w*\b[^.;]{0,60}?"
    r"\b(?:determined|decided|based|depend\w*)\b([^.;]*)"
)


def _taken_up(name: str, columns: Sequence[ColumnSummary], reading: Reading) -> str | None:
    """Return the column that shares a telling word with an encouragement and says who took part."""
    own = set(reading.lexicon.names[name]) - _INSTRUMENT - _TAKEUP
    for other in columns:
        others = set(reading.lexicon.names[other.name])
        if other.name != name and others & _TAKEUP and not others & _INSTRUMENT and others & own:
            return other.name
    return None


def _running(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind != "numeric" or summary.n_unique < 10:
        return tally
    for rule in reading.rules:
        strength = match(rule.sentence, summary.name, reading.lexicon)
        inside = (
            summary.minimum is not None
            and summary.maximum is not None
            and summary.minimum < rule.cutoff < summary.maximum
        )
        if strength >= 0.4 and inside:
            tally.add(0.9 * strength, f"a rule with the threshold {rule.cutoff:g} speaks of it")
            break
    for hit in re.finditer(_ASSIGNED_BY, reading.text, re.IGNORECASE):
        if (strength := match(hit[1], summary.name, reading.lexicon)) >= 0.4:
            tally.add(0.7 * strength, "the text says that it decides who is treated")
            break
    if found := _has(summary.name, _RUNNING, reading):
        tally.add(0.2, f"its name is usual for a running variable ({found}…)")
    if _has(summary.name, _LATER, reading):
        tally.doubt(0.3, "its name says that it is measured afterwards")
    return tally


def _cluster(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in ("constant", "empty") or summary.n_unique < 3 or summary.n_unique > summary.n / 2:
        return tally
    parts = words(summary.name)
    if "cluster" in parts:
        tally.add(0.85, "its name says cluster")
    elif (found := _has(summary.name, _CLUSTER, reading)) and (
        parts[-1] in ("id", "code", "number") or len(parts) == 1
    ):
        tally.add(0.4, f"its name is that of a group ({found}…)")
    return tally


def _weights(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind != "numeric" or summary.minimum is None or summary.minimum < 0:
        return tally
    joined = "".join(words(summary.name))
    if re.search(
        r"pweight|perwt|sampl\w*weight|surveyweight|samplewt|finalwgt|weightvar|finalweight|fnlwgt|^wgt$|^pw$", joined
    ):
        tally.add(0.85, "its name says sampling weight")
    elif joined in ("weight", "weights"):
        tally.add(0.3, "its name says weight (perhaps that of a body)")
    if _says(r"\b(?:sampling|survey|probability|population)\s+weights?\b", summary.name, reading):
        tally.add(0.85, "the description says sampling weight")
    return tally


def _mediator(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind in _NEVER:
        return tally
    if _has(summary.name, _MEDIATOR, reading):
        tally.add(0.7, "its name says mediator")
    if _says(r"\bmediat|\bmechanism\b|\bintermediate outcome", summary.name, reading):
        tally.add(0.7, "the description calls it a mediator")
    for hit in re.finditer(
        r"\b(?:mediated by|(?:works?|operates?|acts?) (?:through|via)|mechanism (?:is|of)|channel of)\s+([^.;?!]+)",
        reading.text,
        re.IGNORECASE,
    ):
        if match(hit[1], summary.name, reading.lexicon) >= 0.6:
            tally.add(0.7, "the text says that the effect works through it")
    return tally


def _cost(summary: ColumnSummary, reading: Reading) -> Tally:
    tally = Tally(summary.name)
    if summary.kind != "numeric" or summary.minimum is None or summary.minimum < 0:
        return tally
    if _has(summary.name, _COST, reading):
        tally.add(0.3, "its name says cost")
    if _says(
        r"\bcosts? of (?:the |a )?(?:treat|program|intervention|therapy|campaign|training)", summary.name, reading
    ):
        tally.add(0.6, "the description says cost of the treatment")
    return tally


def after_treatment(name: str, outcome: str, names: Sequence[str]) -> str | None:
    """Say why a column's name speaks for a measurement after the treatment, or None if it does not.

    Parameters
    ----------
    name, outcome : str
        The column and the outcome; a column of a dated series at or after the outcome's time is late.
    names : sequence of str
        All columns.
    """
    parts = words(name)
    later = [w for w in parts if w in ("post", "after", "followup", "endline", "subsequent", "final")]
    if later:
        return f"its name says {later[0]}"
    if re.search(r"follow_?up|_(?:t[1-9]|post|after|end)$", name, re.IGNORECASE):
        return "its name ends like that of a later measurement"
    own, end = _dated(name, names), _dated(outcome, names)
    if own is not None and end is not None and name != outcome and own >= end:
        return f"its name dates it at {own}, the outcome at {end}"
    return None


def _dated(name: str, names: Sequence[str]) -> int | None:
    """Return the latest year that a name carries: ``income_2004``, ``re78`` beside ``re75``, ``wt82_71``."""
    full = [int(year) for year in re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", name)]
    span = re.search(r"(?<!\d)([4-9]\d)_([4-9]\d)(?!\d)", name)
    if span:
        full += [1900 + int(span[1]), 1900 + int(span[2])]
    own = series(name)
    if not full and own is not None and (_family(name, names) or _shares_year(own[1], name, names)):
        full = [1900 + own[1]] if own[1] < 100 else [own[1]]
    return max(full, default=None)


def _shares_year(year: int, name: str, names: Sequence[str]) -> bool:
    """Say whether another column's series ends in the same two-digit year, so that it is one and not a number."""
    others = (series(other) for other in names if other != name)
    return 40 <= year < 100 and sum(found is not None and found[1] == year for found in others) >= 1


def same_measure(name: str, other: str) -> bool:
    """Say whether two names are one measure in two forms (a logarithm, a square): same words, same numbers."""
    forms = {"log", "ln", "sq", "squared", "square", "std", "z", "norm", "scaled"}
    plain = [tuple(w for w in words(re.sub(r"sq$", "", n)) if w not in forms) for n in (name, other)]
    return name != other and bool(plain[0]) and plain[0] == plain[1]


_ORACLE = re.compile(
    r"(?:^|_)(?:counterfactual|cfactual|y_?cf|mu_?[01]|y_?[01]|ite|true_?(?:effect|ate|cate|tau)|potential_?outcome\w*|propensity(?:_?score)?)$",
    re.IGNORECASE,
)


def oracle(name: str) -> str | None:
    """Say why a column holds what no data set can know (a counterfactual, the true effect), or None."""
    return "its name is that of a counterfactual or a true effect" if _ORACLE.search(name) else None


def selection(name: str) -> str | None:
    """Say why a column tells who remained in the data (conditioning on it can open a path), or None."""
    found = {"selected", "attrition", "attrited", "dropout", "responded", "retained", "censored", "completed"} & set(
        words(name)
    )
    return f"its name says who remained in the data ({sorted(found)[0]})" if found else None
