"""Documents in Firestore.

A transaction is optimistic: a process that dies between reading and committing locks nobody out. Threads of one process
that want the same document wait for one another here, before they would only make one another lose on the server.

The generated client is used rather than the one above it, whose retries and time-outs cannot be set call by call.
Queries need the composite indexes (equal fields, ``created_at`` descending) that `list` asks for with `newest_first`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from google.api_core import exceptions
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore import FirestoreClient

from causal_orchestrator.backends.encoding import decode, encode, split
from causal_orchestrator.backends.gcp.calling import TIMEOUT, insist, rest, translation
from causal_orchestrator.backends.gcp.values import from_fields, to_fields, to_value
from causal_orchestrator.backends.ports import Document, Found, Writes
from causal_orchestrator.errors import CommitUnknown, Conflict, NotFound

Listing = list[tuple[str, Document]]

RACES = 12
TURNS = 64
QUERY_TIMEOUT = 30.0
# What Firestore answers, beside ABORTED, when it has certainly not committed. After anything else nobody knows.
NOT_COMMITTED = (
    exceptions.BadRequest,
    exceptions.Forbidden,
    exceptions.Unauthorized,
    exceptions.NotFound,
    exceptions.AlreadyExists,
    exceptions.ResourceExhausted,
)

Order: Any = types.StructuredQuery.Order
Filter: Any = types.StructuredQuery.Filter


class GoogleDocuments:
    """The port `Documents` over one database (``projects/P/databases/D``)."""

    def __init__(self, client: FirestoreClient, database: str) -> None:
        self._client = client
        self._database = database
        self._root = f"{database}/documents"
        self._metadata = [("google-cloud-resource-prefix", database)]
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def get(self, path: str) -> Document | None:
        """Return the document, or None."""
        split(path)
        return insist(lambda: self._read([path], {})[0], what="reading a document")[path]

    def update(self, paths: Sequence[str], change: Callable[[Found], Writes]) -> Found:
        """Read `paths`, write what `change` makes of them, all or nothing; return what stands then."""
        for path in paths:
            split(path)
        before = b""
        with self._turn(paths):
            for k in range(RACES):
                found, before = self._begin(paths, before)
                written = self._decided(found, change, before)
                if self._commit(written, before):
                    return {**found, **written}
                rest(k)
        raise Conflict(f"a transaction lost {RACES} races")

    def list(
        self, collection: str, *, where: Mapping[str, Any] | None = None, newest_first: bool = False,
        limit: int | None = None, after: str | None = None,
    ) -> Listing:  # fmt: skip
        """Return (path, document) by ID, or by `created_at` and ID descending (those that have it)."""
        parent, _, key = f"{self._root}/{collection}".rpartition("/")
        orders = ["created_at", "__name__"] if newest_first else ["__name__"]
        query = types.StructuredQuery(
            from_=[{"collection_id": key}],
            where=_all_equal(where or {}),
            order_by=[
                Order(field={"field_path": name}, direction="DESCENDING" if newest_first else "ASCENDING")
                for name in orders
            ],
            start_at=None if after is None else self._beyond(after, newest_first=newest_first),
            limit=limit,
        )
        request = types.RunQueryRequest(parent=parent, structured_query=query)
        return insist(lambda: self._query(request), what="listing documents")

    def _begin(self, paths: Sequence[str], before: bytes) -> tuple[Found, bytes]:
        """Begin a transaction, as another try of the one `before`, and read in it."""
        mode = types.TransactionOptions.ConcurrencyMode.OPTIMISTIC
        options = types.TransactionOptions(read_write={"retry_transaction": before, "concurrency_mode": mode})
        return insist(lambda: self._read(paths, {"new_transaction": options}), what="reading documents")

    def _read(self, paths: Sequence[str], options: Mapping[str, Any]) -> tuple[Found, bytes]:
        """Return the documents, and the transaction if one was begun."""
        request = types.BatchGetDocumentsRequest(
            database=self._database, documents=[self._name(path) for path in paths], **options
        )
        found: dict[str, Document | None] = dict.fromkeys(paths)
        transaction = b""
        answers = self._client.batch_get_documents(
            request, retry=None, timeout=TIMEOUT, metadata=self._metadata
        )  # fmt: skip
        for answer in map(types.BatchGetDocumentsResponse.pb, answers):
            transaction = answer.transaction or transaction
            if answer.HasField("found"):
                found[self._path(answer.found.name)] = from_fields(answer.found.fields)
        return found, transaction

    def _decided(self, found: Found, change: Callable[[Found], Writes], transaction: bytes) -> Found:
        """Return what `change` wants written, as it will be read again."""
        try:
            writes = change(found)
            if not set(writes) <= set(found):
                raise ValueError(f"a change may write only what it names, not {sorted(set(writes) - set(found))}")
            return {path: None if new is None else decode(encode(new)) for path, new in writes.items()}
        except BaseException:
            self._roll_back(transaction)
            raise

    def _write(self, path: str, document: Document | None) -> types.Write:
        name = self._name(path)
        if document is None:
            return types.Write(delete=name)
        write = types.Write.pb()()
        write.update.name = name
        for key, value in to_fields(name, document).items():
            write.update.fields[key].CopyFrom(value)
        wrapped: types.Write = types.Write.wrap(write)
        return wrapped

    def _commit(self, written: Found, transaction: bytes) -> bool:
        """Commit, once; False if others were faster (raises CommitUnknown if the outcome was not seen)."""
        writes = [self._write(path, document) for path, document in written.items()]
        request = types.CommitRequest(database=self._database, writes=writes, transaction=transaction)
        try:
            self._client.commit(request, retry=None, timeout=TIMEOUT, metadata=self._metadata)
        except exceptions.Aborted:
            return False
        except NOT_COMMITTED as exc:
            raise translation(exc, "committing") from exc
        except exceptions.GoogleAPIError as exc:
            raise CommitUnknown(f"a commit was sent and not answered: {type(exc).__name__}") from exc
        return True

    def _roll_back(self, transaction: bytes) -> None:
        """Free what the transaction may hold; if this fails, the server does it after a while."""
        request = types.RollbackRequest(database=self._database, transaction=transaction)
        with suppress(exceptions.GoogleAPIError):
            self._client.rollback(request, retry=None, timeout=TIMEOUT, metadata=self._metadata)

    def _query(self, request: types.RunQueryRequest) -> Listing:
        answers = self._client.run_query(request, retry=None, timeout=QUERY_TIMEOUT, metadata=self._metadata)
        found = [answer.document for answer in map(types.RunQueryResponse.pb, answers) if answer.HasField("document")]
        return [(self._path(document.name), from_fields(document.fields)) for document in found]

    def _beyond(self, after: str, *, newest_first: bool) -> types.Cursor:
        split(after)
        name = types.Value.pb()(reference_value=self._name(after))
        if not newest_first:
            return types.Cursor(values=[name], before=False)
        last = self.get(after)
        if last is None or "created_at" not in last:
            raise NotFound("the page before ended with a document that is gone")
        return types.Cursor(values=[to_value(last["created_at"]), name], before=False)

    def _name(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _path(self, name: str) -> str:
        return name.removeprefix(f"{self._root}/")

    @contextmanager
    def _turn(self, paths: Sequence[str]) -> Iterator[None]:
        """Hold the places of these documents among this process's threads, taken in one order by all."""
        with ExitStack() as held:
            for place in sorted({zlib.crc32(path.encode()) % TURNS for path in paths}):
                held.enter_context(self._turns[place])
            yield


def _all_equal(where: Mapping[str, Any]) -> Any:
    """Return the filter that asks for these fields, or None."""
    filters = [_equal(name, value) for name, value in where.items()]
    return Filter(composite_filter={"op": "AND", "filters": filters}) if filters else None


def _equal(name: str, value: Any) -> Any:
    field = {"field_path": "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"}
    if value is None:
        return Filter(unary_filter={"field": field, "op": "IS_NULL"})
    return Filter(field_filter={"field": field, "op": "EQUAL", "value": types.Value.wrap(to_value(value))})
