"""Terraform itself works out the tables, with every resource's attribute replaced by a word; needs no provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.terraform.configuration import ROOT, read

from causal_orchestrator.agents import AGENTS

SERVICES = {"api", "request_intake", "upload_intake", "coordinator", "dead_letters", "sweeper"}
TAKEN = re.compile(r'^(?:locals|variable "\w+") \{.*?^\}', re.MULTILINE | re.DOTALL)
RESOURCE = re.compile(r'google_\w+\.\w+(?:\["\w+"\])?(?:\.\w+)+')
VALUES = {"project": "p", "alert_email": "a@example.org", "job_image": "i", "sources": "{}"}

# What the resources make of the tables, in the same words.
USES = """
output "tables" {
  value = {
    functions   = local.functions
    roles       = local.project_roles
    readers     = local.secret_readers
    environment = local.environment_variables
    members     = local.members
    reading     = keys(local.reading)
    writing     = keys(local.writing)
  }
}

output "publishers" {
  value = { for topic, function in local.topics : topic => keys(PUBLISHERS) }
}

resource "terraform_data" "each" {
  for_each = local.buckets
  input    = jsonencode([local.rates, local.limits, local.counters, local.measures, local.secrets, local.charts])
}

module "function" {
  source   = "./function"
  for_each = local.functions

  project_roles = local.project_roles[each.key]
  trigger       = try(local.triggers[each.key], null)
}

output "triggered" {
  value = { for name, function in module.function : name => function.triggered }
}
"""
FUNCTION = """
resource "terraform_data" "role" {
  for_each = var.project_roles
  input    = each.value.condition == null ? each.value.role : each.value.condition
}

output "triggered" {
  value = var.trigger != null
}
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    modules, folder = read(), tmp_path_factory.mktemp("terraform")
    (folder / "function").mkdir()
    root = "\n\n".join(TAKEN.findall(modules["."].text))
    root = root.replace("function in module.function : name => function.member", "f in local.functions : name => name")
    root = root.replace("module.job.member", '"step_job"').replace("data.google_project.this.number", "var.project")
    root = RESOURCE.sub('"stub"', root)
    publishers = re.search(
        r"publishers = (each.key == local.requests \? .*? : merge\(.*?\n  \))", modules["."].text, re.DOTALL
    )
    assert publishers
    uses = USES.replace("PUBLISHERS", publishers[1].replace("each.key", "topic"))
    (folder / "main.tf").write_text(f"{root}\n{uses}", encoding="utf-8")
    taken = [
        text
        for text in TAKEN.findall(modules["modules/function"].text)
        if re.search(r'"(project_roles|trigger)"', text)
    ]
    (folder / "function" / "main.tf").write_text("\n".join(taken) + FUNCTION, encoding="utf-8")
    for command in (
        ["init"],
        ["apply", "-auto-approve", "-var-file", str(ROOT / "environments" / "production.tfvars")],
    ):
        _terraform(folder, *command)
    found = json.loads(_terraform(folder, "output", "-json"))
    return {name: entry["value"] for name, entry in found.items()}


def _terraform(folder: Path, *command: str) -> str:
    variables = {f"TF_VAR_{name}": value for name, value in VALUES.items()}
    plain = [] if command[0] == "output" else ["-no-color", "-input=false"]
    done = subprocess.run(
        ["terraform", *command, *plain], cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **variables, "TF_CLI_CONFIG_FILE": "/dev/null"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_agent_and_service_is_a_function(evaluated: dict[str, Any]) -> None:
    assert set(evaluated["tables"]["functions"]) == {*AGENTS, *SERVICES}
    assert set(evaluated["tables"]["members"]) == {*AGENTS, *SERVICES, "step_job"}


def test_only_what_waits_for_events_of_eventarc_has_a_trigger(evaluated: dict[str, Any]) -> None:
    assert {name for name, yes in evaluated["triggered"].items() if yes} == {"coordinator", "upload_intake"}


def test_only_who_asks_a_model_may_reach_one(evaluated: dict[str, Any]) -> None:
    allowed = {name for name, roles in evaluated["tables"]["roles"].items() if "model" in roles}
    asking = {"study_design", "critique", "interpreter", "api", "coordinator", "sweeper", "step_job"}
    assert allowed == asking


def test_an_agent_sends_its_own_turn_alone_and_who_coordinates_sends_all(evaluated: dict[str, Any]) -> None:
    publishers = evaluated["publishers"]
    everybody = {"api", "coordinator", "sweeper", "step_job"}
    assert set(publishers) == {*AGENTS, "analysis-requests"}
    assert publishers["analysis-requests"] == []
    for agent in AGENTS:
        first = {"request_intake", "upload_intake"} if agent == "dataset_fetcher" else set()
        assert set(publishers[agent]) == everybody | {agent} | first


def test_a_secret_is_read_by_who_needs_it(evaluated: dict[str, Any]) -> None:
    readers: dict[str, set[str]] = {}
    for entry in evaluated["tables"]["readers"].values():
        readers.setdefault(entry["secret"], set()).add(entry["reader"])
    assert readers["API_KEY_PEPPER"] == readers["PRINCIPALS"] == {"api"}
    assert readers["KAGGLE_KEY"] == {"dataset_fetcher"}
    assert readers["NOTIFY_KEY"] == {"api", "coordinator", "sweeper", "step_job"}
    assert "ANTHROPIC_API_KEY" not in readers


def test_artifacts_are_read_and_written_by_who_needs_them(evaluated: dict[str, Any]) -> None:
    tables = evaluated["tables"]
    assert set(tables["writing"]) == {*AGENTS, "api", "step_job"}
    assert set(tables["members"]) - set(tables["reading"]) == {"upload_intake", "dead_letters"}


def test_documents_are_those_of_the_one_database(evaluated: dict[str, Any]) -> None:
    conditions = {roles["documents"]["condition"] for roles in evaluated["tables"]["roles"].values()}
    assert conditions == {"resource.name == 'projects/p/databases/(default)'"}
