"""What is deployed: one folder a function, nothing in it but an import, and a staged copy of all that it needs."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from tests.functions.deployment import ROOT, SERVICES, staging

from causal_orchestrator import entrypoints
from causal_orchestrator.agents import AGENTS

STAGE = staging()
FUNCTIONS = ROOT / "functions"


def test_every_agent_and_every_service_has_a_folder_and_nothing_else_has() -> None:
    folders = {path.name for path in FUNCTIONS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(STAGE.names()) == {*AGENTS, *SERVICES, "step_job"}


@pytest.mark.parametrize("name", STAGE.names())
def test_a_function_is_a_sentence_and_one_import(name: str) -> None:
    described, imported, *rest = ast.parse((FUNCTIONS / name / "main.py").read_text(encoding="utf-8")).body
    assert isinstance(described, ast.Expr)
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "causal_orchestrator.entrypoints"
    (door,) = imported.names
    wanted = {"step_job": "on_task", **{service: entry for service, (entry, _) in SERVICES.items()}}.get(
        name, "on_message"
    )
    assert door.name == wanted
    assert door.asname is None
    assert callable(getattr(entrypoints, wanted))
    assert bool(rest) == (name == "step_job")  # the job has no framework that calls it


def test_what_is_staged_is_the_function_the_package_and_its_lock(tmp_path: Path) -> None:
    folder = STAGE.stage("eda", tmp_path)
    assert {path.name for path in folder.iterdir()} == {"main.py", "requirements.txt", "causal_orchestrator"}
    assert (folder / "requirements.txt").read_bytes() == (FUNCTIONS / "science.lock").read_bytes()
    source, staged = ROOT / "shared" / "causal_orchestrator", folder / "causal_orchestrator"
    for path in source.rglob("*"):
        copied = staged / path.relative_to(source)
        if path.is_file() and "__pycache__" not in path.parts:
            assert copied.read_bytes() == path.read_bytes()
    assert not list(staged.rglob("__pycache__"))


@pytest.mark.parametrize("name", STAGE.names())
def test_a_functions_requirements_are_one_lock_with_hashes(name: str) -> None:
    (lock,) = STAGE.locks(FUNCTIONS / name)
    assert lock == ("science.lock" if name in AGENTS or name == "step_job" else "light.lock")
    requirements = [line for line in (FUNCTIONS / lock).read_text().splitlines() if line and line[0].isalnum()]
    assert all("==" in line and line.endswith("\\") for line in requirements)


@pytest.mark.parametrize("name", STAGE.names())
def test_the_platform_finds_the_framework_that_is_locked_and_brings_no_other(name: str, tmp_path: Path) -> None:
    """The buildpack looks for this line in requirements.txt itself and follows no reference."""
    text = (STAGE.stage(name, tmp_path) / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^functions-framework\b([^-]|$)", text, re.MULTILINE)


def test_the_locks_agree_with_what_the_tests_ran_with() -> None:
    pinned = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
    tested = set(pinned.findall((ROOT / "requirements" / "dev.lock").read_text()))
    for lock in FUNCTIONS.glob("*.lock"):
        assert set(pinned.findall(lock.read_text())) <= tested


def test_the_light_lock_brings_no_science_and_all_that_the_services_name() -> None:
    names = set(re.findall(r"^([a-z0-9._-]+)==", (FUNCTIONS / "light.lock").read_text(), re.MULTILINE))
    assert names & {"numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "econml"} == set()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[<>=]", requirement)[0] for extra in ("service", "gcp") for requirement in extras[extra]}
    assert wanted <= names


def test_the_jobs_image_runs_as_nobody_from_hashed_requirements() -> None:
    text = (FUNCTIONS / "step_job" / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(stages) == 2
    assert re.search(r"^USER \d+", text, re.MULTILINE)
    assert "--require-hashes --only-binary :all:" in text
    assert "libgomp1" in text.split("FROM")[-1]  # without it LightGBM can't be loaded
    # What has one file to its name, in a lock for every machine, has its source alone.
    entries = re.findall(
        r"^([a-z0-9._-]+)==.*\n((?:    --hash=\S+.*\n)+)", (FUNCTIONS / "science.lock").read_text(), re.MULTILINE
    )
    assert len(entries) > 100
    sources = [package for package, hashes in entries if hashes.count("--hash=") == 1]
    assert re.findall(r"--no-binary (\S+)", text) == [",".join(sources)]
    assert not re.search(r"^(ADD|RUN .*(curl|wget))", text, re.MULTILINE)
