"""The main job on real data, through the real loop, as a person runs it: IN-7, IN-8, JOB-1 to JOB-5, OUT-1 to OUT-7."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from causal_orchestrator import examples, runtime
from causal_orchestrator.agents import AGENTS
from causal_orchestrator.backends import connect
from causal_orchestrator.settings import Settings

pytestmark = pytest.mark.xdist_group("flow")

COVARIATES = "age,educ,black,hisp,marr,nodegree,re74,re75"
# Dehejia and Wahba (1999), table 3: 1,794; the standard error is Welch's, by hand from the arms' variances.
PUBLISHED, WELCH = 1794.34, 670.997
CENT = 0.005


def causal(*arguments: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CAUSAL_HOME": str(home)}
    command = [sys.executable, "-m", "causal_orchestrator.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    examples.write("lalonde", folder / "lalonde.csv")
    return folder


def analyse(place: Path, name: str) -> subprocess.CompletedProcess[str]:
    return causal(
        "analyze", "lalonde.csv", "--treatment", "treat", "--outcome", "re78", "--covariates", COVARIATES,
        "--randomized", "--discover", "--out", name, home=place / f"home-{name}", cwd=place,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(place: Path) -> subprocess.CompletedProcess[str]:
    return analyse(place, "first")


@pytest.fixture(scope="module")
def results(place: Path, first: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert first.returncode == 0, first.stderr
    found: dict[str, Any] = json.loads((place / "first" / "results.json").read_text(encoding="utf-8"))
    return found


def primary(results: dict[str, Any]) -> dict[str, Any]:
    return next(e for e in results["treatment_effects"] if e["role"] == "primary")


def test_the_experiment_gives_the_published_effect(results: dict[str, Any]) -> None:
    effect = primary(results)
    assert effect["method"] == "difference_in_means"
    assert effect["estimate"] == pytest.approx(PUBLISHED, abs=CENT)
    assert effect["std_error"] == pytest.approx(WELCH, abs=CENT)
    assert results["verdict"]["decision"] == "answer"


def test_the_table_is_readable_at_the_end(first: subprocess.CompletedProcess[str]) -> None:
    assert "1,794" in first.stdout
    assert "Verdict: answer" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr


def test_every_agent_takes_its_turn_and_none_fails(place: Path, results: dict[str, Any]) -> None:
    backends = connect(Settings(home=place / "home-first"))
    job = runtime.list_jobs(backends, tenant="local")[0]
    _, steps = runtime.get_job(backends, job.id, tenant="local")
    asked_for = {"rehearsal"}  # a rehearsal takes minutes and comes with --full
    assert {step.agent for step in steps if step.state == "succeeded"} == set(AGENTS) - asked_for
    assert [step.number for step in steps] == list(range(len(steps)))
    assert job.status == "COMPLETED"


def test_nothing_saw_outcome_and_treatment_together_before_the_plan_was_frozen(
    place: Path, results: dict[str, Any]
) -> None:
    backends = connect(Settings(home=place / "home-first"))
    job = runtime.list_jobs(backends, tenant="local")[0]
    _, steps = runtime.get_job(backends, job.id, tenant="local")
    frozen = next(step.number for step in steps if AGENTS[step.agent].freezes)
    before = [read for step in steps[: frozen + 1] for read in step.reads]
    assert before
    assert all(read.view != "all" and not {"treat", "re78"} <= set(read.columns) for read in before)
    assert job.plan_sha256 == results["analysis_plan"]["sha256"]
    assert job.unblinded_at is not None


def test_two_runs_give_identical_bytes(place: Path, results: dict[str, Any]) -> None:
    assert analyse(place, "second").returncode == 0
    one, two = ((place / name / "results.json").read_bytes() for name in ("first", "second"))
    assert one == two


def test_a_run_can_be_reproduced_from_its_own_folder(place: Path, results: dict[str, Any]) -> None:
    done = causal("reproduce", "first", "--json", home=place / "home-again", cwd=place)
    said = json.loads(done.stdout)
    assert said["differences"] == []
    assert (done.returncode, said["identical"]) == (0, True)


def test_a_changed_number_is_noticed_by_reproduce(place: Path, results: dict[str, Any]) -> None:
    copy = place / "changed"
    copy.mkdir(exist_ok=True)
    for name in ("manifest.json", "snapshot.parquet"):
        (copy / name).write_bytes((place / "first" / name).read_bytes())
    text = (place / "first" / "results.json").read_text(encoding="utf-8")
    (copy / "results.json").write_text(text.replace("1794.34", "1794.35"), encoding="utf-8")
    assert causal("reproduce", "changed", home=place / "home-again", cwd=place).returncode == 1


def test_the_notebook_ran_and_asserts_the_results(place: Path, results: dict[str, Any]) -> None:
    notebook = nbformat.read(place / "first" / "analysis.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.execution_count for cell in code)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert any("assert" in cell.source for cell in code)


def test_the_documents_lie_where_the_results_say(place: Path, results: dict[str, Any]) -> None:
    for path in (*results["artifacts"].values(), "report.html", "manifest.json", "snapshot.parquet"):
        assert (place / "first" / path).is_file(), path


def test_the_report_runs_nothing_and_loads_nothing(place: Path, results: dict[str, Any]) -> None:
    report = (place / "first" / "report.html").read_text(encoding="utf-8")
    assert len(report) < 5_000_000
    assert "Content-Security-Policy" in report
    lowered = report.lower()
    assert "<script" not in lowered
    assert "http://" not in lowered.replace("http://www.w3.org", "")
    assert "1,794" in report


def test_the_plan_alone_joins_nothing(place: Path) -> None:
    done = causal(
        "analyze", "lalonde.csv", "--query", "Did the training programme (treat) raise earnings in 1978 (re78)?",
        "--plan-only", "--json", home=place / "home-plan", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["question"]["treatment"], plan["question"]["outcome"]) == ("treat", "re78")
    assert plan["sha256"]
    assert not (place / "lalonde-analysis").exists()


def test_an_unidentifiable_question_is_refused_with_all_outputs(place: Path) -> None:
    rows = ["t,y,town"] + [f"{int(i % 4 > 1)},{(i * 37) % 101},{'abcd'[i % 4]}" for i in range(160)]
    (place / "separated.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = causal(
        "analyze", "separated.csv", "--treatment", "t", "--outcome", "y", "--covariates", "town", "--out", "refused",
        home=place / "home-refused", cwd=place,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = json.loads((place / "refused" / "results.json").read_text(encoding="utf-8"))
    assert found["status"] == "REJECTED"
    assert found["verdict"]["decision"] == "refuse"
    assert found["verdict"]["would_help"]
    assert (place / "refused" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("analyze", "absent.csv"), 2, "absent.csv"),
        (("analyze", "lalonde.csv", "--treatment", "treatt", "--outcome", "re78"), 2, "treat"),
        (("analyze", "lalonde.csv", "--treatment", "treat", "--outcome", "treat"), 2, "ROLE_CONFLICT"),
        (("analyze", "lalonde.csv", "--methods", "magic", "--treatment", "treat", "--outcome", "re78"), 2, "magic"),
        (("estimate", "magic", "lalonde.csv", "--treatment", "treat", "--outcome", "re78"), 2, "METHOD_UNKNOWN"),
        (
            ("estimate", "ols", "lalonde.csv", "--treatment", "treat", "--outcome", "re78", "--option", "se=nope"),
            2,
            "nope",
        ),
        (("example", "nothing"), 2, "lalonde"),
        (("jobs", "show", "0" * 32), 2, "no such job"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(place: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = causal(*arguments, home=place / "home-wrong", cwd=place)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
