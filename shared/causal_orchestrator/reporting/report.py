"""``report.html``: the analysis as one self-contained page without scripts (OUT-3).

Everything from the job passes through autoescape; the page's content policy allows its own style sheet, by hash, and
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from causal_orchestrator.agents import JobView
from causal_orchestrator.question import Question, shown
from causal_orchestrator.reporting import provenance, words
from causal_orchestrator.reporting.results_document import ResultsDocument, TreatmentEffect
from causal_orchestrator.results import Figures, Notebook, Plan, Profile, Snapshot

TEMPLATES = Path(__file__).parent / "templates"
FIGURE_BYTES = 4_000_000  # what inlined figures may take of a page of at most 5 MB; the rest is linked
MOST_COLUMNS = 60
SECTIONS = ("data", "design", "effects", "heterogeneity", "sensitivity", "graph", "summary")
ESTIMANDS = {
    "ATE": "average effect", "ATT": "average effect on the treated", "ATC": "average effect on the untreated",
    "ATO": "average effect where the arms overlap", "SATE": "average effect in this sample",
    "SATT": "average effect on the treated in this sample", "LATE": "average effect on compliers",
    "CATE": "average of individual effects", "PLR": "variance-weighted effect", "QTE": "effect on quantiles",
    "WLATE": "weighted average of the compliers' effects", "AD": "average derivative", "ATT_GT": "average effect on the treated by group and time",
    "ATT_DYNAMIC": "average over times since the start of the effects on the treated", "ATT_GROUP": "average over cohorts of their effects on the treated",
    "ATT_CALENDAR": "average over periods of the effects on the treated",
    "POLICY_VALUE": "mean outcome under the policy", "POLICY_GAIN": "gain over the best policy for everyone alike",
}  # fmt: skip
VERDICTS = {
    "answer": ("The data answer the question", "good"),
    "limited": ("An answer with limits", "mid"),
    "refuse": ("The data cannot answer the question", "bad"),
}


def build(job: JobView, document: ResultsDocument, figures: Mapping[str, bytes]) -> bytes:
    """Return the report of a job as one HTML page.

    Parameters
    ----------
    job : JobView
        The finished job.
    document : ResultsDocument
        Its results document.
    figures : Mapping of str to bytes
        Clean SVG by figure name; a figure without bytes is linked.
    """
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    template = _environment().get_template("report.html.j2")
    text = template.render(
        css=css,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
        **_context(job, document, figures),
    )
    return "\n".join(line for line in text.splitlines() if line.strip()).encode("utf-8") + b"\n"


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        number=words.number,
        p_value=words.p_value,
        percent=words.percent,
        spoken=words.spoken,
        titled=words.titled,
        p_text=_p_text,
    )
    environment.globals.update(interval=words.interval, estimands=ESTIMANDS)
    # Control and direction marks are shown as codes wherever text from outside is printed.
    environment.finalize = _visible
    return environment


def _context(job: JobView, document: ResultsDocument, figures: Mapping[str, bytes]) -> dict[str, Any]:
    label, tone = VERDICTS[document.verdict.decision]
    primary = next((e for e in document.treatment_effects if e.role == "primary" and e.status == "ok"), None)
    question = Question.model_validate(document.question)
    plan = job.get("study_design", Plan)
    profile = job.get("data_profiler", Profile)
    drawn = job.get("visualizer", Figures)
    columns = _columns(job, question)
    return {
        "title": headline(document),
        "headline": headline(document),
        "query": question.query,
        "summary": str(document.interpretation.get("summary", "")).removeprefix(headline(document)).strip(),
        "narrative": document.interpretation.get("narrative", ()),
        "assumptions": document.interpretation.get("assumptions", ()),
        "verdict": {**document.verdict.model_dump(), "label": label, "tone": tone},
        "card": document.decision_card.model_dump(),
        "findings": _unsaid(document.decision_card.key_findings, (headline(document), *document.verdict.caps)),
        "recommendations": _unsaid(
            document.recommendations, (document.decision_card.recommendation, *document.verdict.would_help)
        ),
        "primary": primary if document.verdict.decision != "refuse" else None,
        "strip": _strip(primary) if primary else "",
        "treatment": shown(document.treatment_variable or "the treatment"),
        "outcome": shown(document.outcome_variable or "the outcome"),
        "plan": {**plan.model_dump(), "adjustment": [shown(name) for name in plan.adjustment_set]} if plan else None,
        "rejected": _rejected(plan),
        "effects": [e for e in document.treatment_effects if e.status == "ok"],
        "absent": [e for e in document.treatment_effects if e.status != "ok"],
        "selection": _selection(document),
        "diagnostics": document.diagnostics,
        "sensitivity": document.sensitivity_results,
        "warnings": document.warnings,
        "dataset": document.dataset,
        "structure": profile.structure if profile else None,
        "quality": document.eda.get("quality_score"),
        "columns": columns[:MOST_COLUMNS],
        "more_columns": max(0, len(columns) - MOST_COLUMNS),
        "repairs": document.repairs,
        "figures": _figures(drawn, figures),
        "skipped": sorted(drawn.skipped.items()) if drawn else [],
        "decisions": list(_decisions(job, document)),
        "notebook": _notebook(job),
        "run_id": document.job_id,
        "code_sha256": provenance.code_sha256(),
        "lock_sha256": provenance.lock_sha256(),
        "seed": job.seed,
        "files": _files(document),
        "contents": list(_contents(document, drawn)),
    }


def headline(document: ResultsDocument) -> str:
    """Return the answer in one sentence: the interpreter's where there is one, else one made from the verdict."""
    said = str(document.interpretation.get("headline") or "")
    if said:
        return said
    primary = next((e for e in document.treatment_effects if e.role == "primary" and e.status == "ok"), None)
    if document.verdict.decision == "refuse" or primary is None:
        return VERDICTS["refuse"][0] + "."
    treatment, outcome = (shown(name or "") for name in (document.treatment_variable, document.outcome_variable))
    limits = words.interval(primary.ci_lower, primary.ci_upper)
    return f"{treatment} changes {outcome} by {words.number(primary.estimate)} ({limits})."


def _visible(value: object) -> object:
    return shown(" ".join(value.split()), 20_000) if type(value) is str else value


def _p_text(value: float | None) -> str:
    text = words.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _unsaid(sentences: Sequence[str], said: Sequence[str]) -> list[str]:
    """Return the sentences that do not repeat what the card says elsewhere."""
    return [s for s in sentences if not any(other and other.rstrip(".") in s for other in said)]


def _strip(effect: TreatmentEffect) -> Markup:
    """Draw estimate and interval against zero as one line."""
    if effect.estimate is None or effect.ci_lower is None or effect.ci_upper is None:
        return Markup("")
    low, high = min(0.0, effect.ci_lower), max(0.0, effect.ci_upper)
    span = (high - low) or 1.0

    def at(value: float) -> str:
        return f"{24 + 352 * (value - low) / span:.1f}"

    lower, middle, upper, zero = at(effect.ci_lower), at(effect.estimate), at(effect.ci_upper), at(0.0)
    return Markup(
        '<svg class="strip" viewBox="0 0 400 64" role="img" aria-labelledby="strip-title">'
        '<title id="strip-title">{said}</title>'
        '<line x1="{zero}" x2="{zero}" y1="8" y2="44" stroke="#8a949e" stroke-dasharray="3 3"/>'
        '<text x="{zero}" y="60" font-size="13" text-anchor="middle" fill="#55616e">0</text>'
        '<line x1="{lower}" x2="{upper}" y1="26" y2="26" stroke="#0072B2" stroke-width="7" stroke-linecap="round" '
        'stroke-opacity="0.3"/><circle cx="{middle}" cy="26" r="7.5" fill="#0072B2"/></svg>'
    ).format(
        said=f"Estimate {words.number(effect.estimate)}, {words.interval(effect.ci_lower, effect.ci_upper)}, and zero",
        zero=zero, lower=lower, middle=middle, upper=upper,
    )  # fmt: skip


def _selection(document: ResultsDocument) -> str:
    preferred, primary = document.selection.get("preferred"), document.selection.get("headline")
    gap = document.selection.get("gap")
    if not preferred or preferred == primary:
        return ""
    by = f" by {words.number(gap)}" if gap is not None else ""
    return f"The score prefers {words.titled(str(preferred))}{by}; the headline stays with the pre-declared method."


def _figures(drawn: Figures | None, svg: Mapping[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """Return the figures by section; those beyond the page's room keep their link only."""
    room = FIGURE_BYTES
    found: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for figure in drawn.figures if drawn else ():
        content = svg.get(figure.name)
        inline = content is not None and len(content) <= room
        if inline and content is not None:
            room -= len(content)
        entry = {**figure.model_dump(), "svg": content.decode("utf-8") if inline and content else None}
        found[figure.section].append(entry)
    return found


def _columns(job: JobView, question: Question) -> list[dict[str, Any]]:
    """Return the columns of the data with their roles, those with a role first."""
    snapshot = job.get("dataset_fetcher", Snapshot)
    named = question.columns()
    order = {name: position for position, name in enumerate(named)}
    rows = [
        {**column.model_dump(), "name": shown(column.name), "role": _role(column.name, question), "key": column.name}
        for column in (snapshot.columns if snapshot else ())
    ]
    return sorted(rows, key=lambda row: order.get(row["key"], len(named)))


def _role(column: str, question: Question) -> str:
    single = ("treatment", "outcome", "unit", "time", "cluster", "weights", "running_variable", "first_treated")
    several = ("instruments", "mediators", "effect_modifiers", "negative_controls", "strata")
    roles = [role for role in single if getattr(question, role) == column]
    roles += [role.rstrip("s") for role in several if column in getattr(question, role)]
    if column in (question.covariates or ()):
        roles.append("covariate")
    return ", ".join(words.spoken(role) for role in roles)


def _decisions(job: JobView, document: ResultsDocument) -> Iterator[dict[str, str]]:
    """Yield what was decided, by whom and why, in the order of the job's way."""
    profile, plan = job.get("data_profiler", Profile), job.get("study_design", Plan)
    if profile and profile.proposed:
        for role in profile.proposed:
            best = next(iter(profile.candidates.get(role, ())), None)
            because = f" because {'; '.join(best.reasons)}" if best and best.reasons else ""
            chosen = shown(best.column) if best else "a column"
            yield {"who": "Data profiler", "what": f"Proposed {chosen} as {words.spoken(role)}{because}."}
    if document.repairs:
        applied = sum(repair.applied for repair in document.repairs)
        proposed = f"{len(document.repairs)} repair{'s' if len(document.repairs) != 1 else ''}"
        yield {"who": "Data repair", "what": f"Proposed {proposed} and applied {applied}."}
    if document.causal_graph:
        gate = document.causal_graph.gate
        because = f" ({'; '.join(gate.reasons)})" if gate.reasons else ""
        yield {"who": "Causal discovery", "what": f"Gate {gate.decision}{because}."}
    if plan:
        named = f"{words.titled(plan.primary)} as the primary method" if plan.primary else "no method"
        by = "" if plan.chosen_by == "offline" else f" Chosen by {plan.chosen_by}."
        other = plan.offline_primary
        beside = (
            f" The offline planner would have taken {words.titled(other)}." if other and other != plan.primary else ""
        )
        why = "; ".join(plan.reasons)
        yield {"who": "Study design", "what": f"Design {words.spoken(plan.design)}, {named}: {why}.{by}{beside}"}
    for history in document.critique_history:
        comments = "; ".join(history.get("comments", ()))
        said = f" {comments}." if comments else ""
        yield {"who": "Critique", "what": f"{str(history['decision']).capitalize()}.{said}"}
    yield {
        "who": "Verdict",
        "what": f"{VERDICTS[document.verdict.decision][0]}: {'; '.join(document.verdict.reasons)}.",
    }


def _rejected(plan: Plan | None) -> list[tuple[str, str]]:
    """Return what was considered for the plan and not taken, with the reason."""
    if plan is None:
        return []
    designs = [(words.spoken(d), why) for d, why in sorted(plan.designs_considered.items()) if d != plan.design]
    return designs + [(words.titled(a.method), a.missing) for a in plan.applicability if not a.admissible and a.missing]


def _notebook(job: JobView) -> str:
    notebook = job.get("notebook_generator", Notebook)
    if notebook is None:
        return "There is no notebook for this analysis."
    if not notebook.executed:
        return "The notebook was written and did not run to its end here; see the warnings."
    return (
        f"The notebook was run from a clean kernel on the saved snapshot: {notebook.numbers_checked:,} numbers were "
        "computed again and agree with this page."
    )


def _files(document: ResultsDocument) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the links to the files of the folder: documents, tables, figures."""
    kinds: dict[str, list[tuple[str, str]]] = {"Documents": [], "Tables": [], "Figures": []}
    for path in sorted(document.artifacts.values()):
        kind = {"tables": "Tables", "figures": "Figures"}.get(path.split("/")[0], "Documents")
        name = path.rsplit("/", 1)[-1]
        kinds[kind].append((words.spoken(name.removesuffix(".svg")), path))
    return [(kind, links) for kind, links in kinds.items() if links]


def _contents(document: ResultsDocument, drawn: Figures | None) -> Iterator[tuple[str, str]]:
    sections = {figure.section for figure in drawn.figures} if drawn else set()
    yield "decision", "Decision card"
    yield "method", "Method"
    if any(effect.status == "ok" for effect in document.treatment_effects):
        yield "effects", "Effects"
    if document.diagnostics or "design" in sections:
        yield "diagnostics", "Diagnostics"
    if document.sensitivity_results:
        yield "sensitivity", "Sensitivity"
    if "summary" in sections:
        yield "quality", "As a whole"
    yield "limits", "Limits"
    yield "data", "Data"
    yield "decisions", "Decisions"
    yield "reproducibility", "Reproducibility"
