"""A web of our own: names that resolve as a test says, and a TLS server on loopback behind every public address."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from causal_orchestrator.web import Web

PUBLIC = "93.184.215.14"


@dataclass
class Names:
    """A resolver: the answers of each host in turn, the last one for ever after; `asked` are its questions."""

    answers: dict[str, list[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        found = self.answers[host]
        return found.pop(0) if len(found) > 1 else found[0]


@dataclass
class Wire:
    """A dialler that notes whom it is asked for and gives a connection to `port` of this machine (None: to nobody)."""

    port: int | None = None
    dialled: list[str] = field(default_factory=list)

    def __call__(self, address: str, seconds: float) -> socket.socket:
        self.dialled.append(address)
        if self.port is None:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)


@cache
def authority() -> tuple[Any, Any]:
    """Return the key and the certificate of an authority that only these tests trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    made = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return key, made.sign(key, hashes.SHA256())


def _builder(subject: Any, issuer: Any, key: Any) -> Any:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def trusting() -> ssl.SSLContext:
    """Return a client's context that trusts the authority and nobody else."""
    pem = authority()[1].public_bytes(serialization.Encoding.PEM).decode()
    return ssl.create_default_context(cadata=pem)


def _serving(folder: Path, hosts: Sequence[str]) -> ssl.SSLContext:
    root, above = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    made = _builder(subject, above.subject, key).add_extension(names, critical=False)
    made = made.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
    ).sign(root, hashes.SHA256())
    path = folder / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """A TLS server on loopback: `answers` by path; `heard` are the requests with their headers and bodies."""

    answers: dict[str, Answer]
    hosts: tuple[str, ...] = ("data.example.org",)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    def web(self, *addresses: str, **changes: Any) -> Web:
        """Return a web in which the site's hosts have these addresses, all of them at this server."""
        names = Names({host: [addresses or (PUBLIC,)] for host in self.hosts})
        return Web(**{"resolve": names, "dial": Wire(self.port), "context": trusting(), **changes})


def gives(data: bytes, status: int = 200, **headers: str) -> Answer:
    """Return an answer with these bytes and headers (underscores stand for hyphens)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        named = {"Content-Length": str(len(data)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        for name, value in named.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


@contextmanager
def served(site: Site, folder: Path) -> Iterator[Site]:
    """Serve a site while the context is open."""

    class Request(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            site.heard.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            site.answers.get(self.path, gives(b"", 404))(self)

        do_GET = do_POST = _answer  # noqa: N815  the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # clients hang up on purpose

        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
                tls.settimeout(1.0)
                tls.unwrap()

    context = _serving(folder, site.hosts)
    server = Server(("127.0.0.1", 0), Request)
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
