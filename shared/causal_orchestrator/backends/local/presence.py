"""Who is alive: a process is a folder with a locked file in it, and the kernel unlocks it when the process ends.

Nothing is guessed from process numbers, which are given anew, or from clocks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from causal_orchestrator.backends.local.database import translated

LOCK = "lock"


class Presence:
    """The folder of this process, made on first use; temporary files go there and are swept away with it."""

    def __init__(self, folder: Path, new_id: Callable[[], str]) -> None:
        self._folder = folder
        self.name = new_id()
        self._held: int | None = None
        self._making = threading.Lock()

    def scratch(self) -> Path:
        """Return this process's own folder."""
        mine = self._folder / self.name
        with self._making, translated():
            if self._held is None:
                # It gets its name only once it is locked: no one may take it for a dead one's on the way.
                fresh = self._folder / f".{self.name}"
                fresh.mkdir(mode=0o700, exist_ok=True)
                self._held = lock(fresh / LOCK)
                fresh.rename(mine)
        return mine

    def dead(self) -> list[str]:
        """Return the processes that have ended without leaving."""
        found = []
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            skipped = folder.name == self.name or folder.name.startswith(".")
            held = None if skipped else lock(folder / LOCK)
            if held is not None:
                os.close(held)
                found.append(folder.name)
        return found

    def bury(self, name: str) -> None:
        """Remove what a dead process has left behind."""
        for folder in (name, f".{name}"):
            shutil.rmtree(self._folder / folder, ignore_errors=True)

    def leave(self) -> None:
        """Remove this process's folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
            self.bury(self.name)


def lock(path: Path) -> int | None:
    """Lock a file for as long as this process lives; return None if another process has it."""
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held
