"""Whole offline analyses of traps and clean sets: how often is a trap approved, how often a clean set answered (HON-1).

Usage: ``python benchmarks/traps.py [--seeds 15] [--first 0] [--minutes 60] [--workers 1] [--kinds a,b] [--fresh] [--keep]``. Every analysis runs through the
loop with all agents but the interpreter, figures and notebook, and without learners of each row's effect. Verdicts are kept in ``benchmarks/results/traps.jsonl``
together with the code's fingerprint, so that a run which was cut short goes on. Those of other code are run again if they are due, and otherwise left out,
or kept and told in the table with ``--keep``. ``--first`` starts at another seed, so that rules can be judged on draws that nobody saw.
``benchmarks/results/traps.md`` is written from what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Not this folder: a library that imports `coverage` means the one of that name.
sys.path[:] = [str(ROOT), str(ROOT / "shared"), *(p for p in sys.path if Path(p) != Path(__file__).parent)]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benchmarks.trap_data import GENERATORS, Generator  # noqa: E402
from scipy import stats  # noqa: E402

from causal_orchestrator import api, laptop, runtime  # noqa: E402
from causal_orchestrator.agents import AGENTS  # noqa: E402
from causal_orchestrator.backends import connect  # noqa: E402
from causal_orchestrator.errors import CausalError, DesignError, InputError  # noqa: E402
from causal_orchestrator.settings import Settings  # noqa: E402

REDUCED = {
    name: spec for name, spec in AGENTS.items() if name not in ("interpreter", "visualizer", "notebook_generator")
}
TABLE = "benchmarks.traps:REDUCED"
# Where arms are compared given covariates; the learners of each row's effect say nothing to a gate and take most time.
METHODS = ("difference_in_means", "ols", "regression_adjustment", "ipw", "aipw", "psm")
RESULTS = Path(__file__).parent / "results"
LEDGER, REPORT = RESULTS / "traps.jsonl", RESULTS / "traps.md"
GOALS = {"false approvals": 0.05, "clean sets answered": 0.80, "clean sets refused": 0.05}


@dataclass(frozen=True)
class Row:
    """One analysis: the verdict, the codes of what failed, and the headline with its interval."""

    kind: str
    seed: int
    code: str
    verdict: str
    design: str
    codes: tuple[str, ...]
    primary: str | None
    estimate: float | None
    ci_lower: float | None
    ci_upper: float | None
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kinds", default="", help="names of generators, by commas")
    parser.add_argument("--keep", action="store_true", help="keep verdicts of other code that are not run again")
    parser.add_argument("--fresh", action="store_true", help="run again what is there")
    parser.add_argument("--quick", action="store_true", help="write no table")
    arguments = parser.parse_args()
    names = [name for name in arguments.kinds.split(",") if name] or list(GENERATORS)
    code = fingerprint()
    rows = [] if arguments.fresh else [row for row in known() if row.code == code]
    done = {(row.kind, row.seed) for row in rows}
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    due = [(name, seed, code) for seed in seeds for name in names if (name, seed) not in done]
    other = {(row.kind, row.seed): row for row in known() if row.code != code} if arguments.keep else {}
    until = time.monotonic() + 60 * arguments.minutes
    with ProcessPoolExecutor(arguments.workers, initializer=os.nice, initargs=(arguments.nice,)) as pool:
        for batch in batched(due, 2 * arguments.workers):
            if time.monotonic() > until:
                break
            for row in pool.map(run, *zip(*batch, strict=True)):
                rows.append(row)
                note(row)
    if not arguments.quick:
        RESULTS.mkdir(exist_ok=True)
        made = {(row.kind, row.seed) for row in rows}
        rows += [row for place, row in other.items() if place not in made]
        LEDGER.write_text("".join(f"{line(row)}\n" for row in sorted(rows, key=lambda r: (r.kind, r.seed))))
        REPORT.write_text(report(rows), encoding="utf-8")


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def fingerprint() -> str:
    """Return a hash of everything that a verdict depends on: the package's sources and the generators."""
    files = [*sorted((ROOT / "shared").rglob("*.py")), Path(__file__).with_name("trap_data.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def known() -> list[Row]:
    lines = LEDGER.read_text().splitlines() if LEDGER.exists() else []
    return [Row(**{**found, "codes": tuple(found["codes"])}) for found in map(json.loads, lines)]


def line(row: Row) -> str:
    return json.dumps(vars(row), sort_keys=True)


def note(row: Row) -> None:
    """Keep a row at once, so that a run can be cut short, and say how it went."""
    RESULTS.mkdir(exist_ok=True)
    with LEDGER.open("a") as ledger:
        ledger.write(f"{line(row)}\n")
    fine = row.verdict in GENERATORS[row.kind].permitted
    sys.stdout.write(f"{'  ' if fine else '! '}{row.kind} {row.seed}: {row.verdict} {row.design} {row.primary} {','.join(row.codes)} ({row.seconds:.0f} s)\n")  # fmt: skip
    sys.stdout.flush()


def run(name: str, seed: int, code: str) -> Row:
    """Analyse one table; data or designs that are turned away are refused, any other error is a failure of ours."""
    began = time.perf_counter()
    frame, question = GENERATORS[name].make(seed)
    try:
        found = analyse(frame, question, seed)
    except (InputError, DesignError) as exc:
        found = {"verdict": "refuse", "design": "none", "codes": (exc.code,)}
    except CausalError as exc:
        found = {"verdict": "failed", "design": "none", "codes": (exc.code,)}
    told = {"primary": None, "estimate": None, "ci_lower": None, "ci_upper": None, **found}
    return Row(kind=name, seed=seed, code=code, seconds=round(time.perf_counter() - began, 1), **told)


def analyse(frame: Any, question: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Run the loop in this process, in a store of its own, and return what the verdict rests on."""
    elsewhere = any(question.get(role) for role in ("instruments", "running_variable", "unit"))
    asked = api._question(question, {"seed": seed, **({} if elsewhere else {"methods": METHODS})}, {})
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), workers=0)
        backends = connect(settings)
        job = runtime.start_job(backends, asked, api._source(frame, backends), tenant=api.TENANT)
        ended = laptop.run(settings, job_ids=[job], agents=TABLE)[0]
        if ended.state not in ("completed", "rejected"):
            raise api._ended(ended)
        _, steps = runtime.get_job(backends, job, tenant=api.TENANT)
        seen = runtime.view(backends, ended, steps)
    verdict, plan = seen.results["critique"]["verdict"], seen.results["study_design"]
    effects = seen.results.get("effect_estimator", {}).get("effects", ())
    head: Mapping[str, Any] = next((e for e in effects if e["role"] == "primary"), {})
    numbers = {key: head.get(key) for key in ("estimate", "ci_lower", "ci_upper")}
    return {"verdict": verdict["decision"], "design": plan["design"], "codes": tuple(verdict["codes"]), "primary": plan["primary"], **numbers}  # fmt: skip


# --- the table ------------------------------------------------------------------------------------------------------


def report(rows: Sequence[Row]) -> str:
    """Return the table: the three rates with exact upper (or lower) 95 % limits, then every kind."""
    traps = [row for row in rows if GENERATORS[row.kind].trap]
    clean = [row for row in rows if not GENERATORS[row.kind].trap]
    approved = sum(row.verdict == "answer" for row in traps)
    answered = sum(row.verdict == "answer" for row in clean)
    refused = sum(row.verdict == "refuse" for row in clean)
    covered = [_covers(row) for row in clean if GENERATORS[row.kind].truth is not None and row.ci_lower is not None]
    codes = ", ".join(f"{code} {n}" for code, n in sorted(Counter(row.code for row in rows).items())) or "none"
    head = [
        "# Traps and clean sets",
        "",
        f"Made by `python benchmarks/traps.py`: {len(rows)} whole offline analyses of {len({r.kind for r in rows})} kinds of tables "
        f"(rows by code: {codes}). What is permitted was fixed in `benchmarks/trap_data.py` before any run.",
        "",
        "| what | rate | 95 % limit | goal |",
        "|---|---|---|---|",
        f"| traps approved (`answer`) | {_share(approved, len(traps))} | at most {_upper(approved, len(traps)):.1%} | ≤ 5 % |",
        f"| clean sets answered | {_share(answered, len(clean))} | at least {_lower(answered, len(clean)):.1%} | ≥ 80 % |",
        f"| clean sets refused | {_share(refused, len(clean))} | at most {_upper(refused, len(clean)):.1%} | ≤ 5 % |",
        f"| clean sets' headline interval holds the truth | {_share(sum(covered), len(covered))} | at least {_lower(sum(covered), len(covered)):.1%} | 95 % |",
        "",
        "| kind | what | permitted | n | answer | limited | refuse | failed | most frequent codes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    body = [_kind(name, made, [r for r in rows if r.kind == name]) for name, made in GENERATORS.items()]
    return "\n".join([*head, *(text for text in body if text), ""])


def _kind(name: str, made: Generator, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    counts = {
        verdict: sum(row.verdict == verdict for row in rows) for verdict in ("answer", "limited", "refuse", "failed")
    }
    codes: dict[str, int] = {}
    for row in rows:
        for code in row.codes:
            codes[code] = codes.get(code, 0) + 1
    common = ", ".join(f"{code} {n}" for code, n in sorted(codes.items(), key=lambda item: (-item[1], item[0]))[:4])
    wrong = sum(n for verdict, n in counts.items() if verdict not in made.permitted)
    return f"| {'**' if wrong else ''}{name}{'**' if wrong else ''} | {made.about} | {', '.join(made.permitted)} | {len(rows)} | {counts['answer']} | {counts['limited']} | {counts['refuse']} | {counts['failed']} | {common} |"  # fmt: skip


def _covers(row: Row) -> bool:
    truth = GENERATORS[row.kind].truth
    return bool(truth is not None and row.ci_lower is not None and row.ci_upper is not None and row.ci_lower <= truth <= row.ci_upper)  # fmt: skip


def _share(k: int, n: int) -> str:
    return f"{k} of {n} ({k / n:.1%})" if n else "none"


def _upper(k: int, n: int) -> float:
    """Return the one-sided exact 95 % upper limit of a share."""
    return float(stats.binomtest(k, n, alternative="less").proportion_ci(0.95).high) if n else 1.0


def _lower(k: int, n: int) -> float:
    return float(stats.binomtest(k, n, alternative="greater").proportion_ci(0.95).low) if n else 0.0


if __name__ == "__main__":
    main()
