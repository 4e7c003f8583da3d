"""The deployment and the code name the same things."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.terraform.configuration import ROOT, read

from causal_orchestrator.agents import AGENTS, FIRST, JobView
from causal_orchestrator.models import KEYS
from causal_orchestrator.question import Question
from causal_orchestrator.settings import VARIABLES

MODULES = read()
LOCALS = MODULES["."].locals()
SERVICES = {"api", "request_intake", "upload_intake", "coordinator", "dead_letters", "sweeper"}
FUNCTIONS = ROOT.parent / "functions"
AGENTS_FOLDER = ROOT.parent / "shared" / "causal_orchestrator" / "agents"


def test_the_agents_are_those_of_the_table() -> None:
    assert set(LOCALS["agents"]) == set(AGENTS)
    assert LOCALS["first_agent"] == FIRST


def test_an_agent_is_heavy_here_if_it_can_be_in_the_table() -> None:
    large = JobView("j", "t", Question(), 0, results={"dataset_fetcher": {"n_rows": 10**9}})
    heavy = {name for name, spec in AGENTS.items() if spec.heavy(large) or spec.parts(large)}
    assert {name for name, agent in LOCALS["agents"].items() if agent["heavy"]} == heavy


def test_an_agent_may_reach_a_model_if_it_asks_one() -> None:
    asking = {name for name in AGENTS if _asks(AGENTS_FOLDER / f"{name}.py")}
    assert {name for name, agent in LOCALS["agents"].items() if agent["asks"]} == asking


def _asks(path: Path) -> bool:
    """Say whether the function that is called `ask` is used beyond being taken."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.Name) and node.id == "ask" for node in ast.walk(tree))


def test_topics_functions_and_accounts_come_from_the_one_map() -> None:
    root = MODULES["."]
    assert set(LOCALS["services"]) == SERVICES
    assert "merge(local.services" in LOCALS["functions"]
    assert "local.agents" in LOCALS["functions"]
    assert "keys(local.agents)" in LOCALS["topics"]
    assert root.named("module")["function"].body["for_each"] == "${local.functions}"
    assert root.named("module")["topic"].body["for_each"] == "${local.topics}"
    function = MODULES["modules/function"].named("resource")
    assert function["google_service_account.this"].body["account_id"] == "fn-${local.service}"
    assert MODULES["modules/topic"].named("resource")["google_pubsub_topic.this"].body["name"] == "${var.name}"


def test_the_names_fit_their_platforms() -> None:
    for name in {*LOCALS["agents"], *LOCALS["services"]}:
        account = f"fn-{name.replace('_', '-')}"
        assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", account), account


def test_every_folder_of_functions_is_deployed_and_every_deployed_thing_has_one() -> None:
    folders = {path.name for path in FUNCTIONS.iterdir() if (path / "main.py").is_file()}
    assert folders == {*AGENTS, *SERVICES, "step_job"}


def test_an_entry_point_is_what_its_folder_imports() -> None:
    for name in {*AGENTS, *SERVICES}:
        tree = ast.parse((FUNCTIONS / name / "main.py").read_text(encoding="utf-8"))
        imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert imported == {_entry_point(name)}, name


def _entry_point(name: str) -> str:
    return str(LOCALS["services"][name]["entry_point"]) if name in SERVICES else "on_message"


def test_whoever_gets_messages_or_events_is_served_as_one_that_does() -> None:
    """Without a trigger of its own a function is served as HTTP, unless its entry point says what it takes."""
    tree = ast.parse((AGENTS_FOLDER.parent / "entrypoints.py").read_text(encoding="utf-8"))
    takes = {
        node.name: ast.unparse(node.decorator_list[0]).removeprefix("functions_framework.")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    callers = {name: service["caller"] for name, service in LOCALS["services"].items()} | dict.fromkeys(
        AGENTS, "messages"
    )
    kinds = {"people": "http", "schedule": "http", "messages": "cloud_event", "events": "cloud_event"}
    for name, caller in callers.items():
        assert takes[_entry_point(name)] == kinds[caller], name


def test_everything_that_the_cloud_must_be_told_is_set() -> None:
    told = set(LOCALS["environment_variables"]) | {"CAUSAL_SERVICE_ACCOUNT"}
    ours = {name for name in told if name.startswith(("CAUSAL_", "GOOGLE_"))}
    known = {variable for variable, _ in VARIABLES.values()}
    on_a_laptop = {"CAUSAL_WORKERS", "CAUSAL_MODEL_URL", "CAUSAL_MODEL_RECORD", "CAUSAL_MODEL_REPLAY"}
    assert ours <= known
    assert known - ours == on_a_laptop


def test_what_expires_is_what_the_code_gives_a_time_to() -> None:
    expires = MODULES["."].named("resource")["google_firestore_field.expires"].body
    assert expires["field"] == "expires_at"
    collections = set(re.findall(r'"(\w+)"', expires["for_each"]))
    package = AGENTS_FOLDER.parent
    dated = {path for path in package.rglob("*.py") if '"expires_at":' in path.read_text(encoding="utf-8")}
    text = "".join(path.read_text(encoding="utf-8") for path in dated)
    assert text.count('"expires_at":') == len(collections)
    for name in collections:
        assert f'f"{name}/{{' in text, name


def test_a_list_that_is_ordered_has_its_index() -> None:
    """Only jobs are listed in another order than their IDs', by tenant and perhaps status."""
    package = AGENTS_FOLDER.parent
    ordered = [path.name for path in package.rglob("*.py") if "newest_first=True" in path.read_text(encoding="utf-8")]
    assert ordered == ["runtime.py"]
    index = MODULES["."].named("resource")["google_firestore_index.jobs"].body
    assert index["for_each"] == {"newest": ["tenant"], "newest_by_status": ["tenant", "status"]}
    assert index["fields"] == [{"field_path": "created_at", "order": "DESCENDING"}]


def test_the_planners_secrets_are_those_of_the_table() -> None:
    assert LOCALS["planner_secrets"] == {planner: secret for planner, secret in KEYS.items() if secret}
