"""The deployed functions on this machine: staged as a deployment stages them, served by functions-framework.

The services and the fetcher run in a process each. The other agents share one, since fifteen that all import the science
are more than two processors should be asked for; each of them is still its own app made of its own staged folder.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from tests.backends import gcp

from causal_orchestrator.agents import AGENTS
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.http.auth import PEPPER, add_key, make_key
from causal_orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "test"
TENANT = "acme"
SECONDS_TO_START = 60
# As in the deployment: the name of the entry point, and whether it takes an HTTP request or an event.
SERVICES = {
    "api": ("on_request", "http"),
    "request_intake": ("on_request_message", "cloudevent"),
    "upload_intake": ("on_upload", "cloudevent"),
    "coordinator": ("on_step_written", "cloudevent"),
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

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def deployed(folder: Path, agents: Sequence[str] = tuple(AGENTS), **environ: str) -> Iterator[Deployment]:
    """Stage the functions, start the peers and all processes; nothing outlives the context."""
    up = gcp.peers("emulators" if gcp.sdk() else "peers")
    chosen = replace(
        gcp.settings(up, folder / "home"), datasets_bucket=f"datasets-{folder.name}", tenant=TENANT,
        environ={**up.environ, PEPPER: "0" * 64},
    )  # fmt: skip
    stage, build = staging(), folder / "build"
    for name in (*SERVICES, *agents, "step_job"):
        stage.stage(name, build)
    variables = {
        **os.environ, **chosen.environ, "CAUSAL_BACKEND": "gcp", "GOOGLE_CLOUD_PROJECT": chosen.project,
        "CAUSAL_REGION": chosen.region, "CAUSAL_BUCKET": chosen.bucket, "CAUSAL_TENANT": TENANT,
        "CAUSAL_DATASETS_BUCKET": chosen.datasets_bucket, "CAUSAL_SERVICE_ACCOUNT": chosen.service_account,
        "CAUSAL_ENVIRONMENT": ENVIRONMENT, "CAUSAL_LOG": "INFO", "PYTHONHASHSEED": "0", **environ,
    }  # fmt: skip
    found = Deployment(up, chosen, gcp.connected(up, chosen), build, variables, {}, make_key(ENVIRONMENT))
    add_key(found.backends, found.key, name="tester", tenant=TENANT, role="analyst")
    with ExitStack() as stack:
        waiting = [stack.enter_context(_alone(found, name)) for name in (*SERVICES, *set(ALONE) & set(agents))]
        together = [name for name in agents if name not in ALONE]
        if together:
            waiting.append(stack.enter_context(_together(found, together)))
        for process, port in waiting:
            _wait(process, port)
        yield found


@contextmanager
def _alone(found: Deployment, name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
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
def _together(found: Deployment, names: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run several agents in one process, each under its name."""
    port = _free_port()
    script = Path(__file__).with_name("several.py")
    for name in names:
        found.addresses[name] = f"http://127.0.0.1:{port}/{name}/"
    environ = {**found.environ, "CAUSAL_HOME": str(found.chosen.home / "several")}
    with _running([str(script), str(port), *names], found.build / names[0], environ, module=False) as process:
        yield process, port


@contextmanager
def _running(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], *, module: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    # In a deployment nothing but the staged copy can be found; here it must come before what is installed.
    variables = {**environ, "PYTHONPATH": str(folder)}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, *(["-m"] if module else []), *command], cwd=folder, env=variables, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"a function did not start: {process.args}")
