"""Firestore: transactions that lose when what they read has changed, equality queries, and its limits on values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from google.cloud.firestore_v1 import types
from google.protobuf.empty_pb2 import Empty
from grpc import StatusCode
from tests.backends.peers.server import Faults, Refused, served

MAX_BYTES = 1_048_576
DESCENDING = types.StructuredQuery.Direction.DESCENDING


class Firestore:
    """The documents by full name, and what every open transaction has read: the moment of its last write (0: never)."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.written: dict[str, int] = {}
        self.transactions: dict[bytes, dict[str, int]] = {}
        self.numbers = count(1)

    def batch_get(self, request: Any) -> list[Any]:
        answers = []
        answer = types.BatchGetDocumentsResponse.pb()
        if request.HasField("new_transaction"):
            key = b"t%d" % next(self.numbers)
            self.transactions[key] = {name: self.written.get(name, 0) for name in request.documents}
            answers.append(answer(transaction=key))
        for name in request.documents:
            found = self.documents.get(name)
            answers.append(answer(missing=name) if found is None else answer(found=found))
        return answers

    def commit(self, request: Any) -> Any:
        if request.transaction:
            read = self.transactions.pop(request.transaction, None)
            if read is None:
                raise Refused(StatusCode.INVALID_ARGUMENT, "the transaction is over")
            if any(self.written.get(name, 0) != moment for name, moment in read.items()):
                raise Refused(StatusCode.ABORTED, "what was read has changed")
        for write in request.writes:
            _check(write.update)
        moment = next(self.numbers)
        for write in request.writes:
            self._apply(write, moment)
        return types.CommitResponse.pb()(write_results=[{} for _ in request.writes])

    def rollback(self, request: Any) -> Any:
        self.transactions.pop(request.transaction, None)
        return Empty()

    def run_query(self, request: Any) -> list[Any]:
        query = request.structured_query
        (source,) = query.from_
        found = [
            document
            for name, document in self.documents.items()
            if _belongs(name, request.parent, source) and _matches(document, query.where)
        ]
        for order in reversed(query.order_by):
            field = order.field.field_path
            found = [document for document in found if _sort_key(document, field) is not None]
            found.sort(key=lambda d, f=field: _sort_key(d, f), reverse=order.direction == DESCENDING)  # type: ignore[misc]
        if query.HasField("start_at"):
            found = [document for document in found if _is_after(document, query)]
        found = found[: query.limit.value] if query.HasField("limit") else found
        return [types.RunQueryResponse.pb()(document=document) for document in found]

    def _apply(self, write: Any, moment: int) -> None:
        name = write.delete or write.update.name
        self.written[name] = moment
        if write.delete:
            self.documents.pop(name, None)
            return
        document = types.Document.pb()()
        document.CopyFrom(write.update)
        document.update_time.FromMicroseconds(moment)
        self.documents[name] = document


def _check(document: Any) -> None:
    if document.ByteSize() > MAX_BYTES + 4096:
        raise Refused(StatusCode.INVALID_ARGUMENT, "the document is too large")
    for key, value in document.fields.items():
        _check_field(key, value)


def _check_field(key: str, value: Any) -> None:
    if not key or (key.startswith("__") and key.endswith("__")) or len(key.encode()) > 1500:
        raise Refused(StatusCode.INVALID_ARGUMENT, "no field may be called that")
    for inner in value.array_value.values:
        if inner.HasField("array_value"):
            raise Refused(StatusCode.INVALID_ARGUMENT, "an array stands in an array")
        _check_field("inner", inner)
    for inner_key, inner in value.map_value.fields.items():
        _check_field(inner_key, inner)


def _belongs(name: str, parent: str, source: Any) -> bool:
    above, collection, _ = name.rsplit("/", 2)
    if collection != source.collection_id:
        return False
    return above.startswith(parent) if source.all_descendants else above == parent


def _matches(document: Any, condition: Any) -> bool:
    kind = condition.WhichOneof("filter_type")
    if kind is None:
        return True
    if kind == "composite_filter":
        return all(_matches(document, inner) for inner in condition.composite_filter.filters)
    asked = getattr(condition, kind)
    path = asked.field.field_path
    name = re.sub(r"\\(.)", r"\1", path[1:-1]) if path.startswith("`") else path
    if name not in document.fields:
        return False
    if kind == "unary_filter":
        return bool(document.fields[name].HasField("null_value"))
    return bool(document.fields[name] == asked.value)


def _sort_key(document: Any, field: str) -> Any:
    if field == "__name__":
        return document.name.split("/")
    return _plain(document.fields[field]) if field in document.fields else None


def _plain(value: Any) -> Any:
    if value.HasField("reference_value"):
        return value.reference_value.split("/")
    return value.timestamp_value.ToMicroseconds()


def _is_after(document: Any, query: Any) -> bool:
    for order, value in zip(query.order_by, query.start_at.values, strict=True):
        mine, mark = _sort_key(document, order.field.field_path), _plain(value)
        if mine != mark:
            return bool(mine < mark) if order.direction == DESCENDING else bool(mine > mark)
    return bool(query.start_at.before)


@contextmanager
def firestore(faults: Faults) -> Iterator[str]:
    """Serve a fresh Firestore; give its address."""
    peer = Firestore()
    methods: dict[str, Any] = {
        "BatchGetDocuments": (peer.batch_get, types.BatchGetDocumentsRequest),
        "Commit": (peer.commit, types.CommitRequest),
        "Rollback": (peer.rollback, types.RollbackRequest),
        "RunQuery": (peer.run_query, types.RunQueryRequest),
    }
    with served({"google.firestore.v1.Firestore": methods}, faults) as address:
        yield address
