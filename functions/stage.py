"""Stage what is deployed: each function's folder, a copy of the package beside it, the lock that it names as requirements.

``python functions/stage.py OUT [NAME ...]`` writes ``OUT/NAME/`` for every function, or for those named. What lies
there is what a deployment uploads, byte for byte, so a function whose folder did not change need not be deployed.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path

FUNCTIONS = Path(__file__).resolve().parent
PACKAGE = FUNCTIONS.parent / "shared" / "causal_orchestrator"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def names() -> list[str]:
    """Return the functions, by their folders."""
    return sorted(path.parent.name for path in FUNCTIONS.glob("*/main.py"))


def stage(name: str, out: Path) -> Path:
    """Write one function's folder as it is deployed and return it."""
    target = out / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(FUNCTIONS / name, target, ignore=LEFT_OUT)
    shutil.copytree(PACKAGE, target / PACKAGE.name, ignore=LEFT_OUT)
    # One file, since the platform looks for functions-framework in it, and brings one of its own if it finds none.
    text = "".join((FUNCTIONS / lock).read_text(encoding="utf-8") for lock in locks(target))
    (target / "requirements.txt").write_text(text, encoding="utf-8")
    return target


def locks(folder: Path) -> list[str]:
    """Return the locks that a function's requirements name."""
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]


def main(arguments: Iterable[str] | None = None) -> None:
    """Stage the functions that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    unknown = set(chosen.names) - set(names())
    if unknown:
        parser.error(f"there is no function {sorted(unknown)[0]}; there are {', '.join(names())}")
    for name in chosen.names or names():
        stage(name, chosen.out)


if __name__ == "__main__":
    main()
