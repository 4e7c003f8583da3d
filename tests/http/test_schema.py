"""IN-4: the service does what its own OpenAPI document says, whatever is asked of it.

Requests are generated from the document, good ones and bad ones; no answer may be a server's error, have a status or a
form that is not in the document, take what the document forbids or refuse what it allows.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from tests.http.conftest import World
from tests.http.test_service import REQUEST

from causal_orchestrator import runtime
from causal_orchestrator.http.routes import ROUTES, Route

FEW, MANY = 4, 200  # examples of each operation and mode
ALL: dict[str, Any] = {
    "deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None,
    "phases": [Phase.explicit, Phase.generate],
}  # fmt: skip
# What no schema can say: two roles that collide, a place in a list that is not there, an address that is not ours to read, an
# upload that did not come.
OF_THE_MEANING = {"ROLE_CONFLICT", "CURSOR_INVALID", "URL_NOT_ALLOWED", "UPLOAD_MISSING"}
load_all_checks()


@pytest.fixture(scope="module")
def described(lasting: World) -> Any:
    app = lasting.client.application
    found = schemathesis.openapi.from_wsgi("/openapi.json", app, headers=lasting.headers("owner"))
    # A body that is too large as a whole is refused as well; the check does not count that by itself.
    found.config.checks.negative_data_rejection.expected_statuses.append("413")
    return found


def standing(world: World) -> str:
    """Return an open job of the owner's: the one that is there, or a new one."""
    found = runtime.list_jobs(world.backends, tenant="acme", status="PENDING", limit=1)
    if found:
        return found[0].id
    made = world.client.post("/api/v1/jobs", json=REQUEST, headers=world.headers("owner"))
    return str(made.json["job_id"])


def explore(described: Any, world: World, route: Route, mode: GenerationMode, examples: int) -> None:
    path = route.path.replace("<", "{").replace(">", "}")
    strategy = described[path][route.method].as_strategy(generation_mode=mode)

    @settings(max_examples=examples, **ALL)
    @given(case=strategy)
    def ask(case: Any) -> None:
        if mode is GOOD and "job" in (case.path_parameters or {}):
            # A made-up job is a missing one, which test_service asks for; here it is one that exists.
            case.path_parameters["job"] = standing(world)
        # What comes in a form is bytes, whatever type it was made from: no file is of the wrong type.
        left_out = {
            "positive_data_acceptance",
            *(["negative_data_rejection"] if route.path.endswith("uploads") else []),
        }
        excluded = [check for check in CHECKS.get_all() if check.__name__ in left_out]
        found = case.call_and_validate(headers=world.headers("owner"), excluded_checks=excluded)
        if mode is GOOD and found.status_code in (400, 413, 415, 422):
            assert found.json()["error"]["code"] in OF_THE_MEANING, found.text

    ask()


GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [(route, mode) for route in ROUTES for mode in (GOOD, BAD) if route.scope or mode is GOOD]
EVERY = pytest.mark.parametrize(
    ("route", "mode"), CASES, ids=[f"{route.method} {route.path} {mode.value}" for route, mode in CASES]
)


@EVERY
def test_answers_are_those_of_the_document(route: Route, mode: GenerationMode, described: Any, lasting: World) -> None:
    explore(described, lasting, route, mode, FEW)


@pytest.mark.exhaustive
@EVERY
def test_answers_are_those_of_the_document_many_times_over(
    route: Route, mode: GenerationMode, described: Any, lasting: World
) -> None:
    explore(described, lasting, route, mode, MANY)


def test_no_check_is_missing() -> None:
    named = {check.__name__ for check in CHECKS.get_all()}
    assert {"not_a_server_error", "negative_data_rejection", "ignored_auth", "response_schema_conformance"} <= named
