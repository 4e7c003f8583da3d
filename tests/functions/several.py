"""Serve several functions in one process, each made by functions-framework from its own folder, under its name.

``python several.py PORT WORKERS THREADS NAME:ENTRY_POINT:SIGNATURE ...``, run in the folder of one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from functions_framework import create_app
from functions_framework._http.gunicorn import GunicornApplication
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware


def main(port: int, workers: int, threads: int, functions: list[str]) -> None:
    apps = {}
    for function in functions:
        name, entry_point, signature = function.split(":")
        apps[f"/{name}"] = create_app(entry_point, str(Path.cwd().parent / name / "main.py"), signature)
    app = DispatcherMiddleware(NotFound(), apps)
    GunicornApplication(app, "127.0.0.1", port, False, workers=workers, threads=threads).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4:])
