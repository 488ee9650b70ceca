"""How long anybody here waits for PostgreSQL.

A server that is gone refuses or resets a connection, and that is noticed at once. One that is frozen, or behind a
network that swallows packets, says nothing: each wait needs an end of its own. The server's timeouts end a statement on
a server that lives; keepalives and the TCP user timeout end a connection whose packets vanish; `ServingConnection` ends
the wait for a server whose kernel still acknowledges them.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any, ClassVar, TypeVar

import dj_database_url
import psycopg
import psycopg_pool
from psycopg import errors
from psycopg.abc import PQGen

T = TypeVar("T")

CONNECT_S = 2
# requests end before 5 s: by then the caller has its 503
SERVING_STATEMENT_S, SERVING_LOCK_S = 3.5, 2.0
# a job or a command may count and delete for minutes; a migration that cannot get its lock soon lets the door go on
JOB_STATEMENT_S, JOB_LOCK_S = 900.0, 10.0
# after so long without an answer a request asks whether the server lives, and waits so long for that
_FIRST_PATIENCE_S, _LIFE_S = 1.5, 1.0
# longer than a statement may take: a server that lives has ended it by then
PATIENCE_S = 4.0
# once the server has said nothing, the next ones ask with less patience, until it answers
_SILENT_PATIENCE_S = 0.5
_TLS_REQUEST = struct.pack("!ii", 8, 80877103)  # SSLRequest of PostgreSQL's protocol: its length, its code
# only a database that is gone makes anybody wait for a connection; short, so that the threads are soon free for others
_POOL_WAIT_S = 1.5
# a connection that idles behind a dead network is noticed after 5 + 2 × 5 s
_TCP = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 5000}


class ServingConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server which says nothing, and is closed then: nobody knows what became of the
    statement. A slow statement on a server that lives is waited for; its own timeout ends it."""

    _silent: ClassVar[bool] = False

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            answer = self._wait_for_life(gen, interval)
        except errors._WaitTimeout as error:
            ServingConnection._silent = True
            self.pgconn.finish()
            raise psycopg.OperationalError("The database says nothing.") from error
        ServingConnection._silent = False
        return answer

    def _wait_for_life(self, gen: PQGen[T], interval: float) -> T:
        try:
            return super().wait(gen, interval, _SILENT_PATIENCE_S if ServingConnection._silent else _FIRST_PATIENCE_S)
        except errors._WaitTimeout:
            if ServingConnection._silent or not lives(self.info.host, self.info.port):
                raise
        return super().wait(gen, interval, PATIENCE_S - _FIRST_PATIENCE_S)


class Pool(psycopg_pool.ConnectionPool[ServingConnection]):
    """A pool that replaces all the connections that a restarted server has closed before the first request gives up.
    psycopg's own sleeps for a second once it has found two."""

    def __init__(self, *args: Any, check: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # `check` is what it would sleep after

    def getconn(self, timeout: float | None = None) -> ServingConnection:
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = super().getconn(until - time.monotonic())
            try:
                if _says_something(connection):
                    self.check_connection(connection)
            except (OSError, psycopg.Error):
                self.putconn(connection)
            else:
                return connection


def _says_something(connection: ServingConnection) -> bool:
    """Whether there is something to read that nobody asked for: a server that has closed it, most of all. To ask each
    time would cost every request a round trip."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# Django makes its pools of this one
psycopg_pool.ConnectionPool = Pool  # type: ignore[assignment, misc]


def lives(host: str, port: int) -> bool:
    """Whether a PostgreSQL server, or a pooler, answers there at all: a request for TLS is answered with one byte by
    each, before any password."""
    file = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else None
    try:
        with socket.socket(socket.AF_UNIX) if file else socket.create_connection((host, port), _LIFE_S) as probe:
            probe.settimeout(_LIFE_S)
            if file:
                probe.connect(file)
            probe.sendall(_TLS_REQUEST)
            return bool(probe.recv(1))
    except OSError:
        return False


def configured(url: str, pool: int, statement_timeout_s: float | None) -> dict[str, Any]:
    """An entry of `DATABASES`.

    Args:
        pool: how many connections a process that serves requests shares; 0 for jobs and commands, where each thread
            keeps one of its own.
        statement_timeout_s: in place of the ones above; 0 for none.
    """
    statement_s, lock_s = (SERVING_STATEMENT_S, SERVING_LOCK_S) if pool else (JOB_STATEMENT_S, JOB_LOCK_S)
    if statement_timeout_s is not None:
        statement_s = statement_timeout_s
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        **_TCP,
        "options": f"-c statement_timeout={statement_s * 1000:.0f} -c lock_timeout={lock_s * 1000:.0f}",
    }
    if pool:
        options["pool"] = {
            # all of them from the start: a pool that grows makes the first callers of the morning wait
            "min_size": pool,
            "max_size": pool,
            "timeout": _POOL_WAIT_S,
            # no `max_waiting`: the pool counts those who gave up, too, and would refuse everybody for ever
            # the pauses between attempts double; given up so soon and begun anew by the next caller, they stay short
            "reconnect_timeout": 3.0,
            "connection_class": ServingConnection,
        }
    entry: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=0 if pool else 600, conn_health_checks=True))
    return {**entry, "OPTIONS": {**entry.get("OPTIONS", {}), **options}}
