"""The embedded loop as a process of its own, beside the HTTP service (``python -m``)."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from causal_orchestrator import laptop
from causal_orchestrator.settings import Settings


def main() -> None:
    """Deliver until the process is told to end."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    laptop.serve_loop(Settings.from_environment(), stop=stop)


if __name__ == "__main__":
    main()
