"""Ends the servers that tests of the Google Cloud backends have started, and says which they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.backends import gcp


@pytest.fixture(scope="session", autouse=True)
def _peers() -> Iterator[None]:
    yield
    gcp.OPEN.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    official = "official emulators and loopback peers" if gcp.sdk() else "loopback peers (no Google Cloud SDK here)"
    terminalreporter.write_line(f"gcp backends: Firestore and Pub/Sub over {official}; all else over loopback peers")
