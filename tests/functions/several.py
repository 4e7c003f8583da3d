"""Serve several functions in one process, each made by functions-framework from its own folder, under its name.

``python several.py PORT NAME ...``, run in the folder of one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from functions_framework import create_app
from functions_framework._http.gunicorn import GunicornApplication
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

WORKERS = 2  # one a processor; a step keeps one busy


def main(port: int, names: list[str]) -> None:
    here = Path.cwd().parent
    apps = {f"/{name}": create_app("on_message", str(here / name / "main.py"), "cloudevent") for name in names}
    GunicornApplication(
        DispatcherMiddleware(NotFound(), apps), "127.0.0.1", port, False, workers=WORKERS, threads=1
    ).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
