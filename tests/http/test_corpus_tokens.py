"""R31 to R45 of the corpus (SEC-1): ID tokens signed for real, with the keys served over loopback; one is good."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.http.conftest import World

from causal_orchestrator.errors import StorageError
from causal_orchestrator.http.app import create_app
from causal_orchestrator.http.auth import Certificates, Principal, TokenRules

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "corpus" / "tokens.json").read_text())
AUDIENCE, KID, MAIL = "https://api.example.org", "key-1", "ada@example.org"
TIMES = {"exp", "nbf", "iat"}


@cache
def key(name: str) -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Authority:
    """Serves the public keys and counts how often it is asked."""

    def __init__(self) -> None:
        self.kids, self.asked, self.broken = [KID], 0, False

    def keys(self) -> dict[str, Any]:
        shown = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key("own").public_key()))
        return {"keys": [{**shown, "kid": kid, "use": "sig", "alg": "RS256"} for kid in self.kids]}


@pytest.fixture
def authority() -> Iterator[tuple[Authority, str]]:
    known = Authority()

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked += 1
            data = b"" if known.broken else json.dumps(known.keys()).encode()
            self.send_response(500 if known.broken else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield known, f"http://127.0.0.1:{server.server_port}/certs"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def rules(certificates: Certificates) -> TokenRules:
    known = {MAIL: Principal(name=MAIL, tenant="acme", role="viewer")}
    return TokenRules(audience=AUDIENCE, principals=known, signing_key=certificates.key)


def token(case: dict[str, Any]) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "iat": now, "exp": now + 3600, "email": MAIL,
        "email_verified": True, "sub": "1",
    }  # fmt: skip
    for name, value in case.get("claims", {}).items():
        claims[name] = now + value if name in TIMES and value is not None else value
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"kid": case.get("kid", KID), **case.get("extra", {})}
    sign = case.get("sign")
    if sign == "none":
        return jwt.encode(claims, None, algorithm="none", headers=header)
    if sign == "public key as secret":
        return confused(claims, header)
    made = jwt.encode(claims, key("other" if sign == "another key" else "own"), algorithm="RS256", headers=header)
    return made[: -case["cut"]] if "cut" in case else made


def confused(claims: dict[str, Any], header: dict[str, Any]) -> str:
    """Sign with the public key as if it were a shared secret; the library itself would refuse to."""
    secret = key("own").public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    parts = [{"alg": "HS256", "typ": "JWT", **header}, claims]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_every_case_of_the_plan_is_here() -> None:
    assert {name.split("-")[0] for name in CASES} == {"good", *(f"R{k}" for k in range(31, 46))}


@pytest.mark.parametrize("name", CASES)
def test_a_token_is_taken_only_if_all_of_it_is_right(name: str, world: World, authority: Any) -> None:
    known, address = authority
    case = CASES[name]
    certificates = Certificates(address, clock=time.monotonic)
    client = create_app(dataclasses.replace(world.service, tokens=rules(certificates))).test_client()
    headers = [] if case.get("header", "") is None else [("Authorization", f"Bearer {token(case)}")]
    if case.get("twice"):
        headers *= 2
    answers = [client.get("/api/v1/jobs", headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {case["status"]}, answers[0].text
    if case["status"] == 401:
        said = {json.dumps({**a.json["error"], "request_id": ""}) for a in answers}
        refused = client.get("/api/v1/jobs", headers={"Authorization": "Bearer x"})
        assert said == {json.dumps({**refused.json["error"], "request_id": ""})}
    assert known.asked <= 1


def test_a_key_that_is_new_is_fetched_but_not_more_than_once_a_minute(authority: Any) -> None:
    known, address = authority
    now = [0.0]
    certificates = Certificates(address, clock=lambda: now[0])
    assert certificates.key(KID) is not None
    known.kids.append("key-2")
    assert [certificates.key("key-2") for _ in range(5)] == [None] * 5
    now[0] = 61.0
    assert certificates.key("key-2") is not None
    assert known.asked == 2


def test_a_key_that_was_withdrawn_is_forgotten_within_the_hour(authority: Any) -> None:
    known, address = authority
    now = [0.0]
    certificates = Certificates(address, clock=lambda: now[0])
    assert certificates.key(KID) is not None
    known.kids[:] = ["key-2"]
    now[0] = 3601.0
    assert certificates.key(KID) is None


def test_an_authority_that_does_not_answer_is_a_failure_of_the_world_only_where_nothing_is_known(
    authority: Any,
) -> None:
    known, address = authority
    now = [0.0]
    known.broken = True
    fresh = Certificates(address, clock=lambda: now[0])
    with pytest.raises(StorageError):
        fresh.key(KID)
    known.broken = False
    now[0] = 61.0
    assert fresh.key(KID) is not None
    known.broken = True
    now[0] = 4000.0
    assert fresh.key(KID) is not None
