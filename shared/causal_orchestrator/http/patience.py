"""Connections that dawdle wait where they cost nothing: a thread is given to a request once its head has come whole.

Otherwise a few connections that send a byte now and then would hold every thread, and nobody else would be served.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 10.0  # for the whole head of a request
IDLE_SECONDS = 30.0  # between two pieces of a body, or of an answer
HEAD_BYTES = 64 * 1024
PASSING = (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK)


class _Timed(socket.socket):
    """A connection on which waiting ends."""

    def setblocking(self, flag: bool) -> None:
        self.settimeout(IDLE_SECONDS if flag else 0.0)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Gunicorn's worker with threads, which dispatches whole heads and closes connections whose head does not come."""

    def accept(self, listener: Any) -> None:
        """Take a connection and wait for its first request."""
        try:
            client, address = listener.accept()
        except OSError as exc:
            if exc.errno not in PASSING:
                raise
            return
        self.nr_conns += 1
        self._await(TConn(self.cfg, _Timed(fileno=client.detach()), address, listener.getsockname()))

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """Hand a connection over once a head has come."""
        if _whole(client):
            super().on_pending_socket_readable(conn, client)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Hand a kept connection over, or wait for the rest of its next head."""
        if _whole(client):
            super().on_client_socket_readable(conn, client)
        else:
            self.poller.unregister(client)
            self.keepalived_conns.remove(conn)
            self._await(conn)

    def _await(self, conn: Any) -> None:
        conn.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))


def _whole(client: socket.socket) -> bool:
    """Say whether there is something to be done with a connection: a whole head, too long a one, or its end."""
    try:
        seen = client.recv(HEAD_BYTES, socket.MSG_PEEK)
        whole = not seen or b"\r\n\r\n" in seen or len(seen) >= HEAD_BYTES
        # The poller is not to wake for what it has seen already, but for one byte more.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 if whole else len(seen) + 1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return whole
