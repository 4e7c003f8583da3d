"""What the deployment's description promises, checked without a cloud."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from tests.terraform.configuration import ROOT, Module, read

from causal_orchestrator.state import MAX_ATTEMPTS, Job

MODULES = read()
REFERENCE = re.compile(r"(?<![\w.\"/-])(data\.)?(google_\w+)\.(\w+)")
NARROW = re.compile(r"roles/(owner|editor|viewer)$|[aA]dmin$")
META = {"source", "version", "for_each", "count", "providers", "depends_on"}


def blocks(type_: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return every resource of a type with its address."""
    return [
        (f"{module.folder}:{name}", block.body)
        for module in MODULES.values()
        for name, block in module.named("resource").items()
        if block.labels[0] == type_
    ]


def within(body: Any, name: str) -> Iterator[Any]:
    """Yield every value under `name`, however deep, what dynamic blocks hold included."""
    if isinstance(body, Mapping):
        for key, inner in body.items():
            if key == name:
                yield from inner if isinstance(inner, list) else [inner]
            yield from within(inner, name)
    elif isinstance(body, list):
        for inner in body:
            yield from within(inner, name)


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.folder)
def test_everything_that_is_named_is_declared(module: Module) -> None:
    declared = set(module.named("variable"))
    assert set(re.findall(r"\bvar\.(\w+)", module.text)) == declared
    assert set(re.findall(r"\blocal\.(\w+)", module.text)) <= set(module.locals())
    assert set(re.findall(r"\bmodule\.(\w+)", module.text)) <= set(module.named("module"))
    resources = set(module.named("resource")) | {f"data.{name}" for name in module.named("data")}
    named = {f"{data}{kind}.{name}" for data, kind, name in REFERENCE.findall(module.text)}
    assert named <= resources


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.folder)
def test_nothing_is_declared_twice(module: Module) -> None:
    names = [
        f"{block.kind} {'.'.join(block.labels)}" for block in module.blocks if block.kind not in ("locals", "terraform")
    ]
    names += [f"local {name}" for block in module.blocks if block.kind == "locals" for name in block.body]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.folder)
def test_a_module_is_given_what_it_asks_for(module: Module) -> None:
    for name, call in module.named("module").items():
        folder = str((ROOT / module.folder / call.body["source"]).resolve().relative_to(ROOT.resolve()))
        wanted = MODULES[folder].named("variable")
        given = set(call.body) - META
        assert given <= set(wanted), f"{name} is given what it does not know"
        assert {key for key, block in wanted.items() if "default" not in block.body} <= given, f"{name} lacks something"
        told = set(re.findall(rf"\bmodule\.{name}(?:\[[^\]]+\])?\.(\w+)", module.text))
        assert told <= set(MODULES[folder].named("output"))


def test_every_variable_and_output_says_what_it_is() -> None:
    for module in MODULES.values():
        for kind in ("variable", "output"):
            for name, block in module.named(kind).items():
                assert block.body.get("description"), f"{module.folder}: {kind} {name}"


def test_the_environments_set_only_what_exists() -> None:
    for name in ("staging", "production"):
        text = (ROOT / "environments" / f"{name}.tfvars").read_text(encoding="utf-8")
        assert set(re.findall(r"^(\w+)\s*=", text, re.MULTILINE)) <= set(MODULES["."].named("variable"))
        assert f'environment        = "{name}"' in text


def test_every_trigger_retries() -> None:
    triggers = [
        trigger for _, body in blocks("google_cloudfunctions2_function") for trigger in within(body, "event_trigger")
    ]
    assert len(triggers) == 1
    assert {
        content["retry_policy"] for t in triggers for content in within(t, "content") if "event_type" in content
    } == {"RETRY_POLICY_RETRY"}


def test_every_subscription_has_a_dead_letter_or_is_one() -> None:
    found = dict(blocks("google_pubsub_subscription"))
    assert set(found) == {
        "modules/topic:google_pubsub_subscription.this",
        "modules/dead_letter:google_pubsub_subscription.this",
        "modules/dead_letter:google_pubsub_subscription.push",
    }
    (policy,) = found["modules/topic:google_pubsub_subscription.this"]["dead_letter_policy"]
    assert policy["dead_letter_topic"] == "${module.dead_letter.topic}"
    assert MAX_ATTEMPTS < policy["max_delivery_attempts"] <= 100
    assert "retry_policy" in found["modules/topic:google_pubsub_subscription.this"]


def test_a_message_is_not_delivered_again_while_its_function_may_still_be_at_work() -> None:
    local, found = MODULES["."].locals(), dict(blocks("google_pubsub_subscription"))
    agents = {agent["timeout"] for agent in local["agents"].values()}
    pushed = {service["timeout"] for service in local["services"].values() if service["caller"] == "messages"}
    assert (
        found["modules/topic:google_pubsub_subscription.this"]["ack_deadline_seconds"]
        == "${min(600, var.timeout + 60)}"
    )
    assert all(timeout + 60 <= 600 for timeout in agents | pushed)
    assert MODULES["."].named("module")["topic"].body["timeout"] == "${local.functions[each.value].timeout}"
    told = found["modules/dead_letter:google_pubsub_subscription.push"]["ack_deadline_seconds"]
    assert told >= local["services"]["dead_letters"]["timeout"] + 60


def test_as_many_requests_are_served_at_once_as_are_let_in() -> None:
    """A stream of progress holds a thread for as long as its job takes."""
    ((_, function),) = blocks("google_cloudfunctions2_function")
    (service,) = function["service_config"]
    assert service["max_instance_request_concurrency"] == "${var.concurrency}"
    assert "THREADS                = tostring(var.concurrency)" in MODULES["modules/function"].text


def test_pages_of_no_other_origin_may_upload_unless_they_are_named() -> None:
    assert MODULES["."].named("variable")["upload_origins"].body["default"] == []
    ((_, bucket),) = blocks("google_storage_bucket")
    (cors,) = [d["cors"] for d in bucket["dynamic"] if "cors" in d]
    assert cors["for_each"].startswith('${each.key == "artifacts" && length(var.upload_origins) > 0 ?')
    (content,) = cors["content"]
    assert (content["origin"], content["method"]) == ("${cors.value}", ["PUT"])
    assert set(content["response_header"]) == {
        "Content-Type",
        "x-goog-content-length-range",
        "x-goog-if-generation-match",
    }


def test_no_index_grows_at_one_end_alone() -> None:
    """Sequential values in an index of their own bound a collection to 500 writes a second."""
    held = MODULES["."].named("resource")["google_firestore_field.unindexed"].body["for_each"].values()
    unindexed = {entry["field"] for entry in held if entry["collection"] == "jobs"}
    times = {name for name, kind in Job.model_fields.items() if kind.annotation is datetime}
    assert times <= unindexed


def test_what_could_not_be_delivered_is_kept_and_told_to_the_function_that_gives_up() -> None:
    found = dict(blocks("google_pubsub_subscription"))
    kept, told = (found[f"modules/dead_letter:google_pubsub_subscription.{name}"] for name in ("this", "push"))
    assert kept["topic"] == told["topic"] == "${google_pubsub_topic.this.id}"
    assert "push_config" not in kept
    (push,) = told["push_config"]
    assert push["push_endpoint"].startswith("${var.endpoint}/projects/${var.project}/topics/")
    assert push["oidc_token"][0] == {"service_account_email": "${var.caller}", "audience": "${var.endpoint}"}
    assert MODULES["modules/topic"].named("module")["dead_letter"].body["endpoint"] == "${var.gives_up}"
    assert MODULES["."].named("module")["topic"].body["gives_up"] == '${module.function["dead_letters"].uri}'
    assert "endpoint" not in MODULES["."].named("module")["event_dead_letter"].body  # those name no step


def test_every_event_that_eventarc_delivers_has_a_dead_letter() -> None:
    root = MODULES["."]
    assert root.named("module")["event_dead_letter"].body["for_each"] == "${local.triggers}"
    assert "try(local.triggers[each.key], null)" in root.named("module")["function"].body["trigger"]
    assert "module.event_dead_letter" in root.named("output")["triggers"].body["value"]
    script = (ROOT.parent / "deploy" / "dead_letters.sh").read_text(encoding="utf-8")
    assert "--dead-letter-topic" in script
    applied = (ROOT.parent / "deploy" / "apply.sh").read_text(encoding="utf-8")
    assert "output -json triggers" in applied


def test_a_function_lets_in_its_own_caller_alone() -> None:
    local = MODULES["."].locals()
    callers = {name: service["caller"] for name, service in local["services"].items()}
    assert [name for name, caller in callers.items() if caller == "people"] == ["api"]
    assert {name for name, caller in callers.items() if caller == "events"} == set(local["triggers"])
    ((_, pushed),) = [found for found in blocks("google_pubsub_subscription") if "topic:" in found[0]]
    assert pushed["push_config"][0]["oidc_token"][0]["service_account_email"] == "${var.caller}"
    everybody = [line for module in MODULES.values() for line in module.text.splitlines() if "allUsers" in line]
    assert len(everybody) == 1
    invokers = [
        name for name, body in blocks("google_cloud_run_service_iam_member") if body["role"] == "roles/run.invoker"
    ]
    assert invokers == ["modules/function:google_cloud_run_service_iam_member.invoker"]


def test_no_role_is_wider_than_its_use() -> None:
    roles = {role for module in MODULES.values() for role in re.findall(r'"(roles/[\w.]+)"', module.text)}
    assert not {role for role in roles if NARROW.search(role)}
    assert len(roles) > 10


def test_nothing_that_is_stored_is_public_or_easily_lost() -> None:
    for _, bucket in blocks("google_storage_bucket"):
        assert bucket["uniform_bucket_level_access"] is True
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["force_destroy"] is False
        assert bucket["lifecycle_rule"]
        assert bucket["soft_delete_policy"]
    ((_, database),) = blocks("google_firestore_database")
    assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
    assert "POINT_IN_TIME_RECOVERY_ENABLED" in database["point_in_time_recovery_enablement"]
    rules = (ROOT / "firestore.rules").read_text(encoding="utf-8")
    assert re.findall(r"allow ([^;]*);", rules) == ["read, write: if false"]


def test_no_secret_stands_in_the_description() -> None:
    assert not blocks("google_secret_manager_secret_version")
    for module in MODULES.values():
        assert not re.search(r"random_|secret_data|private_key", module.text)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_the_files_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", str(ROOT)], capture_output=True, text=True, check=False,
        env={"TF_CLI_CONFIG_FILE": "/dev/null", "PATH": "/usr/local/bin:/usr/bin:/bin"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
