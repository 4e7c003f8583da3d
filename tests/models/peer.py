"""A loopback server that speaks three wire formats (Gemini, Claude, OpenAI's completions) and fails as it is told.

What it says next is a mapping. ``args``: one call with these arguments; ``splice``: raw JSON text in their place;
``text``: a text instead of a call (for completions: the arguments' text); ``names`` and ``times``: of the calls;
``finish``: the finish reason by format; ``blocked``: no answer, with a reason; ``status``, ``retry_after``, ``body``:
the HTTP response itself; ``size``: so many bytes; ``endless``, ``drip``, ``silence``, ``reset``: what the socket does.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Mapping[str, Any]
FINISH = {"gemini": "STOP", "claude": "tool_use", "openai": "tool_calls"}
ENDED = {"gemini": "STOP", "claude": "end_turn", "openai": "tool_calls"}
CHUNK = b"1000\r\n" + b" " * 4096 + b"\r\n"


class Peer:
    """The server: `say` gives what to answer to a prompt, `heard` holds every request's path, headers and body."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.say: Callable[[str], Say] = lambda prompt: {"status": 500}
        self.heard: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []
        self.over = threading.Event()

    @property
    def prompts(self) -> list[str]:
        return [_prompt(body) for _, _, body in self.heard]


@contextmanager
def serving() -> Iterator[Peer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    peer = server.peer = Peer(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        peer.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        peer: Peer = self.server.peer  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/token":
            self._send(200, b'{"access_token": "fake", "expires_in": 3600, "token_type": "Bearer"}')
            return
        body = json.loads(raw)
        peer.heard.append((self.path, dict(self.headers), body))
        say = peer.say(_prompt(body))
        if say.get("silence"):
            peer.over.wait(5)
            self.close_connection = True
        elif say.get("reset"):
            self._reset()
        elif say.get("endless"):
            self._stream(peer, CHUNK, pause=0.0)
        elif say.get("drip"):
            self._stream(peer, b"1\r\n \r\n", pause=0.02)
        else:
            self._send(say.get("status", 200), _body(_format(self.path), say, body), say.get("retry_after"))

    def _send(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def _reset(self) -> None:
        """Break off in the middle of the body, with a reset."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _stream(self, peer: Peer, chunk: bytes, *, pause: float) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not peer.over.wait(pause):
                self.wfile.write(chunk)
        except OSError:
            pass
        self.close_connection = True


def _format(path: str) -> str:
    if path.endswith(":generateContent"):
        return "gemini"
    return {"/v1/messages": "claude", "/chat/completions": "openai"}[path]


def _prompt(body: Mapping[str, Any]) -> str:
    if "contents" in body:
        return str(body["contents"][0]["parts"][0]["text"])
    return str(body["messages"][0]["content"])


def _declared(form: str, body: Mapping[str, Any]) -> str:
    """Return the name of the one function of the request, after checking that its use is forced."""
    (tool,) = body["tools"]
    if form == "claude":
        assert body["tool_choice"]["type"] == "tool"
        return str(tool["name"])
    if form == "openai":
        assert body["tool_choice"]["function"]["name"] == tool["function"]["name"]
        return str(tool["function"]["name"])
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    return str(tool["functionDeclarations"][0]["name"])


def _body(form: str, say: Say, request: Mapping[str, Any]) -> bytes:
    if "body" in say:
        return str(say["body"]).encode()
    if "size" in say:
        return b'{"x": "' + b"x" * int(say["size"]) + b'"}'
    names = say.get("names") or ([_declared(form, request)] if "tools" in request else ["reply"]) * say.get("times", 1)
    finish = say.get("finish", {}).get(form, ENDED[form] if "text" in say else FINISH[form])
    text = _RENDER[form](say, names, finish, tools="tools" in request)
    return text.replace('"@ARGS@"', say.get("splice", json.dumps(say.get("args", {})))).encode()


def _gemini(say: Say, names: list[str], finish: str, *, tools: bool) -> str:
    if say.get("blocked"):
        return json.dumps({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-peer"})
    if "text" in say:
        parts: list[Any] = [{"text": say["text"]}]
    elif not tools:
        parts = [{"text": say.get("splice", json.dumps(say.get("args", {})))}]
    else:
        parts = [{"functionCall": {"name": name, "args": "@ARGS@"}} for name in names]
    return json.dumps(
        {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
            "usageMetadata": {"promptTokenCount": 31, "candidatesTokenCount": 9, "totalTokenCount": 40},
            "modelVersion": "gemini-peer",
        }
    )


def _claude(say: Say, names: list[str], finish: str, *, tools: bool) -> str:
    if say.get("blocked"):
        content, finish = [], "refusal"
    elif "text" in say:
        content = [{"type": "text", "text": say["text"]}]
    else:
        content = [{"type": "tool_use", "id": f"t{k}", "name": n, "input": "@ARGS@"} for k, n in enumerate(names)]
    usage = {"input_tokens": 31, "output_tokens": 9}
    return json.dumps(
        {"type": "message", "role": "assistant", "content": content, "stop_reason": finish, "usage": usage}
    )


def _openai(say: Say, names: list[str], finish: str, *, tools: bool) -> str:
    arguments = say.get("text", say.get("splice", json.dumps(say.get("args", {}))))
    calls = [{"id": f"c{k}", "type": "function", "function": {"name": n, "arguments": arguments}} for k, n in enumerate(names)]  # fmt: skip
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": None, "tool_calls": calls}}  # fmt: skip
    choices = [] if say.get("blocked") else [choice]
    usage = {"prompt_tokens": 31, "completion_tokens": 9}
    return json.dumps({"object": "chat.completion", "choices": choices, "usage": usage, "model": "peer"})


_RENDER: dict[str, Callable[..., str]] = {"gemini": _gemini, "claude": _claude, "openai": _openai}
