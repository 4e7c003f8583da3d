"""R6 and R30: connections that dawdle, lie about their length or break off hold nobody up."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from causal_orchestrator.backends import connect
from causal_orchestrator.http.auth import PEPPER, add_key, make_key
from causal_orchestrator.settings import Settings

SLOW = 300  # slow connections, nineteen for each thread of the server
HEAD_SECONDS = 2.0
PROMPT_SECONDS = 5.0  # far below what 300 slow connections would cost 16 threads; a loaded machine is slow by itself
PROGRAM = """
import sys
from pathlib import Path
from causal_orchestrator.http import patience, serve
from causal_orchestrator.settings import Settings
patience.HEAD_SECONDS = float(sys.argv[3])
settings = Settings(home=Path(sys.argv[1]), environ={"API_KEY_PEPPER": "0" * 64}, sources={"*": ("gs://bucket",)})
serve._Server(settings, "127.0.0.1", int(sys.argv[2])).run()
"""


@dataclass
class Server:
    port: int
    key: str

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def head(self, method: str = "GET", *more: str) -> bytes:
        rows = (f"{method} /api/v1/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}", *more)
        return ("\r\n".join(rows) + "\r\n\r\n").encode()

    def status(self) -> int:
        with self.open() as line:
            line.sendall(self.head())
            return int(line.recv(4096)[9:12])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server") / "home"
    key = make_key("local")
    add_key(connect(Settings(home=home, environ={PEPPER: "0" * 64})), key, name="ada", tenant="acme", role="analyst")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), str(port), str(HEAD_SECONDS)])
    found = Server(port, key)
    try:
        for _ in range(300):
            try:
                found.open().close()
                break
            except OSError:
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_slow_connections_hold_nobody_up_and_are_ended(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * SLOW + 200)), hard))
    with ExitStack() as lines:
        slow = [lines.enter_context(server.open()) for _ in range(SLOW)]
        for line in slow[::2]:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: loc")  # the others send nothing at all
        began = time.monotonic()
        assert [server.status() for _ in range(5)] == [200] * 5
        assert time.monotonic() - began < PROMPT_SECONDS
        time.sleep(max(0.0, began + 2 * HEAD_SECONDS - time.monotonic()))
        for line in slow[:4]:
            line.settimeout(10)
            with suppress(ConnectionResetError):
                assert line.recv(100) == b""


def test_a_head_that_comes_in_pieces_is_a_head(server: Server) -> None:
    with server.open() as line:
        for _ in range(2):  # the second on the kept connection
            for piece in (server.head()[:10], server.head()[10:]):
                line.sendall(piece)
                time.sleep(0.2)
            answer = line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_that_breaks_off_starts_no_job(server: Server) -> None:
    kind = "Content-Type: application/json"
    for more, body in (
        (("Content-Length: 1000",), b'{"dataset":"gs://bucket/a.csv"}'),
        (("Transfer-Encoding: chunked",), b'5\r\n{"dat\r\n'),
        (("Transfer-Encoding: chunked",), b"zz\r\n"),
        (("Content-Length: 3", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    ):
        with server.open() as line:
            line.sendall(server.head("POST", kind, *more) + body)
            line.shutdown(socket.SHUT_WR)
            answer = line.recv(65536)
            assert not answer or int(answer[9:12]) in (400, 408, 411, 413), answer[:200]
    with server.open() as line:
        line.sendall(server.head("GET", "Connection: close"))
        answer = b"".join(iter(lambda: line.recv(65536), b""))
        assert answer.endswith(b'{"jobs":[],"next_cursor":null}')
