"""The deployed functions on this machine: staged as a deployment stages them, served by functions-framework.

The services and the fetcher run in a process each. The other agents share one, since fifteen that all import the science
are more than two processors should be asked for; each of them is still its own app, made by functions-framework of its
own staged folder. Where the agents are toys, all functions share one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.backends import gcp

from causal_orchestrator.agents import AGENTS, FIRST
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.http.auth import PEPPER, add_key, make_key
from causal_orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "test"
TENANT = "acme"
CALL_SECONDS, LOOK_SECONDS = 30.0, 0.2
SECONDS_TO_START = 60
RESEND_SECONDS = "5"  # thirty in a deployment; only the sweeper reads it
TOYS = Path(__file__).with_name("toys")
# As in the deployment: the name of the entry point, and whether it takes an HTTP request or an event.
SERVICES = {
    "api": ("on_request", "http"),
    "request_intake": ("on_request_message", "cloudevent"),
    "upload_intake": ("on_upload", "cloudevent"),
    "coordinator": ("on_step_written", "cloudevent"),
    "dead_letters": ("on_dead_letter", "cloudevent"),
    "sweeper": ("on_schedule", "http"),
}
AGENT = ("on_message", "cloudevent")
ALONE = ("dataset_fetcher",)


def staging() -> ModuleType:
    """Return the script that stages a deployment."""
    spec = importlib.util.spec_from_file_location("stage", ROOT / "functions" / "stage.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("functions/stage.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Deployment:
    """Everything that runs: the peers, the settings that all functions share, and where each function answers."""

    up: gcp.Peers
    chosen: Settings
    backends: Backends
    build: Path
    environ: dict[str, str]
    addresses: dict[str, str]
    key: str

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """Call the API function; anything but success is an error."""
        headers = {"Authorization": f"Bearer {self.key}", **({} if body is None else {"Content-Type": kind})}
        address = self.addresses["api"].rstrip("/") + path
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310  loopback
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
            found: bytes = answer.read()
        return found

    def upload(self, data: bytes) -> str:
        """Upload a file through the API and return its reference."""
        head = 'Content-Disposition: form-data; name="file"; filename="data.csv"'
        body = b"\r\n".join([b"--frontier", head.encode(), b"", data, b"--frontier--", b""])
        answer = self.call("POST", "/api/v1/uploads", body, "multipart/form-data; boundary=frontier")
        return str(json.loads(answer)["dataset"])

    def submit(self, request: Mapping[str, Any]) -> str:
        """Ask for an analysis through the API and return the job's ID."""
        return str(json.loads(self.call("POST", "/api/v1/jobs", json.dumps(request).encode()))["job_id"])

    def ended(self, job: str, *, seconds: float) -> str:
        """Wait until a job has ended, for so long at most, and return its status."""
        shown: dict[str, Any] = {}

        def over() -> bool:
            shown.update(json.loads(self.call("GET", f"/api/v1/jobs/{job}")))
            return shown["ended_at"] is not None

        if not settled(over, seconds=seconds):
            raise TimeoutError(f"the job stands at {shown['status']} in {shown['current_agent']}\n{self.logs()}")
        return str(shown["status"])

    def logs(self) -> str:
        """Return what the processes wrote last."""
        return "\n".join(f"{log.parent.name}: {log.read_text()[-2000:]}" for log in sorted(self.build.glob("*/log")))


def prepared(folder: Path, agents: Sequence[str] = tuple(AGENTS), *, toys: str | None = None) -> Deployment:
    """Stage the functions and start the peers; no function runs yet.

    `toys` names a table (``module:name``) that takes the place of the real agents in every process.
    """
    up = gcp.peers("emulators" if gcp.sdk() else "peers")
    chosen = replace(
        gcp.settings(up, folder / "home"), datasets_bucket=f"datasets-{folder.name}", tenant=TENANT,
        environ={**up.environ, PEPPER: "0" * 64},
    )  # fmt: skip
    stage, build = staging(), folder / "build"
    for name in (*SERVICES, *reversed(agents), "step_job"):
        # All agents' folders say the same, and a toy has none.
        stage.stage(name if name in stage.names() else FIRST, build).rename(build / name)
    variables = {
        **os.environ, **chosen.environ, "CAUSAL_BACKEND": "gcp", "GOOGLE_CLOUD_PROJECT": chosen.project,
        "CAUSAL_REGION": chosen.region, "CAUSAL_BUCKET": chosen.bucket, "CAUSAL_TENANT": TENANT,
        "CAUSAL_DATASETS_BUCKET": chosen.datasets_bucket, "CAUSAL_SERVICE_ACCOUNT": chosen.service_account,
        "CAUSAL_ENVIRONMENT": ENVIRONMENT, "CAUSAL_LOG": "INFO", "CAUSAL_RESEND_SECONDS": RESEND_SECONDS, "PYTHONHASHSEED": "0",
    }  # fmt: skip
    if toys is not None:
        variables |= {"TOY_AGENTS": toys, "PYTHONPATH": os.pathsep.join([str(TOYS), str(ROOT)])}
    found = Deployment(up, chosen, gcp.connected(up, chosen), build, variables, {}, make_key(ENVIRONMENT))
    add_key(found.backends, found.key, name="tester", tenant=TENANT, role="analyst")
    return found


@contextmanager
def deployed(folder: Path, agents: Sequence[str] = tuple(AGENTS), *, toys: str | None = None) -> Iterator[Deployment]:
    """Run what `prepared` has made ready; no process outlives the context."""
    found = prepared(folder, agents, toys=toys)
    single = () if toys is not None else (*SERVICES, *ALONE)
    together = [name for name in (*SERVICES, *agents) if name not in single]
    with ExitStack() as stack:
        waiting = [stack.enter_context(alone(found, name)) for name in single]
        waiting.append(stack.enter_context(_together(found, together, toys is not None)))
        for process, port in waiting:
            wait(process, port)
        yield found


@contextmanager
def alone(found: Deployment, name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run one function as Cloud Functions does: functions-framework, told the entry point's name and its signature."""
    entry, signature = SERVICES.get(name, AGENT)
    port = _free_port()
    command = [
        "functions_framework", "--target", entry, "--source", "main.py", "--signature-type", signature,
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    found.addresses[name] = f"http://127.0.0.1:{port}/"
    with _running(command, found.build / name, {**found.environ, "CAUSAL_HOME": str(found.chosen.home / name)}) as it:
        yield it, port


@contextmanager
def _together(found: Deployment, names: Sequence[str], light: bool) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run several functions in one process, each under its name; those that compute get a processor each."""
    port = _free_port()
    workers, threads = ("1", "12") if light else ("2", "1")
    functions = [f"{name}:{':'.join(SERVICES.get(name, AGENT))}" for name in names]
    for name in names:
        found.addresses[name] = f"http://127.0.0.1:{port}/{name}/"
    environ = {**found.environ, "CAUSAL_HOME": str(found.chosen.home / "several")}
    command = [str(Path(__file__).with_name("several.py")), str(port), workers, threads, *functions]
    with _running(command, found.build / names[0], environ, module=False) as process:
        yield process, port


@contextmanager
def _running(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], *, module: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    variables = {**at(folder, environ), "HOME": str(folder)}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, *(["-m"] if module else []), *command], cwd=folder, env=variables, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # gunicorn's word for: at once
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def at(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that is to import the package from a staged folder.

    In a deployment nothing else can be found; here the copy must come before what is installed.
    """
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), environ.get("PYTHONPATH")]))}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"a function did not start: {process.args!r}")


def settled(look: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until something is so; say whether it came to be in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if look():
            return True
        time.sleep(LOOK_SECONDS)
    return False
