"""The notebook: fixed code, one literal with everything that comes from the job, and words that cannot be markup.

Whoever has the notebook, ``snapshot.parquet`` beside it and this package gets the reported numbers again.
"""

from __future__ import annotations

import os
import pprint
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from causal_orchestrator.agents import JobView
from causal_orchestrator.errors import EstimationError
from causal_orchestrator.question import Question, shown
from causal_orchestrator.reporting.provenance import PACKAGE, to_json
from causal_orchestrator.reporting.words import interval, markdown, number, spoken
from causal_orchestrator.results import (
    Critique,
    Effect,
    Effects,
    Graph,
    Interpretation,
    Plan,
    Repairs,
    Sensitivities,
    Snapshot,
)

Document = dict[str, Any]

SNAPSHOT = "snapshot.parquet"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
RELATIVE_TOLERANCE = 1e-9  # other machines round other sums differently; on one machine the numbers are equal
COMPARED = ("estimate", "std_error", "ci_lower", "ci_upper", "p_value", "n")
CELL_SECONDS = 1800

IMPORTS = '''\
import math
from io import BytesIO

import matplotlib
matplotlib.use("Agg")
import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

import causal_orchestrator as co
from causal_orchestrator.estimators import ESTIMATORS, estimate
from causal_orchestrator.problem import build
from causal_orchestrator.question import shown
from causal_orchestrator.results import Repair

matplotlib.rcParams["text.parse_math"] = False


def show(figure):
    """Display a figure as a picture that is the same bytes for the same numbers."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    display(Image(buffer.getvalue()))'''

PARAMETERS = "P = {literal}"

LOAD = """\
question = co.Question(**P["question"])
frame = co.load(P["snapshot"], repairs=[Repair(**repair) for repair in P["repairs"]], filters=question.filters)
print(f"{len(frame):,} rows, {frame.shape[1]:,} columns")"""

PROFILE = """\
columns = [name for name in P["columns"] if name in frame.columns]
print(
    pd.DataFrame(
        {
            "type": [str(frame[name].dtype) for name in columns],
            "missing": [int(frame[name].isna().sum()) for name in columns],
            "distinct": [int(frame[name].nunique()) for name in columns],
        },
        index=[shown(name, 40) for name in columns],
    ).to_string()
)"""

EXPLORE = """\
levels = frame[question.treatment].dropna().nunique()
if levels <= 12 and pd.api.types.is_numeric_dtype(frame[question.outcome]):
    arms = frame.groupby(question.treatment, observed=True)[question.outcome]
    summary = arms.agg(["count", "mean", "std"])
    summary.index.name = None
    print(summary.to_string())
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for level, values in arms:
        axes.hist(values.dropna().astype(float), bins=30, density=True, alpha=0.5, label=shown(str(level), 30))
    axes.set_xlabel(shown(question.outcome, 60))
    axes.set_ylabel("density")
    axes.legend(title=shown(question.treatment, 30))
    show(figure)
else:
    print(f"{levels:,} distinct values of the treatment")"""

GRAPH = """\
for edge in P["edges"]:
    arrow = {"directed": "->", "undirected": "--", "bidirected": "<->"}.get(edge["type"], "o-o")
    print(f"{shown(edge['source'], 40)} {arrow} {shown(edge['target'], 40)}  ({edge['confidence']:.2f})")
if not P["edges"]:
    print("no causal graph was learned for this analysis")"""

ESTIMATE = '''\
def agrees(found, reported):
    """Say whether two numbers are one (or both are missing)."""
    if found is None or reported is None:
        return found is reported
    return found == reported or math.isclose(found, reported, rel_tol=P["tolerance"])


level = question.preferences.confidence_level
shared = build(frame, question, seed=P["seed"], confidence_level=level) if P["effects"] else None


def again(entry):
    """Estimate once more; methods with learned nuisances share one problem, so that these are fitted once."""
    method, options = entry["method"], entry["options"]
    if ESTIMATORS[method].nuisances == "learned":
        return estimate(method, shared, **options)
    return co.estimate(method, frame, question, seed=P["seed"], **options)


checked = 0
for entry in P["effects"]:
    found = again(entry).to_effect()
    pairs = [("headline", found.model_dump(), entry["reported"])]
    assert len(found.rows) == len(entry["rows"]), f"{entry['method']}: another number of rows"
    pairs += [(row.term, row.model_dump(), reported) for row, reported in zip(found.rows, entry["rows"])]
    for where, values, reported in pairs:
        for name, number in reported.items():
            assert agrees(values[name], number), (
                f"{entry['method']}, {where}, {name}: found {values[name]!r}, reported {number!r}"
            )
            checked += number is not None
print(f"{checked:,} numbers of {len(P['effects'])} methods were computed again and agree with the report")'''

FOREST = """\
reported = [(entry["method"], entry["estimand"], entry["reported"]) for entry in P["effects"]]
if reported:
    table = pd.DataFrame(
        [{"method": method, "estimand": estimand, **values} for method, estimand, values in reported]
    )
    print(table.to_string(index=False))
    figure = Figure(figsize=(6, 1 + 0.4 * len(reported)), layout="constrained")
    axes = figure.subplots()
    for row, (method, estimand, values) in enumerate(reported):
        if values["ci_lower"] is not None and values["ci_upper"] is not None:
            axes.plot([values["ci_lower"], values["ci_upper"]], [row, row], color="#0072B2", linewidth=2)
        axes.plot([values["estimate"]], [row], "o", color="#0072B2")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(reported)), [f"{method} ({estimand})" for method, estimand, _ in reported])
    axes.invert_yaxis()
    axes.set_xlabel(f"effect on {shown(question.outcome, 60)}")
    show(figure)"""

SENSITIVITY = '''\
def e_value(ratio):
    """Return the E-value of a risk ratio (VanderWeele and Ding 2017)."""
    ratio = max(ratio, 1 / ratio)
    return ratio + math.sqrt(ratio * (ratio - 1))


for entry in P["sensitivity"]:
    value = "no number" if entry["value"] is None else f"{entry['value']:.4g}"
    verdict = {True: "held", False: "did not hold", None: "reported"}[entry["passed"]]
    print(f"{entry['method']}: {value} ({verdict})")
if P["e_value"] is not None:
    assert agrees(e_value(P["e_value"]["risk_ratio"]), P["e_value"]["value"]), "the E-value differs"
    print("the E-value was computed again from its risk ratio and agrees")'''


def parameters(job: JobView) -> dict[str, Any]:
    """Return everything from the job that the notebook's code uses, as JSON values."""
    plan = job.get("study_design", Plan)
    question = plan.question if plan else job.question
    repairs = job.get("data_repair", Repairs)
    graph = job.get("causal_discovery", Graph)
    sensitivities = job.get("sensitivity_analyst", Sensitivities)
    snapshot = job.get("dataset_fetcher", Snapshot)
    return {
        "snapshot": SNAPSHOT,
        "seed": job.seed,
        "tolerance": RELATIVE_TOLERANCE,
        "question": _question(question),
        "columns": [column.name for column in snapshot.columns] if snapshot else list(question.columns()),
        "repairs": [r.model_dump(mode="json") for r in repairs.repairs if r.applied] if repairs else [],
        "edges": [e.model_dump(mode="json", include={"source", "target", "type", "confidence"}) for e in graph.edges]
        if graph
        else [],
        "effects": [_entry(effect, plan) for effect in reproducible(job)],
        "sensitivity": [
            {"method": r.method, "value": r.value, "passed": r.passed}
            for r in (sensitivities.results if sensitivities else ())
        ],
        "e_value": _e_value(sensitivities),
    }


def reproducible(job: JobView) -> tuple[Effect, ...]:
    """Return the entries that one call of ``co.estimate`` with the plan's options gives again: one for each method."""
    effects = job.get("effect_estimator", Effects)
    first: dict[str, Effect] = {}
    for effect in effects.effects if effects else ():
        if effect.status == "ok" and effect.estimate is not None:
            first.setdefault(effect.method, effect)
    return tuple(first.values())


def build(job: JobView) -> Document:
    """Return the notebook of a job (nbformat 4.5), not yet run."""
    cells = [_cell(position, kind, source) for position, (kind, source) in enumerate(_cells(job))]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": cells}


def execute(notebook: Document, folder: Path) -> Document:
    """Run the notebook in `folder` from a clean kernel of this interpreter and return it with its outputs.

    Raises
    ------
    EstimationError
        If a cell fails (``NOTEBOOK_FAILED``): a number does not come out again, or the code cannot run here.
    """
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    # Sockets in the private folder: no port that another user of the machine could listen on.
    manager = AsyncKernelManager(
        kernel_name="python3", transport="ipc", ip=str(folder / "k"), connection_file=str(folder / "kernel.json")
    )
    joined = [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]
    run = nbformat.from_dict({**notebook, "cells": joined})  # type: ignore[no-untyped-call]
    client = NotebookClient(
        run, km=manager, timeout=CELL_SECONDS, record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    try:
        client.execute(env=_environment(folder), cwd=str(folder), stdout=DEVNULL, stderr=DEVNULL)
    except CellControlSignal as exc:
        reason = getattr(exc, "evalue", "") or str(exc)
        name = getattr(exc, "ename", type(exc).__name__)
        raise EstimationError(f"{name}: {shown(reason, 400)}", code="NOTEBOOK_FAILED") from exc
    except (DeadKernelError, RuntimeError) as exc:
        raise EstimationError(f"the notebook's kernel died: {shown(str(exc), 400)}", code="NOTEBOOK_FAILED") from exc
    outputs = [cell.get("outputs", []) for cell in run.cells]
    cells = [_settled(cell, found) for cell, found in zip(notebook["cells"], outputs, strict=True)]
    return {**notebook, "cells": [*_numbered(cells)]}


def to_bytes(notebook: Document) -> bytes:
    """Encode a notebook; equal notebooks give equal bytes."""
    return to_json(notebook)


def numbers_checked(values: Mapping[str, Any]) -> int:
    """Return how many reported numbers the notebook compares."""
    found = [number for entry in values["effects"] for number in entry["reported"].values()]
    found += [number for entry in values["effects"] for row in entry["rows"] for number in row.values()]
    return sum(number is not None for number in found) + (values["e_value"] is not None)


def _cell(position: int, kind: str, source: str) -> Document:
    code: Document = {"execution_count": None, "outputs": []} if kind == "code" else {}
    lines = source.splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell-{position:02d}", "metadata": {}, "source": lines, **code}


def _settled(cell: Document, outputs: Sequence[Document]) -> Document:
    """Return a cell with what is the same in every run of its outputs: text and pictures, no times, no machine."""
    if cell["cell_type"] != "code":
        return cell
    return {**cell, "outputs": [kept for output in outputs if (kept := _output(output)) is not None]}


def _numbered(cells: Iterable[Document]) -> Iterator[Document]:
    count = 0
    for cell in cells:
        count += cell["cell_type"] == "code"
        yield {**cell, "execution_count": count} if cell["cell_type"] == "code" else cell


def _output(output: Document) -> Document | None:
    if output["output_type"] == "stream" and output["name"] == "stdout":
        return {"output_type": "stream", "name": "stdout", "text": output["text"].splitlines(keepends=True)}
    if output["output_type"] in ("display_data", "execute_result"):
        data = {kind: value for kind, value in output["data"].items() if kind in ("text/plain", "image/png")}
        return {"output_type": "display_data", "data": data, "metadata": {}}
    return None


def _environment(folder: Path) -> dict[str, str]:
    """Return the kernel's environment: this package, one thread, and no file of the user's own set-up."""
    paths = [str(PACKAGE.parent), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "COLUMNS": "120"}
    return {**os.environ, **single, **own, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.defpath))}


def _question(question: Question) -> dict[str, Any]:
    values: dict[str, Any] = question.model_dump(mode="json", exclude_defaults=True)
    for volatile in ("dataset", "notify_url", "evidence", "description", "dictionary"):
        values.pop(volatile, None)
    return values


def _entry(effect: Effect, plan: Plan | None) -> dict[str, Any]:
    values = effect.model_dump(mode="json")
    return {
        "method": effect.method,
        "estimand": effect.estimand,
        "options": dict(plan.options.get(effect.method, {})) if plan else {},
        "reported": {name: values[name] for name in COMPARED},
        "rows": [{name: row[name] for name in COMPARED} for row in values["rows"]],
    }


def _e_value(found: Sensitivities | None) -> dict[str, float] | None:
    for result in found.results if found else ():
        ratio = result.details.get("risk_ratio")
        if result.method == "e_value" and result.value is not None and isinstance(ratio, int | float) and ratio > 0:
            return {"risk_ratio": float(ratio), "value": result.value}
    return None


def _cells(job: JobView) -> Iterator[tuple[str, str]]:
    literal = pprint.pformat(parameters(job), width=110, sort_dicts=False)
    yield "markdown", _introduction(job)
    yield "code", IMPORTS
    yield "markdown", "Everything below that comes from the job stands in this one value; the code is always the same."
    yield "code", PARAMETERS.format(literal=literal)
    yield "code", LOAD
    yield "markdown", "## Profile"
    yield "code", PROFILE
    yield "markdown", "## Exploration\n\nThe outcome in each arm as observed, before any adjustment."
    yield "code", EXPLORE
    yield "markdown", _graph(job)
    yield "code", GRAPH
    yield "markdown", _estimation(job)
    yield "code", ESTIMATE
    yield "code", FOREST
    yield "markdown", _sensitivity(job)
    yield "code", SENSITIVITY
    yield "markdown", _conclusions(job)
    yield "markdown", REFERENCES


def _introduction(job: JobView) -> str:
    plan, words = job.get("study_design", Plan), job.get("interpreter", Interpretation)
    question = plan.question if plan else job.question
    lines = ["# Causal analysis", ""]
    if question.query:
        lines += [f"*{markdown(question.query)}*", ""]
    if words:
        lines += [f"**{markdown(words.headline or words.summary)}**", ""]
    lines += [
        "## Introduction and data",
        "",
        f"* Treatment: {markdown(question.treatment or 'not given')}",
        f"* Outcome: {markdown(question.outcome or 'not given')}",
    ]
    if plan:
        adjusted = ", ".join(markdown(name) for name in plan.adjustment_set) or "nothing"
        lines += [
            f"* Design: {spoken(plan.design)}; estimand: {plan.estimand}",
            f"* Adjusted for: {adjusted}",
            f"* Plan, frozen before outcome and treatment were joined: {markdown(plan.sha256)}",
        ]
    lines += ["", f"The notebook reads {SNAPSHOT} beside it, applies the logged repairs and estimates again."]
    return "\n".join(lines)


def _graph(job: JobView) -> str:
    graph = job.get("causal_discovery", Graph)
    if graph is None:
        return "## Graph"
    return f"## Graph\n\nLearned by {markdown(graph.discovery_method)}; gate: {graph.gate.decision}."


def _estimation(job: JobView) -> str:
    effects = job.get("effect_estimator", Effects)
    lines = ["## Estimation", ""]
    lines.append("Each method runs again on the snapshot; each number must be the reported one.")
    absent = [e for e in (effects.effects if effects else ()) if e.status != "ok"]
    lines += [f"* {markdown(e.method)}: {spoken(e.status)} ({markdown(e.error or 'no reason given')})" for e in absent]
    return "\n".join(lines)


def _sensitivity(job: JobView) -> str:
    found = job.get("sensitivity_analyst", Sensitivities)
    lines = ["## Sensitivity", ""]
    lines += [f"* {markdown(spoken(r.method))}: {markdown(r.interpretation)}" for r in (found.results if found else ())]
    return "\n".join(lines)


def _conclusions(job: JobView) -> str:
    critique, words = job.get("critique", Critique), job.get("interpreter", Interpretation)
    effects = job.get("effect_estimator", Effects)
    lines = ["## Conclusions", ""]
    if critique:
        verdict = critique.verdict
        lines += [f"**Verdict: {verdict.decision}.**", ""]
        lines += [f"* {markdown(text)}" for text in (*verdict.reasons, *verdict.caps, *verdict.would_help)]
    for effect in effects.effects if effects else ():
        if effect.role == "primary" and effect.status == "ok":
            limits = interval(effect.ci_lower, effect.ci_upper)
            headline = f"{markdown(effect.method)} ({effect.estimand}): {number(effect.estimate)}, interval {limits}"
            lines += ["", headline]
    if words:
        lines += ["", *(f"{markdown(text)}\n" for text in words.narrative)]
    return "\n".join(lines)


REFERENCES = """\
## References

* Imbens and Rubin (2015), Causal Inference for Statistics, Social, and Biomedical Sciences.
* Hernán and Robins (2020), Causal Inference: What If.
* VanderWeele and Ding (2017), Sensitivity analysis in observational research, Annals of Internal Medicine 167.
* Cinelli and Hazlett (2020), Making sense of sensitivity, Journal of the Royal Statistical Society B 82."""
