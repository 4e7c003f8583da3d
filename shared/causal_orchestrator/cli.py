"""The command line ``causal``.

Exit codes: 0 for the verdicts ``answer`` and ``limited``, 1 for a failure, 2 for bad usage or bad input, 3 for the
verdict ``refuse`` (all outputs are written).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from causal_orchestrator.api import Analysis
    from causal_orchestrator.state import Job

OK, FAILED, BAD_INPUT, REFUSED = 0, 1, 2, 3

# Options that name one column, and options that name several (comma-separated); the names are Question's fields.
COLUMN_OPTIONS = (
    "treatment",
    "outcome",
    "running_variable",
    "unit",
    "time",
    "first_treated",
    "cluster",
    "weights",
    "cost",
    "population",
)
COLUMNS_OPTIONS = (
    "covariates",
    "effect_modifiers",
    "mediators",
    "instruments",
    "negative_controls",
    "treatment_proxies",
    "outcome_proxies",
    "strata",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    from causal_orchestrator.errors import CausalError, InputError, NotApplicable, NotFound

    try:
        code: int = arguments.run(arguments)
    except (InputError, NotApplicable, NotFound) as exc:
        return _complain(exc, arguments, BAD_INPUT)
    except CausalError as exc:
        return _complain(exc, arguments, FAILED)
    except KeyboardInterrupt:
        _write_error("interrupted; what was done so far is kept: see `causal jobs list`")
        return FAILED
    except BrokenPipeError:
        return FAILED
    return code


def _complain(exc: Any, arguments: argparse.Namespace, code: int) -> int:
    if getattr(arguments, "json", False):
        _write(json.dumps({"error": {"code": exc.code, "message": exc.message, "retriable": exc.retriable}}))
    _write_error(f"{exc.message} [{exc.code}]")
    return code


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write_error(text: str) -> None:
    sys.stderr.write(f"causal: {text}\n")


# --- what can be said ---------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="causal",
        description="From a table and a causal question to an effect with honest uncertainty.",
        epilog="Exit codes: 0 answer or limited, 1 failed, 2 bad usage or input, 3 refused (with all outputs).",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="write machine-readable JSON to standard output")
        return made

    analyze = command("analyze", _analyze, "Analyse a table from first look to report.")
    analyze.add_argument("data", help="a file: CSV, TSV, JSON, Excel, Parquet, Feather, Stata; gz or zip")
    _add_roles(analyze)
    analyze.add_argument("--methods", type=_names, default=None, help="methods to run, comma-separated")
    analyze.add_argument("--primary-method", default=None, help="the method whose estimate is the headline")
    analyze.add_argument("--discover", action="store_true", help="learn a causal graph first")
    analyze.add_argument("--plan-only", action="store_true", help="stop before outcome and treatment are joined")
    analyze.add_argument("--full", action="store_true", help="heavy methods, rehearsal and every figure too")
    analyze.add_argument("--max-iterations", type=int, default=None, help="rounds of critique and repair (default 3)")
    analyze.add_argument("--expertise", choices=("executive", "analyst", "data_scientist"), default=None)
    analyze.add_argument("--out", type=Path, default=None, help="folder for the documents (default: DATA's name)")

    estimate = command("estimate", _estimate, "Run one method.")
    estimate.add_argument("method", help="a key of `causal methods`")
    estimate.add_argument("data", help="a file, as for analyze")
    _add_roles(estimate)
    estimate.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method")
    estimate.add_argument(
        "--missing",
        choices=("fill", "drop"),
        default="fill",
        help="rows without a value of some covariate: filled in, with an indicator, or left out",
    )

    for name, run, text in (
        ("profile", _profile, "Say what a table is and who could play which role in it."),
        ("discover", _discover, "Learn a causal graph over covariates and treatment."),
    ):
        made = command(name, run, text)
        made.add_argument("data", help="a file, as for analyze")
        _add_roles(made)

    methods = command("methods", _methods, "List the methods, or describe one.")
    methods.add_argument("key", nargs="?", help="a method")

    example = command("example", _example, "Write a real sample data set.")
    example.add_argument("name", nargs="?", help="its name; without one the names are listed")
    example.add_argument("--out", type=Path, default=None, help="where to write it (default: NAME.csv)")

    benchmark = command("benchmark", _benchmark, "Run methods on simulated data and compare with the known effect.")
    benchmark.add_argument(
        "--design", default="confounded_linear", help="a simulated design (default confounded_linear)"
    )
    benchmark.add_argument("--methods", type=_names, default=["ols", "ipw", "psm", "aipw"], help="comma-separated")
    benchmark.add_argument("--rows", type=int, default=500, help="rows of a draw (default 500)")
    benchmark.add_argument("--draws", type=int, default=20, help="draws (default 20)")
    benchmark.add_argument("--seed", type=int, default=0)

    results = command("results", _results, "Print the results of a job.")
    results.add_argument("job", help="a job's ID")
    results.add_argument("--out", type=Path, default=None, help="write all its documents to this folder")
    _add_home(results)

    serve = command("serve", _serve, "Run the whole service on this machine: HTTP on loopback, with a generated key.")
    serve.add_argument("--host", default="127.0.0.1", help="a loopback address (default 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8080, help="default 8080")
    _add_home(serve)

    reproduce = command("reproduce", _reproduce, "Run a finished analysis again and compare every number.")
    reproduce.add_argument("folder", type=Path, help="a folder that `causal analyze --out` wrote")
    _add_home(reproduce)

    jobs = commands.add_parser("jobs", help="List, show, watch, cancel, erase or resume jobs.")
    verbs = jobs.add_subparsers(metavar="VERB", required=True)
    for verb, run, text in (
        ("list", _jobs_list, "List the jobs, newest first."),
        ("show", _jobs_show, "Show a job, its steps and who decided what."),
        ("watch", _jobs_watch, "Work on a job (and whatever else is open) until it ends."),
        ("cancel", _jobs_cancel, "Cancel a job."),
        ("erase", _jobs_erase, "Delete a job and everything derived from it."),
        ("resume", _jobs_resume, "Go on with a failed job from its last good step."),
    ):
        made = verbs.add_parser(verb, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="write machine-readable JSON to standard output")
        if verb == "list":
            made.add_argument("--status", default=None, help="only jobs of this status")
            made.add_argument("--limit", type=int, default=20, help="how many (default 20)")
        else:
            made.add_argument("job", help="a job's ID")
        _add_home(made)
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, default=None, help="state of the embedded service (default: CAUSAL_HOME)")


def _add_roles(parser: argparse.ArgumentParser) -> None:
    roles = parser.add_argument_group("roles (proposed from the data and the text where they are not given)")
    for name in COLUMN_OPTIONS:
        roles.add_argument(f"--{name.replace('_', '-')}", default=None, metavar="COLUMN")
    for name in COLUMNS_OPTIONS:
        roles.add_argument(f"--{name.replace('_', '-')}", type=_names, default=None, metavar="A,B")
    roles.add_argument(
        "--network", default=None, help="a column of neighbours' units, or an edge list; @FILE reads a file"
    )
    roles.add_argument("--cutoff", type=float, default=None, help="cutoff of the running variable")
    roles.add_argument("--estimand", choices=("ATE", "ATT", "ATC", "ATO", "LATE", "CATE"), default=None)
    roles.add_argument("--reference-level", default=None, help="the level of the treatment that is the control")
    roles.add_argument("--randomized", action="store_true", help="the treatment was assigned at random")
    roles.add_argument("--query", default=None, help='the question in words: "Did training raise earnings?"')
    roles.add_argument("--description", default=None, help="where the data come from, in words; @FILE reads a file")
    roles.add_argument("--confidence-level", type=float, default=None, help="default 0.95")
    roles.add_argument("--seed", type=int, default=None, help="seed of everything random (default 0)")
    _add_home(parser)


def _question(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the question as the options state it."""
    named = (*COLUMN_OPTIONS, *COLUMNS_OPTIONS, "cutoff", "estimand", "reference_level", "query")
    question = {name: getattr(arguments, name) for name in named if getattr(arguments, name) is not None}
    if arguments.randomized:
        question["randomized"] = True
    if arguments.description is not None:
        question["description"] = _text(arguments.description)
    if arguments.network is not None:
        question["network"] = _text(arguments.network)
    return question


def _text(value: str) -> str:
    """Return the text, or what stands in the file that ``@FILE`` names."""
    if not value.startswith("@"):
        return value
    from causal_orchestrator.errors import InputError

    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"the description cannot be read from {value[1:]!r}: {exc}", code="FILE_UNREADABLE") from exc


def _preferences(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the preferences as the options state them."""
    stated = {
        "methods": getattr(arguments, "methods", None),
        "primary_method": getattr(arguments, "primary_method", None),
        "max_iterations": getattr(arguments, "max_iterations", None),
        "user_expertise": getattr(arguments, "expertise", None),
        "confidence_level": arguments.confidence_level,
        "seed": arguments.seed,
    }
    flags = {
        "plan_only": getattr(arguments, "plan_only", False),
        "auto_discover": getattr(arguments, "discover", False),
    }
    kept = {name: value for name, value in stated.items() if value is not None}
    kept.update({name: True for name, value in flags.items() if value})
    return {**kept, **({"profile": "full"} if getattr(arguments, "full", False) else {})}


# --- commands -----------------------------------------------------------------------------------------------------


def _analyze(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import api

    out = arguments.out or Path(f"{Path(arguments.data).name.split('.')[0] or 'analysis'}-analysis")
    with _progress(quiet=arguments.json) as on_change:
        analysis = api.analyze(
            arguments.data,
            question=_question(arguments),
            preferences=_preferences(arguments),
            out=out,
            home=arguments.home,
            on_change=on_change,
        )
    if arguments.json:
        _write(json.dumps(dict(analysis.results or analysis.plan), ensure_ascii=False))
    elif arguments.plan_only:
        _show_plan(analysis)
    else:
        _show_analysis(analysis)
    return REFUSED if analysis.verdict == "refuse" else OK


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    """Show a progress bar with the current agent on standard error while the job moves."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=100)

        def on_change(job: Job) -> None:
            bar.update(task, completed=job.progress, description=(job.current_agent or job.status).lower())

        yield on_change


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False)


def _number(value: Any) -> str:
    """Return a number with four significant digits at least, and none lost before the point."""
    if value is None:
        return "–"
    number = float(value)
    if number and not 1e-4 <= abs(number) < 1e7:
        return f"{number:.3e}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _show_analysis(analysis: Analysis) -> None:
    """Print the headline, the table of methods, the verdict and where the documents are."""
    from rich.table import Table
    from rich.text import Text

    from causal_orchestrator.question import shown

    console = _console()
    results = analysis.results
    identification = results["identification"]
    console.print()
    title = f"Effect of {shown(str(results['treatment_variable']))} on {shown(str(results['outcome_variable']))}"
    console.print(Text(title, style="bold"))
    dataset = results["dataset"]
    console.print(
        Text(
            f"{dataset['n_rows']:,} rows · design: {identification['design']} · estimand: {identification['estimand']}"
        )
    )
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("", "method", "estimand"):
        table.add_column(name, no_wrap=True)
    level = f"{100 * _level(results):.4g} %"
    for name in ("estimate", "std. error", f"{level} from", "to", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in sorted(results["treatment_effects"], key=lambda e: e["role"] != "primary"):
        table.add_row(*_cells(entry), style="bold" if entry["role"] == "primary" else None)
    console.print()
    console.print(table)
    for entry in results["treatment_effects"]:
        if entry["status"] != "ok":
            console.print(Text(f"  {entry['method']}: {shown(entry['error'] or entry['status'], 160)}", style="dim"))
    console.print()
    verdict = results["verdict"]
    colour = {"answer": "green", "limited": "yellow", "refuse": "red"}[verdict["decision"]]
    console.print(Text.assemble(("Verdict: ", "bold"), (verdict["decision"], f"bold {colour}")))
    for label, lines in (
        ("", verdict["reasons"]),
        ("limit: ", verdict["caps"]),
        ("would help: ", verdict["would_help"]),
    ):
        for line in lines:
            console.print(Text(f"  {label}{line}"))
    broken = [warning["message"] for warning in results["warnings"] if warning["severity"] == "error"]
    for message in broken:
        console.print(Text(f"  failed: {shown(message, 300)}", style="red"))
    if analysis.out is not None:
        console.print()
        for name in ("report.html", "analysis.ipynb", "results.json", "manifest.json"):
            if (analysis.out / name).exists():
                console.print(Text(f"  {analysis.out / name}", style="dim"))


def _level(results: Mapping[str, Any]) -> float:
    """Return the confidence level of the headline."""
    return next((float(e["confidence_level"]) for e in results["treatment_effects"]), 0.95)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    """Return one method's row of the table."""
    mark = "▶" if entry["role"] == "primary" else ""
    p = entry["p_value"]
    numbers = [_number(entry[name]) for name in ("estimate", "std_error", "ci_lower", "ci_upper")]
    return [
        mark,
        entry["method"],
        entry["estimand"],
        *numbers,
        "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
    ]


def _show_plan(analysis: Analysis) -> None:
    """Print roles, design and plan with their reasons."""
    from rich.text import Text

    from causal_orchestrator.question import shown

    console = _console()
    plan, profile = analysis.plan, analysis.profile
    question = plan["question"]
    console.print(Text("Roles", style="bold"))
    for role, value in question.items():
        if role in (*COLUMN_OPTIONS, *COLUMNS_OPTIONS, "cutoff") and value not in (None, [], ()):
            names = ", ".join(shown(str(v)) for v in (value if isinstance(value, list) else [value]))
            how = "proposed" if role in profile.get("proposed", ()) else "given"
            console.print(Text(f"  {role:<18} {names}  ({how})"))
    console.print(Text(f"\nDesign: {plan['design']}, estimand {plan['estimand']}", style="bold"))
    for reason in plan["reasons"]:
        console.print(Text(f"  {reason}"))
    for blocker in plan["blockers"]:
        console.print(Text(f"  blocked: {blocker['message']} [{blocker['code']}]", style="red"))
    console.print(Text(f"\nPrimary method: {plan['primary'] or 'none'}", style="bold"))
    lacking: dict[str, list[str]] = {}
    for entry in plan["applicability"]:
        if entry["admissible"]:
            console.print(Text(f"  ✓ {entry['method']:<24} {'; '.join(entry['reasons'])}"))
        else:
            lacking.setdefault(entry["missing"], []).append(entry["method"])
    for what, methods in lacking.items():
        console.print(Text(f"  – {', '.join(methods)}: {what}", style="dim"))
    console.print(Text(f"\nPlan {plan['sha256'][:16]} is frozen; no outcome was joined to the treatment.", style="dim"))


def _estimate(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import api

    frame = api.read(arguments.data)
    options = dict(_option(text) for text in arguments.option)
    if arguments.confidence_level is not None:
        options["confidence_level"] = arguments.confidence_level
    options.setdefault("missing", arguments.missing)
    found = api.estimate(arguments.method, frame, _question(arguments), seed=arguments.seed or 0, **options)
    effect = found.to_effect(role="exploratory")
    if arguments.json:
        _write(effect.model_dump_json())
        return OK
    level = f"{100 * effect.confidence_level:.4g} %"
    _write(f"{effect.method} ({effect.estimand}): {_number(effect.estimate)}")
    if effect.std_error is not None:
        _write(f"  std. error {_number(effect.std_error)}, p = {_number(effect.p_value)} ({effect.inference})")
    if effect.ci_lower is not None:
        _write(f"  {level} interval [{_number(effect.ci_lower)}, {_number(effect.ci_upper)}], n = {effect.n:,}")
    for note in effect.notes:
        _write(f"  note: {note}")
    return OK


def _option(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; the value is JSON (or Python's None, True, False) where it parses as that, else text."""
    from causal_orchestrator.errors import InputError

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(f"an option is written NAME=VALUE, found {text!r}", code="OPTION_INVALID")
    try:
        return name, json.loads({"None": "null", "True": "true", "False": "false"}.get(value, value))
    except json.JSONDecodeError:
        return name, value


def _planned(arguments: argparse.Namespace, **preferences: Any) -> Analysis:
    from causal_orchestrator import api

    with _progress(quiet=arguments.json) as on_change:
        return api.analyze(
            arguments.data,
            question=_question(arguments),
            home=arguments.home,
            on_change=on_change,
            preferences={**_preferences(arguments), "plan_only": True, **preferences},
        )


def _profile(arguments: argparse.Namespace) -> int:
    from rich.table import Table
    from rich.text import Text

    from causal_orchestrator.question import shown

    analysis = _planned(arguments)
    if arguments.json:
        _write(json.dumps({"dataset": analysis.snapshot, "profile": analysis.profile}, ensure_ascii=False))
        return OK
    console = _console()
    snapshot, profile = analysis.snapshot, analysis.profile
    console.print(
        Text(
            f"{snapshot['n_rows']:,} rows × {snapshot['n_columns']} columns, {profile['structure'].replace('_', ' ')}",
            style="bold",
        )
    )
    table = Table(box=None, header_style="dim", padding=(0, 2), pad_edge=False)
    for name in ("column", "kind"):
        table.add_column(name)
    for name in ("missing", "distinct", "mean", "sd"):
        table.add_column(name, justify="right")
    for column in snapshot["columns"]:
        table.add_row(
            Text(shown(column["name"])),
            column["kind"],
            str(column["n_missing"]),
            str(column["n_unique"]),
            _number(column["mean"]),
            _number(column["std"]),
        )
    console.print(table)
    for role, candidates in profile["candidates"].items():
        for candidate in candidates[:3]:
            console.print(
                Text(
                    f"  {role:<18} {shown(candidate['column'])} ({candidate['score']:.2f}): {'; '.join(candidate['reasons'])}"
                )
            )
    for note in (*snapshot["warnings"], *profile["warnings"]):
        console.print(Text(f"  {note['code']}: {note['message']}", style="yellow"))
    return OK


def _discover(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import runtime
    from causal_orchestrator.api import TENANT
    from causal_orchestrator.backends import connect
    from causal_orchestrator.errors import EstimationError
    from causal_orchestrator.question import shown
    from causal_orchestrator.settings import Settings

    analysis = _planned(arguments, auto_discover=True)
    backends = connect(Settings.from_environment(home=arguments.home))
    job, steps = runtime.get_job(backends, analysis.job_id, tenant=TENANT)
    graph = runtime.view(backends, job, steps).results.get("causal_discovery")
    if graph is None:
        raise EstimationError("no causal graph could be learned from these data", code="DISCOVERY_FAILED")
    if arguments.json:
        _write(json.dumps(graph, ensure_ascii=False))
        return OK
    for edge in graph["edges"]:
        arrow = {"directed": "→", "undirected": "—", "bidirected": "↔", "circle": "o→"}[edge["type"]]
        _write(f"{shown(edge['source'])} {arrow} {shown(edge['target'])}  {edge['confidence']:.2f}")
    gate = graph["gate"]
    _write(f"gate: {gate['decision']} ({gate['confidence']:.2f}): {'; '.join(gate['reasons'])}")
    return OK


def _methods(arguments: argparse.Namespace) -> int:
    from causal_orchestrator.estimators import ESTIMATORS, resolve

    chosen = [resolve(arguments.key)] if arguments.key else list(ESTIMATORS)
    if arguments.json:
        fields = ("title", "estimands", "designs", "needs", "treatments", "outcomes", "assumes", "options")
        _write(json.dumps({key: {f: getattr(ESTIMATORS[key], f) for f in fields} for key in chosen}))
        return OK
    for key in chosen:
        spec = ESTIMATORS[key]
        _write(f"{key:<22} {', '.join(spec.estimands):<15} {spec.title}")
        if arguments.key:
            _write(f"  designs     {', '.join(spec.designs)}")
            _write(f"  needs       {', '.join(('treatment', 'outcome', *spec.needs))}")
            _write(f"  treatments  {', '.join(spec.treatments)}; outcomes {', '.join(spec.outcomes)}")
            _write(f"  options     {', '.join(spec.options)}")
            _write("  and always  confidence_level, estimand and se where they apply, missing (fill, drop)")
            for assumption in spec.assumes:
                _write(f"  assumes     {assumption}")
    return OK


def _example(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import examples

    if not arguments.name:
        for name, example in examples.EXAMPLES.items():
            _write(f"{name:<12} {example.title}")
        return OK
    path = arguments.out or Path(f"{arguments.name}.csv")
    example = examples.write(arguments.name, path)
    _write(f"{path}: {example.title}\ntry: causal analyze {path} {example.command}")
    return OK


def _benchmark(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from causal_orchestrator import benchmark

    rows = benchmark.run(
        arguments.design, arguments.methods, rows=arguments.rows, draws=arguments.draws, seed=arguments.seed
    )
    if arguments.json:
        _write(json.dumps([asdict(row) for row in rows]))
        return OK
    _write(f"{'method':<24}{'estimand':<10}{'draws':>6}{'bias':>10}{'RMSE':>10}{'coverage':>10}{'seconds':>10}")
    for row in rows:
        coverage = "–" if row.coverage is None else f"{row.coverage:.2f}"
        _write(
            f"{row.method:<24}{row.estimand:<10}{row.draws:>6}{row.bias:>10.4f}{row.rmse:>10.4f}{coverage:>10}{row.seconds:>10.3f}"
        )
    return OK


# --- jobs ---------------------------------------------------------------------------------------------------------


def _service(arguments: argparse.Namespace) -> tuple[Any, Any]:
    from causal_orchestrator.backends import connect
    from causal_orchestrator.settings import Settings

    settings = Settings.from_environment(home=arguments.home)
    return settings, connect(settings)


def _row(job: Job) -> Mapping[str, Any]:
    error = None if job.error is None else {"code": job.error.code, "message": job.error.message}
    return {
        "job_id": job.id,
        "status": job.status,
        "progress": job.progress,
        "current_agent": job.current_agent,
        "created_at": job.created_at.isoformat(),
        "treatment": job.question.treatment,
        "outcome": job.question.outcome,
        "error": error,
    }


def _jobs_list(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import runtime
    from causal_orchestrator.api import TENANT
    from causal_orchestrator.question import shown

    _, backends = _service(arguments)
    jobs = runtime.list_jobs(backends, tenant=TENANT, status=arguments.status, limit=arguments.limit)
    if arguments.json:
        _write(json.dumps([_row(job) for job in jobs]))
        return OK
    for job in jobs:
        roles = f"{shown(job.question.treatment or '?', 24)} → {shown(job.question.outcome or '?', 24)}"
        _write(f"{job.id}  {job.created_at:%Y-%m-%d %H:%M}  {job.status:<20} {job.progress:>3} %  {roles}")
    if not jobs:
        _write("no jobs yet; start one with `causal analyze DATA`")
    return OK


def _jobs_show(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import runtime
    from causal_orchestrator.api import TENANT

    _, backends = _service(arguments)
    job, steps = runtime.get_job(backends, arguments.job, tenant=TENANT)
    if arguments.json:
        rows = [step.model_dump(mode="json", exclude={"result", "files"}) for step in steps]
        _write(json.dumps({**_row(job), "steps": rows}))
        return OK
    _write(f"{job.id}  {job.status}  {job.progress} %")
    for step in steps:
        ended = step.ended_at and step.started_at and (step.ended_at - step.started_at).total_seconds()
        took = f"{ended:6.1f} s" if ended is not None else "      –"
        _write(
            f"  {step.number:>3} {step.agent:<22} {step.state:<10} {took}  {step.decision.by}: {step.decision.reasoning}"
        )
        if step.error is not None:
            _write(f"      {step.error.message} [{step.error.code}]")
    return OK


def _jobs_watch(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import laptop, runtime
    from causal_orchestrator.api import TENANT

    settings, backends = _service(arguments)
    runtime.get_job(backends, arguments.job, tenant=TENANT)
    with _progress(quiet=arguments.json) as on_change:
        laptop.run(settings, job_ids=[arguments.job], on_change=on_change)
    return _jobs_show(arguments)


def _jobs_cancel(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import runtime
    from causal_orchestrator.api import TENANT

    _, backends = _service(arguments)
    job = runtime.cancel(backends, arguments.job, tenant=TENANT)
    _write(json.dumps(_row(job)) if arguments.json else f"{job.id} is {job.status}")
    return OK


def _jobs_erase(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import laptop, runtime
    from causal_orchestrator.api import TENANT

    settings, backends = _service(arguments)
    receipt = runtime.erase(backends, arguments.job, tenant=TENANT)
    laptop.scrub(settings)
    when = receipt["erased_at"].isoformat()
    _write(json.dumps({"job_id": arguments.job, "erased_at": when}) if arguments.json else f"erased at {when}")
    return OK


def _jobs_resume(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import runtime
    from causal_orchestrator.api import TENANT

    _, backends = _service(arguments)
    runtime.resume(backends, arguments.job, tenant=TENANT)
    return _jobs_watch(arguments)


def _results(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import api

    _, backends = _service(arguments)
    analysis = api.collect(backends, arguments.job, arguments.out)
    if arguments.json or not analysis.results:
        _write(json.dumps(dict(analysis.results or analysis.plan), ensure_ascii=False))
    else:
        _show_analysis(analysis)
    return REFUSED if analysis.verdict == "refuse" else OK


def _serve(arguments: argparse.Namespace) -> int:
    from causal_orchestrator.settings import Settings

    try:
        from causal_orchestrator.http.serve import serve
    except ModuleNotFoundError as exc:
        from causal_orchestrator.errors import InputError

        raise InputError(f"{exc.name} is not installed; the extra `service` brings it", code="EXTRA_MISSING") from exc
    settings = Settings.from_environment(home=arguments.home)
    serve(settings, host=arguments.host, port=arguments.port, announce=_write)
    return OK


def _reproduce(arguments: argparse.Namespace) -> int:
    from causal_orchestrator import reproduce

    with _progress(quiet=arguments.json) as on_change:
        comparison = reproduce.run(arguments.folder, home=arguments.home, on_change=on_change)
    if arguments.json:
        _write(json.dumps(comparison.as_dict()))
    else:
        _write(comparison.sentence)
        for line in comparison.differences:
            _write(f"  {line}")
    return OK if comparison.identical else FAILED


if __name__ == "__main__":
    sys.exit(main())
