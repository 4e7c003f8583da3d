"""Ends the peers and emulators of these tests, and says which they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.backends import gcp


@pytest.fixture(scope="session", autouse=True)
def _peers() -> Iterator[None]:
    yield
    gcp.OPEN.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    official = "the official emulators" if gcp.sdk() else "loopback peers (no Google Cloud SDK here)"
    terminalreporter.write_line(
        f"functions: real functions-framework; Firestore and Pub/Sub over {official}; Storage, Tasks, Run Jobs and "
        "Secret Manager over loopback peers; triggers, pushes and the scheduler by tests/functions/dispatcher.py"
    )
