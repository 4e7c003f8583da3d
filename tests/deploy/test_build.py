"""The build's steps follow one another, and what they name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.terraform.configuration import read

ROOT = Path(__file__).parents[2]
BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}
MADE = ("dist/", "build/", ".venv/")  # by an earlier step
PROVIDED = {"BUILD_ID", "PROJECT_ID", "COMMIT_SHA"}


def text(step: dict[str, Any]) -> str:
    return " ".join([step.get("entrypoint", ""), *step.get("args", [])])


def before(name: str) -> set[str]:
    """Return the steps that have ended when a step begins."""
    direct = set(STEPS[name]["waitFor"]) - {"-"}
    return direct.union(*(before(other) for other in direct))


def test_every_step_has_a_name_of_its_own_and_waits_for_steps_that_exist() -> None:
    assert len(STEPS) == len(BUILD["steps"])
    for step in STEPS.values():
        assert set(step["waitFor"]) <= {"-", *STEPS}


def test_every_file_that_a_step_names_exists_or_is_made() -> None:
    named = {name for step in STEPS.values() for name in re.findall(r"(?<![\w/.$-])[\w.]+/[\w./-]*\w", text(step))}
    named = {name for name in named if not name.startswith((*MADE, "gcr.io/", "tmp/", "bin/"))}
    assert {
        "functions/stage.py",
        "deploy/archives.py",
        "deploy/canary.py",
        "deploy/gate.py",
        "deploy/question.json",
    } <= named
    for name in named - {"build/step_job"}:
        assert (ROOT / name).exists(), name
    assert (ROOT / "functions" / "step_job" / "Dockerfile").is_file()


def test_what_is_substituted_is_declared() -> None:
    content = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<!\$)\$\{?([A-Z_]+)\}?", content))
    assert used - PROVIDED == set(BUILD["substitutions"])


def test_nothing_reaches_a_cloud_before_the_checks() -> None:
    checks = {"lint", "types", "test", "format-terraform", "checkov", "audit"}
    for name in ("image", "upload-staging", "deploy-staging", "deploy-production"):
        assert checks <= before(name), name


def test_production_comes_after_the_gate_and_behind_the_canary() -> None:
    assert {"deploy-staging", "dead-letters-staging"} <= before("gate")
    assert {"gate", "pin"} <= before("deploy-production")
    assert {"deploy-production", "dead-letters-production"} <= before("canary")
    assert [name for name in STEPS if "canary" in before(name)] == []


def test_the_gate_asks_what_the_build_answers() -> None:
    question = json.loads((ROOT / "deploy" / "question.json").read_text(encoding="utf-8"))
    command = text(STEPS["gate"])
    for role in ("treatment", "outcome"):
        assert f"--{role} {question[role]} " in command
    assert f"--covariates {','.join(question['covariates'])} " in command
    assert ("--randomized" in command) == question["randomized"]
    assert question["preferences"]["planner"] == "offline"


def test_every_lock_that_is_deployed_is_audited_and_written_down() -> None:
    deployed = {
        line.removeprefix("-r ").strip().removesuffix(".lock")
        for path in (ROOT / "functions").glob("*/requirements.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("-r ")
    }
    (audited,) = re.findall(r"for lock in ([\w ]+);", text(STEPS["audit"]))
    assert set(audited.split()) == deployed
    assert "pip-audit" in text(STEPS["audit"])
    assert "cyclonedx-py" in text(STEPS["audit"])


def test_the_first_deployment_makes_what_the_build_must_find() -> None:
    script = (ROOT / "deploy" / "first.sh").read_text(encoding="utf-8")
    resources = read()["."].named("resource")
    targets = re.findall(r"-target='?([\w.]+)", script)
    assert set(targets) <= set(resources)
    assert {"google_storage_bucket.this", "google_artifact_registry_repository.this"} <= set(targets)
    given = set(re.findall(r'-var="(\w+)=', script)) | {"environment"}
    needed = {name for name, block in read()["."].named("variable").items() if "default" not in block.body}
    assert needed <= given
    for name in re.findall(r"(?:python3|sh) (\S+\.(?:py|sh))", script):
        assert (ROOT / name).is_file(), name


def test_production_may_fetch_the_image_that_staging_tried() -> None:
    (pullers,) = [value for value in STEPS["deploy-staging"]["env"] if value.startswith("TF_VAR_image_pullers=")]
    (member,) = json.loads(pullers.partition("=")[2])
    assert re.fullmatch(
        r"serviceAccount:service-\$_PRODUCTION_NUMBER@serverless-robot-prod\.iam\.gserviceaccount\.com", member
    )
    puller = read()["."].named("resource")["google_artifact_registry_repository_iam_member.puller"].body
    assert puller["for_each"] == "${var.image_pullers}"


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one(path: Path) -> None:
    assert subprocess.run(["sh", "-n", str(path)], capture_output=True, check=False, timeout=30).returncode == 0
