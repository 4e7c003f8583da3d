"""Cloud Storage's JSON interface: generations, preconditions, resumable uploads, versions, signed addresses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import google_crc32c
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

PAGE = 3


@dataclass(frozen=True)
class Generation:
    number: int
    data: bytes
    metadata: dict[str, str]


@dataclass
class Storage:
    """One project's objects by (bucket, name); the last generation is the live one unless the name is in `archived`.

    `faults` are answers to come: (method, status, whether the work is done before it).
    """

    key: Any
    objects: dict[tuple[str, str], list[Generation]] = field(default_factory=dict)
    archived: set[tuple[str, str]] = field(default_factory=set)
    uploads: dict[str, tuple[dict[str, str], str, str, dict[str, str], bytes]] = field(default_factory=dict)
    faults: list[tuple[str, int, bool]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=lambda: count(1_700_000_000_000_000))
    lock: Any = field(default_factory=threading.Lock)

    def create(self, bucket: str, name: str, data: bytes, metadata: dict[str, str]) -> Generation:
        new = Generation(next(self.numbers), data, metadata)
        self.objects.setdefault((bucket, name), []).append(new)
        self.archived.discard((bucket, name))
        return new

    def find(self, bucket: str, name: str, generation: str | None) -> Generation | None:
        standing = self.objects.get((bucket, name), [])
        if generation is not None:
            return next((g for g in standing if g.number == int(generation)), None)
        return standing[-1] if standing and (bucket, name) not in self.archived else None


Answer = tuple[int, bytes, dict[str, str]]


class _Request(BaseHTTPRequestHandler):
    """Answers one request after another on a connection; `peer` is set by `storage`."""

    protocol_version = "HTTP/1.1"
    peer: Storage

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, work: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        with self.peer.lock:
            self.peer.calls[self.command] += 1
            fault = next((f for f in self.peer.faults if f[0] == self.command), None)
            if fault is not None:
                self.peer.faults.remove(fault)
            if fault is None or fault[2]:
                status, data, headers = work(split.path, dict(parse_qsl(split.query)), body)
            if fault is not None:
                status, data, headers = fault[1], b"{}", {}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _get(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        if "X-Goog-Signature" in query:
            return self._signed(path, query) or self._read(path, query)
        bucket, name = _place(path)
        if not bucket:
            return _failure(404)  # the client asks for the bucket as well, for its traces
        if not name:
            return self._list(bucket, query)
        found = self.peer.find(bucket, name, query.get("generation"))
        if found is None:
            return _failure(404)
        if query.get("alt") == "media":
            return 200, found.data, {"x-goog-hash": f"crc32c={_crc32c(found.data)}"}
        return 200, json.dumps(_resource(bucket, name, found)).encode(), {}

    def _list(self, bucket: str, query: dict[str, str]) -> Answer:
        items = []
        for (where, name), standing in sorted(self.peer.objects.items()):
            if where != bucket or not name.startswith(query.get("prefix", "")):
                continue
            shown = standing if query.get("versions", "").lower() == "true" else [self.peer.find(bucket, name, None)]
            items += [_resource(bucket, name, g) for g in shown if g is not None]
        start = int(query.get("pageToken", 0))
        found: dict[str, Any] = {"items": items[start : start + PAGE]}
        if start + PAGE < len(items):
            found["nextPageToken"] = str(start + PAGE)
        return 200, json.dumps(found).encode(), {}

    def _post(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        bucket, _ = _place(path)
        if query["uploadType"] == "multipart":
            head = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
            described, data = [part.get_payload(decode=True) for part in message_from_bytes(head + body).get_payload()]
            resource = json.loads(described)
            return self._create(query, bucket, resource["name"], resource.get("metadata", {}), data)
        resource = json.loads(body)
        key = str(next(self.peer.numbers))
        self.peer.uploads[key] = (query, bucket, resource["name"], resource.get("metadata", {}), b"")
        address = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?upload_id={key}"
        return 200, b"{}", {"Location": address}

    def _put(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        if "X-Goog-Signature" in query:
            return self._signed(path, query) or self._written(path, body)
        asked, bucket, name, metadata, data = self.peer.uploads[query["upload_id"]]
        data += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == "*" or len(data) < int(total):
            self.peer.uploads[query["upload_id"]] = (asked, bucket, name, metadata, data)
            return 308, b"", {"Range": f"bytes=0-{len(data) - 1}"}
        return self._create(asked, bucket, name, metadata, data)

    def _create(self, query: dict[str, str], bucket: str, name: str, metadata: dict[str, str], data: bytes) -> Answer:
        if query.get("ifGenerationMatch") == "0" and self.peer.find(bucket, name, None) is not None:
            return _failure(412)
        made = self.peer.create(bucket, name, data, metadata)
        return 200, json.dumps(_resource(bucket, name, made)).encode(), {}

    def _delete(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        bucket, name = _place(path)
        found = self.peer.find(bucket, name, query.get("generation"))
        if found is None:
            return _failure(404)
        if "generation" in query:
            self.peer.objects[bucket, name].remove(found)
        else:
            self.peer.archived.add((bucket, name))
        return 204, b"", {}

    def _signed(self, path: str, query: dict[str, str]) -> Answer | None:
        """Refuse an address unless Cloud Storage's fourth way of signing made it (GOOG4-RSA-SHA256) for this request."""
        begun = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        scope = query["X-Goog-Credential"].partition("/")[2]
        asked = "&".join(
            f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items()) if k != "X-Goog-Signature"
        )
        names = query["X-Goog-SignedHeaders"]
        held = [f"{name}:{self.headers.get(name, '')}" for name in names.split(";")]
        canonical = "\n".join([self.command, path, asked, *held, "", names, "UNSIGNED-PAYLOAD"])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signed = "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, digest]).encode()
        try:
            signature = bytes.fromhex(query["X-Goog-Signature"])
            self.peer.key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return _failure(403)
        if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Goog-Expires"])):
            return _failure(400)
        return None

    def _written(self, path: str, body: bytes) -> Answer:
        bucket, _, name = path.lstrip("/").partition("/")
        least, most = self.headers.get("x-goog-content-length-range", f"0,{len(body)}").split(",")
        if not int(least) <= len(body) <= int(most):
            return _failure(400)
        condition = {"ifGenerationMatch": self.headers.get("x-goog-if-generation-match", "")}
        return self._create(condition, bucket, unquote(name), {}, body)

    def _read(self, path: str, query: dict[str, str]) -> Answer:
        bucket, _, name = path.lstrip("/").partition("/")
        found = self.peer.find(bucket, unquote(name), query.get("generation"))
        if found is None:
            return _failure(404)
        return 200, found.data, {"Content-Disposition": query.get("response-content-disposition", "")}


def _place(path: str) -> tuple[str, str]:
    found = re.fullmatch(r"(?:/upload|/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?", path)
    return ("", "") if found is None else (found[1], unquote(found[2] or ""))


def _resource(bucket: str, name: str, found: Generation) -> dict[str, Any]:
    return {
        "kind": "storage#object", "bucket": bucket, "name": name, "generation": str(found.number), "metageneration": "1",
        "size": str(len(found.data)), "metadata": found.metadata, "crc32c": _crc32c(found.data),
    }  # fmt: skip


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def _failure(status: int) -> Answer:
    return status, json.dumps({"error": {"code": status, "message": "no"}}).encode(), {}


@contextmanager
def storage(peer: Storage) -> Iterator[str]:
    """Serve Cloud Storage; give the address."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), type("Request", (_Request,), {"peer": peer}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
