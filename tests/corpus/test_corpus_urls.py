"""R46 to R67 (SEC-3): what an address may make this program connect to.

Behind every name stands a resolver of the test, behind every address a dialler that notes whom it was asked for. A case
is refused with its code, and nobody but the public address was dialled, as often as the case says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.datasets.web_peers import PUBLIC, Names, Site, Wire, gives, served, trusting

from causal_orchestrator.datasets import sources
from causal_orchestrator.datasets.limits import Limits
from causal_orchestrator.datasets.sources import Means
from causal_orchestrator.errors import InputError
from causal_orchestrator.web import Web

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "urls.json").read_text())
TABLE = b"t,y\n1,2\n"
RULES = ("https://", "gs://own")
LIMITS = Limits(file_bytes=100_000, seconds=5)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"1,2\n" * 1000)


def slow(handler: BaseHTTPRequestHandler) -> None:
    """Never idle, never done: a byte every so often."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"1")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    answers = {
        "/table": gives(TABLE),
        "/endless": endless,
        "/slow": slow,
        "/large": gives(b"x", Content_Length="10737418240"),
    }
    with served(Site(answers), tmp_path_factory.mktemp("site")) as found:
        yield found


def test_every_case_of_the_plan_is_here() -> None:
    assert {key.split("-")[0] for key in CASES} == {f"R{k}" for k in range(46, 68)}


@pytest.mark.parametrize("key", CASES)
def test_an_address_leads_nowhere_but_to_the_public(key: str, site: Site, tmp_path: Path) -> None:
    case = CASES[key]
    if "redirect" in case:
        site.answers[case["address"].partition("example.org")[2]] = gives(b"", 302, Location=case["redirect"])
    names = Names({"data.example.org": [[PUBLIC]], **case.get("names", {})})
    wire = Wire(site.port)
    limits = Limits(file_bytes=100_000, seconds=1) if "slow" in key else LIMITS
    means = Means(outside=Web(resolve=names, dial=wire, context=trusting()), rules=RULES)
    if case["code"] is None:
        assert sources.fetch(case["address"], tmp_path, limits, means=means).read_bytes() == TABLE
        assert len(names.asked) == 1
    else:
        with pytest.raises(InputError) as caught:
            sources.fetch(case["address"], tmp_path, limits, means=means)
        assert caught.value.code == case["code"]
        assert not list(tmp_path.iterdir())
    assert wire.dialled == [PUBLIC] * case.get("dialled", 0)
