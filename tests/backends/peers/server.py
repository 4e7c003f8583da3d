"""A gRPC server of plain functions, with faults on demand."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]

Method = tuple[Callable[[Any], Any], Any]  # the function and its request type


class Refused(Exception):
    """What a peer answers instead of a response."""

    def __init__(self, code: grpc.StatusCode, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class Faults:
    """What goes wrong next: `before` a method has done its work, or `after` it (the outcome is then not seen)."""

    def __init__(self) -> None:
        self.before: dict[str, list[Any]] = defaultdict(list)
        self.after: dict[str, list[Any]] = defaultdict(list)
        self.calls: Counter[str] = Counter()

    def strike(self, when: Mapping[str, list[Any]], method: str) -> Any:
        return when[method].pop(0) if when.get(method) else None


@contextmanager
def served(services: Mapping[str, Mapping[str, Method]], faults: Faults) -> Iterator[str]:
    """Serve full service names with their methods on a port of this machine; give the address."""
    pool = ThreadPoolExecutor(max_workers=40)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    handlers = []
    for service, methods in services.items():
        table = {name: _handler(name, *method, faults=faults) for name, method in methods.items()}
        handlers.append(grpc.method_handlers_generic_handler(service, table))
    server.add_generic_rpc_handlers(tuple(handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        pool.shutdown()


_LOCK = threading.Lock()


def _handler(name: str, work: Callable[[Any], Any], request: Any, *, faults: Faults) -> Any:
    def answer(message: Any, context: grpc.ServicerContext) -> Any:
        with _LOCK:  # the peers' dictionaries know no threads
            faults.calls[name] += 1
            code = faults.strike(faults.before, name)
            if code is None:
                try:
                    result = work(message)
                except Refused as exc:
                    context.abort(exc.code, str(exc))
                code = faults.strike(faults.after, name)
        if code is not None:
            context.abort(code, "told to fail")
        return result

    def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from answer(message, context)

    kind = grpc.unary_stream_rpc_method_handler if name in STREAMS else grpc.unary_unary_rpc_method_handler
    return kind(
        stream if name in STREAMS else answer,
        request_deserializer=_raw(request).FromString,
        response_serializer=lambda found: found.SerializeToString(),
    )


STREAMS = {"BatchGetDocuments", "RunQuery"}


def _raw(message: Any) -> Any:
    return message.pb() if hasattr(message, "pb") else message
