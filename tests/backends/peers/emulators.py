"""The official emulators of the Google Cloud SDK, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_TO_START = 60
FIRESTORE = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # short runs gain nothing from the thorough compiler
PUBSUB = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


def sdk() -> Path | None:
    """Return the SDK's folder if both emulators and Java are there."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    root = Path(gcloud).resolve().parent.parent
    return root if all(any(root.glob(jar)) for jar in (FIRESTORE, PUBSUB)) else None


@contextmanager
def emulators(root: Path) -> Iterator[list[str]]:
    """Run both emulators; give the addresses of Firestore's and Pub/Sub's."""
    name = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    # The Java processes themselves: ending gcloud's wrapper would leave them behind.
    firestore = ["-Duser.language=en", "-Xmx512m", *QUICK, "-cp", str(root / FIRESTORE), name, "start"]
    pubsub = ["-Xmx256m", *QUICK, "-jar", str(next(root.glob(PUBSUB)))]
    with _running(firestore) as first, _running(pubsub) as second:
        for process, port in (first, second):
            _wait(process, port)
        yield [f"127.0.0.1:{port}" for _, port in (first, second)]


@contextmanager
def _running(arguments: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = ["java", *arguments, "--host=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("an emulator that is installed did not start")
