"""The Python API: analyse a table, run one method, list the methods."""

from __future__ import annotations

import dataclasses
import html
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from causal_orchestrator import errors, estimators, laptop, runtime
from causal_orchestrator.backends import connect
from causal_orchestrator.errors import CausalError, InputError
from causal_orchestrator.question import Question
from causal_orchestrator.question import ask as make_question
from causal_orchestrator.settings import Settings
from causal_orchestrator.state import Job, Step

if TYPE_CHECKING:
    import pandas as pd

    from causal_orchestrator.backends.ports import Backends
    from causal_orchestrator.problem import Estimate

TENANT = "local"


@dataclass(frozen=True)
class Analysis:
    """What an analysis found, and where its documents lie.

    `results` is the dict of ``results.json`` (empty where only the plan was asked for), `plan` the frozen plan,
    `profile` the roles with their candidates.
    """

    job_id: str
    status: str
    results: Mapping[str, Any]
    plan: Mapping[str, Any]
    profile: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    out: Path | None

    @property
    def verdict(self) -> str | None:
        """``answer``, ``limited`` or ``refuse``; None where only the plan was asked for."""
        found = self.results.get("verdict", {}).get("decision")
        return None if found is None else str(found)

    @property
    def headline(self) -> Mapping[str, Any] | None:
        """The entry of ``treatment_effects`` that the plan made its primary."""
        entries = self.results.get("treatment_effects", ())
        return next((e for e in entries if e["role"] == "primary"), None)

    @property
    def effects(self) -> pd.DataFrame:
        """One row per method: estimate, standard error, interval, and what it is an estimate of."""
        import pandas as pd

        columns = [
            "method",
            "estimand",
            "estimate",
            "std_error",
            "ci_lower",
            "ci_upper",
            "p_value",
            "n",
            "role",
            "status",
        ]
        entries = self.results.get("treatment_effects", ())
        return pd.DataFrame([{c: entry[c] for c in columns} for entry in entries], columns=columns)

    @property
    def report_path(self) -> Path | None:
        """Where the report lies."""
        return self._path("report.html")

    @property
    def notebook_path(self) -> Path | None:
        """Where the notebook lies."""
        return self._path("analysis.ipynb")

    def _path(self, name: str) -> Path | None:
        path = None if self.out is None else self.out / name
        return path if path is not None and path.exists() else None

    def _repr_html_(self) -> str:
        summary = str(self.results.get("interpretation", {}).get("summary", ""))
        title = html.escape(f"{self.status.lower()} · verdict: {self.verdict or 'plan only'}")
        return f"<p><b>{title}</b></p><p>{html.escape(summary)}</p>{self.effects.to_html(index=False, escape=True)}"


def analyze(
    data: pd.DataFrame | str | Path, *, question: Question | Mapping[str, Any] | None = None,
    preferences: Mapping[str, Any] | None = None, out: str | Path | None = None, home: str | Path | None = None,
    on_change: Callable[[Job], None] | None = None, **roles: Any,
) -> Analysis:  # fmt: skip
    """Analyse a table from first look to report.

    Parameters
    ----------
    data
        A frame, or the path of a file in any format that the product reads.
    question
        The question; `roles` (``treatment=``, ``outcome=``, ``query=``, …: the fields of `Question`) add to it.
    preferences
        Fields of `question.Preferences`, added to those of the question.
    out
        Folder for results.json, report.html, analysis.ipynb, figures, tables and manifest.json; none is written without.
    home
        Folder of the embedded service's state; by default CAUSAL_HOME or the user's data folder.
    on_change
        Called with the job whenever it has moved.

    Raises
    ------
    InputError, DesignError, EstimationError
        As the data and the question deserve; a refusal is no error but a verdict.
    """
    asked = _question(question, preferences, roles)
    settings = Settings.from_environment(home=None if home is None else Path(home))
    backends = connect(settings)
    job_id = runtime.start_job(backends, asked, _source(data, backends), tenant=TENANT)
    laptop.run(settings, job_ids=[job_id], on_change=on_change)
    return collect(backends, job_id, None if out is None else Path(out))


def _question(
    question: Question | Mapping[str, Any] | None, preferences: Mapping[str, Any] | None, roles: Mapping[str, Any]
) -> Question:
    base = (
        question.model_dump(mode="json", exclude_unset=True) if isinstance(question, Question) else dict(question or {})
    )
    merged = {**base, **roles}
    if preferences:
        merged["preferences"] = {**merged.get("preferences", {}), **preferences}
    return make_question(merged)


def _source(data: pd.DataFrame | str | Path, backends: Backends) -> Mapping[str, Any]:
    """Say where the data come from; a frame is first stored as an object."""
    if isinstance(data, str | Path):
        return {"kind": "uri", "uri": str(data)}
    from causal_orchestrator.datasets.snapshot import snapshot_frame

    _, parquet = snapshot_frame(data)
    stored = backends.objects.create(f"{TENANT}/uploads/{backends.new_id()}/frame.parquet", parquet)
    return {"kind": "object", "name": stored.name, "generation": stored.generation}


def collect(backends: Backends, job_id: str, out: Path | None) -> Analysis:
    """Gather what a finished job left; write its documents to `out` if given.

    Raises
    ------
    CausalError
        Of the kind and with the code that ended the job.
    """
    job, steps = runtime.get_job(backends, job_id, tenant=TENANT)
    if job.state not in ("completed", "rejected"):
        raise _ended(job)
    seen = runtime.view(backends, job, steps)
    results: Mapping[str, Any] = {}
    if "reporter" in seen.results:
        results = json.loads(runtime.open_file(backends, job_id, "results.json", tenant=TENANT))
    if out is not None:
        export(backends, job, steps, out)
    return Analysis(
        job_id=job_id, status=job.status, results=results, plan=seen.results.get("study_design", {}),
        profile=seen.results.get("data_profiler", {}), snapshot=seen.results.get("dataset_fetcher", {}), out=out,
    )  # fmt: skip


def _ended(job: Job) -> CausalError:
    """Return the error that ended a job, as it was raised."""
    if job.error is None:
        return CausalError(f"the job is {job.status.lower()}", code=job.status)
    kinds = {"input": errors.InputError, "design": errors.DesignError, "estimation": errors.EstimationError}
    return kinds.get(job.error.kind, CausalError)(job.error.message, code=job.error.code)


def export(backends: Backends, job: Job, steps: list[Step], out: Path) -> None:
    """Write the finished documents of a job to a folder; its times and attempts go into the manifest alone."""
    from causal_orchestrator.reporting import provenance

    report = next((s for s in reversed(steps) if s.state == "succeeded" and s.agent == "reporter"), None)
    if report is None or report.result is None:
        return
    for relative in sorted({*report.result["artifacts"].values(), "manifest.json"}):
        data = runtime.open_file(backends, job.id, relative, tenant=TENANT)
        target = out / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(provenance.with_run(data, _run(job, steps)) if relative == "manifest.json" else data)


def _run(job: Job, steps: list[Step]) -> dict[str, Any]:
    """Return what differs from run to run: times, attempts, and who decided each step."""
    rows = [
        {
            "step": step.number, "agent": step.agent, "state": step.state, "attempts": step.attempt,
            "seconds": (step.ended_at - step.started_at).total_seconds() if step.ended_at and step.started_at else None,
            "decided_by": step.decision.by, "reasoning": step.decision.reasoning,
        }
        for step in steps
    ]  # fmt: skip
    ended = None if job.ended_at is None else job.ended_at.isoformat()
    return {"started_at": job.created_at.isoformat(), "ended_at": ended, "steps": rows}


def estimate(
    method: str, /, frame: pd.DataFrame, question: Question | Mapping[str, Any], *, seed: int = 0, **options: Any
) -> Estimate:
    """Run one method on a frame.

    Parameters
    ----------
    method
        A key or alias of ``methods()``.
    frame
        The data; it is not changed.
    question
        Treatment, outcome and whatever else the method needs.
    options
        As ``causal methods KEY`` lists them; to every method ``confidence_level`` (0.95) and ``missing``: ``"fill"``
        (default) keeps rows without a value of some covariate, with an indicator, ``"drop"`` takes complete cases.

    Raises
    ------
    InputError
        If a column, a role or an option is wrong.
    NotApplicable, DesignError, EstimationError
        If the method lacks something, the data cannot support it, or it gave no number.
    """
    from causal_orchestrator import problem
    from causal_orchestrator.cautions import cautioned

    asked = question if isinstance(question, Question) else make_question(question)
    key = estimators.resolve(method)
    level = float(options.pop("confidence_level", asked.preferences.confidence_level))
    if not 0.5 <= level < 1:
        raise InputError(f"confidence_level must lie in [0.5, 1), found {level}", code="OPTION_INVALID")
    missing = options.pop("missing", "fill")
    if missing not in get_args(problem.Missing):
        raise InputError(f"missing must be one of {', '.join(get_args(problem.Missing))}, found {str(missing)[:64]!r}", code="OPTION_INVALID", details={"option": "missing"})  # fmt: skip
    made = problem.build(frame, asked, seed=seed, confidence_level=level, missing=missing)
    if asked.estimand is not None and asked.estimand in estimators.choices(key, "estimand"):
        options.setdefault("estimand", asked.estimand)
    found = cautioned(made, estimators.estimate(key, made, **options))
    return dataclasses.replace(
        found, notes=(*(note.message for note in made.notes), *_aside(asked, found), *found.notes)
    )


def _aside(asked: Question, found: Estimate) -> tuple[str, ...]:
    """Say it where another estimand was asked about than the method has."""
    if asked.estimand in (None, found.estimand, "CATE") or (asked.estimand == "LATE" and found.estimand == "WLATE"):
        return ()
    return (f"the question asks about the {asked.estimand}; this is the {found.estimand}",)


def methods() -> pd.DataFrame:
    """Return every method with its estimands, designs, needs and assumptions, one row each."""
    import pandas as pd

    rows = [
        {
            "method": key, "title": spec.title, "estimands": ", ".join(spec.estimands),
            "designs": ", ".join(spec.designs), "needs": ", ".join(spec.needs), "treatments": ", ".join(spec.treatments),
            "assumes": "; ".join(spec.assumes), "options": ", ".join(spec.options),
        }
        for key, spec in estimators.ESTIMATORS.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("method")


def read(path: str | Path) -> pd.DataFrame:
    """Return the rows of any file that the product reads, by its own reading policy.

    Raises
    ------
    InputError
        With the code of whatever is wrong with the file.
    """
    from causal_orchestrator.datasets import snapshot, sources, views

    with tempfile.TemporaryDirectory() as folder:
        raw, made = Path(folder) / "raw", Path(folder) / "snapshot"
        raw.mkdir()
        made.mkdir()
        snapshot.snapshot(sources.fetch(str(path), raw), made)
        frame: pd.DataFrame = views.load(made / snapshot.SNAPSHOT)
    return frame


def load(path: str | Path, **kwargs: Any) -> pd.DataFrame:
    """Return the rows of a snapshot as the analysis saw them (`repairs` and `filters` applied)."""
    from causal_orchestrator.datasets import views

    frame: pd.DataFrame = views.load(Path(path), **kwargs)
    return frame
