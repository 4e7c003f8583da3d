"""BigQuery's interface (v2) as far as reading tables goes: tables.get and tabledata.list, page by page."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PATH = re.compile(r"/bigquery/v2/projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)(/data)?")


@dataclass
class Tables:
    """Tables by (project, dataset, table): schema fields and rows of texts as the wire has them (None: NULL).

    `faults` are answers to come; `after_page` is called with the number of every page that was given.
    """

    held: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    page: int = 3
    faults: list[int] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    after_page: Callable[[int], None] = lambda number: None

    def put(
        self, name: tuple[str, str, str], schema: list[tuple[str, str, str]], rows: list[list[Any]], **more: Any
    ) -> None:
        fields = [{"name": n, "type": kind, "mode": mode} for n, kind, mode in schema]
        self.held[name] = {"fields": fields, "rows": rows, "etag": "v1", "type": "TABLE", **more}

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        found = PATH.fullmatch(path)
        key = tuple(unquote(part) for part in found.groups()[:3]) if found else ("", "", "")
        self.calls["data" if found and found[4] else "table"] += 1
        if self.faults:
            return self.faults.pop(0), {"error": {"message": "told to fail"}}
        if key in self.denied:
            return 403, {"error": {"message": "denied", "errors": [{"reason": "accessDenied"}]}}
        table = self.held.get(key)  # type: ignore[call-overload]
        if found is None or table is None:
            return 404, {"error": {"message": "not found", "errors": [{"reason": "notFound"}]}}
        return 200, self._rows(table, query) if found[4] else self._table(key, table)

    def _table(self, key: Any, table: dict[str, Any]) -> Any:
        reference = dict(zip(("projectId", "datasetId", "tableId"), key, strict=True))
        return {
            "kind": "bigquery#table", "etag": table["etag"], "tableReference": reference, "type": table["type"],
            "schema": {"fields": table["fields"]}, "numRows": str(table.get("num_rows", len(table["rows"]))),
        }  # fmt: skip

    def _rows(self, table: dict[str, Any], query: dict[str, str]) -> Any:
        start = int(query.get("pageToken", "0"))
        rows = table["rows"][start : start + self.page]
        more = {"pageToken": str(start + self.page)} if start + self.page < len(table["rows"]) else {}
        self.after_page(start // self.page)
        shown = [{"f": [{"v": cell} for cell in row]} for row in rows]
        return {"kind": "bigquery#tableDataList", "totalRows": str(len(table["rows"])), "rows": shown, **more}


@contextmanager
def bigquery(peer: Tables) -> Iterator[str]:
    """Serve the tables; give the address."""

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            status, content = peer.answer(split.path, dict(parse_qsl(split.query)))
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Request)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
